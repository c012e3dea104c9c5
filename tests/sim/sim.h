/* A whole system in one process, and one run of it: hosts and control of a daemon, its disk,
 * clients, the network between them, a clock that jumps from event to event, faults, and the ledger
 * that knows what must be. Everything follows from the seed. What each file does:
 * tests/sim/README.md. */
#ifndef PARAMD_TESTS_SIM_SIM_H
#define PARAMD_TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/core/core.h"
#include "server/control_host.h"
#include "server/core/control.h"
#include "server/host.h"
#include "server/recovery.h"
#include "server/storage/snapshot_files.h"
#include "server/storage/wal_files.h"
#include "tests/sim/ledger.h"
#include "tests/sim/plants.h"
#include "tests/sim/random.h"
#include "tests/support/sim_disk.h"

enum {
    SIM_CLIENTS_MAX = 5,
    SIM_TWINS_MAX = 2, /* second processes with the identity of another */
    SIM_PROCESSES_MAX = SIM_CLIENTS_MAX + SIM_TWINS_MAX,
    SIM_SHARDS_MAX = 4,
    SIM_CONNS_MAX = 96,
    SIM_FAULTS_MAX = 24,
    SIM_MODELS = SIM_LEDGER_MODELS,
    SIM_JOBS_MAX = 6,
    SIM_CALLS_MAX = 3,
    SIM_IO_MAX = 3, /* tensors in a push or pull */

    SIM_LEASE_US = 1500000,
    SIM_RETENTION_US = 8000000,
    SIM_KEEPALIVE_US = 6000000,  /* the daemon's kernel finds a vanished peer */
    SIM_FAULTS_END_US = 6000000, /* the last fault begins before */
    SIM_GIVE_UP_US = 180000000   /* every client has finished by then */
};

/* ---- Events ---- */

enum sim_event_kind {
    SIM_EVENT_CONNECT,  /* subject: connection */
    SIM_EVENT_DELIVER,  /* subject: connection, detail: direction */
    SIM_EVENT_VANISHED, /* subject: connection: the daemon's kernel gives it up */
    SIM_EVENT_MAIL,     /* subject: shard, or SIM_CONTROL */
    SIM_EVENT_TICK,     /* subject: shard, or SIM_CONTROL */
    SIM_EVENT_JOB,      /* subject: shard, or SIM_CONTROL: the disk has done what its log wanted */
    SIM_EVENT_SNAPSHOT, /* one begins */
    SIM_EVENT_COPY,     /* subject: shard: it goes on with its part */
    SIM_EVENT_SAVE,     /* subject: shard: the disk has done what its part wanted */
    SIM_EVENT_STOPPING, /* subject: SIM_DAEMON: what it waits for may be done */
    SIM_EVENT_SPACE,    /* the disk is not full any more */
    SIM_EVENT_WAKE,     /* subject: process */
    SIM_EVENT_START,    /* subject: process, or SIM_DAEMON */
    SIM_EVENT_STOP,     /* subject: process: a twin's time is over */
    SIM_EVENT_RESUME,   /* subject: process, or SIM_DAEMON */
    SIM_EVENT_FAULT     /* subject: its number */
};

enum { SIM_CONTROL = SIM_SHARDS_MAX, SIM_DAEMON = SIM_PROCESSES_MAX, SIM_NOBODY };

struct sim_event {
    uint64_t at_us;
    uint64_t order;
    uint64_t serial; /* of the subject: an event of one that is gone is passed over */
    enum sim_event_kind kind;
    uint32_t subject;
    uint32_t detail;
};

/* ---- Network ---- */

enum sim_direction { SIM_TO_SERVER, SIM_TO_CLIENT };

struct sim_segment {
    size_t bytes; /* 0: the end */
    uint64_t due_us;
};

/* One direction of a connection. */
struct sim_pipe {
    uint8_t *bytes; /* [first, arrived) may be read, [arrived, end) is under way */
    size_t first;
    size_t arrived;
    size_t end;
    size_t capacity;
    struct sim_segment *segments;
    size_t segment_first;
    size_t segment_end;
    size_t segment_capacity;
    size_t window;
    uint64_t latency_us;
    uint64_t held_until_us; /* nothing arrives before */
    uint64_t slow_until_us; /* a trickle until then */
    bool dead;              /* nothing arrives any more */
    bool ended;             /* the writer is gone */
};

