/* SPDX-License-Identifier: MIT */
#include "server/rebalance.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "bpf/steer.h"
#include "server/fail.h"
#include "server/log.h"
#include "server/req.h"

#define TAKE_MAX 64u /* connections from the inbox in a turn */
#define LOOKED_AT_MAX 256u /* idle connections in a look */
#define ROOM_MIN 256u /* descriptors that are left: as many connections may lie in our inbox */

/* A connection on its way out. */
struct leaving {
	struct rebalance *rb;
	u32 to; /* slot */
	struct parcel p;
};

/* How it stands here. */
struct plight {
	u32 nr_waiting;
	u64 waiting_ns; /* age of the oldest request that waits; 0 = none does */
	u64 busy_ns; /* so long no thread has taken one */
};

/* What a look knows of the siblings, and what it has given them. */
struct siblings {
	struct steer_view views[INBOX_MAX];
	bool take[INBOX_MAX];
	u32 given[INBOX_MAX];
};

static u64 now_ns(const struct rebalance *rb)
{
	return rb->conns->http->now_ns;
}

static void look_in(struct rebalance *rb, u32 ms)
{
	wheel_add(rb->conns->wheel, &rb->look, now_ns(rb) / NSEC_PER_MSEC + ms);
}

/* --- what comes --- */

static bool is_full(const struct rebalance *rb)
{
	return rb->conns->nr + ROOM_MIN >= rb->max_connections;
}

static void poll_inbox(struct rebalance *rb)
{
	rb->full = is_full(rb);
	rb->polled = !rb->full && loop_poll(rb->loop, &rb->inbox, POLLIN) == -EINPROGRESS;
}

static void say_lost(const struct rebalance *rb)
{
	log_limited(LOG_LEVEL_ERROR, "worker: no memory for a connection worker=%u", rb->id);
}

/* true: there was one. */
static bool take_one(struct rebalance *rb)
{
	int fd, n = inbox_recv(rb->inbox.fd, &rb->came, &fd);

	if (n <= 0)
		return n < 0;
	rb->nr_in++;
	if (conn_arrive(rb->conns, fd, rb->proto, &rb->came, NULL, 0))
		say_lost(rb);
	return true;
}

static void inbox_ready(struct io *io, int revents)
{
	struct rebalance *rb = container_of(io, struct rebalance, inbox);

	(void)revents;
	for (u32 i = 0; i < TAKE_MAX && !is_full(rb) && take_one(rb); i++)
		;
	poll_inbox(rb);
}

static void inbox_quiet(struct io *io)
{
	(void)io; /* whoever cancels it waits for that */
}

static const struct io_ops inbox_ops = { .ready = inbox_ready, .quiet = inbox_quiet };

/* --- what goes --- */

/* It stays after all, as one that came from another. */
static void take_back(struct leaving *lv, int fd, const char *rest, size_t len)
{
	struct rebalance *rb = lv->rb;

	rb->nr_refused++;
	if (conn_arrive(rb->conns, fd, rb->proto, &lv->p, rest, len))
		say_lost(rb);
}

/* Out of our loop: @rest goes behind what its link has packed. */
static void send_out(struct leaving *lv, int fd, const char *rest, size_t len)
{
	struct rebalance *rb = lv->rb;

	if (rb->stopped_ns || !parcel_add(&lv->p, rest, len)) {
		take_back(lv, fd, rest, len);
		return;
	}
	if (inbox_send(rb->to[lv->to], &lv->p, fd)) {
		take_back(lv, fd, NULL, 0);
		return;
	}
	rb->nr_out++;
	close(fd);
}

static void left(void *arg, int fd, const char *rest, size_t len)
{
	struct leaving *lv = arg;
	struct rebalance *rb = lv->rb;

	rb->nr_leaving--;
	if (fd >= 0)
		send_out(lv, fd, rest, len);
	free(lv);
}

/* 0, or why it stays. */
static int give(struct rebalance *rb, struct conn *c, u32 to)
{
	struct leaving *lv = fail_alloc() ? NULL : malloc(sizeof(*lv));
	int err;

	if (!lv)
		return -ENOMEM;
	lv->rb = rb;
	lv->to = to;
	rb->nr_leaving++;
	err = conn_leave(c, &lv->p, left, lv);
	if (!err)
		return 0;
	rb->nr_leaving--;
	free(lv);
	return err;
}

/* --- to whom --- */

static void look_at_siblings(const struct rebalance *rb, struct siblings *s)
{
	const struct stats_maps *maps = &rb->stats->maps;

	memset(s, 0, sizeof(*s));
	for (u32 i = 0; i < rb->nr && i < maps->header->nr_slots; i++) {
		struct steer_view *v = &s->views[i];

		if (i == rb->id || !(STEER_READ(maps->workers[i].inbox) & STATS_INBOX_READS))
			continue;
		steer_read(v, &maps->steer[i], now_ns(rb));
		s->take[i] = v->is_live && !steer_stalled(v);
	}
}

