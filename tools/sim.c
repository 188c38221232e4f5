/* SPDX-License-Identifier: MIT */
/* A run: who comes when, where the policy sends it, what goes wrong meanwhile. */
#include "tools/sim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EXPIRE_NS SIM_S /* until a worker knows that a handshake will not end */
#define TROUBLE_NS (60 * SIM_MS) /* from then on nobody should be sent there */
#define HERD_WINDOW 8u /* times workers */
#define WAVE_SWING 0.6

/* --- connections --- */

uint32_t sim_conn_new(struct sim *sim, uint32_t w)
{
	uint32_t c = sim_queue_take(&sim->free_conns, sim->next_conn);

	if (c == SIM_NONE) {
		if (sim->nr_conns == sim->room) {
			sim->room = sim->room ? sim->room * 2 : 1024;
			sim->conns = sim_grow(sim->conns, sim->room, sizeof(sim->conns[0]));
			sim->next_conn =
				sim_grow(sim->next_conn, sim->room, sizeof(sim->next_conn[0]));
		}
		c = sim->nr_conns++;
	}
	sim->conns[c] = (struct sim_conn){ .worker = w, .left = 1 };
	return c;
}

void sim_conn_free(struct sim *sim, uint32_t conn)
{
	sim_queue_add(&sim->free_conns, sim->next_conn, conn);
}

/* --- arrivals --- */

static bool is_troubled(const struct sim *sim, uint32_t w)
{
	const struct sim_worker *worker = &sim->workers[w];

	if (sim->conf->trouble == SIM_STOP && worker->stopped_until <= sim->now_ns)
		return false;
	return worker->trouble_ns && sim->now_ns - worker->trouble_ns > TROUBLE_NS;
}

static void count_pick(struct sim *sim, uint32_t w)
{
	uint32_t *oldest = &sim->recent[sim->at_recent];
	bool somebody = false;

	sim->result->nr_conns++;
	sim->result->to_troubled += is_troubled(sim, w);
	for (uint32_t i = 0; sim->conf->trouble && i < sim->conf->nr_workers && !somebody; i++)
		somebody = is_troubled(sim, i);
	sim->result->while_troubled += somebody;

	if (*oldest != SIM_NONE)
		sim->in_recent[*oldest]--;
	*oldest = w;
	if (++sim->in_recent[w] > sim->result->herd)
		sim->result->herd = sim->in_recent[w];
	sim->at_recent = (sim->at_recent + 1) % sim->nr_recent;
}

/* As the program does it: at the SYN, and seen by the next decision. */
static uint32_t pick(struct sim *sim)
{
	uint32_t w = sim->policy->pick(sim, sim_rng_next(&sim->picks));
	struct stats_steer *row = &sim->rows[w];

	if (row->picks == row->settled)
		row->pick_ns = sim->now_ns;
	row->picks++;
	count_pick(sim, w);
	return w;
}

static void arrive(struct sim *sim)
{
	const struct sim_conf *conf = sim->conf;
	uint32_t nr = (uint32_t)sim->result->nr_conns;
	uint32_t w = pick(sim), c = sim_conn_new(sim, w);
	struct sim_conn *conn = &sim->conns[c];
	struct sim_rng rng;

	sim_rng_init(&rng, conf->seed + 2, nr);
	conn->nr = nr;
	conn->is_new = true;
	if (sim_rng_share(&rng) < conf->keep)
		conn->left = conf->nr_requests;
	if (sim_rng_share(&rng) < conf->half_open)
		sim_events_add(&sim->events, sim->now_ns + EXPIRE_NS, SIM_EXPIRED, c);
	else
		sim_events_add(&sim->events,
			       sim->now_ns + (conf->rtt_ns > 0 ? sim_rng_exp(&rng, conf->rtt_ns) : 0),
			       SIM_OPENED, c);
}

static void arrivals(struct sim *sim)
{
	const struct sim_conf *conf = sim->conf;
	double rate = conf->rate, at = (double)(sim->now_ns - SIM_START);
	uint32_t nr = 1;

	if (conf->shape == SIM_BURSTS) {
		nr = conf->burst;
		rate /= nr;
	} else if (conf->shape == SIM_WAVE) {
		/* Thinned: as many as at the crest would come, some of them do not. */
		rate *= 1 + WAVE_SWING;
		if (sim_rng_share(&sim->arrivals) * (1 + WAVE_SWING) >
		    1 - WAVE_SWING * cos(2 * M_PI * at / conf->period_ns))
			nr = 0;
	}
	while (nr--)
		arrive(sim);
	sim_events_add(&sim->events, sim->now_ns + sim_rng_exp(&sim->arrivals, (double)SIM_S / rate),
		       SIM_ARRIVE, 0);
}

/* --- what goes wrong --- */