struct sim_conn {
    bool used;
    uint64_t serial;
    uint32_t process;
    uint32_t link;
    uint32_t shard;
    bool at_client;               /* the client's end is open */
    bool broken;                  /* nothing more may be written */
    bool paused;                  /* the host does not read */
    bool poked;                   /* the host may have something to write */
    struct pd_host_conn *at_host; /* NULL: the daemon's end is closed, or not open yet */
    struct sim_pipe pipes[2];
    struct sim_random random;
};

/* ---- The daemon ---- */

/* How far it is on its way out. */
enum sim_stop { SIM_STOP_NONE, SIM_STOP_DRAINS, SIM_STOP_SAVES, SIM_STOP_ENDS };

struct sim_daemon {
    bool up;
    bool paused;
    uint64_t serial; /* of its start */
    uint32_t shards;
    struct pd_control_host *control_host;
    struct pd_control *control; /* the host's */
    struct pd_host *hosts[SIM_SHARDS_MAX];
    struct pd_link mail[SIM_SHARDS_MAX + 1];
    bool mail_due[SIM_SHARDS_MAX + 1];
    size_t block_bytes;
    uint32_t start_crashes; /* so many of the next starts */
    enum sim_stop stop;
    uint64_t stop_us;
    uint64_t away_us; /* from its end to its next start */
    bool saved;       /* the last snapshot */
    bool clean;       /* it has stopped whole: the next start must find all */
    struct sim_random random;
};

/* A log, and its writer. */
struct sim_log {
    char name[PD_WAL_LOG_NAME_BYTES];
    bool open;
    bool busy; /* with the job */
    bool due;  /* it is to be done when the daemon goes on */
    struct pd_wal_files files;
    struct pd_wal_job job;
};

/* A shard's part of a snapshot. */
struct sim_saver {
    bool active;
    bool holds; /* pushes, until all is copied */
    bool busy;  /* with the job */
    struct pd_snapshot_files files;
    struct pd_snapshot_job job;
};

/* The daemon's data directory. */
struct sim_storage {
    struct pd_sim_disk *disk; /* NULL: it has none */
    struct sim_log logs[SIM_SHARDS_MAX + 1];
    struct pd_recovery *recovery;       /* what this start found: its manifest goes on */
    struct pd_manifest_snapshot taking; /* while parts are left */
    struct sim_saver savers[SIM_SHARDS_MAX];
    uint32_t parts_left;
    enum paramd_status status; /* of the snapshot so far */
    uint64_t begun_us;
    bool planned; /* a fault of the disk */
    enum pd_sim_fault fault;
    bool damaged;            /* the disk did something else than it said */
    bool cut;                /* a start left something out since */
    uint32_t damaged_writer; /* to whose log */
    uint64_t later;          /* batches of that log since */
    struct sim_random random;
};

/* ---- Clients ---- */

/* One push or pull under way. */
struct sim_job {
    struct pd_op *op; /* NULL: free */
    uint32_t model;
    enum pd_op_kind kind;
    enum paramd_dtype dtype;
    bool cancelled;
    bool bad;           /* its gradient holds a NaN */
    uint64_t cancel_us; /* 0: not */
    uint8_t *buffers;
    size_t io_count;
    struct paramd_io io[SIM_IO_MAX];
    struct sim_claim *claims; /* one for each unit */
};

struct sim_call {
    struct pd_call *call; /* NULL: free */
    enum pd_kind kind;
    uint32_t model;
    double value; /* of a SET */
    uint64_t since_us;
};

/* A client's use of one model. */
struct sim_handle {
    struct pd_join *join;
    struct pd_client_session *session;
    struct paramd_values *values; /* of the join */
    uint64_t since_us;
    uint64_t retry_us;
    bool leaving;   /* GOODBYE is under way */
    bool dropped;   /* closed in the middle of its work */
    uint64_t owner; /* in the ledger */
    uint8_t bits[PD_SESSION_BYTES];
    uint64_t lost;   /* acknowledged pushes to the ledger that a crash took */
    uint64_t others; /* whose ids may be counted with them */
    bool known;      /* control knew the session when the daemon was killed */
    bool odd;        /* joins with another definition than the model has */
    bool by_name;    /* joined without a definition: it cannot take an initialiser's place */
};

struct sim_process {
    uint32_t identity;
    bool alive;
    bool paused;
    bool twin;
    uint64_t serial; /* of its start */
    uint64_t nonce;
    struct pd_client *client;
    struct sim_conn *conns[SIM_SHARDS_MAX];
    uint64_t wake_us; /* the wake-up that is scheduled */
    struct sim_handle handles[SIM_MODELS];
    struct sim_job jobs[SIM_JOBS_MAX];
    struct sim_call calls[SIM_CALLS_MAX];
    uint64_t next_us; /* when it starts its next call */
    bool bad_next;    /* a fault: a NaN in the next push */
    uint64_t pushed;  /* blocks */
    uint32_t looked;  /* models whose last look was started */
    bool finished;
    struct sim_random random;
};

