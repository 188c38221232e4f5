/* SPDX-License-Identifier: MIT */
/* Who may be sent new connections, and what becomes of those that wait for one who is dead or hangs. */
#include "bpf/steer.h"
#include "server/clock.h"
#include "server/listen.h"
#include "server/log.h"
#include "server/supervisor_state.h"

#define LOOK_MS 100u /* while picks are not accepted yet ... */
#define IDLE_LOOK_MS 200u /* ... or nothing seems to happen */
#define REST_LOOK_MS 1000u /* ... or nothing has happened ... */
#define REST_AFTER_MS 5000u /* ... for so long */
#define SURE_MS 20u /* who seems to hang is looked at again */
#define HANGS_NS (100 * NSEC_PER_MSEC) /* a pick waits, and its loop has not moved, for so long */
#define LOST_LOOKS 5u /* picks that were there at so many looks never come, if nobody waits */

static struct stats_steer *row_of(const struct supervisor *s, u32 id)
{
	return &s->stats.maps.steer[id];
}

static bool is_on(const struct supervisor *s, u32 id)
{
	return id < s->steering.steer.nr_slots;
}

static bool has_group(const struct supervisor *s, u32 b)
{
	return steer_prog(&s->steering.steer, b) >= 0;
}

static u64 seen_ns(const struct supervisor *s, u32 id)
{
	return __atomic_load_n(&s->stats.maps.workers[id].seen_ns, __ATOMIC_RELAXED);
}

/* Picks that are neither accepted nor given up. */
static s64 unsettled(const struct stats_steer *row)
{
	/* In this order: what is settled has been picked before. */
	u64 settled = __atomic_load_n(&row->settled, __ATOMIC_RELAXED);

	return (s64)(__atomic_load_n(&row->picks, __ATOMIC_RELAXED) - settled);
}

static void settle(struct stats_steer *row, s64 nr)
{
	/* Its worker adds, too. */
	__atomic_fetch_add(&row->settled, (u64)nr, __ATOMIC_RELAXED);
}

/* --- open and close --- */

static int attach(struct supervisor *s)
{
	for (u32 b = 0; b < s->conf->nr_binds; b++) {
		int err;

		if (!has_group(s, b))
			continue;
		/* On a socket that does not listen it would succeed, and do nothing. */
		err = bind_steer(s->slots.slots[0].listeners[b], steer_prog(&s->steering.steer, b));
		if (err)
			return err;
	}
	return 0;
}

void steering_open(struct supervisor *s)
{
	struct steering *st = &s->steering;
	bool wanted[MAX_BINDS] = { false }, any = false;
	int err;

	for (u32 b = 0; b < s->conf->nr_binds; b++)
		any |= wanted[b] = !slots_shared(&s->slots, b);
	/* Without BPF maps it was said already what is lost. */
	if (!any || !s->stats.bpf)
		return;
	err = steer_open(&st->steer, wanted, s->conf->nr_binds, s->stats.fds[STATS_MAP_STEER],
			 s->stats.fds[STATS_MAP_HEADER], s->stats.maps.header->nr_slots);
	if (!err)
		err = attach(s);
	if (err) {
		log_info("bpf: cannot steer connections: %s; the kernel's hash picks the workers",
			 strerror(-err));
		steer_close(&st->steer);
		return;
	}
	stats_set(s->stats.maps.header->steering, 1);
	st->look_at_ms = supervisor_clock_ms() + IDLE_LOOK_MS;
}

void steering_close(struct supervisor *s)
{
	steer_close(&s->steering.steer);
}

/* --- in and out --- */

static void set_bound(struct supervisor *s)
{
	u32 nr = s->steering.steer.nr_slots;

	while (nr && s->steering.slots[nr - 1].state != STEERED_IN)
		nr--;
	steer_bound(&s->steering.steer, nr);
}

static void put_in(struct supervisor *s, u32 id)
{
	struct steered *one = &s->steering.slots[id];

	for (u32 b = 0; b < s->conf->nr_binds; b++) {
		int err = 0;

		if (has_group(s, b))
			err = steer_put(&s->steering.steer, b, id, s->slots.slots[id].listeners[b]);
		if (err)
			log_error(
				"bpf: connections to %s are not steered to a worker: %s worker=%u",
				s->conf->binds[b].text, strerror(-err), id);
	}
	*one = (struct steered){ .state = STEERED_IN };
	stats_set(row_of(s, id)->is_in, 1);
	set_bound(s);
}

