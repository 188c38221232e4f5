/* SPDX-License-Identifier: MIT */
/*
 * Picks the worker of a new connection, among the listeners of one address
 * (SO_REUSEPORT); loaded once for each address. It decides by the rows of the
 * map "steer" as steer.h says. It drops nothing: whatever fails is left to the
 * kernel's hash, and counted.
 *
 * It also runs for what waits at a listener that is shut down: connections whose
 * worker has died go to the others, with what they have sent already.
 */
#include <linux/bpf.h>
#include <linux/tcp.h>

#include <bpf/bpf_helpers.h>

#include "bpf/abi.h"
#include "bpf/steer.h"

#define TRIES 3 /* listeners; the second one only when the first has just gone */

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} listeners SEC(".maps");

/* Of stats.bpf.c. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stats_steer);
} steer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stats_header);
} header SEC(".maps");

/* Slots at or beyond it are empty. */
__u32 nr_slots;

struct looks {
	struct steer_choice choice;
	__u32 nr;
	__u32 tried[2]; /* the last one, and the one before */
};

/* A decision is made in memory of the CPU, not on the stack: see STEER_FORGET(). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct looks);
} scratch SEC(".maps");

static long look(__u32 i, struct looks **of)
{
	struct looks *l = *of;
	__u32 slot = steer_look(&l->choice, i, l->nr);
	struct stats_steer *row = bpf_map_lookup_elem(&steer, &slot);

	if (row && STEER_READ(row->is_in) && slot != l->tried[0] && slot != l->tried[1])
		steer_weigh(&l->choice, slot, row);
	return 0;
}

/*
 * Where the offset is in the instruction: one that branches choose takes CAP_PERFMON. What follows
 * each keeps the compiler from making one addition of all.
 */
#define COUNT_REASON(row, which)                                                                   \
	do {                                                                                       \
		__sync_fetch_and_add(&(row)->by_reason[which], 1);                                 \
		STEER_FORGET();                                                                    \
	} while (0)

static void count_reason(struct stats_steer *row, __u32 reason)
{
	_Static_assert(NR_STEER_REASONS == 4, "each has its line here");
	if (reason == STEER_LOAD)
		COUNT_REASON(row, STEER_LOAD);
	else if (reason == STEER_ONLY)
		COUNT_REASON(row, STEER_ONLY);
	else if (reason == STEER_STALLED)
		COUNT_REASON(row, STEER_STALLED);
	else if (reason == STEER_MIGRATED)
		COUNT_REASON(row, STEER_MIGRATED);
}

static void count(const struct steer_choice *c, struct stats_steer *row, __u32 reason)
{
	__u32 avoided = c->avoided;
	struct stats_steer *stalled = bpf_map_lookup_elem(&steer, &avoided);

	/* Nobody waited to be accepted: this one is the oldest. */
	if (STEER_READ(row->picks) == STEER_READ(row->settled))
		row->pick_ns = c->now_ns;
	__sync_fetch_and_add(&row->picks, 1);
	count_reason(row, reason);
	if (stalled)
		__sync_fetch_and_add(&stalled->avoided, 1);
}

/* Anything else that comes here is no connection, or one that a SYN cookie answers for. */
static int is_syn(const struct sk_reuseport_md *md)
{
	const struct tcphdr *tcp = md->data;

	return (const void *)(tcp + 1) <= md->data_end && tcp->syn && !tcp->ack;
}

static void leave_to_hash(void)
{
	__u32 zero = 0;
	struct stats_header *h = bpf_map_lookup_elem(&header, &zero);

	if (h)
		__sync_fetch_and_add(&h->unsteered, 1);
}

SEC("sk_reuseport/migrate")
int pick(struct sk_reuseport_md *md)
{
	int migrates = md->migrating_sk != NULL;
	__u32 zero = 0, slot;
	struct looks *l = bpf_map_lookup_elem(&scratch, &zero);
	struct stats_steer *row;

	if (!l)
		return SK_PASS;
	l->nr = nr_slots;
	l->tried[0] = l->tried[1] = STEER_NOBODY;
	for (int try = 0; try < TRIES; try++) {
		steer_begin(&l->choice, bpf_ktime_get_ns(), bpf_get_prandom_u32());
		bpf_loop(l->nr < STEER_LOOKS ? l->nr : STEER_LOOKS, look, &l, 0);
		steer_end(&l->choice);
		slot = l->choice.slot;
		if (slot == STEER_NOBODY)
			break;
		if (bpf_sk_select_reuseport(md, &listeners, &slot, 0)) {
			l->tried[1] = l->tried[0];
			l->tried[0] = slot;
			continue;
		}
		row = bpf_map_lookup_elem(&steer, &slot);
		if (row && (migrates || is_syn(md)))
			count(&l->choice, row, migrates ? STEER_MIGRATED : l->choice.reason);
		return SK_PASS;
	}
	leave_to_hash();
	return SK_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
