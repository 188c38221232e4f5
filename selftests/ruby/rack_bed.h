/* SPDX-License-Identifier: MIT */
/*
 * A Rack app under test: its config.ru as text, requests as jobs, and what the
 * I/O thread would get. A script runs in place of that thread: with threads 0
 * on Ruby's main thread, else on one of its own (so EXPECT, not ASSERT).
 */
#ifndef HYPERION_SELFTESTS_RUBY_RACK_BED_H
#define HYPERION_SELFTESTS_RUBY_RACK_BED_H

#include "selftests/harness/harness.h"
#include "server/app.h"

struct bed_setup {
	const char *app; /* config.ru */
	u32 nr_threads; /* 0 = inline */
	bool lint; /* Rack::Lint around the app */
	bool rack_2;
	u32 max_jobs; /* 0 = 64 */
	u32 grace_ms; /* 0 = 5000 */
};

/* Runs @script against the app; returns what glue_serve...() did. */
int bed_run(const struct bed_setup *setup, void (*script)(void));

struct request {
	const char *method; /* GET */
	const char *target; /* "/" */
	const char *headers[20]; /* "Name: value", up to the first NULL */
	const char *host; /* the authority; NULL: of a header Host, if there is one */
	const char *body;
	size_t body_len; /* 0: that of the string */
	bool in_file; /* the body is in body_fd */
	bool http_1_0, tls;
	const char *peer; /* "192.0.2.1"; "" = Unix socket */
	u16 peer_port;
	u32 conn, gen;
};

/* What came back for one job. */
struct got {
	char answers[512]; /* "HEAD|DATA END": one word per answer */
	u32 nr_last; /* has to be 1 */
	u16 status;
	bool has_date, close, raw;
	s64 content_length;
	char *head, *body; /* NUL behind them; the body of a file is read from it */
	size_t body_len;
	char *informed; /* the lines of the last interim answer; NULL = none came */
	int hijack_fd; /* the client's end, non-blocking, to be closed by the test; 0 = not hijacked */
	u32 pieces; /* of the app's that the body came of */
	u32 nr_after; /* answers behind the last one: has to be 0 */
	u64 claimed_ns, answered_ns;
};

/* Valid until the next request of the same script. */
const struct got *bed_ask(const struct request *rq);
const struct got *bed_get(const char *target);

/* The same in two steps, up to 16 at a time. */
struct asked *bed_submit(const struct request *rq);
const struct got *bed_wait(struct asked *a);
struct job *bed_job(struct asked *a);

/*
 * After bed_wait(): the answer has left, or never will; until the app has heard of it. False: it
 * has not asked for that.
 */
bool bed_tell_sent(struct asked *a, bool sent);

/* From now on who asks for a connection hears that the client is gone, or waits. */
enum bed_hijack { BED_HIJACK_GIVE, BED_HIJACK_GONE, BED_HIJACK_WAIT };
void bed_hijack(enum bed_hijack how);
/* The connection that waits is given. */
void bed_give_hijack(struct asked *a);

/* The client of @a is gone. */
void bed_leave(struct asked *a);

/* Asks for @target until the body is @text; false after 20 s. */
bool bed_until(const char *target, const char *text);

/* Takes answers until @a has @nr of them, or its last; false after 20 s. */
bool bed_wait_answers(struct asked *a, u32 nr);

/* From now on the client of @a takes nothing; bed_resume() ends that. */
void bed_stall(struct asked *a);
void bed_resume(struct asked *a);

/* Bytes of @a's answers that wait. */
size_t bed_stalled_bytes(struct asked *a);

/* Everything written to stderr since the last call. */
const char *bed_log(void);

/* Waits until that has @word; what came before it is read, too. False after 20 s. */
bool bed_logs(const char *word);

/* How often @word occurs in @text. */
u32 bed_count(const char *text, const char *word);

/* The app writes into IO.for_fd(ENV["BED_FD"].to_i); false when nothing came for 20 s. */
bool bed_read_byte(char *c);

#endif
