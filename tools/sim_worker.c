/* SPDX-License-Identifier: MIT */
/*
 * A worker: a loop that takes what has come once per turn and publishes its row
 * at the end of it, and threads that share the interpreter's lock.
 */
#include "bpf/steer.h"
#include "tools/sim.h"

/* How long Ruby lets a thread compute while others wait for the lock. */
#define QUANTUM_NS (100 * SIM_MS)

static struct sim_thread *threads_of(struct sim *sim, uint32_t w)
{
	return &sim->threads[(size_t)w * sim->nr_threads];
}

void sim_worker_init(struct sim *sim, uint32_t w)
{
	struct sim_worker *worker = &sim->workers[w];

	*worker = (struct sim_worker){ .on_cpu = SIM_NONE };
	worker->backlog = worker->input = worker->answers = SIM_QUEUE_EMPTY;
	worker->jobs = worker->runnable = worker->idle = SIM_QUEUE_EMPTY;
	for (uint32_t i = 0; i < sim->nr_threads; i++) {
		threads_of(sim, w)[i].conn = SIM_NONE;
		sim_queue_add(&worker->idle, sim->next_thread, w * sim->nr_threads + i);
	}
	sim->rows[w].state = STATS_WORKER_SERVING;
	sim->rows[w].nr_threads = sim->nr_threads;
}

/* --- the row --- */

static void publish_jobs(struct sim *sim, uint32_t w)
{
	struct sim_worker *worker = &sim->workers[w];
	struct stats_steer *row = &sim->rows[w];
	const struct sim_thread *threads = threads_of(sim, w);
	uint64_t oldest = 0;

	for (uint32_t i = 0; worker->nr_running && i < sim->nr_threads; i++)
		if (threads[i].conn != SIM_NONE && (!oldest || threads[i].claim_ns < oldest))
			oldest = threads[i].claim_ns;
	row->running = worker->nr_running;
	row->waiting = worker->jobs.nr;
	row->job_us = worker->job_us;
	row->running_ns = oldest;
	row->waiting_ns = worker->jobs.nr ? sim->conns[worker->jobs.first].submit_ns : 0;
}

void sim_worker_publish(struct sim *sim, uint32_t w)
{
	sim->rows[w].kept = (uint32_t)sim->workers[w].kept;
	publish_jobs(sim, w);
}

/* --- threads --- */

static void draw_job(struct sim *sim, const struct sim_conn *conn, struct sim_thread *thread)
{
	const struct sim_conf *conf = sim->conf;
	struct sim_rng rng;
	double cpu = conf->cpu;
	uint64_t ns;

	/* By connection and request: the same job under every policy. */
	sim_rng_init(&rng, conf->seed, (uint64_t)conn->nr << 24 | conn->left);
	if (conn->is_trouble) {
		ns = conf->for_ns;
		cpu = conf->trouble == SIM_BURN;
	} else if (sim_rng_share(&rng) < conf->slow) {
		ns = (uint64_t)conf->slow_ns;
	} else {
		ns = conf->is_constant ? (uint64_t)conf->service_ns
				       : sim_rng_exp(&rng, conf->service_ns);
	}
	thread->cpu_ns = (uint64_t)((double)ns * cpu);
	thread->sleep_ns = ns - thread->cpu_ns;
}

static void count_wait(struct sim *sim, struct sim_conn *conn)
{
	uint64_t waited = sim->now_ns - conn->sent_ns;

	if (conn->is_trouble)
		return;
	if (conn->is_new) {
		sim->result->first[hist_index(waited)]++;
	} else {
		sim->result->later[hist_index(waited)]++;
		sim->result->nr_later++;
	}
	conn->is_new = false;
}

static void claim(struct sim *sim, uint32_t w, uint32_t t)
{
	struct sim_worker *worker = &sim->workers[w];
	struct sim_thread *thread = &sim->threads[t];
	struct sim_conn *conn;

	thread->conn = sim_queue_take(&worker->jobs, sim->next_conn);
	thread->claim_ns = sim->now_ns;
	conn = &sim->conns[thread->conn];
	count_wait(sim, conn);
	if (conn->is_trouble)
		worker->trouble_ns = sim->now_ns;
	draw_job(sim, conn, thread);
	worker->nr_running++;
	if (!sim->conf->claims_late)
		publish_jobs(sim, w);
}

/* The next runnable thread gets the lock, if nobody has it. */
static void give_lock(struct sim *sim, uint32_t w)
{
	struct sim_worker *worker = &sim->workers[w];

	while (worker->on_cpu == SIM_NONE && worker->runnable.nr) {
		uint32_t t = sim_queue_take(&worker->runnable, sim->next_thread);
		struct sim_thread *thread = &sim->threads[t];

		if (thread->conn == SIM_NONE) {
			worker->nr_waking--;
			if (!worker->jobs.nr) {
				sim_queue_add(&worker->idle, sim->next_thread, t);
				continue;
			}
			claim(sim, w, t);
		}
		thread->slice_ns = thread->cpu_ns < QUANTUM_NS ? thread->cpu_ns : QUANTUM_NS;
		worker->on_cpu = t;
		sim_events_add(&sim->events, sim->now_ns + thread->slice_ns, SIM_SLICE, t);
	}
}

