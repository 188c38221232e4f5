/* SPDX-License-Identifier: MIT */
/*
 * The guard of an interface, once for XDP and once for the ingress of traffic
 * control. It counts what comes in for our ports and drops what the deny list
 * names or what exceeds the rate of SYNs. All else passes.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "bpf/guard_match.h"

#define EXPIRED_MAX 4 /* shorter prefixes that are tried behind expired ones */
#define CAS_MAX 8

const volatile struct guard_rules rules = {};
const volatile __u8 first_place[65536] = {};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guard_about);
} guard SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GUARD_IFACES);
	__type(key, __u32);
	__type(value, struct guard_iface);
} guard_ifaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GUARD_IFACES *GUARD_PORTS);
	__type(key, __u32);
	__type(value, struct guard_port);
} guard_ports SEC(".maps");

#define LIST(key_type)                                                                             \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);                                               \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__uint(max_entries, GUARD_ENTRIES);                                                \
		__type(key, struct key_type);                                                      \
		__type(value, struct guard_entry);                                                 \
	}

LIST(guard_key_v4) guard_deny_v4 SEC(".maps");
LIST(guard_key_v6) guard_deny_v6 SEC(".maps");
LIST(guard_key_v4) guard_allow_v4 SEC(".maps");
LIST(guard_key_v6) guard_allow_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, GUARD_BUCKETS);
	__type(key, struct guard_source);
	__type(value, struct guard_bucket);
} guard_buckets SEC(".maps");

/* --- lists --- */

static __always_inline int has_expired(const struct guard_entry *e)
{
	__u64 at = e->expires_ns;

	return at && bpf_ktime_get_ns() >= at;
}

/*
 * The longest prefix that has not expired. An expired one hides the shorter ones
 * only until the supervisor has removed it; these are asked for by their length.
 */
static __always_inline struct guard_entry *find(void *list, void *key, __u32 *len)
{
	for (int i = 0; i < EXPIRED_MAX; i++) {
		struct guard_entry *e = bpf_map_lookup_elem(list, key);

		if (!e)
			return NULL;
		if (!has_expired(e))
			return e;
		if (!e->len)
			return NULL;
		*len = e->len - 1;
	}
	return NULL;
}

static __always_inline struct guard_entry *find_v4(void *list, const struct packet *pkt)
{
	struct guard_key_v4 key = { .len = 32 };

	__builtin_memcpy(key.addr, pkt->src, sizeof(key.addr));
	return find(list, &key, &key.len);
}

static __always_inline struct guard_entry *find_v6(void *list, const struct packet *pkt)
{
	struct guard_key_v6 key = { .len = 128 };

	__builtin_memcpy(key.addr, pkt->src, sizeof(key.addr));
	return find(list, &key, &key.len);
}

static __always_inline struct guard_entry *find_deny(const struct packet *pkt)
{
	return pkt->family == 4 ? find_v4(&guard_deny_v4, pkt) : find_v6(&guard_deny_v6, pkt);
}

static __always_inline struct guard_entry *find_allow(const struct packet *pkt)
{
	return pkt->family == 4 ? find_v4(&guard_allow_v4, pkt) : find_v6(&guard_allow_v6, pkt);
}

static __always_inline void count_hit(struct guard_entry *e)
{
	__sync_fetch_and_add(&e->hits, 1);
}

/* --- the rate of SYNs --- */

static __always_inline void source_of(const struct packet *pkt, struct guard_source *source)
{
	source->family = pkt->family;
	source->addr[0] = pkt->src[0] & (pkt->family == 4 ? rules.syn_mask_v4 : rules.syn_mask_v6[0]);
	for (int i = 1; i < 4; i++)
		source->addr[i] = pkt->src[i] & rules.syn_mask_v6[i];
}

/*
 * Each SYN moves the time at which the next would be due on by the interval.
 * What is dropped moves nothing: a source that slows down is served again.
 */
