/* What all of PID 1 stands on: saying things, small files, words, and the end of the machine. */
#include "init.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* One write per line, so that a kernel message cannot land in the middle of it. */
static void put(const char *text, size_t length)
{
	while (length > 0) {
		ssize_t done = write(2, text, length);
		if (done < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (done > 0) {
			text += done;
			length -= (size_t)done;
		}
	}
}

void say(const char *format, ...)
{
	char line[1024];
	va_list list;
	int used = snprintf(line, sizeof line, "\r\nunibeam-init: ");

	va_start(list, format);
	vsnprintf(line + used, sizeof line - (size_t)used - 2, format, list);
	va_end(list);
	strcat(line, "\r\n");
	put(line, strlen(line));
}

unsigned long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (unsigned long long)now.tv_sec * 1000000000ull + (unsigned long long)now.tv_nsec;
}

void mark(const char *name, unsigned long long at, const char *more)
{
	char line[256];

	if (!options.nonce[0])
		return;
	snprintf(line, sizeof line, "\r\n@unibeam %s %s %llu%s\r\n", options.nonce, name, at, more);
	put(line, strlen(line));
}

void doze(long milliseconds)
{
	struct timespec wait = {milliseconds / 1000, milliseconds % 1000 * 1000000};

	nanosleep(&wait, NULL);
}

void leave(int code)
{
	char more[32];

	kill(-1, SIGKILL);
	for (int waited = 0; waited < LEFTOVER_WAIT_MS && waitpid(-1, NULL, WNOHANG) >= 0; waited++)
		doze(1);
	snprintf(more, sizeof more, " code=%d", code);
	unmount_data();
	mark("exit", now_ns(), more);
	sync();
	tcdrain(2);
	reboot(options.reboot ? RB_AUTOBOOT : RB_POWER_OFF);
	/* A machine type without ACPI cannot be switched off, only reset. */
	reboot(options.reboot ? RB_POWER_OFF : RB_AUTOBOOT);
	say("this machine can be neither switched off nor reset (%s); stop it from outside.", strerror(errno));
	for (;;)
		pause();
}

/* The whole of a small file, NUL-terminated, or NULL. It is never freed: PID 1 reads each file once. */
char *slurp(const char *path)
{
	size_t room = 4096, used = 0;
	char *text = malloc(room);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = -1;

	if (file < 0 || !text)
		return NULL;
	while ((got = read(file, text + used, room - used - 1)) > 0) {
		used += (size_t)got;
		if (used + 1 == room && !(text = realloc(text, room *= 2)))
			break;
	}
	close(file);
	if (got < 0 || !text)
		return NULL;
	text[used] = 0;
	return text;
}

/* Splits text into its lines; an empty one is an empty argument. Returns how many, at most room - 1; ends in NULL. */
int lines(char *text, char **list, int room)
{
	int count = 0;

	while (*text && count < room - 1) {
		size_t length = strcspn(text, "\n");
		list[count++] = text;
		text += length;
		if (*text)
			*text++ = 0;
	}
	list[count] = NULL;
	return count;
}

/* The next word of a kernel command line, quotes removed, as the kernel itself splits it; NULL at the end. */
char *next_word(char **rest)
{
	char *from = *rest, *to, *word;
	int quoted = 0;

	while (*from && isspace((unsigned char)*from))
		from++;
	if (!*from)
		return NULL;
	for (word = to = from; *from && (quoted || !isspace((unsigned char)*from)); from++) {
		if (*from == '"')
			quoted = !quoted;
		else
			*to++ = *from;
	}
	*rest = *from ? from + 1 : from;
	*to = 0;
	return word;
}

int take(const char *word, const char *key, char *into, size_t room)
{
	size_t length = strlen(key);

	if (strncmp(word, key, length))
		return 0;
	snprintf(into, room, "%s", word + length);
	return 1;
}

void write_file(const char *path, const char *format, ...)
{
	char text[512];
	va_list list;
	int file, length;

	va_start(list, format);
	length = vsnprintf(text, sizeof text, format, list);
	va_end(list);
	file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (file < 0 || write(file, text, (size_t)length) != length)
		say("%s cannot be written (%s); give the machine more memory.", path, strerror(errno));
	if (file >= 0)
		close(file);
}
