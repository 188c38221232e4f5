/* SPDX-License-Identifier: MIT */
/*
 * Is a packet ours? Only then may the guard drop it. For the BPF program and
 * for user space, like packet.h.
 */
#ifndef HYPERION_BPF_GUARD_MATCH_H
#define HYPERION_BPF_GUARD_MATCH_H

#include "bpf/guard_abi.h"

/*
 * @rules are the program's constants, which the compiler may not look into.
 * Beside them: for each port the first place that has it; 0 = none.
 */
static inline int guard_place_takes(const volatile struct guard_place *place,
				    const struct packet *pkt, __u32 ifindex)
{
	__u32 want = 0, differ = 0;

	if (place->family != pkt->family)
		return 0;
	if (place->ifindex && (place->ifindex != ifindex || pkt->vlan))
		return 0;
	for (int i = 0; i < 4; i++) {
		__u32 word = place->addr[i];

		want |= word;
		differ |= word ^ pkt->dst[i];
	}
	return !want || !differ;
}

/* The row of its port, or -1: not ours. */
static inline int guard_match(const volatile struct guard_rules *rules,
			      const volatile __u8 first_place[65536], const struct packet *pkt,
			      __u32 ifindex)
{
	__u32 at = first_place[pkt->port];

	for (__u32 i = 0; i < GUARD_PLACES; i++) {
		const volatile struct guard_place *place;

		/* A mask, and no comparison: older verifiers lose that one on the way. */
		at &= GUARD_PLACES - 1;
		if (!at)
			return -1;
		place = &rules->places[at];
		if (guard_place_takes(place, pkt, ifindex))
			return place->row;
		at = place->next;
	}
	return -1;
}

#endif
