/* SPDX-License-Identifier: MIT */
/*
 * The flow simulator: connections on paper, over workers that publish the rows
 * of bpf/abi.h as the real ones do, late. A run owns everything in struct sim;
 * time is in ns since its start (from SIM_START on, as 0 means "never" in a row).
 */
#ifndef HYPERION_TOOLS_SIM_H
#define HYPERION_TOOLS_SIM_H

#include "bpf/abi.h"
#include "bpf/hist.h"
#include "tools/sim_base.h"

#define SIM_START SIM_S
#define SIM_MAX_THREADS 64u
#define SIM_MAX_LOOKS 64u

enum sim_shape { SIM_POISSON, SIM_BURSTS, SIM_WAVE };
enum sim_trouble { SIM_CALM, SIM_SLEEP, SIM_BURN, SIM_STOP };

struct sim_conf {
	uint64_t seed, length_ns;
	uint32_t nr_workers;
	uint32_t nr_threads; /* 0: handlers run on the loop */
	double rate; /* connections a second */
	enum sim_shape shape;
	uint32_t burst; /* connections that come at once */
	double period_ns; /* of the wave */

	double keep; /* share of connections that stay for several requests */
	uint32_t nr_requests; /* on those */
	double think_ns;

	bool is_constant; /* service times; else exponential */
	double service_ns, slow_ns, slow; /* slow: share of the requests that take slow_ns */
	double cpu; /* share of a service time that holds the interpreter's lock */
	double plain; /* share of requests that the loop answers by itself */

	double turn_ns; /* how long after a change a row tells of it */
	bool claims_late; /* a claimed job is published by the next turn only */
	double rtt_ns; /* SYN ... accept queue */
	double half_open; /* share of SYNs that nobody finishes */

	enum sim_trouble trouble;
	uint64_t every_ns, for_ns;
};

struct sim_conn {
	uint32_t worker;
	uint32_t left; /* requests to come */
	uint32_t nr; /* which of all, as its jobs' random numbers go */
	bool is_new; /* no request yet */
	bool is_trouble;
	bool is_half_open;
	uint64_t sent_ns, submit_ns;
};

struct sim_thread {
	uint32_t conn; /* SIM_NONE: it has no job */
	uint64_t claim_ns, cpu_ns, slice_ns, sleep_ns;
};

struct sim_worker {
	struct sim_queue backlog, input, answers; /* of connections, for the loop */
	struct sim_queue jobs; /* unclaimed; of connections */
	struct sim_queue runnable, idle; /* of threads */
	uint32_t on_cpu; /* thread with the interpreter's lock */
	uint32_t nr_running, nr_waking, nr_expired;
	uint64_t kept;
	bool is_turning;
	uint32_t job_us; /* as a worker reckons it, see steer_job_us() */
	uint64_t stopped_until, trouble_ns; /* trouble: since when; 0 = none */
};

/* What came out. */
struct sim_result {
	uint64_t first[HIST_BUCKETS],
		later[HIST_BUCKETS]; /* waits: of new connections, of kept ones */
	uint64_t nr_conns, nr_later;
	uint64_t to_troubled; /* picks of a worker that had been in trouble for 60 ms */
	uint64_t while_troubled; /* picks while some worker was so */
	uint64_t by_reason[NR_STEER_REASONS], avoided;
	double kept_over_mean; /* the fullest worker's open connections over the mean, on average */
	uint32_t herd; /* most picks of one worker among 8 x workers in a row; fair is 8 */
};

struct sim;
/* Slot of a live worker. @random: 64 bits for this decision. */
typedef uint32_t (*sim_pick_fn)(struct sim *sim, uint64_t random);

struct sim_policy {
	const char *name;
	sim_pick_fn pick;
	uint32_t nr_looks; /* candidates; 0 = all */
	bool sees_stalls;
};

struct sim {
	const struct sim_conf *conf;
	const struct sim_policy *policy;
	uint64_t now_ns;
	struct sim_events events;
	struct sim_rng arrivals, picks, delays, troubles;

	uint32_t nr_threads; /* per worker, at least 1 */
	struct sim_worker *workers;
	struct stats_steer *rows;
	struct sim_thread *threads; /* of worker w: from w * nr_threads on */
	uint32_t *next_thread;

	struct sim_conn *conns;
	uint32_t *next_conn;
	uint32_t nr_conns, room;
	struct sim_queue free_conns;

	uint32_t *recent, nr_recent, at_recent; /* the last picks, a ring */
	uint32_t *in_recent; /* per worker */
	double kept_sum;
	uint32_t nr_samples;
	struct sim_result *result;
};

enum sim_kind {
	SIM_ARRIVE,
	SIM_OPENED, /* a handshake is done: conn */
	SIM_EXPIRED, /* one is given up: conn */
	SIM_REQUEST, /* on a kept connection: conn */
	SIM_TURN, /* a loop's turn is over: worker */
	SIM_SLICE, /* a thread gives up the lock: thread */
	SIM_SLEPT, /* its job has slept: thread */
	SIM_TROUBLE,
	SIM_SAMPLE,
};

/* --- sim_policy.c --- */

/* By name ("hash", "pick-2", "pick-2+", "least", "least+", "steer"); false if there is none such. */
bool sim_policy_parse(struct sim_policy *policy, const char *name);

/* --- sim_worker.c --- */

void sim_worker_init(struct sim *sim, uint32_t w);
void sim_worker_publish(struct sim *sim, uint32_t w);
/* There is something for the loop of @w. */
void sim_worker_poke(struct sim *sim, uint32_t w);
/* Handles SIM_TURN, SIM_SLICE, SIM_SLEPT. */
void sim_worker_event(struct sim *sim, const struct sim_event *event);

/* --- sim.c --- */

uint32_t sim_conn_new(struct sim *sim, uint32_t w);
void sim_conn_free(struct sim *sim, uint32_t conn);
/* One run from start to end; @rows: nr_workers, as they were at the end. */
void sim_run(const struct sim_conf *conf, const struct sim_policy *policy,
	     struct sim_result *result, struct stats_steer *rows);

#endif
