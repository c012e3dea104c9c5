/* The command line of the program fashion. */
#ifndef FASHION_SETTINGS_H
#define FASHION_SETTINGS_H

struct settings {
    const char *data;
    const char *optimizer;
    const char *ack_level;
    const char *json;    /* NULL: none is written */
    const char *chaos;   /* NULL, or where each kill of the daemon gets a line */
    const char *scratch; /* a folder for what the processes leave behind */
    char programs[512];  /* the folder of fashion-worker and fashion-local */
    unsigned workers;
    unsigned shards;
    double epochs;
    double seconds; /* > 0: train for so long instead */
    double accuracy_min;
};

/* Ends the program if an option is wrong, or after --help. */
void settings_read(struct settings *settings, int argc, char **argv);

#endif