static void wake_threads(struct sim *sim, uint32_t w)
{
	struct sim_worker *worker = &sim->workers[w];

	while (worker->idle.nr && worker->nr_waking < worker->jobs.nr) {
		sim_queue_add(&worker->runnable, sim->next_thread,
			      sim_queue_take(&worker->idle, sim->next_thread));
		worker->nr_waking++;
	}
	give_lock(sim, w);
}

static void job_done(struct sim *sim, uint32_t w, uint32_t t)
{
	struct sim_worker *worker = &sim->workers[w];
	struct sim_thread *thread = &sim->threads[t];

	if (sim->conns[thread->conn].is_trouble)
		worker->trouble_ns = 0;
	worker->job_us = steer_job_us(worker->job_us, sim->now_ns - thread->claim_ns);
	sim_queue_add(&worker->answers, sim->next_conn, thread->conn);
	thread->conn = SIM_NONE;
	worker->nr_running--;
	sim_queue_add(&worker->idle, sim->next_thread, t);
	if (sim->conf->nr_threads)
		wake_threads(sim, w);
	sim_worker_poke(sim, w);
}

static void end_slice(struct sim *sim, uint32_t w, uint32_t t)
{
	struct sim_worker *worker = &sim->workers[w];
	struct sim_thread *thread = &sim->threads[t];

	worker->on_cpu = SIM_NONE;
	thread->cpu_ns -= thread->slice_ns;
	if (thread->cpu_ns)
		sim_queue_add(&worker->runnable, sim->next_thread, t);
	else if (thread->sleep_ns)
		sim_events_add(&sim->events, sim->now_ns + thread->sleep_ns, SIM_SLEPT, t);
	else
		job_done(sim, w, t);
	give_lock(sim, w);
}

/* --- the loop --- */

void sim_worker_poke(struct sim *sim, uint32_t w)
{
	struct sim_worker *worker = &sim->workers[w];

	/* Inline handlers hold the loop up. */
	if (worker->is_turning || (!sim->conf->nr_threads && worker->nr_running))
		return;
	worker->is_turning = true;
	sim_events_add(&sim->events, sim->now_ns + sim_rng_exp(&sim->delays, sim->conf->turn_ns),
		       SIM_TURN, w);
}

static void end_request(struct sim *sim, struct sim_worker *worker, uint32_t c)
{
	struct sim_conn *conn = &sim->conns[c];
	struct sim_rng rng;

	if (conn->left) {
		sim_rng_init(&rng, ~sim->conf->seed, (uint64_t)conn->nr << 24 | conn->left);
		sim_events_add(&sim->events, sim->now_ns + sim_rng_exp(&rng, sim->conf->think_ns),
			       SIM_REQUEST, c);
		return;
	}
	worker->kept--;
	sim_conn_free(sim, c);
}

static void begin_request(struct sim *sim, struct sim_worker *worker, uint32_t c)
{
	struct sim_conn *conn = &sim->conns[c];
	struct sim_rng rng;

	conn->left--;
	sim_rng_init(&rng, sim->conf->seed + 1, (uint64_t)conn->nr << 24 | conn->left);
	if (!conn->is_trouble && sim_rng_share(&rng) < sim->conf->plain) {
		count_wait(sim, conn);
		end_request(sim, worker, c);
		return;
	}
	conn->submit_ns = sim->now_ns;
	sim_queue_add(&worker->jobs, sim->next_conn, c);
}

static void settle(struct sim *sim, uint32_t w)
{
	struct sim_worker *worker = &sim->workers[w];
	struct stats_steer *row = &sim->rows[w];
	uint32_t nr = worker->backlog.nr + worker->nr_expired;

	if (nr) {
		row->settled += nr;
		row->settled_ns = sim->now_ns;
	}
	worker->nr_expired = 0;
	worker->kept += worker->backlog.nr;
	while (worker->backlog.nr)
		begin_request(sim, worker, sim_queue_take(&worker->backlog, sim->next_conn));
}

static void end_turn(struct sim *sim, uint32_t w)
{
	struct sim_worker *worker = &sim->workers[w];
	bool is_inline = !sim->conf->nr_threads;

	worker->is_turning = false;
	settle(sim, w);
	while (worker->answers.nr)
		end_request(sim, worker, sim_queue_take(&worker->answers, sim->next_conn));
	while (worker->input.nr)
		begin_request(sim, worker, sim_queue_take(&worker->input, sim->next_conn));
	if (is_inline)
		wake_threads(sim, w);
	sim_worker_publish(sim, w);
	if (!is_inline)
		wake_threads(sim, w);
}

void sim_worker_event(struct sim *sim, const struct sim_event *event)
{
	uint32_t w = event->kind == SIM_TURN ? event->who : event->who / sim->nr_threads;
	struct sim_worker *worker = &sim->workers[w];

	/* A stopped process does it when it goes on. */
	if (worker->stopped_until > sim->now_ns)
		sim_events_add(&sim->events, worker->stopped_until, event->kind, event->who);
	else if (event->kind == SIM_TURN)
		end_turn(sim, w);
	else if (event->kind == SIM_SLICE)
		end_slice(sim, w, event->who);
	else
		job_done(sim, w, event->who);
}