static void take_out(struct supervisor *s, u32 id)
{
	stats_set(row_of(s, id)->is_in, 0);
	s->steering.slots[id].state = STEERED_OUT;
	for (u32 b = 0; b < s->conf->nr_binds; b++)
		if (has_group(s, b))
			steer_remove(&s->steering.steer, b, id);
	set_bound(s);
}

bool steering_has_sibling(const struct supervisor *s, u32 id)
{
	u64 now = monotonic_ns();

	for (u32 i = 0; i < s->steering.steer.nr_slots; i++) {
		struct steer_view v;

		if (i == id || s->steering.slots[i].state != STEERED_IN)
			continue;
		steer_read(&v, row_of(s, i), now);
		if (v.is_live && !steer_stalled(&v))
			return true;
	}
	return false;
}

/* What waits there goes to the others, bytes included; that program counts it as theirs. */
static void shut(struct supervisor *s, u32 id)
{
	struct stats_header *h = s->stats.maps.header;

	take_out(s, id);
	for (u32 b = 0; b < s->conf->nr_binds; b++) {
		int err = has_group(s, b) ? bind_shut(s->slots.slots[id].listeners[b]) : 0;

		if (err)
			log_error("bpf: what waits at %s does not move: %s worker=%u",
				  s->conf->binds[b].text, strerror(-err), id);
	}
	s->steering.slots[id].state = STEERED_SHUT;
	settle(row_of(s, id), unsettled(row_of(s, id)));
	stats_add(h->steer_shut, 1);
}

static void listen_again(struct supervisor *s, u32 id)
{
	struct stats_header *h = s->stats.maps.header;

	for (u32 b = 0; b < s->conf->nr_binds; b++) {
		int err = has_group(s, b) ? bind_listen_again(s->slots.slots[id].listeners[b]) : 0;

		if (err)
			log_error("listen: --bind %s, again: %s worker=%u", s->conf->binds[b].text,
				  strerror(-err), id);
	}
	s->steering.slots[id].state = STEERED_OUT;
	stats_add(h->steer_back, 1);
}

/* --- what happens to workers --- */

bool steering_has_room(const struct supervisor *s, u32 nr_workers)
{
	return !s->steering.steer.nr_slots || nr_workers <= s->steering.steer.nr_slots;
}

void steering_ready(struct supervisor *s, u32 id)
{
	struct steering *st = &s->steering;

	if (!is_on(s, id))
		return;
	put_in(s, id);
	if (!st->look_at_ms)
		st->look_at_ms = supervisor_clock_ms() + IDLE_LOOK_MS;
}

void steering_leaves(struct supervisor *s, u32 id)
{
	if (!is_on(s, id))
		return;
	if (s->steering.slots[id].state == STEERED_IN)
		take_out(s, id);
	/* What is shut will not listen again. */
	s->steering.slots[id].state = STEERED_OUT;
}

void steering_before_start(struct supervisor *s, u32 id)
{
	if (is_on(s, id) && s->steering.slots[id].state == STEERED_SHUT)
		listen_again(s, id);
}

/* Better one that hangs than nobody who listens. */
static void if_nobody(struct supervisor *s)
{
	for (u32 i = 0; i < s->steering.steer.nr_slots; i++)
		if (s->steering.slots[i].state == STEERED_IN)
			return;
	for (u32 i = 0; i < s->steering.steer.nr_slots; i++) {
		if (s->steering.slots[i].state != STEERED_SHUT)
			continue;
		listen_again(s, i);
		if (s->slots.slots[i].state == SLOT_READY)
			put_in(s, i);
	}
}

void steering_died(struct supervisor *s, u32 id)
{
	if (!is_on(s, id) || s->steering.slots[id].state != STEERED_IN)
		return;
	if (steering_has_sibling(s, id))
		shut(s, id);
	else
		take_out(s, id); /* its queue waits for the next worker here */
	if_nobody(s);
}

/* --- looks --- */

static u32 waiting_at(const struct supervisor *s, u32 id)
{
	u32 nr = 0;

	for (u32 b = 0; b < s->conf->nr_binds; b++)
		if (has_group(s, b))
			nr += bind_waiting(s->slots.slots[id].listeners[b]);
	return nr;
}

/*
 * Some picks never become a connection: a client that does not finish its
 * handshake, one for which another listener was found. If nobody waits, what was
 * there all the time will not come. And what the hash has picked was accepted without a pick.
 */