/* Its threads, as far as they were not given something already. */
static bool has_thread(const struct siblings *s, u32 i)
{
	const struct steer_view *v = &s->views[i];

	return v->running + v->waiting + s->given[i] < v->nr_threads;
}

/* What is there before one that goes to it. */
static u32 backlog(const struct siblings *s, u32 i)
{
	return s->views[i].running + s->views[i].waiting + s->given[i];
}

/* Would a request that waits here be served there much sooner? */
static bool much_better(const struct siblings *s, u32 i, const struct plight *ours)
{
	const struct steer_view *v = &s->views[i];
	u32 waiting = v->waiting + s->given[i];

	if (!s->take[i])
		return false;
	if (has_thread(s, i))
		return true;
	/* Handlers that take equally long come free here first, as ours was begun before. */
	if (!waiting)
		return v->running_ns < ours->busy_ns / 4;
	return waiting < ours->nr_waiting / 2 && v->waiting_ns < ours->waiting_ns / 2;
}

static u32 best_for_work(const struct siblings *s, u32 nr_slots, const struct plight *ours)
{
	u32 best = STEER_NOBODY;

	for (u32 i = 0; i < nr_slots; i++)
		if (much_better(s, i, ours) &&
		    (best == STEER_NOBODY || backlog(s, i) < backlog(s, best)))
			best = i;
	return best;
}

static u32 best_for_idle(const struct siblings *s, u32 nr_slots)
{
	u32 best = STEER_NOBODY;

	for (u32 i = 0; i < nr_slots; i++) {
		const struct steer_view *v = &s->views[i];

		if (!s->take[i] || v->running + v->waiting >= v->nr_threads)
			continue;
		if (best == STEER_NOBODY ||
		    v->kept + s->given[i] < s->views[best].kept + s->given[best])
			best = i;
	}
	return best;
}

/* --- a look --- */

static bool may_give(struct rebalance *rb)
{
	if (now_ns(rb) - rb->second_ns >= NSEC_PER_SEC) {
		rb->second_ns = now_ns(rb);
		rb->nr_second = 0;
	}
	return rb->nr_second < REBALANCE_PER_SECOND && rb->nr_leaving < REBALANCE_PER_LOOK;
}

static u64 age_of(const struct rebalance *rb, u64 then)
{
	return then < now_ns(rb) ? now_ns(rb) - then : 0;
}

/* The requests that wait, the oldest first. */
static void give_work(struct rebalance *rb, struct siblings *s, struct plight *ours)
{
	u32 at = rb->app->oldest;

	for (u32 i = 0; i < REBALANCE_PER_LOOK && may_give(rb); i++) {
		u32 to = best_for_work(s, rb->nr, ours);
		struct job *j;
		struct link *l;

		if (to == STEER_NOBODY || !(j = app_unclaimed(rb->app, &at)))
			break;
		if (age_of(rb, j->queued_ns) < REBALANCE_WAITING_NS)
			break;
		l = container_of(j, struct req, job)->link;
		if (!l || give(rb, conn_of_link(l), to))
			continue;
		s->given[to]++;
		rb->nr_second++;
		ours->nr_waiting -= ours->nr_waiting > 0;
	}
}

/* All threads are busy, and none has come free for long. For each that streams there may be an extra one. */
static bool is_stuck(const struct rebalance *rb, const struct plight *ours)
{
	const struct app *app = rb->app;
	u32 nr = app->nr_threads + __atomic_load_n(&app->nr_streaming, __ATOMIC_RELAXED);

	return __atomic_load_n(&app->nr_running, __ATOMIC_RELAXED) >= nr &&
	       ours->busy_ns >= REBALANCE_STUCK_NS;
}

/* Whoever asks next shall not wait here. Another part of them in each look. */
static void give_idle(struct rebalance *rb, struct siblings *s)
{
	struct list *all = &rb->conns->all;
	u32 nr = min(rb->conns->nr, LOOKED_AT_MAX), given = 0;

	for (u32 i = 0; i < nr && given < REBALANCE_PER_LOOK && may_give(rb); i++) {
		struct conn *c = list_first(all, struct conn, all);
		u32 to = best_for_idle(s, rb->nr);

		if (to == STEER_NOBODY)
			break;
		/* To the end first: given away it may be gone, or come back there. */
		list_del(&c->all);
		list_add_tail(&c->all, all);
		if (give(rb, c, to))
			continue;
		s->given[to]++;
		rb->nr_second++;
		given++;
	}
}

static void look_at_queue(struct rebalance *rb)
{
	const struct job *oldest = app_oldest(rb->app);
	struct plight ours = {
		.nr_waiting = rb->conns->http->nr_waiting,
		.waiting_ns = oldest ? age_of(rb, oldest->queued_ns) : 0,
		.busy_ns = age_of(rb, __atomic_load_n(&rb->app->claim_ns, __ATOMIC_RELAXED)),
	};
	bool old = ours.waiting_ns >= REBALANCE_WAITING_NS, stuck = is_stuck(rb, &ours);
	struct siblings s;

	if (!old && !stuck)
		return;
	look_at_siblings(rb, &s);
	if (old)
		give_work(rb, &s, &ours);
	if (stuck)
		give_idle(rb, &s);
}

