/* The one program: its limits, its environment, its life and its end. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define OTHER ETC "fallback/"
#define NEVER (~0ull)

static const char other_folder[] = OTHER;
static const char *folder = ETC;      /* where the release that runs is described */
static pid_t program = -1;
static unsigned long long asked;      /* when the machine was asked to stop; 0 before */

void set_limits(void)
{
	struct rlimit files, none = {0, 0};

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_max = files.rlim_max < MAX_FILES ? files.rlim_max : MAX_FILES;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &none);
	umask(022);
}

/* A file that describes the release that is to run. */
static char *described(const char *name)
{
	char path[64];

	snprintf(path, sizeof path, "%s%s", folder, name);
	return slurp(path);
}

/* The program's environment: what the image says, then what this boot says. What PID 1 itself has said since stays. */
void set_environment(void)
{
	static const char *const kept[] = {"UNIBEAM_CHANNEL", "UNIBEAM_SNAPSHOT"};
	char *text = described("env"), *own = slurp(ETC "variables"), *pair[MAX_WORDS], *old[2];
	int count = text ? lines(text, pair, MAX_WORDS) : 0;

	for (int i = 0; i < 2; i++)
		old[i] = getenv(kept[i]) ? strdup(getenv(kept[i])) : NULL;
	clearenv();
	putenv("LANG=C.UTF-8");
	putenv("PATH=/usr/bin:/bin");
	for (int i = 0; i < count; i++)
		putenv(pair[i]);
	for (int i = 0; i < options.extras; i++) {
		if (strchr(options.extra[i], '='))
			putenv(options.extra[i]);
		else
			say("unibeam.env.%s has no value; write unibeam.env.KEY=VALUE.", options.extra[i]);
	}
	count = own ? lines(own, pair, MAX_WORDS) : 0;
	for (int i = 0; i < count; i++)
		putenv(pair[i]);
	if (options.nonce[0])
		setenv("UNIBEAM_NONCE", options.nonce, 1);
	for (int i = 0; i < 2; i++)
		if (old[i])
			setenv(kept[i], old[i], 1);
}

static void become_program(char **argv, const sigset_t *signals) __attribute__((noreturn));

static void become_program(char **argv, const sigset_t *signals)
{
	const char *home = getenv("HOME");
	int null = options.input ? -1 : open("/dev/null", O_RDONLY);
	struct termios console;

	/* Whole lines; whoever types them has seen them already. */
	if (options.input && !tcgetattr(0, &console)) {
		console.c_lflag = ICANON;
		tcsetattr(0, TCSANOW, &console);
	}
	sigprocmask(SIG_UNBLOCK, signals, NULL);
	setsid();
	if (home && chdir(home))
		say("the program's home %s is not in the image (%s); build the image again.", home, strerror(errno));
	/* The console is for reading what the program prints; what is typed there is nobody's, unless it was asked for. */
	if (null >= 0)
		dup2(null, 0);
	if (null > 2)
		close(null);
	execv(argv[0], argv);
	say("%s cannot be started (%s); the image lacks it or the library loader it names, build the image again.",
	    argv[0], strerror(errno));
	_exit(127);
}

/* Ends the program when its machine is to stop: it is asked, and has STOP_GRACE_S to do it. */
void ask_to_stop(void)
{
	if (!asked)
		asked = now_ns();
	if (program > 0)
		kill(program, SIGTERM);
}

/* The program with its process group: what it has started since ends with its pipes. */
static void kill_program(void)
{
	kill(-program, SIGKILL);
	kill(program, SIGKILL);
}

/* Waits until something happens, at most until `ends`, and sees to all but the end of processes. */
static void wait_until(unsigned long long ends, int signals, int *console)
{
	struct pollfd files[4] = {{signals, POLLIN, 0}, {*console, POLLIN, 0}, {watched(), POLLIN, 0},
	                          {power_button(), POLLIN, 0}};
	unsigned long long now = now_ns();
	struct signalfd_siginfo came;

	if (poll(files, 4, ends == NEVER ? -1 : now >= ends ? 0 : (int)((ends - now) / 1000000 + 1)) < 0)
		return;
	if (files[1].revents && !take_orders())
		*console = -1; /* Nobody is there. */
	feel_pulse();
	if (files[3].revents && was_pressed())
		ask_to_stop();
	/* SIGINT is what the kernel sends PID 1 for Ctrl-Alt-Del, SIGPWR what a power supply does. */
	if (files[0].revents && read(signals, &came, sizeof came) == (ssize_t)sizeof came && came.ssi_signo != SIGCHLD)
		ask_to_stop();
}

