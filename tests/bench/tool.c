/* Starting the programs of tool.h. */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/peer.h"
#include "tests/bench/tool.h"

void pd_tool_find_port(char *ret_text, size_t bytes)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_bytes = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, address_bytes) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &address_bytes) != 0) {
        err(1, "no free port");
    }
    (void)close(fd);
    (void)snprintf(ret_text, bytes, "%u", (unsigned)ntohs(address.sin_port));
}

pid_t pd_tool_start(const char *const *arguments, FILE **ret_output)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        err(1, "pipe");
    }
    pid_t pid = pd_peer_fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        (void)dup2(null, STDIN_FILENO);
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
        (void)execvp(arguments[0], (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    (void)close(ends[1]);
    *ret_output = fdopen(ends[0], "r");
    if (*ret_output == NULL) {
        err(1, "pipe");
    }
    return pid;
}
