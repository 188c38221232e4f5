/* SPDX-License-Identifier: MIT */
/*
 * A slot is a worker's place: its listeners, which outlive it, and the process
 * that serves them now. The supervisor owns all slots.
 */
#ifndef HYPERION_SERVER_SLOT_H
#define HYPERION_SERVER_SLOT_H

#include "server/base.h"
#include "server/conf.h"

enum slot_state {
	SLOT_EMPTY, /* nobody; filled at start_at_ms if the slot is wanted */
	SLOT_STARTING, /* a process was asked for; its pid may not be known yet */
	SLOT_READY, /* it accepts */
	SLOT_LEAVING, /* it was told to go */
};

struct slot {
	enum slot_state state;
	u64 ready_at_ms; /* since when this process serves; 0 = it never did */
	pid_t pid; /* 0 = not known */
	int control_fd; /* -1 when empty */
	bool has_inbox; /* its process was told of those of all */
	u32 nr_starts; /* processes that it has had */
	u32 backoff_ms;
	u64 start_at_ms;
	int listeners[MAX_BINDS]; /* -1 = not open */
};

struct slots {
	const struct conf *conf;
	int inherited[MAX_BINDS]; /* listeners from systemd, for the first addresses */
	u32 nr_inherited;
	struct slot slots[MAX_WORKERS];
};

/*
 * @nr_passed sockets came from systemd. Those that we can listen on go before
 * the addresses of @conf, and instead of its default one.
 */
void slots_init(struct slots *s, struct conf *conf, u32 nr_passed);

/*
 * SO_REUSEPORT lets a second server of the same user in without a word, so
 * each address is bound alone first. 0 or -errno; what is wrong was said.
 */
int slots_claim(const struct slots *s) __must_check;

/* One socket for all workers: a Unix path, or one that systemd holds. */
bool slots_shared(const struct slots *s, u32 b);

/* Opens what the slot lacks. 0 or -errno; what is wrong was said. */
int slot_open(struct slots *s, u32 id) __must_check;

void slot_close(struct slots *s, u32 id);

/*
 * The same, but for what it shares with other slots: its worker is to leave, and the next
 * one in it opens anew.
 */
void slot_leave(struct slots *s, u32 id);

/* Closes everything; what waits in the queues of live workers stays with them. */
void slots_close(struct slots *s);

/* The slot whose process this is, NULL if it is nobody's. */
struct slot *slots_find(struct slots *s, pid_t pid);

bool slots_any(const struct slots *s);

#endif
