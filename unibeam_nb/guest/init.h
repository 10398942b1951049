/* What the files of PID 1 share; what it does stands at the head of init.c. */
#ifndef UNIBEAM_INIT_H
#define UNIBEAM_INIT_H

#define _GNU_SOURCE
#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#define ETC "/etc/unibeam/"
#define STATE "/var/lib/unibeam" /* the program's home (IMAGE_STATE in model.py) */
#define CLOUD_OUT "/run/unibeam/" /* what user data made of this boot: hostname and argv, where they are set */
#define MAX_WORDS 512
#define MAX_FILES 65536        /* a limit in the millions once kept OTP busy for an hour at start */
#define NIC_WAIT_MS 5000       /* a card on a PCI bus is there at once; this is for slow emulation */
#define DHCP_WAIT_S 20         /* a cloud answers within a second; a bridge that learns first, within fifteen */
#define STOP_GRACE_S 30        /* between asking the program to stop and killing it */
#define LEFTOVER_WAIT_MS 2000  /* for processes that were killed at the end and have yet to vanish */
#define SECRET_WAIT_MS 30000   /* for the answer of whoever started the machine; emulation may be slow */
#define NOT_STARTED 125        /* exit status of a machine whose program was never started */
#define DISK_WAIT_MS 5000      /* for the data disk, which is there at once on every bus but slow emulated ones */
#define LONG_LIFE_S 300        /* a program that was up so long may be started again as if for the first time */
#define VIRTIO_DISK 2
enum { DATA_NEEDED = 1, DATA_FOUND };
#define BUTTON_AFTER_S 5       /* from the start of the program until the power button is listened to */
#define NIC_TYPE_ETHERNET 1    /* ARPHRD_ETHER */
#define RNDADDENTROPY 0x40085203 /* include/uapi/linux/random.h, which musl does not have */
#define RNDRESEEDCRNG 0x5207

extern struct options {
	char nonce[64], address[64], gateway[64], dns[64], hostname[HOST_NAME_MAX + 1], channel[8], ds[512];
	int reboot, snapshot, input, data;
	int heart, guard, restarts; /* watch.c; in seconds, and a number */
	char *extra[MAX_WORDS];
	int extras;
} options;

/* basics.c */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
unsigned long long now_ns(void);
void mark(const char *name, unsigned long long at, const char *more);
void doze(long milliseconds);
void leave(int code) __attribute__((noreturn));
char *slurp(const char *path);
int lines(char *text, char **list, int room);
char *next_word(char **rest);
int take(const char *word, const char *key, char *into, size_t room);
void write_file(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* system.c */
void mount_at(const char *kind, const char *where, unsigned long flags, const char *data);
void mount_all(void);
void fill_standard_files(void);
int load_module(const char *path);
void load_modules(void);
void seed_random(void);

/* network.c */
void name_machine(void);
void start_network(void);

/* cloud.c */
void use_user_data(void);

/* orders.c */
void set_channel(void);
void open_orders(void);
int quiet_console(void);
int take_orders(void);

/* data.c */
void mount_data(void);
void unmount_data(void);
int was_refused(const char *identity);
void remember_refused(const char *identity);

/* power.c */
void open_button(void);
int power_button(void);
int was_pressed(void);

/* watch.c */
int open_watch(void);
int watched(void);
void close_watch(void);
void feel_pulse(void);
int has_reached(void);
unsigned long long watch_ends(void);
void say_overdue(void);
int may_restart(void);

/* program.c */
void ask_to_stop(void);
void set_environment(void);
void set_limits(void);
int run_program(void);

#endif
