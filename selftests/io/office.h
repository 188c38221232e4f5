/* SPDX-License-Identifier: MIT */
/*
 * Workers of one server within one process: each has its loop, connections, the hand-over to an app
 * of one thread, a row of the shared statistics and an inbox. Their common clock stands until it is
 * moved, and a test plays the app's thread.
 */
#ifndef HYPERION_SELFTESTS_IO_OFFICE_H
#define HYPERION_SELFTESTS_IO_OFFICE_H

#include "selftests/io/conn_bed.h"
#include "server/app.h"
#include "server/rebalance.h"

#define OFFICE_MAX 3

struct station {
	struct bed b;
	struct app *app;
	struct stats stats;
	struct rebalance rb;
	bool deaf; /* takes no turns */
	struct job *running; /* what its thread has claimed */
	u32 nr_done; /* requests counted here */
};

struct office {
	u32 nr;
	u64 now_ns;
	struct inboxes boxes;
	struct stats_maps maps;
	struct station s[OFFICE_MAX];
};

void office_init(struct office *o, enum loop_kind kind, u32 nr);
void office_fini(struct office *o);

/* The worker of that slot is gone, and another one comes to its place. */
void office_replace(struct office *o, u32 i, enum loop_kind kind);

/* A few turns of each; and with the clock moved on, 1 ms at a time. */
void office_turn(struct office *o);
void office_wait(struct office *o, u32 ms);

/* A connection of that worker; the client's end. */
int office_connect(struct office *o, u32 i);

/* Its thread takes the next request, if there is one; and answers what it has: "hello\n". */
bool station_claim(struct office *o, u32 i);
void station_answer(struct office *o, u32 i);

/* All that wait there, one after the other. How many. */
u32 station_serve(struct office *o, u32 i);

/* The client has that many whole answers, and nothing else. Takes them. */
bool office_got(struct office *o, int peer, u32 nr);

#define OFFICE_UNTIL(o, cond)                                                                      \
	do {                                                                                       \
		u64 _end = probe_clock_ms() + 5000 * probe_time_scale();                           \
		while (!(cond) && probe_clock_ms() < _end)                                         \
			office_turn(o);                                                            \
		ASSERT_TRUE(cond);                                                                 \
	} while (0)

#endif