/* What survives a process: who it is, and how much it still has to do. */
struct sim_identity {
    long pushes_left;            /* blocks */
    uint32_t epochs[SIM_MODELS]; /* sessions used up: each has bits of its own */
    uint32_t joined[SIM_MODELS]; /* sessions that were begun */
};

/* ---- Faults ---- */

/* X(name) */
#define SIM_FAULT_LIST(X)                                                                          \
    X(RESET, "reset")                                                                              \
    X(LATE, "late")                                                                                \
    X(BLACK_HOLE, "black-hole")                                                                    \
    X(ONE_WAY, "one-way")                                                                          \
    X(DELAY, "delay")                                                                              \
    X(SLOW, "slow")                                                                                \
    X(CLIENT_CRASH, "client-crash")                                                                \
    X(CLIENT_CLOSE, "client-close")                                                                \
    X(CLIENT_PAUSE, "client-pause")                                                                \
    X(TWIN, "twin")                                                                                \
    X(STRANGER, "stranger")                                                                        \
    X(BAD_GRADIENT, "bad-gradient")                                                                \
    X(DAEMON_KILL, "daemon-kill")                                                                  \
    X(DAEMON_STOP, "daemon-stop")                                                                  \
    X(DAEMON_PAUSE, "daemon-pause")                                                                \
    X(DISK_SYNC, "disk-sync")                                                                      \
    X(DISK_SHORT, "disk-short")                                                                    \
    X(DISK_FULL, "disk-full")                                                                      \
    X(DISK_DAMAGE, "disk-damage")                                                                  \
    X(ALLOCATION, "allocation")

enum sim_fault_kind {
#define SIM_FAULT_ENUM(name, text) SIM_FAULT_##name,
    SIM_FAULT_LIST(SIM_FAULT_ENUM)
#undef SIM_FAULT_ENUM
        SIM_FAULT_KINDS
};

struct sim_fault {
    enum sim_fault_kind kind;
    uint64_t at_us;
    struct sim_random random; /* for what it does */
};

/* ---- A run ---- */

struct sim_options {
    uint64_t seed;
    uint64_t fault_mask; /* bit i: fault i happens */
    bool verbose;        /* prints its events */
};

/* Summed up over the runs: means are printed. X(name) */
/* clang-format off */
#define SIM_COUNT_LIST(X) \
    X(events) X(clients) X(shards) X(pushes) X(pulls) X(cancels) X(joins) X(creates) X(attaches) \
    X(pings) X(sets) X(reports) X(commanded) X(lists) X(stats) X(deletes) X(goodbyes) \
    X(connections) X(resent) X(refused) X(unknown) X(ended_sessions) X(lost) X(jobs) X(snapshots) \
    X(recoveries) X(recovered_bytes) X(cuts) X(no_space) X(disk_faults) X(stops) X(clean_stops) \
    X(failed_starts) X(refused_starts) X(daemon_starts) X(reshardings) X(client_starts) X(faults) \
    X(failed_allocations) X(virtual_ms)
/* clang-format on */

struct sim_counts {
#define SIM_COUNT_FIELD(name) uint64_t name;
    SIM_COUNT_LIST(SIM_COUNT_FIELD)
#undef SIM_COUNT_FIELD
    uint64_t fault_kinds[SIM_FAULT_KINDS];
};

struct sim {
    struct sim_options options;
    uint64_t now_us;
    uint64_t hash;
    bool violated;
    bool over; /* the disk was damaged, and that was found, or could not be */
    char violation[512];
    struct sim_counts counts;

    struct sim_event *events; /* a heap by (at_us, order) */
    size_t event_count;
    size_t event_capacity;
    uint64_t next_order;
    uint64_t next_serial;

    uint32_t client_count;
    bool local;   /* clients and daemon on one host: no payload sums */
    bool durable; /* the daemon has a data directory */
    struct pd_definition *definitions[SIM_MODELS];
    struct sim_model_plan plans[SIM_MODELS];
    uint32_t fault_count;
    struct sim_fault faults[SIM_FAULTS_MAX];
    uint32_t faults_left; /* of those that happen */
    bool calm;            /* none may happen: nobody cancels, and nothing is too old, either */
    uint64_t copies_max;
    uint64_t in_flight_max;
    uint32_t short_of_memory; /* in whom an allocation will fail */

