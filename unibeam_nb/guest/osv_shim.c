/*
 * Stands between an unmodified BEAM and a kernel that can have only one process, such as OSv. Preloaded before the C
 * library: cc -shared -fPIC -o libunibeam_osv.so osv_shim.c
 *
 * When it starts, the emulator forks erl_child_setup, a program that will fork every port's program for it, and from
 * then on sends it one pair of file descriptors per port over a socket (erts/emulator/sys/unix/sys_drivers.c and
 * erl_child_setup.c). OSv can neither fork nor pass descriptors, and the emulator takes any failure for its own end.
 *
 * So: the first fork succeeds, but nobody is born. What the emulator then sends to the child that is not there is
 * answered at once, by us, with the words erl_child_setup would use for a program that could not be started. A port
 * then fails with enosys, as open_port/2 documents, and the node lives on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utime.h>

/* A process id that is nobody's: kill() of it says ESRCH, waitpid() says ECHILD. */
#define NOBODY ((pid_t)0x3ffffffe)

/* The answer of erl_child_setup to a start command: ErtsSysForkerProto in erts/emulator/sys/unix/erl_child_setup.h.
 * Action 2 is ErtsSysForkerProtoAction_Go; error_number is what exec said. 32 bytes, as the emulator reads it. */
struct reply {
    int32_t action;
    int32_t padding0;
    int32_t os_pid;
    int32_t error_number;
    int32_t padding[4];
};

static atomic_int forked;    /* whether the one fork has happened */
static atomic_int forker[2] = { -1, -1 };    /* both ends of the socket to the child that is not there */

static void *next(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) {
        static const char text[] = "unibeam: the C library of this image lacks a function that the BEAM needs\n";
        ssize_t ignored = write(2, text, sizeof text - 1);
        (void)ignored;
        _exit(127);
    }
    return found;
}

pid_t fork(void)
{
    if (atomic_exchange(&forked, 1) == 0)
        return NOBODY;
    errno = ENOSYS;
    return -1;
}

pid_t vfork(void)
{
    errno = ENOSYS;
    return -1;
}

/* The emulator makes the socket to its child before it forks, and closes the child's end afterwards. Both ends are
 * remembered, and the child's is kept open: a socket without a reader would be an error to the emulator. */
int socketpair(int domain, int type, int protocol, int ends[2])
{
    static int (*real)(int, int, int, int[2]);
    if (!real)
        real = next("socketpair");
    int result = real(domain, type, protocol, ends);
    if (result == 0 && domain == AF_UNIX && atomic_load(&forked) == 0) {
        atomic_store(&forker[0], ends[0]);
        atomic_store(&forker[1], ends[1]);
    }
    return result;
}

int close(int fd)
{
    static int (*real)(int);
    if (!real)
        real = next("close");
    if (fd >= 0 && atomic_load(&forked) && fd == atomic_load(&forker[1]))
        return 0;
    return real(fd);
}

/* The descriptors that came along: the first two are the child's ends of the port's pipes. Returns how many. */
static int passed(const struct msghdr *message, int fds[], int most)
{
    int count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR((struct msghdr *)message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        int here = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < here && count < most; i++)
            memcpy(&fds[count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    return count;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    static ssize_t (*real)(int, const struct msghdr *, int);
    if (!real)
        real = next("sendmsg");
    if (!atomic_load(&forked) || (fd != atomic_load(&forker[0]) && fd != atomic_load(&forker[1])))
        return real(fd, message, flags);

    int fds[3];
    if (passed(message, fds, 3) >= 2) {
        struct reply answer = { .action = 2, .os_pid = -1, .error_number = ENOSYS };
        ssize_t written = write(fds[1], &answer, sizeof answer);
        if (written != (ssize_t)sizeof answer)
            return -1;
    }
    ssize_t length = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        length += (ssize_t)message->msg_iov[i].iov_len;
    return length;
}

/* OSv's file systems keep neither owners, permissions nor times that could be set, and there is nobody to keep out.
 * Erlang sets all three of its cookie: what is not kept counts as set. */
static int kept(int result)
{
    return result < 0 && errno == ENOSYS ? 0 : result;
}

int chmod(const char *path, mode_t mode)
{
    static int (*real)(const char *, mode_t);
    if (!real)
        real = next("chmod");
    return kept(real(path, mode));
}

int chown(const char *path, uid_t owner, gid_t group)
{
    static int (*real)(const char *, uid_t, gid_t);
    if (!real)
        real = next("chown");
    return kept(real(path, owner, group));
}

int utime(const char *path, const struct utimbuf *times)
{
    static int (*real)(const char *, const struct utimbuf *);
    if (!real)
        real = next("utime");
    return kept(real(path, times));
}