/* Waits for the program and everything else it leaves behind. Returns how it ended as waitpid() tells; `killed` says
 * that it had to be. */
static int supervise(int signals, int *killed)
{
	static unsigned long long button_at;
	static int console = 0;
	pid_t who;
	int status;

	if (options.input)
		console = -1; /* The program reads it. */
	if (!button_at)
		button_at = now_ns() + BUTTON_AFTER_S * 1000000000ull;
	for (*killed = 0;;) {
		unsigned long long ends = *killed ? 0 : asked ? asked + STOP_GRACE_S * 1000000000ull : watch_ends();

		if (ends && now_ns() >= ends) {
			if (asked)
				say("the program did not stop within %d s and is killed; let it handle SIGTERM.", STOP_GRACE_S);
			else
				say_overdue();
			*killed = 1;
			kill_program();
		}
		while ((who = waitpid(-1, &status, WNOHANG)) > 0)
			if (who == program)
				return status;
		if (button_at != NEVER && now_ns() >= button_at) {
			open_button();
			button_at = NEVER;
		}
		ends = *killed ? NEVER : ends ? ends : NEVER;
		wait_until(ends < button_at ? ends : button_at, signals, &console);
	}
}

/* The exit status that a machine ends with, and a word about signals that nobody meant to send. */
static int code_of(int status, int killed)
{
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	if (WTERMSIG(status) == SIGKILL && !killed)
		say("the program was killed, most likely because memory ran out; give the machine more memory.");
	else if (!killed)
		say("the program died of signal %d (%s); its last lines above may tell why.",
		    WTERMSIG(status), strsignal(WTERMSIG(status)));
	return 128 + WTERMSIG(status);
}

/* One life of the program, from its start to its end. */
static int live(const sigset_t *blocked, int signals, int *killed)
{
	char *text = folder == other_folder ? NULL : slurp(CLOUD_OUT "argv"), *argv[MAX_WORDS];
	int watch, status;

	if (!text)
		text = described("argv");
	if (!text || lines(text, argv, MAX_WORDS) == 0) {
		say("there is no program in %sargv; build the image again.", folder);
		return NOT_STARTED;
	}
	watch = open_watch();
	program = fork();
	if (program == 0)
		become_program(argv, blocked);
	if (watch >= 0)
		close(watch);
	if (program < 0) {
		say("no process can be made (%s); give the machine more memory.", strerror(errno));
		return NOT_STARTED;
	}
	status = supervise(signals, killed);
	return code_of(status, *killed);
}

/* Turns to the image's other release for the rest of this boot. */
static void fall_back(const char *why)
{
	folder = other_folder;
	set_environment();
	say("the release %s; the one to fall back to is started instead.", why);
	mark("fallback", now_ns(), "");
}

/* A release that ends, or hangs, before all its applications are started is not started again where there is another. */
int run_program(void)
{
	char *identity = slurp(ETC "identity");
	int other = identity && !access(OTHER "argv", F_OK), signals, killed;
	/* That a process was stopped or goes on, as all do for a snapshot, is no news. */
	const struct sigaction ends_only = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP};
	sigset_t blocked;

	sigaction(SIGCHLD, &ends_only, NULL);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGCHLD);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGPWR);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	signals = signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK);
	reboot(RB_DISABLE_CAD);
	if (other && was_refused(identity))
		fall_back("did not come up at an earlier boot");
	for (;;) {
		int code = live(&blocked, signals, &killed);

		if (asked)
			return code;
		if (other && folder != other_folder && !has_reached()) {
			remember_refused(identity);
			fall_back("did not come up");
		} else if ((!code && !killed) || !may_restart()) {
			return code;
		}
	}
}
