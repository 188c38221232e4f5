/* SPDX-License-Identifier: MIT */
/* Ethernet frames to a plan, with right lengths and checksums unless the plan says otherwise. */
#ifndef HYPERION_SELFTESTS_GUARD_FRAME_H
#define HYPERION_SELFTESTS_GUARD_FRAME_H

#include "server/base.h"

#define FRAME_MAX 4096u
#define FRAME_EXTENSIONS 12u

struct frame_plan {
	u8 to[6], from[6]; /* MACs */
	u16 tags[4]; /* VLAN ids, the outer one first */
	u32 nr_tags;
	u16 ethertype; /* instead of that of the addresses */
	const char *src, *dst; /* both IPv4 or both IPv6 */
	u32 options; /* bytes of IPv4 options, a multiple of 4 */
	u8 extensions[FRAME_EXTENSIONS]; /* IPv6 headers by their numbers */
	u32 nr_extensions;
	u16 offset; /* of a fragment, in units of 8 bytes */
	bool more; /* fragments follow */
	u8 proto; /* 0 = TCP */
	u16 sport, dport;
	u8 flags;
	u32 payload; /* bytes behind the TCP header */
};

/* The length; @out has FRAME_MAX bytes. */
size_t frame_build(const struct frame_plan *plan, u8 *out);

#endif
