/* SPDX-License-Identifier: MIT */
/*
 * What the files of the supervisor share: supervisor.c (start, signals, stop),
 * supervisor_mold.c and supervisor_workers.c (whom it has started).
 */
#ifndef HYPERION_SERVER_SUPERVISOR_STATE_H
#define HYPERION_SERVER_SUPERVISOR_STATE_H

#include <signal.h>

#include "server/base.h"
#include "server/conf.h"
#include "server/control.h"
#include "server/guard.h"
#include "server/runas.h"
#include "server/slot.h"
#include "server/stats_area.h"
#include "server/worker.h"

enum mold_state {
	MOLD_NONE,
	MOLD_SETTLING, /* reads the config file */
	MOLD_LOADING, /* loads the app */
	MOLD_READY, /* forks */
	MOLD_LEAVING, /* was told to go, or goes by itself */
};

enum stop_state { STOP_NONE, STOP_DRAIN, STOP_NOW };

struct mold {
	enum mold_state state;
	pid_t pid;
	int control_fd;
	u32 backoff_ms;
	u64 start_at_ms;
	u64 kill_at_ms; /* 0 = never */
};

struct supervisor {
	struct conf *conf;
	enum conf_action action;
	int argc;
	char **argv;
	struct runas runas;
	struct conf_settings settings;
	enum worker_backend backend;
	int signal_fd;
	sigset_t old_mask;
	enum stop_state stop;
	u64 kill_at_ms; /* 0 = never */
	int status; /* to exit with */
	bool listening, has_pidfile;
	bool served; /* all workers were ready once */
	char ruby[32]; /* its version */
	u32 nr_passed; /* sockets from systemd */
	u32 nr_wanted;
	struct mold mold;
	struct slots slots;
	int log_fd, error_fd; /* -1 = not open yet */
	struct stats_area stats;
	struct guard guard;
};

/* --- supervisor.c --- */

u64 supervisor_clock_ms(void);

/* The next time to try, ever later; *@ms = 0 begins anew. */
u64 supervisor_back_off(u32 *ms);

void supervisor_stop(struct supervisor *s, enum stop_state stop);

/* It cannot serve at all: stops, to exit with @status. */
void supervisor_fail(struct supervisor *s, int status);

/* The settings are known: everything that can fail before the app is loaded. 0 or -errno. */
int supervisor_listen(struct supervisor *s) __must_check;

/* --check is at its end. */
void supervisor_checked(struct supervisor *s);

/* All wanted workers serve, for the first time. */
void supervisor_serves(struct supervisor *s);

/* --- supervisor_guard.c --- */

/* The guard of the interfaces that the settings name. 0 or -errno; what is wrong was said. */
int supervisor_guard(struct supervisor *s) __must_check;

/* What has expired goes; when to come back for the next, 0 = need not. */
u64 supervisor_guard_sweep(struct supervisor *s);

/* --- supervisor_hello.c --- */

/* The banner. */
void supervisor_hello(const struct supervisor *s);

/* Settings that are allowed and most likely not meant. */
void supervisor_warn(const struct supervisor *s);

/* --- supervisor_logs.c --- */

/* Opens both logs. 0 or -errno; what is wrong was said. */
int logs_open(struct supervisor *s) __must_check;

/* Ours go there from now on; until we serve what is wrong is said on stderr. */
void logs_use(struct supervisor *s);

/* To a mold or worker. */
void logs_send(const struct supervisor *s, int control_fd);

/* Files by their names once more, for all processes. */
void logs_reopen(struct supervisor *s);

/* --- supervisor_workers.c --- */

bool workers_can_start(const struct supervisor *s);

/* Fills the slots that are wanted, empty and due. */
void workers_start(struct supervisor *s);

/* CONTROL_DRAIN or CONTROL_STOP to all. */
void workers_tell(struct supervisor *s, enum control_word word);

/* One more (@by 1) or less (-1). */
void workers_change(struct supervisor *s, int by);

/* What they say. */
void workers_read(struct supervisor *s);

/* A child has ended, perhaps one of them. */
void workers_died(struct supervisor *s, pid_t pid, int status);

/* --- supervisor_mold.c --- */

/* Unless there is one, or it is too early for another. */
void mold_start(struct supervisor *s);

void mold_stop(struct supervisor *s);
void mold_read(struct supervisor *s);
void mold_died(struct supervisor *s, int status);

#endif