    struct sim_daemon daemon;
    struct sim_storage storage;
    struct sim_identity identities[SIM_CLIENTS_MAX];
    struct sim_process processes[SIM_PROCESSES_MAX];
    struct sim_conn conns[SIM_CONNS_MAX];
    struct sim_ledger ledger;
};

/* One run from the seed to its end. The result is in counts, hash, violated and violation. */
void sim_run(struct sim *sim, const struct sim_options *options);

/* sim.c */
void sim_schedule(struct sim *sim, uint64_t after_us, enum sim_event_kind kind, uint32_t subject,
                  uint32_t detail, uint64_t serial);
/* Something happened: goes into the trace and its hash. what is static text. */
void sim_trace(struct sim *sim, const char *what, uint64_t a, uint64_t b, uint64_t c);
/* The run has shown something that must not be; the first is kept. */
__attribute__((format(printf, 2, 3))) void sim_violate(struct sim *sim, const char *format, ...);

/* Around each call of the code under test by one process (or SIM_DAEMON). */
void sim_enter(struct sim *sim, uint32_t who);
void sim_leave(struct sim *sim);

/* plan.c: everything that is decided before the first event. */
void sim_plan_make(struct sim *sim);
void sim_plan_free(struct sim *sim);
/* A definition of one's own, as a join takes it. */
struct pd_definition *sim_plan_definition(const struct sim_model_plan *plan);
/* First values, one for each tensor, which bear the mark of whoever sends them; for free. */
struct paramd_values *sim_plan_values(const struct sim_model_plan *plan, float mark);

/* net.c */
struct sim_conn *sim_net_open(struct sim *sim, uint32_t process, uint32_t link);
size_t sim_net_room(const struct sim *sim, const struct sim_conn *conn, enum sim_direction to);
/* How much of `available` the writer's kernel takes at once. */
size_t sim_net_piece(struct sim_conn *conn, size_t available);
void sim_net_write(struct sim *sim, struct sim_conn *conn, enum sim_direction to,
                   const struct pd_span *spans, size_t count, size_t bytes);
/* Fills the spans with some of what has arrived; how much. */
size_t sim_net_read(struct sim_conn *conn, enum sim_direction to, const struct pd_span *spans,
                    size_t count);
size_t sim_net_arrived(const struct sim_conn *conn, enum sim_direction to);
/* The client's or the daemon's end is closed: the other learns of it behind what is under way. */
void sim_net_close_client(struct sim *sim, struct sim_conn *conn);
void sim_net_close_host(struct sim *sim, struct sim_conn *conn);
void sim_net_event(struct sim *sim, const struct sim_event *event);
/* What arrived while a side was paused is given to it. */
void sim_net_wake(struct sim *sim, struct sim_conn *conn, enum sim_direction to);
/* Both ends learn of a break; of what is under way a random part is lost. */
void sim_net_reset(struct sim *sim, struct sim_conn *conn, struct sim_random *random);
void sim_net_free(struct sim *sim);

/* start.c */
void sim_daemon_start(struct sim *sim);
/* At once. power: what was not synced is lost in parts. */
void sim_daemon_kill(struct sim *sim, bool power);
/* By itself, since its disk has failed; it is started again. */
void sim_daemon_stop(struct sim *sim);

/* storage.c */
void sim_storage_create(struct sim *sim);
void sim_storage_destroy(struct sim *sim);
void sim_storage_open_log(struct sim *sim, uint32_t writer, const char *name);
/* The writer of a shard or of control looks for its next job. False: there is none. */
bool sim_storage_work(struct sim *sim, uint32_t writer);
void sim_storage_job(struct sim *sim, uint32_t writer);
/* Plans a fault for one of the next calls. */
void sim_storage_fault(struct sim *sim, enum pd_sim_fault fault, uint64_t after_calls);
/* The disk has been used: whether the fault happened. */
void sim_storage_look(struct sim *sim, uint32_t writer);
/* The daemon is gone, in the middle of whatever its writers did. */
void sim_storage_stop(struct sim *sim, bool power);

/* stop.c */
/* Told to end by itself; away_us later it is started again. */
void sim_stop_begin(struct sim *sim, uint64_t away_us);
void sim_stop_step(struct sim *sim);

/* snapshots.c */
/* The next one begins after a while. */
void sim_snapshots_schedule(struct sim *sim);
void sim_snapshots_begin(struct sim *sim);
/* Somebody may have asked for one. */
void sim_snapshots_look(struct sim *sim);
/* Behind the one that is under way. */
void sim_snapshots_save_last(struct sim *sim);
/* Nobody pushes any more: one that holds pushes is given up. */
void sim_snapshots_drain(struct sim *sim);
void sim_snapshots_copy(struct sim *sim, uint32_t shard);
void sim_snapshots_save(struct sim *sim, uint32_t shard);
void sim_snapshots_stop(struct sim *sim);

