/* SPDX-License-Identifier: MIT */
/*
 * What supervisor, mold and workers say to each other over SEQPACKET socket
 * pairs: one word per packet, with a number, a text and descriptors where the
 * word needs them. The other end's death is the end of file. Who sends is
 * known from the kernel (SCM_CREDENTIALS), not from what is sent.
 */
#ifndef HYPERION_SERVER_CONTROL_H
#define HYPERION_SERVER_CONTROL_H

#include "server/base.h"

#define CONTROL_TEXT_MAX 4096u
#define CONTROL_MAX_FDS 72u

enum control_word {
	/* mold to supervisor */
	CONTROL_SETTING = 1, /* text: "key\0value\0", once per setting of the config file */
	CONTROL_SETTLED, /* no more settings follow */
	CONTROL_LOADED, /* it can fork workers; text: the version of its Ruby */
	CONTROL_FAILED, /* number: the exit status; what is wrong was said */
	/* supervisor to mold */
	CONTROL_LOAD, /* load the app if it is to be preloaded */
	CONTROL_FORK, /* number: worker; fds: its control socket, its listeners, the maps of
		       * statistics if the second byte of the text is 's'; behind
		       * that stands the admin token */
	/* worker to supervisor */
	CONTROL_HELLO, /* number: worker; it exists, its pid is in the credentials */
	CONTROL_READY, /* it accepts */
	CONTROL_QUIT, /* somebody with the token wants the server to stop */
	CONTROL_FACTS, /* number: the order's; text: what its I/O thread knows, see worker_trace.c */
	CONTROL_TRACED, /* number: the order's; its backtraces are written */
	/* supervisor to worker */
	CONTROL_TRACE, /* number: the order's; fds: where to write the backtraces of all threads */
	/* supervisor to mold or worker */
	CONTROL_LEVEL, /* number: the log level */
	CONTROL_LOGS, /* fds: the access log, the error log */
	CONTROL_INBOXES, /* fds: see rebalance_open() */
	CONTROL_DRAIN, /* finish what is begun, then exit */
	CONTROL_STOP, /* exit now */
};

struct control {
	enum control_word word;
	u32 number;
	pid_t pid; /* received: the sender, 0 = unknown */
	u32 text_len;
	char text[CONTROL_TEXT_MAX];
	u32 nr_fds;
	int fds[CONTROL_MAX_FDS];
};

/* A pair, CLOEXEC; the first end learns who sends. 0 or -errno. */
int control_pair(int pair[2]) __must_check;

/* 0 or -errno; never waits: -EAGAIN when the other side does not read. */
int control_send(int fd, const struct control *c);
int control_say(int fd, enum control_word word, u32 number);

/*
 * 1, 0 at end of file, -errno; -EAGAIN when there is nothing and @wait is
 * false. Descriptors that came are the caller's.
 */
int control_recv(int fd, struct control *c, bool wait) __must_check;

#endif
