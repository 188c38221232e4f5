/* SPDX-License-Identifier: MIT */
/* The walk over a packet, in user space: what it finds, what it names, and that it stays inside. */
#include "bpf/guard_match.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "selftests/guard/frame.h"
#include "selftests/harness/harness.h"

#define V4 .src = "192.0.2.1", .dst = "192.0.2.2"
#define V6 .src = "2001:db8::1", .dst = "2001:db8::2"
#define TO .sport = 40000, .dport = 8080

/* In a buffer that ends where the frame does. */
static enum packet_kind walk_bytes(const u8 *bytes, size_t len, struct packet *pkt)
{
	u8 *copy = guard_copy(bytes, len);
	enum packet_kind kind = packet_walk(copy, copy + len, pkt);

	guard_free(copy, len);
	return kind;
}

static enum packet_kind walk(const struct frame_plan *plan, struct packet *pkt)
{
	u8 bytes[FRAME_MAX];

	return walk_bytes(bytes, frame_build(plan, bytes), pkt);
}

#define KIND(...)                                                                                  \
	({                                                                                         \
		struct frame_plan plan_ = { __VA_ARGS__ };                                         \
		struct packet pkt_;                                                                \
		walk(&plan_, &pkt_);                                                               \
	})

static void expect_found(const struct packet *pkt, u8 family, const char *src, const char *dst)
{
	u32 words[4] = { 0 };

	EXPECT_EQ(pkt->family, family);
	EXPECT_EQ(pkt->port, 8080);
	ASSERT_EQ(inet_pton(family == 4 ? AF_INET : AF_INET6, src, words), 1);
	EXPECT_MEMEQ(pkt->src, words, sizeof(words));
	ASSERT_EQ(inet_pton(family == 4 ? AF_INET : AF_INET6, dst, words), 1);
	EXPECT_MEMEQ(pkt->dst, words, sizeof(words));
}

TEST(plain_packets_of_both_families)
{
	struct frame_plan v4 = { V4, TO, .flags = PACKET_SYN };
	struct frame_plan v6 = { V6, TO, .flags = PACKET_SYN | PACKET_ACK };
	struct packet pkt;

	ASSERT_EQ(walk(&v4, &pkt), PACKET_TCP);
	expect_found(&pkt, 4, "192.0.2.1", "192.0.2.2");
	EXPECT_TRUE(packet_is_syn(&pkt));
	EXPECT_EQ(pkt.vlan, 0);
	ASSERT_EQ(walk(&v6, &pkt), PACKET_TCP);
	expect_found(&pkt, 6, "2001:db8::1", "2001:db8::2");
	EXPECT_FALSE(packet_is_syn(&pkt));
}

TEST(options_and_payload)
{
	struct packet pkt;

	for (u32 options = 0; options <= 40; options += 4) {
		struct frame_plan plan = { V4, TO, .options = options, .payload = options * 7 };

		ASSERT_EQ(walk(&plan, &pkt), PACKET_TCP);
		expect_found(&pkt, 4, "192.0.2.1", "192.0.2.2");
	}
}

TEST(tags)
{
	struct frame_plan plan = { V6, TO, .tags = { 100, 200, 300 } };
	struct packet pkt;

	for (plan.nr_tags = 1; plan.nr_tags <= 2; plan.nr_tags++) {
		ASSERT_EQ(walk(&plan, &pkt), PACKET_TCP);
		expect_found(&pkt, 6, "2001:db8::1", "2001:db8::2");
		EXPECT_EQ(pkt.vlan, 100);
	}
	EXPECT_EQ(walk(&plan, &pkt), PACKET_DEEP);
	/* A priority alone is no VLAN. */
	plan.nr_tags = 1;
	plan.tags[0] = 5 << 13;
	ASSERT_EQ(walk(&plan, &pkt), PACKET_TCP);
	EXPECT_EQ(pkt.vlan, 0);
}

