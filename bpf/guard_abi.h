/* SPDX-License-Identifier: MIT */
/*
 * The guard's maps, pinned beside those of abi.h while a server guards an
 * interface. Counters are per CPU: a reader sums. Fixed width, no pointers;
 * whoever changes a layout raises GUARD_VERSION.
 */
#ifndef HYPERION_BPF_GUARD_ABI_H
#define HYPERION_BPF_GUARD_ABI_H

#include <linux/types.h>

#include "bpf/packet.h"

#define GUARD_MAGIC 0x47707948u /* "HypG" */
#define GUARD_VERSION 1u
#define GUARD_IFACES 8u
#define GUARD_PORTS 32u /* different ones */
#define GUARD_PLACES 64u /* addresses with ports; the first one is none */
#define GUARD_ENTRIES 65536u /* of each list, for each family */
#define GUARD_BUCKETS 65536u /* source prefixes whose rate is known */
#define GUARD_NAME_LEN 16u /* of an interface, with NUL */

enum guard_map_id {
	GUARD_MAP_ABOUT,
	GUARD_MAP_IFACES,
	GUARD_MAP_PORTS,
	GUARD_MAP_DENY_V4,
	GUARD_MAP_DENY_V6,
	GUARD_MAP_ALLOW_V4,
	GUARD_MAP_ALLOW_V6,
	NR_GUARD_MAPS
};

#define GUARD_MAP_NAMES                                                                            \
	{                                                                                          \
		"guard", "guard_ifaces", "guard_ports", "guard_deny_v4", "guard_deny_v6",          \
			"guard_allow_v4", "guard_allow_v6"                                         \
	}

/* --- what is guarded, an array of one --- */

enum guard_mode {
	GUARD_AUTO,
	GUARD_NATIVE,
	GUARD_GENERIC,
	GUARD_TCX,
	GUARD_CLSACT,
	NR_GUARD_MODES
};

#define GUARD_MODE_NAMES                                                                           \
	{                                                                                          \
		"auto", "native", "generic", "tcx", "clsact"                                       \
	}

struct guard_about {
	__u32 magic, version;
	__u32 nr_ifaces, nr_ports;
	__u32 syn_rate, syn_burst; /* SYNs per second and source prefix; 0 = not limited */
	__u32 syn_prefix_v4, syn_prefix_v6; /* bits of a source that count */
	struct {
		char name[GUARD_NAME_LEN];
		__u32 ifindex;
		__u32 mode; /* enum guard_mode, never GUARD_AUTO */
	} ifaces[GUARD_IFACES];
	__u16 ports[GUARD_PORTS];
	__u32 reserved[8];
};

/* --- counters, arrays per CPU --- */

/* Frames of an interface by what they are; those of PACKET_TCP that are not ours come last. */
#define GUARD_SEEN_OTHER_PORT NR_PACKET_KINDS
#define NR_GUARD_SEEN (NR_PACKET_KINDS + 1)

#define GUARD_SEEN_NAMES                                                                           \
	{                                                                                          \
		"ours", "not_ip", "not_tcp", "fragment", "truncated", "malformed", "too_deep",     \
			"other_port"                                                               \
	}

struct guard_iface {
	__u64 seen[NR_GUARD_SEEN];
};

enum guard_drop { GUARD_DROP_DENY, GUARD_DROP_SYN_RATE, NR_GUARD_DROPS };

#define GUARD_DROP_NAMES                                                                           \
	{                                                                                          \
		"deny", "syn_rate"                                                                 \
	}

/* Of an interface i and a port p: [i * GUARD_PORTS + p]. What is dropped is counted in both. */
struct guard_port {
	__u64 packets, bytes, syns;
	__u64 dropped[NR_GUARD_DROPS];
	__u64 dropped_bytes;
};

/* --- lists, tries by the longest prefix --- */

struct guard_key_v4 {
	__u32 len; /* bits */
	__u8 addr[4];
};

struct guard_key_v6 {
	__u32 len;
	__u8 addr[16];
};

struct guard_entry {
	__u32 len; /* as in its key, which a look-up does not give back */
	__u32 reserved;
	__u64 expires_ns; /* CLOCK_MONOTONIC; 0 = never */
	__u64 hits; /* packets that it has decided on */
};

/* --- the program's own: rules, and the rate of a source --- */

struct guard_place {
	__u32 addr[4]; /* network order; all 0 = any */
	__u32 ifindex; /* 0 = any; else only what comes in there, without a tag */
	__u16 port;
	__u8 family; /* 4 or 6 */
	__u8 row; /* of the port */
	__u8 next; /* with the same port; 0 = none */
	__u8 reserved[3];
};

struct guard_rules {
	__u32 nr_ifaces;
	__u32 ifindex[GUARD_IFACES];
	__u32 nr_places;
	struct guard_place places[GUARD_PLACES];
	__u64 syn_interval_ns; /* between two SYNs at the rate; 0 = not limited */
	__u64 syn_burst_ns; /* ... of which so much may be spent at once */
	__u32 syn_mask_v4;
	__u32 syn_mask_v6[4]; /* network order, both */
};

struct guard_source {
	__u32 addr[4];
	__u32 family;
};

/* When the next SYN would be on time; further ahead of now than the burst: too many. */
struct guard_bucket {
	__u64 due_ns;
};

_Static_assert(sizeof(struct guard_about) == 320, "layout");
_Static_assert(sizeof(struct guard_iface) == 64, "layout");
_Static_assert(sizeof(struct guard_port) == 48, "layout");
_Static_assert(sizeof(struct guard_entry) == 24, "layout");
_Static_assert(sizeof(struct guard_place) == 28, "layout");

#endif