static void forget_lost(struct supervisor *s, u32 id, s64 nr)
{
	struct steered *one = &s->steering.slots[id];

	if (nr <= 0) {
		if (nr)
			settle(row_of(s, id), nr);
		one->nr_looks = 0;
		return;
	}
	one->least = one->nr_looks++ ? min(one->least, (u64)nr) : (u64)nr;
	if (one->nr_looks <= LOST_LOOKS)
		return;
	if (!waiting_at(s, id))
		settle(row_of(s, id), (s64)one->least);
	one->nr_looks = 0;
}

/* Somebody waits there and its loop does not move; when it seems so twice it is so. */
static bool hangs(struct supervisor *s, u32 id, u64 now, bool *seems)
{
	struct steered *one = &s->steering.slots[id];
	const struct stats_steer *row = row_of(s, id);
	u64 picked = max(__atomic_load_n(&row->pick_ns, __ATOMIC_RELAXED),
			 __atomic_load_n(&row->settled_ns, __ATOMIC_RELAXED));
	u64 seen = seen_ns(s, id), before = one->seen_ns;

	one->seen_ns = 0;
	if (now < max(picked, seen) + HANGS_NS || !waiting_at(s, id) || !steering_has_sibling(s, id))
		return false;
	one->seen_ns = seen;
	*seems = before != seen;
	return !*seems;
}

static void look_at(struct supervisor *s, u32 id, u64 now, u32 *again_ms)
{
	struct steered *one = &s->steering.slots[id];
	bool seems = false;
	u64 seen;
	s64 nr;

	if (one->state == STEERED_SHUT && s->slots.slots[id].state == SLOT_READY) {
		*again_ms = min(*again_ms, LOOK_MS);
		if (seen_ns(s, id) == one->seen_ns)
			return;
		log_info("supervisor: a worker that hung goes on worker=%u", id);
		listen_again(s, id);
		put_in(s, id);
	}
	if (one->state != STEERED_IN)
		return;
	nr = unsettled(row_of(s, id));
	if (nr > 0)
		*again_ms = min(*again_ms, LOOK_MS);
	seen = seen_ns(s, id);
	if (nr > 0 && hangs(s, id, now, &seems)) {
		log_warn("supervisor: a worker hangs, others take what waits for it worker=%u "
			 "connections=%lld ms=%llu",
			 id, (long long)nr, (unsigned long long)((now - seen) / NSEC_PER_MSEC));
		shut(s, id);
		one->seen_ns = seen;
		return;
	}
	if (seems)
		*again_ms = SURE_MS;
	else
		forget_lost(s, id, nr);
}

/* Nobody is there to whom what waits could go; who comes later starts the looks again. */
static bool is_alone(const struct supervisor *s)
{
	u32 nr = 0;

	for (u32 i = 0; i < s->steering.steer.nr_slots; i++)
		nr += s->steering.slots[i].state == STEERED_IN ||
		      s->steering.slots[i].state == STEERED_SHUT;
	return nr < 2;
}

/* Nothing was picked for a while: an idle server sleeps. */
static bool rests(struct supervisor *s, u64 now_ms)
{
	struct steering *st = &s->steering;
	u64 picks = 0;

	for (u32 i = 0; i < st->steer.nr_slots; i++)
		picks += __atomic_load_n(&row_of(s, i)->picks, __ATOMIC_RELAXED);
	if (picks != st->picks) {
		st->picks = picks;
		st->picked_at_ms = now_ms;
	}
	return now_ms >= st->picked_at_ms + REST_AFTER_MS;
}

void steering_look(struct supervisor *s)
{
	struct steering *st = &s->steering;
	u32 again_ms = IDLE_LOOK_MS;
	u64 now_ms = supervisor_clock_ms(), now;

	if (!st->look_at_ms || now_ms < st->look_at_ms || s->stop != STOP_NONE)
		return;
	now = monotonic_ns();
	for (u32 i = 0; i < st->steer.nr_slots; i++)
		look_at(s, i, now, &again_ms);
	if (again_ms == IDLE_LOOK_MS && rests(s, now_ms))
		again_ms = REST_LOOK_MS;
	st->look_at_ms = is_alone(s) ? 0 : now_ms + again_ms;
}

u64 steering_look_at(const struct supervisor *s)
{
	return s->steering.look_at_ms;
}
