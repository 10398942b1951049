/*
 * What PID 1 does about a program that does not come up, hangs, or ends: as Nerves' heart and start-up guard do.
 *
 *   unibeam.guard=SECONDS   the program must have started all its applications by then
 *   unibeam.heart=SECONDS   from then on it must show a sign of life at least so often
 *   unibeam.restarts=N      a program that ended badly, or was killed for one of these reasons, is started again, N
 *                           times in a row; after LONG_LIFE_S seconds of good life the count begins anew
 *
 * The sign of life is a byte in a pipe (unibeam_heart.erl writes it, from a process of ordinary priority, so that a
 * scheduler that is never free counts as hung). The first one says that all applications are started.
 */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int pipe_end = -1;   /* ours; -1 where nobody watches */
static int reached;         /* the program has started all its applications */
static unsigned long long began, last;

#define SECOND 1000000000ull

static int wanted(void)
{
	return options.heart || options.guard;
}

/* Before each start of the program: a new pipe, and word of it in the environment. Returns the program's end, or -1. */
int open_watch(void)
{
	char words[32];
	int ends[2];

	close_watch();
	reached = 0;
	began = last = now_ns();
	if (!wanted())
		return -1;
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK)) {
		say("the program cannot be watched (%s); give the machine more memory.", strerror(errno));
		return -1;
	}
	pipe_end = ends[0];
	fcntl(ends[1], F_SETFD, 0);
	snprintf(words, sizeof words, "%d %d", ends[1], options.heart);
	setenv("UNIBEAM_HEART", words, 1);
	return ends[1];
}

/* The file to wait for; -1 where nobody watches. */
int watched(void)
{
	return pipe_end;
}

void close_watch(void)
{
	if (pipe_end >= 0)
		close(pipe_end);
	pipe_end = -1;
}

/* Takes in the signs of life that have come. */
void feel_pulse(void)
{
	char bytes[64];

	while (pipe_end >= 0 && read(pipe_end, bytes, sizeof bytes) > 0) {
		reached = 1;
		last = now_ns();
	}
}

int has_reached(void)
{
	feel_pulse();
	return reached;
}

/* Until when a sign of life must have come, in nanoseconds of the monotonic clock; 0 for never. */
unsigned long long watch_ends(void)
{
	int seconds = pipe_end < 0 ? 0 : reached ? options.heart : options.guard;

	return seconds ? last + (unsigned long long)seconds * SECOND : 0;
}

/* Says why the program is about to be killed. */
void say_overdue(void)
{
	if (reached)
		say("the program has shown no sign of life for %d s and is killed; a process that never waits may keep all others "
		    "from running.", options.heart);
	else
		say("the program has not started all its applications within %d s and is killed; give it longer with "
		    "unibeam.guard.", options.guard);
}

/* Whether the program, which ended badly, is to be started again; says so. */
int may_restart(void)
{
	static int used;
	char more[32];

	if (now_ns() - began > LONG_LIFE_S * SECOND)
		used = 0;
	if (used >= options.restarts)
		return 0;
	used++;
	say("the program is started again (%d of %d).", used, options.restarts);
	snprintf(more, sizeof more, " count=%d", used);
	mark("again", now_ns(), more);
	return 1;
}
