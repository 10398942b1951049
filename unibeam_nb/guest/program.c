/* The one program: its limits, its environment, its life and its end. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static pid_t program = -1;

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

void set_environment(void)
{
	char *text = slurp(ETC "env"), *pair[MAX_WORDS];
	int count = text ? lines(text, pair, MAX_WORDS) : 0;

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
	if (options.nonce[0])
		setenv("UNIBEAM_NONCE", options.nonce, 1);
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

/* Waits for the program and everything else it leaves behind; passes on what asks the machine to stop. */
static int supervise(const sigset_t *signals)
{
	struct timespec grace = {STOP_GRACE_S, 0};
	int stopping = 0;

	for (;;) {
		int status, sig = stopping ? sigtimedwait(signals, NULL, &grace) : sigwaitinfo(signals, NULL);
		pid_t who;

		if (sig < 0 && errno == EAGAIN) {
			say("the program did not stop within %d s and is killed; let it handle SIGTERM.", STOP_GRACE_S);
			kill(program, SIGKILL);
		}
		while ((who = waitpid(-1, &status, WNOHANG)) > 0)
			if (who == program)
				return status;
		if (sig == SIGIO)
			take_orders();
		/* SIGINT is what the kernel sends PID 1 for Ctrl-Alt-Del, SIGPWR what a power supply does. */
		if (sig == SIGTERM || sig == SIGINT || sig == SIGPWR) {
			stopping = 1;
			kill(program, SIGTERM);
		}
	}
}

int run_program(void)
{
	char *text = slurp(CLOUD_OUT "argv"), *argv[MAX_WORDS];
	sigset_t signals;
	int status;

	if (!text)
		text = slurp(ETC "argv");
	if (!text || lines(text, argv, MAX_WORDS) == 0) {
		say("there is no program in " ETC "argv; build the image again.");
		return NOT_STARTED;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGPWR);
	if (options.snapshot)
		sigaddset(&signals, SIGIO);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	reboot(RB_DISABLE_CAD);
	program = fork();
	if (program == 0)
		become_program(argv, &signals);
	if (program < 0) {
		say("no process can be made (%s); give the machine more memory.", strerror(errno));
		return NOT_STARTED;
	}
	status = supervise(&signals);
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	if (WTERMSIG(status) == SIGKILL)
		say("the program was killed, most likely because memory ran out; give the machine more memory.");
	else
		say("the program died of signal %d (%s); its last lines above may tell why.",
		    WTERMSIG(status), strsignal(WTERMSIG(status)));
	return 128 + WTERMSIG(status);
}