/* daemon.c */
/* Its clocks begin to tick. */
void sim_daemon_schedule(struct sim *sim);
/* Control tells the shards what there is. */
void sim_daemon_recovered(struct sim *sim, bool clean);
void sim_daemon_job_done(struct sim *sim, uint32_t writer, enum paramd_status status);
/* Whatever a host, or control, has to say or to write goes its way. */
void sim_daemon_serve(struct sim *sim, uint32_t shard);
void sim_daemon_serve_control(struct sim *sim);
void sim_daemon_resume(struct sim *sim);
/* False: nobody accepts. */
bool sim_daemon_accept(struct sim *sim, struct sim_conn *conn);
void sim_daemon_receive(struct sim *sim, struct sim_conn *conn);
void sim_daemon_write(struct sim *sim, struct sim_conn *conn);
void sim_daemon_closed(struct sim *sim, struct sim_conn *conn);
void sim_daemon_mail(struct sim *sim, uint32_t receiver);
void sim_daemon_tick(struct sim *sim, uint32_t receiver);

/* stranger.c */
enum sim_nonsense { SIM_TOO_MUCH, SIM_BROKEN, SIM_NOT_ATTACHED, SIM_NO_KIND, SIM_NONSENSES };
/* Comes and goes at once. */
void sim_stranger_visit(struct sim *sim, uint32_t shard, enum sim_nonsense what);

/* process.c */
void sim_process_start(struct sim *sim, uint32_t number);
void sim_process_resume(struct sim *sim, uint32_t number);
/* At once, without a word. One that is not alive is passed over. */
void sim_process_kill(struct sim *sim, uint32_t number);
void sim_process_connected(struct sim *sim, struct sim_conn *conn);
void sim_process_receive(struct sim *sim, struct sim_conn *conn);
void sim_process_disconnected(struct sim *sim, struct sim_conn *conn, const char *why);
/* Timers, connections, its script, bytes to go: after anything that happened to it. */
void sim_process_service(struct sim *sim, uint32_t number);

/* worker.c: what a client process does. */
/* Looks at what has finished and starts what is due. Returns when to be called again. */
uint64_t sim_worker_step(struct sim *sim, struct sim_process *process);
/* For a person. Static memory. */
const char *sim_worker_waits_for(const struct sim_process *process);
/* Closes its handle of a model in the middle of its work, and joins anew. */
void sim_worker_close(struct sim *sim, struct sim_process *process, uint32_t model);
/* A push of this owner was acknowledged and is lost. */
void sim_worker_lost(struct sim *sim, uint64_t owner);
/* When nothing moves any more: everybody was told what is lost. */
void sim_worker_check_end(struct sim *sim);
/* Frees what the process held; it is gone. */
void sim_worker_drop(struct sim *sim, struct sim_process *process);

/* job.c: one push or pull. */
/* False: nothing could be started. */
bool sim_job_start(struct sim *sim, struct sim_process *process, uint32_t model);
/* A pull of all tensors. */
bool sim_job_look(struct sim *sim, struct sim_process *process, uint32_t model);
void sim_job_cancel(struct sim *sim, struct sim_process *process, struct sim_job *job);
/* It is finished: what it says is held against the ledger. */
void sim_job_end(struct sim *sim, struct sim_process *process, struct sim_job *job);
void sim_job_free(struct sim_job *job);

/* faults.c */
void sim_fault_begin(struct sim *sim, uint32_t number);
const char *sim_fault_name(enum sim_fault_kind kind);

/* recovery.c: what a start must bring back. */
/* Control has done something: its SETs are noted. */
void sim_recovery_watch(struct sim *sim);
/* A SET with this value was answered. */
void sim_recovery_set_told(struct sim *sim, uint32_t model, double value);
/* The daemon is about to be killed, and has come back. */
void sim_recovery_before(struct sim *sim);
void sim_recovery_check(struct sim *sim, bool clean);
/* The new epoch has begun. */
void sim_recovery_started(struct sim *sim, bool clean);

/* watch.c: looks into the daemon. */
/* After each event of a shard. */
void sim_watch_host(struct sim *sim, uint32_t shard);
/* The generation of the model with this number; 0: there is none now. */
uint64_t sim_watch_generation(const struct sim *sim, uint64_t number);
/* When nothing moves any more: all shards hold the same. */
void sim_watch_end(struct sim *sim);

#endif
