/* SPDX-License-Identifier: MIT */
/*
 * Round-trip times and retransmits of connections to our listeners. They are known by a storage that
 * the kernel copies from a listener to the sockets that it makes; every other socket of the machine
 * costs a look at a pointer. Types of the kernel are those few members that are read (CO-RE).
 */
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/observe_abi.h"

/* Of include/net/tcp_states.h. */
#define TCP_ESTABLISHED 1
#define TCP_SYN_RECV 3
#define TCP_CLOSE 7

#define SRTT_SHIFT 3 /* srtt_us counts eighths */
#define NSEC_PER_USEC 1000ull

struct sock;

struct tcp_sock {
	__u32 srtt_us;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct observe_conn);
} conns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct observe_row);
} observe SEC(".maps");

static __u64 rtt_ns(struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	return tp ? (tp->srtt_us >> SRTT_SHIFT) * NSEC_PER_USEC : 0;
}

static void count_rtt(struct observe_row *row, __u64 ns)
{
	__u32 i = hist_index(ns);

	if (!ns || i >= HIST_BUCKETS)
		return;
	__sync_fetch_and_add(&row->rtt_sum_ns, ns);
	__sync_fetch_and_add(&row->rtt[i], 1);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int old, int state)
{
	struct observe_conn *conn;
	struct observe_row *row;
	__u32 slot;

	if (state != TCP_SYN_RECV && state != TCP_ESTABLISHED && state != TCP_CLOSE)
		return 0;
	conn = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (!conn)
		return 0;
	slot = conn->slot;
	row = bpf_map_lookup_elem(&observe, &slot);
	if (!row)
		return 0;
	if (state == TCP_SYN_RECV) {
		/* The last packet of the handshake is here; it may be accepted from now on. */
		conn->syn_ns = bpf_ktime_get_ns();
	} else if (state == TCP_ESTABLISHED && old == TCP_SYN_RECV) {
		conn->syn_ns -= rtt_ns(sk);
		__sync_fetch_and_add(&row->connections, 1);
	} else if (state == TCP_CLOSE && conn->syn_ns) {
		conn->syn_ns = 0;
		count_rtt(row, rtt_ns(sk));
	}
	return 0;
}

static struct observe_row *row_of(struct sock *sk)
{
	struct observe_conn *conn = bpf_sk_storage_get(&conns, sk, 0, 0);
	__u32 slot;

	if (!conn)
		return NULL;
	slot = conn->slot;
	return bpf_map_lookup_elem(&observe, &slot);
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(on_retransmit, struct sock *sk)
{
	struct observe_row *row = row_of(sk);

	if (row)
		__sync_fetch_and_add(&row->retransmits, 1);
	return 0;
}

/* @sk listens. */
SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(on_retransmit_synack, struct sock *sk)
{
	struct observe_row *row = row_of(sk);

	if (row)
		__sync_fetch_and_add(&row->synack_retransmits, 1);
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