static void look(struct timer *t)
{
	struct rebalance *rb = container_of(t, struct rebalance, look);

	rb->looks_soon = false;
	if (!rb->polled)
		poll_inbox(rb);
	if (!rb->stopped_ns)
		look_at_queue(rb);
}

/* --- its life --- */

void rebalance_init(struct rebalance *rb, u32 id, struct conns *conns, struct app *app,
		    struct stats *stats, const struct proto *proto, u32 max_connections)
{
	memset(rb, 0, offsetof(struct rebalance, came));
	rb->id = id;
	rb->loop = conns->loop;
	rb->conns = conns;
	rb->app = app;
	rb->stats = stats;
	rb->proto = proto;
	rb->max_connections = max_connections;
	timer_init(&rb->look, look);
	if (stats->row)
		stats_set(stats->row->inbox, 0);
}

static void close_all(const int *fds, u32 nr)
{
	for (u32 i = 0; i < nr; i++)
		close(fds[i]);
}

void rebalance_open(struct rebalance *rb, const int *fds, u32 nr)
{
	if (rb->open || rb->stopped_ns || !rb->app || !rb->app->nr_threads || !rb->stats->row ||
	    nr < 2 || nr > INBOX_MAX + 1 || rb->id >= nr - 1 ||
	    loop_add_plain(rb->loop, &rb->inbox, fds[0], &inbox_ops)) {
		close_all(fds, nr);
		return;
	}
	rb->nr = nr - 1;
	memcpy(rb->to, fds + 1, rb->nr * sizeof(fds[0]));
	/* Release pairs with the acquire in rebalance_forked(). */
	__atomic_store_n(&rb->open, true, __ATOMIC_RELEASE);
	poll_inbox(rb);
}

static void publish(const struct rebalance *rb)
{
	struct stats_worker *row = rb->stats->row;
	const struct stats_worker *base = &rb->stats->base;
	u32 inbox = 0;

	if (!rb->stopped_ns && rb->polled)
		inbox |= STATS_INBOX_READS;
	if (!rb->stopped_ns || rb->nr_leaving)
		inbox |= STATS_INBOX_GIVES;
	stats_set(row->inbox, inbox);
	stats_set(row->moved_out, base->moved_out + rb->nr_out);
	stats_set(row->moved_in, base->moved_in + rb->nr_in);
	stats_set(row->moves_refused, base->moves_refused + rb->nr_refused);
}

void rebalance_turn(struct rebalance *rb)
{
	const struct http *http = rb->conns->http;

	if (!rb->open)
		return;
	if (http->nr_waiting && !rb->looks_soon && !rb->stopped_ns) {
		rb->looks_soon = true;
		look_in(rb, REBALANCE_LOOK_MS);
	} else if (!rb->look.pending && (rb->app->nr_out || !rb->polled)) {
		look_in(rb, REBALANCE_SLOW_MS);
	}
	publish(rb);
}

void rebalance_stop(struct rebalance *rb)
{
	if (!rb->open || rb->stopped_ns)
		return;
	rb->stopped_ns = now_ns(rb);
	publish(rb);
}

/* Does another one that lives still think that it may give? */
static bool any_gives(const struct rebalance *rb)
{
	const struct stats_maps *maps = &rb->stats->maps;

	for (u32 i = 0; i < rb->nr && i < maps->header->nr_slots; i++)
		if (i != rb->id && STEER_READ(maps->workers[i].inbox) & STATS_INBOX_GIVES)
			return true;
	return false;
}

static bool lies_something(const struct rebalance *rb)
{
	struct pollfd p = { .fd = rb->inbox.fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

bool rebalance_done(struct rebalance *rb)
{
	if (!rb->open)
		return true;
	if (rb->nr_leaving)
		return false;
	if (any_gives(rb) && now_ns(rb) < rb->stopped_ns + REBALANCE_LEAVE_MS * NSEC_PER_MSEC) {
		look_in(rb, REBALANCE_LOOK_MS);
		return false;
	}
	/* After the last of them has said so. */
	return !lies_something(rb);
}

void rebalance_forked(const struct rebalance *rb)
{
	/* Acquire pairs with the release in rebalance_open(), by which another thread has set it. */
	if (!__atomic_load_n(&rb->open, __ATOMIC_ACQUIRE))
		return;
	close(rb->inbox.fd);
	close_all(rb->to, rb->nr);
}

void rebalance_fini(struct rebalance *rb)
{
	wheel_del(rb->conns->wheel, &rb->look);
	if (!rb->open)
		return;
	rebalance_forked(rb);
	rb->open = false;
}
