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
#include "server/inbox.h"
#include "server/observe.h"
#include "server/runas.h"
#include "server/slot.h"
#include "server/stats_area.h"
#include "server/steer.h"
#include "server/supervisor_ctl.h"
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

enum steered_state {
	STEERED_OUT, /* nobody serves there */
	STEERED_IN, /* new connections may be sent there */
	STEERED_SHUT, /* its listeners are shut: what came there has moved */
};

/* A slot, as the steering sees it. */
struct steered {
	enum steered_state state;
	u64 seen_ns; /* SHUT: when its loop had moved last. IN: the same, of one that seems to hang; 0 */
	u64 least; /* picks that nobody accepted, at the looks since ... */
	u32 nr_looks;
};

struct steering {
	struct steer steer; /* nr_slots 0: off */
	u64 look_at_ms; /* 0 = not before another worker is ready */
	u64 picks, picked_at_ms; /* of all, when it last changed */
	struct steered slots[MAX_WORKERS];
};

struct supervisor {
	struct conf *conf;
	enum conf_action action;
	int argc;
	char **argv;
	struct runas runas;
	uid_t files_uid; /* whose the folders of our files are, if not ours */
	gid_t files_gid;
	bool acts_as_owner; /* ... and we may act as that user */
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
	struct steering steering;
	struct observe observe;
	struct guard guard;
	struct inboxes inboxes;
	u64 started_ms;
	struct supervisor_ctl ctl;
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

/* Files by their names once more, for all processes. 0, or -EIO: some stayed as they were. */
int logs_reopen(struct supervisor *s);

/* --- supervisor_privileges.c --- */

/* The start is over: keeps only what is needed later. 0 or -errno; what is wrong was said. */
int supervisor_drop_privileges(struct supervisor *s) __must_check;

/*
 * Root without its powers may not write into a folder of somebody else's: from now on, until
 * privileges_act_as_self(), files are that user's business. false: there is no such user.
 */
bool supervisor_act_as_owner(const struct supervisor *s) __must_check;

/* The pid file and the sockets. */
void supervisor_remove_files(const struct supervisor *s);

/* --- supervisor_observe.c --- */

/* If that is wanted. Where the kernel or our privileges do not allow it, there is less to see, and no more. */
void observing_open(struct supervisor *s);

/* All its listeners are open. */
void observing_slot(struct supervisor *s, u32 id);

/* --- supervisor_workers.c --- */

bool workers_can_start(const struct supervisor *s);

/* Fills the slots that are wanted, empty and due. */
void workers_start(struct supervisor *s);

/* CONTROL_DRAIN or CONTROL_STOP to all. */
void workers_tell(struct supervisor *s, enum control_word word);

/* One more (@by 1) or less (-1). */
void workers_change(struct supervisor *s, int by);

/*
 * That worker finishes what it has and is replaced. 0; -ENOENT: there is none; -EALREADY: it
 * leaves; -EAGAIN: it does not serve yet.
 */
int workers_drain(struct supervisor *s, u32 id) __must_check;

/* What they say. */
void workers_read(struct supervisor *s);

/* A child has ended, perhaps one of them. */
void workers_died(struct supervisor *s, pid_t pid, int status);

/* --- supervisor_steer.c: without BPF they do nothing --- */

/* All listeners are open. What is lost when it cannot be is said. */
void steering_open(struct supervisor *s);
void steering_close(struct supervisor *s);

/* The maps have a row for each of so many workers, and are fixed. */
bool steering_has_room(const struct supervisor *s, u32 nr_workers);

/* A worker serves in that slot. */
void steering_ready(struct supervisor *s, u32 id);

/* It takes no new connections; those in its queue are still its own. */
void steering_leaves(struct supervisor *s, u32 id);

/* Is there somebody else who would accept? Only while connections are steered. */
bool steering_has_sibling(const struct supervisor *s, u32 id);

/* It is dead: what waits for it goes to the others, unless there are none. */
void steering_died(struct supervisor *s, u32 id);

/* Before another is started there. */
void steering_before_start(struct supervisor *s, u32 id);

/* Now and then, at steering_look_at() (ms; 0 = never): who hangs, who is back, what never came. */
void steering_look(struct supervisor *s);
u64 steering_look_at(const struct supervisor *s);

/* --- supervisor_post.c --- */

struct pollfd;

/* Inboxes for all that may come; none where connections do not move. */
void post_open(struct supervisor *s);

/* All workers that serve learn of them, once there are two. */
void post_tell(struct supervisor *s);

/* Inboxes that nobody reads any more, at most INBOX_MAX; how many. */
u32 post_poll(const struct supervisor *s, struct pollfd *fds);

/* What lies in those goes to somebody who reads. */
void post_pass_on(struct supervisor *s);

void post_close(struct supervisor *s);

/* --- supervisor_mold.c --- */

/* Unless there is one, or it is too early for another. */
void mold_start(struct supervisor *s);

void mold_stop(struct supervisor *s);
void mold_read(struct supervisor *s);
void mold_died(struct supervisor *s, int status);

#endif