TEST(extension_headers)
{
	static const u8 kinds[] = { 0, 60, 43, 51, 135, 139, 140 };
	struct frame_plan plan = { V6, TO };
	struct packet pkt;

	for (size_t i = 0; i < sizeof(kinds); i++) {
		plan.nr_extensions = 1;
		plan.extensions[0] = kinds[i];
		ASSERT_EQ(walk(&plan, &pkt), PACKET_TCP);
		expect_found(&pkt, 6, "2001:db8::1", "2001:db8::2");
	}
	for (u32 nr = 0; nr <= FRAME_EXTENSIONS; nr++) {
		plan.nr_extensions = nr;
		for (u32 i = 0; i < nr; i++)
			plan.extensions[i] = 60;
		/* One turn is the transport's own. */
		ASSERT_EQ(walk(&plan, &pkt), nr < PACKET_EXTENSIONS ? PACKET_TCP : PACKET_DEEP);
	}
	EXPECT_EQ(KIND(V6, TO, .proto = 50), PACKET_NOT_TCP);
	EXPECT_EQ(KIND(V6, TO, .proto = 59), PACKET_NOT_TCP);
}

TEST(a_route_that_goes_on_is_not_judged)
{
	struct frame_plan plan = { V6, TO, .extensions = { 43 }, .nr_extensions = 1 };
	u8 bytes[FRAME_MAX];
	size_t len = frame_build(&plan, bytes);
	struct packet pkt;

	bytes[14 + 40 + 3] = 1; /* segments left */
	EXPECT_EQ(walk_bytes(bytes, len, &pkt), PACKET_DEEP);
}

TEST(fragments)
{
	struct packet pkt;
	struct frame_plan first4 = { V4, TO, .more = true, .payload = 64 };
	struct frame_plan first6 = { V6, TO, .more = true, .extensions = { 44 }, .nr_extensions = 1 };

	ASSERT_EQ(walk(&first4, &pkt), PACKET_TCP);
	expect_found(&pkt, 4, "192.0.2.1", "192.0.2.2");
	ASSERT_EQ(walk(&first6, &pkt), PACKET_TCP);
	expect_found(&pkt, 6, "2001:db8::1", "2001:db8::2");
	EXPECT_EQ(KIND(V4, TO, .offset = 1), PACKET_FRAGMENT);
	EXPECT_EQ(KIND(V4, TO, .offset = 0x1fff, .more = true), PACKET_FRAGMENT);
	EXPECT_EQ(KIND(V6, TO, .extensions = { 44 }, .nr_extensions = 1, .offset = 1),
		  PACKET_FRAGMENT);
	/* An atomic fragment is a whole packet (RFC 6946). */
	EXPECT_EQ(KIND(V6, TO, .extensions = { 44 }, .nr_extensions = 1), PACKET_TCP);
}

TEST(a_first_fragment_too_short_for_its_header)
{
	struct frame_plan plan = { V4, TO, .more = true };
	u8 bytes[FRAME_MAX];
	size_t len = frame_build(&plan, bytes);
	struct packet pkt;

	bytes[14 + 3] = 20 + 8;
	EXPECT_EQ(walk_bytes(bytes, len, &pkt), PACKET_FRAGMENT);
	bytes[14 + 6] = 0;
	EXPECT_EQ(walk_bytes(bytes, len, &pkt), PACKET_MALFORMED);
}

TEST(what_is_not_ours_to_read)
{
	EXPECT_EQ(KIND(.ethertype = 0x0806), PACKET_NOT_IP);
	EXPECT_EQ(KIND(.ethertype = 0x88cc, .tags = { 3 }, .nr_tags = 1), PACKET_NOT_IP);
	EXPECT_EQ(KIND(V4, TO, .proto = 17), PACKET_NOT_TCP);
	EXPECT_EQ(KIND(V4, TO, .proto = 1, .offset = 3), PACKET_NOT_TCP);
	EXPECT_EQ(KIND(V4, TO, .ethertype = 0x86dd, .payload = 40), PACKET_MALFORMED);
	EXPECT_EQ(KIND(V6, TO, .ethertype = 0x0800), PACKET_MALFORMED);
}

