/*
 * PID 1's readers of what others write (unibeam_nb/guest), given inputs from standard input: each is four bytes of length,
 * the highest first, and the bytes; the answer is a line "TAKEN MICROSECONDS". It is built with the sanitizers, which end it at the
 * first fault; whoever started it starts it again.
 *
 * The guest's files are compiled as they are. What would change this host is answered here instead (the linker's --wrap),
 * and static functions are made visible to here by objcopy: targets/guest_init.py does both.
 */
#include "init.h"

#include "dhcp.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define INPUT_DISK "/dev/input"
#define NONCE "0123456789abcdef"

void read_options(char *rest);
int is_seed(const char *device), ours(const char *path), told_url(const char *ds, char *source, size_t room);
int read_message(const void *message, ssize_t size, uint32_t transaction, const uint8_t *hardware, struct lease *lease);
void use_lease(int socket, const char *card, const struct lease *lease);
unsigned group_of(int link);
extern int pool, button;

static jmp_buf left;
static int input = -1; /* a file in memory with the input */
static volatile unsigned seen;

/* ---- what PID 1 would do to its machine ---- */

static int done(void) { return 0; }

#define NOTHING(name) __attribute__((alias("done"))) int __wrap_##name(void)
NOTHING(kill);
NOTHING(reboot);
NOTHING(clock_settime);
NOTHING(sethostname);
NOTHING(mount);
NOTHING(umount2);
NOTHING(ioctl);
NOTHING(sync);
NOTHING(setrlimit);
NOTHING(tcgetattr);
NOTHING(tcsetattr);
NOTHING(tcflush);
NOTHING(tcdrain);
NOTHING(setsid);
NOTHING(unlink);
NOTHING(rename);

int __wrap_fork(void) { return -1; }
int __wrap_socket(void) { return -1; }
int __wrap_dhcp_ask(void) { return -1; }
void __wrap_leave(int code) { longjmp(left, 1 + (code != 0)); }

/* Every byte that is written is read here, so that one behind its buffer is found. */
ssize_t __wrap_write(int file, const void *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		seen += ((const unsigned char *)bytes)[i];
	return file == -2 ? -1 : (ssize_t)count;
}

int __real_open(const char *path, int flags, ...);

/* There are no files but the input. */
int __wrap_open(const char *path, int flags, ...)
{
	char own[40];

	if (strcmp(path, INPUT_DISK) || flags & (O_WRONLY | O_RDWR)) {
		errno = ENOENT;
		return -1;
	}
	snprintf(own, sizeof own, "/proc/self/fd/%d", input);
	return __real_open(own, flags);
}

/* ---- the readers ---- */

static int words(char *text, size_t size)
{
	char *copy = strdup(text), *list[MAX_WORDS], source[1024];
	int taken;

	(void)size;
	lines(copy, list, MAX_WORDS);
	read_options(text);
	taken = options.extras || options.nonce[0] || options.hostname[0] || options.ds[0];
	told_url(options.ds, source, sizeof source);
	name_machine();
	set_environment();
	mark("init", 1, "");
	clearenv();
	free(copy);
	return taken;
}

static int orders(char *text, size_t size)
{
	int taken = setjmp(left) != 0;

	(void)text;
	if (!taken) {
		strcpy(options.nonce, NONCE);
		strcpy(options.channel, "4371");
		set_channel();
		taken = getenv("UNIBEAM_CHANNEL") != NULL;
		lseek(0, 0, SEEK_SET);
		options.snapshot = 1;
		while (take_orders() && lseek(0, 0, SEEK_CUR) < (off_t)size)
			;
		taken |= !!strcmp(options.nonce, NONCE);
	}
	clearenv();
	return taken;
}

static int disk(char *text, size_t size)
{
	(void)text;
	(void)size;
	return is_seed(INPUT_DISK) | ours(INPUT_DISK);
}

static int answer(char *text, size_t size)
{
	static const uint8_t card[6];
	struct lease lease;
	int kind = read_message(text, (ssize_t)size, 0, card, &lease);

	if (kind) {
		use_lease(-1, "eth0", &lease);
		name_machine();
	}
	return kind != 0;
}

/* Of two sockets one is the kernel, which has already answered. */
static int netlink(char *text, size_t size)
{
	int ends[2], taken;

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends))
		return 0;
	button = ends[0];
	taken = send(ends[1], text, size, 0) >= 0 && was_pressed();
	taken |= send(ends[1], text, size, 0) >= 0 && group_of(ends[0]);
	close(ends[0]);
	close(ends[1]);
	return taken;
}

static const struct {
	const char *name;
	int (*read)(char *, size_t);
} readers[] = {{"words", words}, {"orders", orders}, {"disk", disk}, {"answer", answer}, {"netlink", netlink}};

static int (*reader)(char *, size_t);

/* Chooses a reader by its name; 0 if there is none. */
static int begin(const char *name)
{
	for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
		if (name && !strcmp(name, readers[i].name))
			reader = readers[i].read;
	input = memfd_create("input", 0);
	pool = 1000; /* as if it were open */
	dup2(input, 0);
	return reader != NULL;
}

/* Gives it an input, in memory that ends with the input, or with a NUL behind it where the reader is given text. */
static int judge(const unsigned char *data, size_t size)
{
	int exact = reader == answer || reader == netlink, taken;
	char *text = malloc(size + !(exact && size));

	memcpy(text, data, size);
	if (!exact)
		text[size] = 0;
	if (ftruncate(input, 0) || pwrite(input, text, size, 0) != (ssize_t)size || lseek(0, 0, SEEK_SET))
		abort();
	memset(&options, 0, sizeof options);
	taken = reader(text, size);
	free(text);
	return taken;
}

#ifdef GUIDED /* libFuzzer has main, and the name of the reader stands in the environment */

int LLVMFuzzerInitialize(int *count, char ***words)
{
	(void)count;
	(void)words;
	return begin(getenv("READER")) ? 0 : 1;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	judge(data, size);
	return 0;
}

#else

/* Reads SIZE bytes; 0 at the end. */
static int get(int file, void *into, size_t size)
{
	for (ssize_t got; size > 0; into = (char *)into + got, size -= (size_t)got)
		if ((got = read(file, into, size)) <= 0)
			return 0;
	return 1;
}

ssize_t __real_write(int file, const void *bytes, size_t count);

int main(int count, char **names)
{
	struct itimerval limit = {{0, 0}, {1, 0}}, none = {{0, 0}, {0, 0}};
	int from = dup(0), to = dup(1);
	unsigned char head[4];
	char line[64];

	if (count < 2 || !begin(names[1]))
		return 0;
	while (get(from, head, sizeof head)) {
		size_t size = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
		unsigned char *data = malloc(size + 1);
		unsigned long long began;
		int taken;

		if (!data || !get(from, data, size))
			return 0;
		setitimer(ITIMER_PROF, &limit, NULL); /* whose signal ends this process */
		began = now_ns();
		taken = judge(data, size);
		setitimer(ITIMER_PROF, &none, NULL);
		free(data);
		if (__real_write(to, line, (size_t)snprintf(line, sizeof line, "%d %llu\n", taken, (now_ns() - began) / 1000)) < 0)
			return 1;
	}
	return 0;
}

#endif
