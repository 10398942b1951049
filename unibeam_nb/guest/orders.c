/* What PID 1 is told while the machine runs: on its console, by who started it. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

struct seed { int bits, size; unsigned char bytes[32]; };       /* struct rand_pool_info of random(4) */

static int agent = -1;          /* our end of the line to the program's agent; only for a snapshot */
static int pool = -1;           /* the kernel's random numbers: a copy that opened them would be awake later */

/* Whole lines, and no echo: the console is kept in a file, and what is told here is nobody's business. */
int quiet_console(void)
{
	struct termios console;

	if (tcgetattr(0, &console))
		return -1;
	console.c_lflag = ICANON;
	return tcsetattr(0, TCSANOW, &console);
}

/*
 * A machine with a channel (unibeam_channel.erl) needs a secret, and no secret may stand on the kernel's command line,
 * which every program on the host and in the guest can read. So the mark `asks` asks for it on the console, and the
 * host answers with the line "secret HEX". A machine that is to be copied does not ask: its copies are told with
 * everything else that is theirs alone.
 */
void set_channel(void)
{
	struct pollfd console = {0, POLLIN, 0};
	char line[256], secret[65] = "", words[128];
	ssize_t length = 0;

	if (!options.snapshot) {
		if (quiet_console()) {
			say("the console takes no answer (%s), so there is no channel; use a serial console.", strerror(errno));
			return;
		}
		tcflush(0, TCIFLUSH);
		mark("asks", now_ns(), "");
		if (poll(&console, 1, SECRET_WAIT_MS) == 1)
			length = read(0, line, sizeof line - 1);
		line[length > 0 ? length : 0] = 0;
		if (sscanf(line, "secret %64[0-9a-f]", secret) != 1) {
			say("nobody told the secret of the channel, so there is none; boot the machine with unibeam.");
			return;
		}
	}
	snprintf(words, sizeof words, "0.0.0.0 %s%s%s", options.channel, secret[0] ? " " : "", secret);
	setenv("UNIBEAM_CHANNEL", words, 1);
}

/*
 * Orders come on the console, one line each. Every machine takes
 *
 *   stop NONCE      the program is asked to end (SIGTERM, upon which a node stops its applications in order)
 *
 * where the console is not the program's. A machine that is to be resumed many times takes others besides:
 *
 *   prepare NONCE   passed on to the agent, which runs the application's hooks, holds every other Erlang process
 *                   and marks `still`
 *   freeze          stops every process but this one and marks `frozen`; now the machine may be copied
 *   resume NONCE SECONDS NANOSECONDS HOSTNAME SEED [SECRET]
 *                   the first thing a copy hears. Before any other process runs again the kernel's random numbers
 *                   are reseeded (SEED is 64 hex digits of the host's), the clock set and the host renamed.
 *                   The agent gets "resume NONCE HOSTNAME SEED COOKIE [SECRET]", with new random numbers, opens its
 *                   channel where there is a secret for one, and marks `resume`.
 *
 * The console is no channel for others: only who started the machine can write to it. Nothing here waits.
 */
void open_orders(void)
{
	int ends[2];
	char number[12];

	if (quiet_console()) {
		say("the console takes no orders (%s), so no snapshot can be taken; use a serial console.", strerror(errno));
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) {
		say("there is no way to tell the program of a snapshot (%s); use a kernel with CONFIG_UNIX.", strerror(errno));
		return;
	}
	agent = ends[0];
	fcntl(agent, F_SETFD, FD_CLOEXEC);
	pool = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	snprintf(number, sizeof number, "%d", ends[1]);
	setenv("UNIBEAM_SNAPSHOT", number, 1);
}

__attribute__((format(printf, 1, 2)))
static void tell_agent(const char *format, ...)
{
	char line[1024]; /* for an order of at most 511 bytes with a name, a seed and a cookie besides */
	va_list list;
	int length;

	va_start(list, format);
	length = vsnprintf(line, sizeof line, format, list);
	va_end(list);
	if (write(agent, line, (size_t)length) != length)
		say("the program does not listen (%s); build the release again.", strerror(errno));
}

