/* SPDX-License-Identifier: MIT */
/*
 * The control socket: a Unix stream socket over which one line is asked and
 * one line is answered, docs/CONTROL.md. Here are connections and bytes; what
 * a line means is its owner's. Nothing waits, and everything is bounded:
 * clients, lines, answers, and how long each may take.
 *
 * Who may connect is said by the socket's mode (0660) and its folder. Root and
 * the user of this process may do all, whoever else got through may read.
 */
#ifndef HYPERION_SERVER_CTL_H
#define HYPERION_SERVER_CTL_H

#include <poll.h>

#include "server/base.h"

#define CTL_CLIENTS 16u
#define CTL_RESERVED 4u /* of them, for those who may do all */
#define CTL_LINE_MAX 4096u /* bytes of a request, with its newline */
#define CTL_LINE_MS 5000u /* for a request, from its first byte on */
#define CTL_SEND_MS 5000u /* for an answer */
#define CTL_IDLE_MS 60000u /* between two of them */

struct ctl_client {
	int fd; /* -1 = a free place */
	u32 name; /* never used twice */
	uid_t uid;
	pid_t pid;
	bool may_change;
	bool asked; /* a line is being answered; the next one waits */
	bool last; /* goes when the answer is out */
	bool eof; /* it will ask no more */
	u64 deadline_ms; /* of what comes next; 0 while it is ours to answer */
	size_t in_len;
	char in[CTL_LINE_MAX];
	char *out; /* heap; NULL = nothing to send */
	size_t out_len, out_off;
};

struct ctl {
	int fd; /* -1 = there is no socket */
	char path[108]; /* as long as the kernel's addresses are */
	uid_t owner;
	u32 last_name;
	/*
	 * @line of @len bytes, without its newline. ctl_answer() has to follow, within
	 * the call or later.
	 */
	void (*line)(void *arg, struct ctl_client *c, const char *line, size_t len);
	void *arg;
	struct ctl_client clients[CTL_CLIENTS];
};

/* Nothing is open. */
void ctl_init(struct ctl *ctl);

/*
 * Listens at @folder/control, in place of what a killed server left there:
 * the caller has the folder's lock. @group may read. 0 or -errno.
 */
int ctl_open(struct ctl *ctl, const char *folder, gid_t group) __must_check;

/* Cuts all, removes the socket. */
void ctl_close(struct ctl *ctl);

/* What to wait for, at most CTL_CLIENTS + 1; how many. */
nfds_t ctl_poll(const struct ctl *ctl, struct pollfd *fds);

/* The next deadline of any client; 0 = none. */
u64 ctl_due_ms(const struct ctl *ctl);

/* Everything that can be done now without waiting. */
void ctl_turn(struct ctl *ctl, u64 now_ms);

/* A client by its name; NULL: it is gone. */
struct ctl_client *ctl_find(struct ctl *ctl, u32 name);

/* Sends @out (heap, taken over; a whole line). NULL: memory was out, the client is cut. */
void ctl_answer(struct ctl_client *c, char *out, size_t len, u64 now_ms);

#endif