static __always_inline int over_rate(const struct packet *pkt)
{
	__u64 now = bpf_ktime_get_ns(), interval = rules.syn_interval_ns;
	struct guard_source source;
	struct guard_bucket *bucket, fresh = { .due_ns = now + interval };

	source_of(pkt, &source);
	bucket = bpf_map_lookup_elem(&guard_buckets, &source);
	if (!bucket) {
		if (!bpf_map_update_elem(&guard_buckets, &source, &fresh, BPF_NOEXIST))
			return 0;
		/* Another CPU was first. */
		bucket = bpf_map_lookup_elem(&guard_buckets, &source);
		if (!bucket)
			return 0;
	}
	for (int i = 0; i < CAS_MAX; i++) {
		__u64 old = *(volatile __u64 *)&bucket->due_ns;
		__u64 due = (old > now ? old : now) + interval;

		if (due - now > rules.syn_burst_ns)
			return 1;
		if (__sync_val_compare_and_swap(&bucket->due_ns, old, due) == old)
			return 0;
	}
	return 0;
}

/* --- the verdict --- */

/* -1: it passes; else enum guard_drop. Where both lists have it the longer prefix wins, if equal the allowed. */
static __always_inline int judge(const struct packet *pkt)
{
	int is_limited = rules.syn_interval_ns && packet_is_syn(pkt);
	struct guard_entry *deny = find_deny(pkt), *allow = NULL;

	if (deny || is_limited)
		allow = find_allow(pkt);
	if (deny && (!allow || allow->len < deny->len)) {
		count_hit(deny);
		return GUARD_DROP_DENY;
	}
	if (allow) {
		count_hit(allow);
		return -1;
	}
	return is_limited && over_rate(pkt) ? GUARD_DROP_SYN_RATE : -1;
}

static __always_inline int iface_row(__u32 ifindex)
{
	for (__u32 i = 0; i < GUARD_IFACES && i < rules.nr_ifaces; i++)
		if (rules.ifindex[i] == ifindex)
			return (int)i;
	return -1;
}

static __always_inline void count_seen(__u32 iface, __u32 kind)
{
	struct guard_iface *counts = bpf_map_lookup_elem(&guard_ifaces, &iface);

	if (counts && kind < NR_GUARD_SEEN)
		counts->seen[kind]++;
}

/*
 * A TCP packet, 1: drop it. A function of its own for the verifier, which looks
 * at it once, and not once for each way through the headers.
 */
__noinline int guard_judge(const struct packet *pkt, __u32 iface, __u32 ifindex, __u64 len)
{
	struct guard_port *counts;
	int port, drop;
	__u32 row;

	if (!pkt)
		return 0;
	port = guard_match(&rules, first_place, pkt, ifindex);
	if (port < 0) {
		count_seen(iface, GUARD_SEEN_OTHER_PORT);
		return 0;
	}
	count_seen(iface, PACKET_TCP);
	row = iface * GUARD_PORTS + (__u32)port;
	counts = bpf_map_lookup_elem(&guard_ports, &row);
	if (!counts)
		return 0;
	counts->packets++;
	counts->bytes += len;
	if (packet_is_syn(pkt))
		counts->syns++;
	drop = judge(pkt);
	if (drop < 0)
		return 0;
	counts->dropped[drop == GUARD_DROP_DENY ? GUARD_DROP_DENY : GUARD_DROP_SYN_RATE]++;
	counts->dropped_bytes += len;
	return 1;
}

/* @len: of the frame, which may be longer than what is at hand. */
static __always_inline int guard_frame(void *data, void *end, __u64 len, __u32 ifindex)
{
	int iface = iface_row(ifindex);
	enum packet_kind kind;
	struct packet pkt;

	if (iface < 0)
		return 0;
	kind = packet_walk(data, end, &pkt);
	if (kind == PACKET_TCP)
		return guard_judge(&pkt, (__u32)iface, ifindex, len);
	count_seen((__u32)iface, kind);
	return 0;
}

SEC("xdp.frags")
int guard_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	return guard_frame(data, end, bpf_xdp_get_buff_len(ctx), ctx->ingress_ifindex) ? XDP_DROP
										       : XDP_PASS;
}

#define PULL_LEN 256 /* headers of nearly every packet that is not in one piece */

/* Here the kernel has taken an outer tag off already. TC_ACT_UNSPEC: whoever comes next decides. */
SEC("tc")
int guard_tc(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (data + PULL_LEN > end && (__u32)(end - data) < skb->len) {
		bpf_skb_pull_data(skb, skb->len < PULL_LEN ? skb->len : PULL_LEN);
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
	}
	return guard_frame(data, end, skb->len + (skb->vlan_present ? 4 : 0), skb->ifindex)
		       ? TC_ACT_SHOT
		       : TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "Dual MIT/GPL";
