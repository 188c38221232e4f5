/* SPDX-License-Identifier: MIT */
/*
 * The only thing that crosses threads: a complete request on its way to the
 * application, and typed answers on their way back.
 *
 * The I/O thread makes a job, fills it and submits it; from then on it touches
 * only the atomic fields until the answer with ANSWER_LAST has come back, also
 * when the client is long gone. The application may read everything, write
 * into the room, and must send exactly one ANSWER_LAST per job.
 */
#ifndef HYPERION_SERVER_JOB_H
#define HYPERION_SERVER_JOB_H

#include "server/base.h"
#include "server/msg.h"
#include "server/outq.h"

struct job;

/*
 * QUEUED -> CLAIMED by the application, QUEUED -> CANCELLED by the I/O thread,
 * both by compare-and-swap: exactly one wins. A job not yet claimed has run no
 * code of the app and can still go elsewhere.
 */
enum job_state { JOB_QUEUED, JOB_CLAIMED, JOB_CANCELLED };

enum answer_flag {
	ANSWER_HEAD = 1 << 0, /* status, head, content_length */
	ANSWER_DATA = 1 << 1, /* data: a piece of the body */
	ANSWER_FILE = 1 << 2, /* fd, off, len: a piece of the body; the fd goes along */
	ANSWER_END = 1 << 3, /* the body is complete */
	ANSWER_ABORT = 1 << 4, /* it will never be: cut the connection, or 500 before a HEAD */
	ANSWER_DROPPED = 1 << 5, /* the job was cancelled before it was claimed */
};

/* The application is done with the job and everything in it. */
#define ANSWER_LAST (ANSWER_END | ANSWER_ABORT | ANSWER_DROPPED)

#define LENGTH_UNKNOWN (-1) /* chunked, or until the connection closes */

struct answer {
	struct job *job;
	struct hold hold; /* frees the answer and its bytes; unused for job->first */
	u32 flags;
	u16 status;
	bool has_date; /* the head brings a Date of its own */
	bool close; /* the app asked for Connection: close */
	s64 content_length; /* bytes of the body to come, or LENGTH_UNKNOWN */
	/*
	 * Whole lines "name: value CRLF", checked: no CR, LF, NUL inside; without
	 * Connection, Content-Length, Transfer-Encoding, Keep-Alive.
	 */
	struct view head;
	struct view data;
	int fd;
	u64 off, len; /* ANSWER_FILE, bytes */
};

#define JOB_ROOM_MIN 1024u

struct job {
	u32 state; /* enum job_state, __atomic */
	u32 gone; /* __atomic: nobody waits for the answer any more */
	u32 unsent; /* __atomic, futex: bytes of DATA answers that have not left; see app.h */
	u32 conn_idx, conn_gen; /* names the connection: a key for what is cached per connection */
	enum method method;
	u8 version_minor;
	bool tls;
	u32 nr_headers;
	const struct header *headers;
	struct view method_name, target, path, query;
	bool has_query;
	struct view authority; /* of an absolute-form target or the Host field; may be empty */
	struct view peer; /* the client's address as text, "" for a Unix socket */
	u16 peer_port;
	u16 server_port; /* of the listener, 0 for a Unix socket */
	const char *body; /* NULL when it is in body_fd */
	u64 body_len; /* bytes */
	int body_fd; /* an unlinked file, read from 0; -1 = none. Closed by the I/O thread */
	u64 start_ns, queued_ns; /* CLOCK_MONOTONIC: first byte; submitted */
	u64 claimed_ns, answered_ns; /* set by the application */
	char *room; /* for the first answer's bytes: lives as long as the job */
	u32 room_len;
	struct answer first; /* for the application's first answer, so that it allocates nothing */
};

static inline bool job_claim(struct job *j)
{
	u32 queued = JOB_QUEUED;

	/* Acquire pairs with the release of the queue's push; the fields are filled. */
	return __atomic_compare_exchange_n(&j->state, &queued, JOB_CLAIMED, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

static inline bool job_claimed(const struct job *j)
{
	return __atomic_load_n(&j->state, __ATOMIC_RELAXED) == JOB_CLAIMED;
}

/* true: the app will never run it. false: it does, its answers go nowhere. */
static inline bool job_cancel(struct job *j)
{
	u32 queued = JOB_QUEUED;

	__atomic_store_n(&j->gone, 1, __ATOMIC_RELEASE);
	return __atomic_compare_exchange_n(&j->state, &queued, JOB_CANCELLED, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* In unsent, beside the bytes, while a producer sleeps on it. Every write is a read-modify-write. */
#define JOB_UNSENT_WAITED (1u << 31)

/* A producer that waits for room (futex on unsent) looks again. */
void job_wake_producer(struct job *j);

static inline bool job_gone(const struct job *j)
{
	return __atomic_load_n(&j->gone, __ATOMIC_ACQUIRE);
}

#endif
