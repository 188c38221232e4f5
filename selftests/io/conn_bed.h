/* SPDX-License-Identifier: MIT */
/*
 * Connections on a real loop with a clock that stands until it is moved, and a
 * protocol that does what a test says. The peer's end is a plain socket.
 */
#ifndef HYPERION_SELFTESTS_IO_CONN_BED_H
#define HYPERION_SELFTESTS_IO_CONN_BED_H

#include "server/conn.h"
#include "selftests/io/probe.h"

struct bed {
	struct limits limits; /* may be changed before the first connection */
	struct loop *l;
	struct http http;
	struct wheel wheel;
	struct conns conns;
	struct route_table *routes;

	/* What the test's protocol does ... */
	size_t take_max; /* bytes that it takes in all, then it pauses */
	u32 close_at_eof; /* link flags to set at the end of file */
	/* ... and was told. Of the last connection that used it. */
	char *in;
	size_t in_len, in_room;
	u32 nr_eof, nr_timeout, nr_output, nr_shutdown, nr_close;
};

extern const struct proto bed_proto; /* the test's; link->http leads to the bed */

/* GET / answers "hello\n"; GET /big answers 100 KiB. */
void bed_init(struct bed *b, enum loop_kind kind);
/* Cuts what is left. */
void bed_fini(struct bed *b);

/* A connection with this protocol; the peer's end. */
int bed_connect(struct bed *b, const struct proto *proto);
/* The connection opened last; NULL when there is none. */
struct conn *bed_conn(struct bed *b);

/* One turn of the worker; settling. */
void bed_turn(struct bed *b, int ms);
void bed_settle(struct bed *b);
/* Moves the clock on in steps of at most 100 ms, a few turns at each. */
void bed_wait(struct bed *b, u64 ms);

void bed_say(int peer, const char *text);
/* All that comes until the end of file or @room; -errno ends it, too. */
ssize_t bed_read(struct bed *b, int peer, char *p, size_t room);

#define BED_UNTIL(b, cond)                                                                         \
	do {                                                                                       \
		u64 _end = probe_clock_ms() + 5000 * probe_time_scale();                           \
		while (!(cond) && probe_clock_ms() < _end)                                         \
			bed_turn(b, 2);                                                            \
		ASSERT_TRUE(cond);                                                                 \
	} while (0)

#endif