static void to_hex(char *text, const unsigned char *bytes, int count)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < count; i++) {
		*text++ = digits[bytes[i] >> 4];
		*text++ = digits[bytes[i] & 15];
	}
	*text = 0;
}

/* The bytes that 2 * `count` hex digits stand for, lower case; whether there are just as many. */
static int from_hex(unsigned char *bytes, const char *text, int count)
{
	for (int i = 0; i < 2 * count; i++) {
		int digit = text[i] >= '0' && text[i] <= '9' ? text[i] - '0'
		          : text[i] >= 'a' && text[i] <= 'f' ? text[i] - 'a' + 10 : -1;

		if (digit < 0)
			return 0;
		bytes[i / 2] = (unsigned char)(i % 2 ? bytes[i / 2] << 4 | digit : digit);
	}
	return !text[2 * count];
}

/* RNDRESEEDCRNG makes the kernel, and every processor's own generator, use the new entropy from the next byte on. */
static int reseed(struct seed *seed)
{
	return pool < 0 || ioctl(pool, RNDADDENTROPY, seed) || ioctl(pool, RNDRESEEDCRNG);
}

/* What a copy does first. It is all done with the fewest means: code that has not run yet is slow where a guest is
 * emulated, and sscanf() alone is as much of it as everything here. */
static void take_over(char *order)
{
	struct timespec now;
	struct seed given = {.bits = 256, .size = sizeof given.bytes};
	unsigned char fresh[48];
	char *words[7] = {0}, seed[65], cookie[33];
	int count = 0;

	while (count < 7 && (words[count] = strsep(&order, " \n")) && *words[count])
		count++;
	if (count < 6 || strcmp(words[0], "resume") || !from_hex(given.bytes, words[5], sizeof given.bytes))
		return;
	snprintf(options.nonce, sizeof options.nonce, "%s", words[1]);
	/* A copy with another one's random numbers would give its secrets away: better none than that. */
	if (reseed(&given) || syscall(SYS_getrandom, fresh, sizeof fresh, 0) != (long)sizeof fresh) {
		say("the random numbers of this copy cannot be renewed (%s); use a kernel from 4.14 on.", strerror(errno));
		leave(NOT_STARTED);
	}
	now.tv_sec = (time_t)atoll(words[2]);
	now.tv_nsec = atol(words[3]);
	if (clock_settime(CLOCK_REALTIME, &now))
		say("the clock cannot be set (%s); it shows when the snapshot was taken.", strerror(errno));
	snprintf(options.hostname, sizeof options.hostname, "%s", words[4]);
	name_machine();
	to_hex(seed, fresh, 32);
	to_hex(cookie, fresh + 32, 16);
	tell_agent("resume %s %s %s %s%s%s\n", options.nonce, options.hostname, seed, cookie, count == 7 ? " " : "",
	           count == 7 ? words[6] : "");
	kill(-1, SIGCONT);
}

/* Whether this is the order to stop, from somebody who knows this boot's nonce. */
static int is_stop(const char *order)
{
	char words[80];

	snprintf(words, sizeof words, "stop %s\n", options.nonce);
	return options.nonce[0] && !strcmp(order, words);
}

/* Takes the orders that have come; 0 where the console has come to its end. */
int take_orders(void)
{
	struct pollfd console = {0, POLLIN, 0};
	char order[512];
	ssize_t length;

	while (poll(&console, 1, 0) == 1) {
		if ((length = read(0, order, sizeof order - 1)) <= 0)
			return 0;
		order[length] = 0;
		if (is_stop(order)) {
			ask_to_stop();
		} else if (!options.snapshot) {
			continue; /* Whoever typed this meant nobody here. */
		} else if (!strncmp(order, "prepare ", 8)) {
			tell_agent("%s", order);
		} else if (!strcmp(order, "freeze\n")) {
			kill(-1, SIGSTOP);
			mark("frozen", now_ns(), "");
		} else {
			take_over(order);
		}
	}
	return 1;
}