static void trouble(struct sim *sim)
{
	const struct sim_conf *conf = sim->conf;
	uint32_t w = sim_rng_below(&sim->troubles, conf->nr_workers), c;
	struct sim_worker *worker = &sim->workers[w];

	sim_events_add(&sim->events, sim->now_ns + conf->every_ns, SIM_TROUBLE, 0);
	if (conf->trouble == SIM_STOP) {
		worker->stopped_until = sim->now_ns + conf->for_ns;
		worker->trouble_ns = sim->now_ns;
		return;
	}
	/* A request on a connection that had been there; it is counted nowhere. */
	c = sim_conn_new(sim, w);
	sim->conns[c].is_trouble = true;
	sim->conns[c].sent_ns = sim->now_ns;
	worker->kept++;
	sim_queue_add(&worker->input, sim->next_conn, c);
	sim_worker_poke(sim, w);
}

static void sample(struct sim *sim)
{
	uint64_t sum = 0, most = 0;

	for (uint32_t w = 0; w < sim->conf->nr_workers; w++) {
		uint64_t kept = sim->workers[w].kept;

		sum += kept;
		most = kept > most ? kept : most;
	}
	if (sum) {
		sim->kept_sum += (double)most * sim->conf->nr_workers / (double)sum;
		sim->nr_samples++;
	}
	sim_events_add(&sim->events, sim->now_ns + SIM_S, SIM_SAMPLE, 0);
}

/* --- the run --- */

static void handle(struct sim *sim, const struct sim_event *event)
{
	struct sim_conn *conn = event->who < sim->nr_conns ? &sim->conns[event->who] : NULL;
	struct sim_worker *worker;

	switch ((enum sim_kind)event->kind) {
	case SIM_ARRIVE:
		return arrivals(sim);
	case SIM_TROUBLE:
		return trouble(sim);
	case SIM_SAMPLE:
		return sample(sim);
	case SIM_TURN:
	case SIM_SLICE:
	case SIM_SLEPT:
		return sim_worker_event(sim, event);
	case SIM_OPENED:
	case SIM_REQUEST:
	case SIM_EXPIRED:
		break;
	}
	worker = &sim->workers[conn->worker];
	conn->sent_ns = sim->now_ns;
	sim_worker_poke(sim, conn->worker);
	if (event->kind == SIM_EXPIRED) {
		worker->nr_expired++;
		sim_conn_free(sim, event->who);
	} else {
		sim_queue_add(event->kind == SIM_OPENED ? &worker->backlog : &worker->input,
			      sim->next_conn, event->who);
	}
}

static void begin(struct sim *sim)
{
	const struct sim_conf *conf = sim->conf;
	size_t nr = conf->nr_workers;

	sim->now_ns = SIM_START;
	sim->nr_threads = conf->nr_threads ? conf->nr_threads : 1;
	sim_rng_init(&sim->arrivals, conf->seed, 1);
	sim_rng_init(&sim->picks, conf->seed, 2);
	sim_rng_init(&sim->delays, conf->seed, 3);
	sim_rng_init(&sim->troubles, conf->seed, 4);
	sim->workers = sim_alloc(nr, sizeof(sim->workers[0]));
	sim->threads = sim_alloc(nr * sim->nr_threads, sizeof(sim->threads[0]));
	sim->next_thread = sim_alloc(nr * sim->nr_threads, sizeof(sim->next_thread[0]));
	sim->nr_recent = HERD_WINDOW * conf->nr_workers;
	sim->recent = sim_alloc(sim->nr_recent, sizeof(sim->recent[0]));
	memset(sim->recent, 0xff, sim->nr_recent * sizeof(sim->recent[0]));
	sim->in_recent = sim_alloc(nr, sizeof(sim->in_recent[0]));
	sim->free_conns = SIM_QUEUE_EMPTY;
	for (uint32_t w = 0; w < conf->nr_workers; w++)
		sim_worker_init(sim, w);
	sim_events_add(&sim->events, sim->now_ns, SIM_ARRIVE, 0);
	sim_events_add(&sim->events, sim->now_ns + SIM_S, SIM_SAMPLE, 0);
	if (conf->trouble)
		sim_events_add(&sim->events, sim->now_ns + conf->every_ns, SIM_TROUBLE, 0);
}

static void end(struct sim *sim)
{
	sim->result->kept_over_mean = sim->nr_samples ? sim->kept_sum / sim->nr_samples : 0;
	sim_events_fini(&sim->events);
	free(sim->workers);
	free(sim->threads);
	free(sim->next_thread);
	free(sim->conns);
	free(sim->next_conn);
	free(sim->recent);
	free(sim->in_recent);
}

void sim_run(const struct sim_conf *conf, const struct sim_policy *policy,
	     struct sim_result *result, struct stats_steer *rows)
{
	struct sim sim = { .conf = conf, .policy = policy, .result = result, .rows = rows };
	struct sim_event event;

	*result = (struct sim_result){ 0 };
	memset(rows, 0, conf->nr_workers * sizeof(rows[0]));
	begin(&sim);
	while (sim_events_take(&sim.events, &event) && event.at_ns <= SIM_START + conf->length_ns) {
		sim.now_ns = event.at_ns;
		handle(&sim, &event);
	}
	end(&sim);
}
