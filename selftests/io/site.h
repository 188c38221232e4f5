/* SPDX-License-Identifier: MIT */
/*
 * A worker without a process: loop, connections and routes of the rules, and
 * one client at the other end of a TCP connection, all on one thread. Its
 * clock stands until the test moves it.
 */
#ifndef HYPERION_SELFTESTS_IO_SITE_H
#define HYPERION_SELFTESTS_IO_SITE_H

#include "server/base.h"
#include "server/conn.h"
#include "server/http.h"
#include "server/loop.h"
#include "server/wheel.h"

struct site {
	struct limits limits; /* may be changed before site_connect() */
	struct route_table *routes;
	struct http http;
	struct wheel wheel;
	struct loop *loop;
	struct conns conns;
	int client; /* -1 = closed */
	char *out; /* what the client has read */
	size_t out_len, out_room;
	bool out_eof; /* ... to its end */
	int out_err; /* errno of the client's reading or writing */
};

/* Skips the case where this backend cannot run. */
void site_init(struct site *s, enum loop_kind kind);
/* The same, for tests in which memory runs out: false when it did. */
bool site_try_init(struct site *s, enum loop_kind kind) __must_check;
void site_fini(struct site *s);

/* A new client; the old one has to be gone. 0 or the error of conn_open(). */
int site_connect(struct site *s);

/* One batch of the worker, without waiting for more than @wait_ms. */
void site_turn(struct site *s, int wait_ms);

/* Moves the clock by @ms, a second at a time, with a batch at each. */
void site_pass(struct site *s, u64 ms);

/* The client writes what goes without waiting; returns how much. */
size_t site_write(struct site *s, const char *p, size_t len);
/* The client reads what is there. */
void site_read(struct site *s);
void site_close_client(struct site *s, bool reset);

/* Turns, with the client reading, until @cond holds; fails the case when it does not in time. */
#define SITE_UNTIL(s, cond)                                                                        \
	do {                                                                                       \
		u64 end_ = probe_clock_ms() + 5000 * probe_time_scale();                           \
		while (!(cond) && probe_clock_ms() < end_) {                                       \
			site_turn(s, 5);                                                           \
			site_read(s);                                                              \
		}                                                                                  \
		ASSERT_TRUE(cond);                                                                 \
	} while (0)

#endif