/* Each prefix of each frame: truncated until the TCP header is whole. */
TEST(every_cut)
{
	static const struct frame_plan plans[] = {
		{ V4, TO },
		{ V4, TO, .options = 40, .tags = { 1, 2 }, .nr_tags = 2 },
		{ V6, TO },
		{ V6, TO, .extensions = { 0, 60, 51, 44 }, .nr_extensions = 4 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(plans); i++) {
		u8 bytes[FRAME_MAX];
		size_t len = frame_build(&plans[i], bytes);
		struct packet pkt;

		for (size_t cut = 0; cut < len; cut++)
			ASSERT_EQ(walk_bytes(bytes, cut, &pkt), PACKET_TRUNCATED);
		ASSERT_EQ(walk_bytes(bytes, len, &pkt), PACKET_TCP);
	}
}

TEST(lengths_that_lie)
{
	struct frame_plan v4 = { V4, TO }, v6 = { V6, TO, .extensions = { 60 }, .nr_extensions = 1 };
	u8 bytes[FRAME_MAX];
	size_t len = frame_build(&v4, bytes);
	struct packet pkt;

	bytes[14] = 4 << 4 | 4; /* a head of 16 bytes */
	EXPECT_EQ(walk_bytes(bytes, len, &pkt), PACKET_MALFORMED);
	bytes[14] = 4 << 4 | 15; /* longer than the packet */
	EXPECT_EQ(walk_bytes(bytes, len, &pkt), PACKET_MALFORMED);
	len = frame_build(&v4, bytes);
	bytes[14 + 20 + 12] = 4 << 4; /* a TCP header of 16 bytes */
	EXPECT_EQ(walk_bytes(bytes, len, &pkt), PACKET_MALFORMED);
	len = frame_build(&v6, bytes);
	bytes[14 + 40 + 1] = 255;
	EXPECT_EQ(walk_bytes(bytes, len, &pkt), PACKET_MALFORMED);
	/* Padding to Ethernet's least length is not the packet's. */
	len = frame_build(&v4, bytes);
	bytes[14 + 3] = 20;
	EXPECT_EQ(walk_bytes(bytes, len, &pkt), PACKET_MALFORMED);
}

/* --- which are ours --- */

static struct guard_rules rules;
static u8 first_place[65536];

static void add_place(u16 port, const char *addr, u32 ifindex, u8 row)
{
	struct guard_place *p = &rules.places[rules.nr_places + 1];

	*p = (struct guard_place){ .port = port, .ifindex = ifindex, .row = row };
	p->family = strchr(addr, ':') ? 6 : 4;
	ASSERT_EQ(inet_pton(p->family == 4 ? AF_INET : AF_INET6, addr, p->addr), 1);
	p->next = first_place[port];
	first_place[port] = (u8)++rules.nr_places;
}

static int match(const char *dst, u16 port, u32 ifindex, u16 vlan)
{
	struct packet pkt = { .family = strchr(dst, ':') ? 6 : 4, .port = port, .vlan = vlan };

	ASSERT_EQ(inet_pton(pkt.family == 4 ? AF_INET : AF_INET6, dst, pkt.dst), 1);
	return guard_match(&rules, first_place, &pkt, ifindex);
}

TEST(only_our_addresses_are_ours)
{
	add_place(80, "0.0.0.0", 0, 0);
	add_place(443, "192.0.2.2", 0, 1);
	add_place(443, "2001:db8::2", 0, 1);
	add_place(8443, "::", 5, 2);
	EXPECT_EQ(match("198.51.100.1", 80, 3, 0), 0);
	EXPECT_EQ(match("198.51.100.1", 80, 3, 9), 0);
	EXPECT_EQ(match("2001:db8::2", 80, 3, 0), -1);
	EXPECT_EQ(match("192.0.2.2", 443, 3, 0), 1);
	EXPECT_EQ(match("192.0.2.3", 443, 3, 0), -1);
	EXPECT_EQ(match("2001:db8::2", 443, 3, 0), 1);
	EXPECT_EQ(match("2001:db8::3", 443, 3, 0), -1);
	EXPECT_EQ(match("192.0.2.2", 81, 3, 0), -1);
	EXPECT_EQ(match("2001:db8::3", 8443, 5, 0), 2);
	EXPECT_EQ(match("2001:db8::3", 8443, 6, 0), -1);
	/* A tagged frame goes to another interface than the one that it comes through. */
	EXPECT_EQ(match("2001:db8::3", 8443, 5, 9), -1);
}

TEST(as_many_places_as_fit_on_one_port)
{
	char addr[32];

	for (u32 i = 0; i + 1 < GUARD_PLACES; i++) {
		snprintf(addr, sizeof(addr), "10.0.0.%u", i + 1);
		add_place(443, addr, 0, 7);
	}
	for (u32 i = 0; i + 1 < GUARD_PLACES; i++) {
		snprintf(addr, sizeof(addr), "10.0.0.%u", i + 1);
		ASSERT_EQ(match(addr, 443, 1, 0), 7);
	}
	EXPECT_EQ(match("10.0.0.99", 443, 1, 0), -1);
}
