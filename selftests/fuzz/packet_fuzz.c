/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a frame: the walk stays inside (the input ends at a guard page,
 * and under ASan), and what it takes for a TCP packet to a port of ours is one
 * to another reader, too, who does it in another way. The other way round, what
 * that one finds the walk finds, unless it says why not.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bpf/guard_match.h"
#include "server/base.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#define PORT 8080
#define IFINDEX 3

/* --- the other reader: by offsets, every read checked, no limits but the frame --- */

struct reader {
	const u8 *p;
	size_t len, at;
	bool failed;
};

static u32 byte_at(struct reader *r, size_t off)
{
	if (off >= r->len) {
		r->failed = true;
		return 0;
	}
	return r->p[off];
}

static u32 word_at(struct reader *r, size_t off)
{
	return byte_at(r, off) * 256 + byte_at(r, off + 1);
}

/* The number of a TCP header's place, where one is; what the lengths say is believed. */
static bool find_ipv4(struct reader *r)
{
	u32 head_len = byte_at(r, r->at) % 16 * 4, total_len = word_at(r, r->at + 2);

	if (r->failed || byte_at(r, r->at) / 16 != 4 || head_len < 20 ||
	    byte_at(r, r->at + 9) != 6 || word_at(r, r->at + 6) % 8192 || total_len < head_len + 20)
		return false;
	r->at += head_len;
	return true;
}

static bool find_ipv6(struct reader *r)
{
	size_t start = r->at + 40, end = start + word_at(r, r->at + 4);
	u32 next = byte_at(r, r->at + 6);

	if (byte_at(r, r->at) / 16 != 6)
		return false;
	for (r->at = start; next != 6 && !r->failed;) {
		u32 len = byte_at(r, r->at + 1);

		switch (next) {
		case 44:
			if (word_at(r, r->at + 2) / 8)
				return false;
			len = 8;
			break;
		case 51:
			len = (len + 2) * 4;
			break;
		case 43:
			if (byte_at(r, r->at + 3))
				return false;
			__attribute__((fallthrough));
		case 0:
		case 60:
		case 135:
		case 139:
		case 140:
			len = (len + 1) * 8;
			break;
		default:
			return false;
		}
		next = byte_at(r, r->at);
		r->at += len;
	}
	return !r->failed && r->at + 20 <= end;
}

/* The destination port, or -1. */
static s32 find_port(const u8 *data, size_t len, u8 *flags)
{
	struct reader r = { data, len, 12, false };
	u32 type = word_at(&r, r.at);
	bool found;

	while (type == 0x8100 || type == 0x88a8) {
		r.at += 4;
		type = word_at(&r, r.at);
	}
	r.at += 2;
	found = type == 0x0800 ? find_ipv4(&r) : type == 0x86dd && find_ipv6(&r);
	if (!found || byte_at(&r, r.at + 12) / 16 < 5)
		return -1;
	*flags = (u8)byte_at(&r, r.at + 13);
	byte_at(&r, r.at + 19);
	return r.failed ? -1 : (s32)word_at(&r, r.at + 2);
}

/* --- */

static void make_rules(struct guard_rules *rules, u8 *first_place, bool any)
{
	static const u8 v4[4] = { 192, 0, 2, 2 }, v6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 2 };

	memset(rules, 0, sizeof(*rules));
	rules->nr_places = 2;
	rules->places[1] = (struct guard_place){ .port = PORT, .family = 4, .row = 0 };
	rules->places[2] = (struct guard_place){ .port = PORT, .family = 6, .row = 0, .next = 1 };
	first_place[PORT] = 2;
	if (any)
		return;
	memcpy(rules->places[1].addr, v4, sizeof(v4));
	memcpy(rules->places[2].addr, v6, sizeof(v6));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	static u8 first_place[65536];
	struct guard_rules any, one;
	enum packet_kind kind;
	struct packet pkt;
	u8 flags = 0;
	s32 port;

	make_rules(&any, first_place, true);
	make_rules(&one, first_place, false);
	kind = packet_walk(data, data + len, &pkt);
	port = find_port(data, len, &flags);
	MUST((u32)kind < NR_PACKET_KINDS);
	if (kind != PACKET_TCP) {
		MUST(port < 0 || kind == PACKET_DEEP);
		return 0;
	}
	/* Only here may a drop follow: it is TCP, to that port, with those flags. */
	MUST(port == pkt.port && flags == pkt.flags);
	MUST(pkt.family == 4 || pkt.family == 6);
	MUST((guard_match(&any, first_place, &pkt, IFINDEX) >= 0) == (port == PORT));
	if (guard_match(&one, first_place, &pkt, IFINDEX) >= 0) {
		u32 first = pkt.family == 4 ? 0xc0000202u : 0x20010db8u;

		MUST(port == PORT && __builtin_bswap32(pkt.dst[0]) == first);
		MUST(pkt.family == 4 || __builtin_bswap32(pkt.dst[3]) == 2);
	}
	return 0;
}
