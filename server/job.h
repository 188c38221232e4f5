/* SPDX-License-Identifier: MIT */
/*
 * The only thing that crosses threads: a complete request on its way to the
 * application, and typed answers on their way back. A job whose answer has left
 * (or was cut) may go a second time, to say so: JOB_SENT.
 *
 * The I/O thread makes a job, fills it and submits it; from then on it touches
 * only the atomic fields until the answer with ANSWER_LAST has come back, also
 * when the client is long gone. The application may read everything, write
 * into the room, and must send exactly one ANSWER_LAST per job.
 */
#ifndef HYPERION_SERVER_JOB_H
#define HYPERION_SERVER_JOB_H

#include "server/base.h"
#include "server/list.h"
#include "server/msg.h"
#include "server/outq.h"

struct job;

/*
 * QUEUED -> CLAIMED by the application, QUEUED -> CANCELLED by the I/O thread,
 * both by compare-and-swap: exactly one wins. A job not yet claimed has run no
 * code of the app and can still go elsewhere.
 */
enum job_state { JOB_QUEUED, JOB_CLAIMED, JOB_CANCELLED };

/* What the application is asked to do. */
enum job_kind {
	JOB_REQUEST,
	JOB_SENT, /* the answer is out, or never will be: see token and sent. ANSWER_END alone answers */
};

enum answer_flag {
	ANSWER_HEAD = 1 << 0, /* status, head, content_length */
	ANSWER_DATA = 1 << 1, /* data: a piece of the body */
	ANSWER_FILE = 1 << 2, /* fd, off, len: a piece of the body; the fd goes along */
	ANSWER_END = 1 << 3, /* the body is complete */
	ANSWER_ABORT = 1 << 4, /* it will never be: cut the connection, or 500 before a HEAD */
	ANSWER_DROPPED = 1 << 5, /* the job was cancelled before it was claimed */
	ANSWER_INFORM = 1 << 6, /* status, head: an interim answer (1xx) before the HEAD */
	ANSWER_HIJACK = 1 << 7, /* hijack: the connection itself is wanted */
	ANSWER_NAMED = 1 << 8, /* data: a struct named, the body; with HEAD and END */
};

/* The application is done with the job and everything in it. */
#define ANSWER_LAST (ANSWER_END | ANSWER_ABORT | ANSWER_DROPPED)

#define LENGTH_UNKNOWN (-1) /* chunked, or until the connection closes */

/*
 * A connection that the application asks for: filled by hijack_done(), for which
 * the asking thread waits in app_wait_hijack().
 */
struct hijack {
	u32 done; /* __atomic, futex */
	int fd; /* open and out of the loop; -1: the client is gone */
	char *rest; /* heap: what came behind the request and was not yet read; NULL = nothing */
	size_t rest_len;
};

/*
 * A lent piece of body: its producer goes on writing into the bytes behind
 * data.p while the I/O thread has the answer already, and the I/O thread seals
 * it when it is due. One word says how far it is: bytes, how many pieces of the
 * app they were, and whether it is sealed. data.len is the room until then.
 */
#define FILL_SEALED (1u << 31)
#define FILL_PIECE (1u << 16)
#define FILL_MAX 0x7fffu /* bytes, and pieces */

static inline u32 fill_len(u32 fill)
{
	return fill & 0xffff;
}

static inline u32 fill_pieces(u32 fill)
{
	return (fill & ~FILL_SEALED) / FILL_PIECE;
}

/* @len bytes were written behind the others. false: too late, they belong into another answer. */
static inline bool fill_add(u32 *fill, u32 len)
{
	u32 old = __atomic_load_n(fill, __ATOMIC_RELAXED);

	/* Release pairs with the acquire in fill_seal(): the bytes are there. */
	return !(old & FILL_SEALED) &&
	       __atomic_compare_exchange_n(fill, &old, old + FILL_PIECE + len, false,
					   __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

static inline u32 fill_seal(u32 *fill)
{
	return __atomic_fetch_or(fill, FILL_SEALED, __ATOMIC_ACQ_REL);
}

struct answer {
	struct job *job;
	struct hold hold; /* frees the answer and its bytes; unused for job->first */
	u32 flags;
	u16 status;
	bool has_date; /* the head brings a Date of its own */
	bool has_request_id; /* ... an X-Request-Id */
	bool close; /* the app asked for Connection: close */
	bool raw; /* the head says all about body and connection; the body goes out as it is */
	u32 pieces; /* of the app's that make up the data */
	u32 *fill; /* the data is lent, see above; NULL: it is complete */
	struct hijack *hijack; /* ANSWER_HIJACK */
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
#define JOB_ROUTE_MAX 112u

struct job {
	u32 state; /* enum job_state, __atomic */
	enum job_kind kind;
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
	struct view request_id; /* empty: none is wanted */
	bool request_id_made; /* by us: the client has sent none, or not a sane one */
	u64 start_ns, queued_ns; /* CLOCK_MONOTONIC: first byte; submitted */
	u64 claimed_ns, answered_ns; /* set by the application */
	struct list running; /* in app.running, while claimed; the app's threads' */
	char *room; /* for the first answer's bytes: lives as long as the job */
	u32 room_len;
	struct answer first; /* for the application's first answer, so that it allocates nothing */
	u32 direct; /* the handler of the app that its route calls; 0 = the app itself */
	u64 token; /* set by the application before its last answer: wants a JOB_SENT; 0 = does not */
	bool sent; /* JOB_SENT: every byte of the answer has left */
	u8 route_len; /* 0 = named after its path */
	char route[JOB_ROUTE_MAX]; /* last: not cleared. What the application calls it in statistics */
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

static inline bool job_queued(const struct job *j)
{
	return __atomic_load_n(&j->state, __ATOMIC_RELAXED) == JOB_QUEUED;
}

/* As job_cancel(), but somebody goes on waiting for an answer: another will run it. */
static inline bool job_recall(struct job *j)
{
	u32 queued = JOB_QUEUED;

	return __atomic_compare_exchange_n(&j->state, &queued, JOB_CANCELLED, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* In unsent, beside the bytes, while a producer sleeps on it. Every write is a read-modify-write. */
#define JOB_UNSENT_WAITED (1u << 31)

/* A producer that waits for room (futex on unsent) looks again. */
void job_wake_producer(struct job *j);

/* The application, before its last answer: @name (what does not fit is cut) stands in statistics. */
static inline void job_name_route(struct job *j, struct view name)
{
	j->route_len = (u8)min(name.len, (size_t)JOB_ROUTE_MAX);
	memcpy(j->route, name.p, j->route_len);
}

/* Frees what an answer brings, for one that goes nowhere. */
void answer_drop(struct answer *a);

/* The data of a lent answer is complete from here on. */
static inline void answer_seal(struct answer *a)
{
	u32 fill = fill_seal(a->fill);

	a->fill = NULL;
	a->data.len = fill_len(fill);
	a->pieces = fill_pieces(fill);
}

/* The I/O thread: here it is. Takes the descriptor over, copies @rest. @fd = -1: it is gone. */
void hijack_done(struct hijack *h, int fd, const char *rest, size_t len);

static inline bool job_gone(const struct job *j)
{
	return __atomic_load_n(&j->gone, __ATOMIC_ACQUIRE);
}

#endif
