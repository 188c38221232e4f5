/* SPDX-License-Identifier: MIT */
/*
 * From an Ethernet frame to its TCP header: tags, IPv4 with options, IPv6 with
 * extension headers, fragments. Plain C that reads nothing outside of
 * [data, end), compiled for BPF programs and for user space alike. What it
 * cannot follow it names, and its caller lets it pass.
 */
#ifndef HYPERION_BPF_PACKET_H
#define HYPERION_BPF_PACKET_H

#include <linux/types.h>

#define PACKET_TAGS 2 /* 802.1Q, 802.1ad */
#define PACKET_EXTENSIONS 8 /* IPv6 headers before the transport's */

enum packet_kind {
	PACKET_TCP, /* everything in struct packet is set */
	PACKET_NOT_IP,
	PACKET_NOT_TCP, /* another transport, or one that is encrypted */
	PACKET_FRAGMENT, /* not the first one, or the first without a whole TCP header */
	PACKET_TRUNCATED, /* ends before its headers do */
	PACKET_MALFORMED, /* lengths and versions that contradict each other */
	PACKET_DEEP, /* more tags or headers than we follow; a route that goes on from here */
	NR_PACKET_KINDS
};

struct packet {
	__u8 family; /* 4 or 6 */
	__u8 flags; /* of TCP */
	__u16 port; /* destination, host order */
	__u16 vlan; /* the outer tag's id; 0: none, or only a priority */
	__u32 src[4], dst[4]; /* network order; IPv4: the first word, the others 0 */
};

#define PACKET_FIN 0x01
#define PACKET_SYN 0x02
#define PACKET_ACK 0x10

/* A client's first segment (RFC 9293 3.5). */
static inline int packet_is_syn(const struct packet *pkt)
{
	return (pkt->flags & (PACKET_SYN | PACKET_ACK)) == PACKET_SYN;
}

/* Byte by byte: nothing in a frame is aligned, and no order is assumed. */
static inline __u16 packet_be16(const __u8 *p)
{
	return (__u16)(p[0] << 8 | p[1]);
}

#define PACKET_ETH_LEN 14
#define PACKET_TCP_LEN 20

/*
 * @l4_len: bytes that the IP header says there are from @p on. A fragment may
 * be cut where it pleases its sender, a whole packet may not.
 */
static inline enum packet_kind packet_tcp(const __u8 *p, const __u8 *end, __u32 l4_len,
					  int is_fragment, struct packet *pkt)
{
	if (l4_len < PACKET_TCP_LEN)
		return is_fragment ? PACKET_FRAGMENT : PACKET_MALFORMED;
	if (p + PACKET_TCP_LEN > end)
		return PACKET_TRUNCATED;
	if (p[12] >> 4 < PACKET_TCP_LEN / 4)
		return PACKET_MALFORMED;
	pkt->port = packet_be16(p + 2);
	pkt->flags = p[13];
	return PACKET_TCP;
}

#define PACKET_PROTO_TCP 6

/* RFC 791 3.1 */
static inline enum packet_kind packet_ipv4(const __u8 *p, const __u8 *end, struct packet *pkt)
{
	__u32 head_len, total_len, fragment;

	if (p + 20 > end)
		return PACKET_TRUNCATED;
	head_len = (p[0] & 0xfu) * 4;
	total_len = packet_be16(p + 2);
	fragment = packet_be16(p + 6);
	if (p[0] >> 4 != 4 || head_len < 20 || total_len < head_len)
		return PACKET_MALFORMED;
	if (p[9] != PACKET_PROTO_TCP)
		return PACKET_NOT_TCP;
	if (fragment & 0x1fff)
		return PACKET_FRAGMENT;
	pkt->family = 4;
	__builtin_memcpy(&pkt->src[0], p + 12, 4);
	__builtin_memcpy(&pkt->dst[0], p + 16, 4);
	return packet_tcp(p + head_len, end, total_len - head_len, (fragment & 0x2000) != 0, pkt);
}

/*
 * Extension headers by their numbers (RFC 8200 4, RFC 4302, RFC 6275, RFC 7401,
 * RFC 5533). How long one is comes from a table and not from branches: the
 * verifier would follow all combinations of these through the loop.
 */
#define PACKET_EXT_ROUTING 43
#define PACKET_EXT_FRAGMENT 44

struct packet_extension {
	__u8 unit, base; /* bytes: base + unit times its second byte; base 0: it is none */
};

static const struct packet_extension packet_extensions[256] = {
	[0] = { 8, 8 }, /* hop by hop */
	[PACKET_EXT_ROUTING] = { 8, 8 },
	[PACKET_EXT_FRAGMENT] = { 0, 8 },
	[51] = { 4, 8 }, /* authentication */
	[60] = { 8, 8 }, /* destination */
	[135] = { 8, 8 }, /* mobility */
	[139] = { 8, 8 }, /* host identity */
	[140] = { 8, 8 }, /* shim6 */
};

/* RFC 8200 */
static inline enum packet_kind packet_ipv6(const __u8 *p, const __u8 *end, struct packet *pkt)
{
	int is_fragment = 0;
	__u32 left; /* payload behind @p, as the header says */
	__u8 next;

	if (p + 40 > end)
		return PACKET_TRUNCATED;
	if (p[0] >> 4 != 6)
		return PACKET_MALFORMED;
	left = packet_be16(p + 4);
	next = p[6];
	pkt->family = 6;
	__builtin_memcpy(pkt->src, p + 8, 16);
	__builtin_memcpy(pkt->dst, p + 24, 16);
	p += 40;
	for (int i = 0; i < PACKET_EXTENSIONS; i++) {
		const struct packet_extension *ext;
		__u32 len;

		if (next == PACKET_PROTO_TCP)
			return packet_tcp(p, end, left, is_fragment, pkt);
		ext = &packet_extensions[next];
		if (!ext->base)
			return PACKET_NOT_TCP;
		if (p + 8 > end)
			return PACKET_TRUNCATED;
		len = ((__u32)p[1] * ext->unit + ext->base) & 0xfff; /* 2048 at most */
		if (next == PACKET_EXT_FRAGMENT) {
			if (packet_be16(p + 2) & 0xfff8)
				return PACKET_FRAGMENT;
			is_fragment |= p[3] & 1;
		}
		if (next == PACKET_EXT_ROUTING && p[3])
			return PACKET_DEEP;
		if (len > left)
			return is_fragment ? PACKET_FRAGMENT : PACKET_MALFORMED;
		next = p[0];
		left -= len;
		p += len;
	}
	return PACKET_DEEP;
}

#define PACKET_TYPE_IPV4 0x0800
#define PACKET_TYPE_IPV6 0x86dd
#define PACKET_TYPE_8021Q 0x8100
#define PACKET_TYPE_8021AD 0x88a8

/* Only PACKET_TCP fills all of @pkt. */
static inline enum packet_kind packet_walk(const void *data, const void *data_end, struct packet *pkt)
{
	const __u8 *p = data, *end = data_end;
	__u16 type;

	__builtin_memset(pkt, 0, sizeof(*pkt));
	if (p + PACKET_ETH_LEN > end)
		return PACKET_TRUNCATED;
	type = packet_be16(p + 12);
	p += PACKET_ETH_LEN;
	for (int i = 0; i < PACKET_TAGS; i++) {
		if (type != PACKET_TYPE_8021Q && type != PACKET_TYPE_8021AD)
			break;
		if (p + 4 > end)
			return PACKET_TRUNCATED;
		if (!pkt->vlan)
			pkt->vlan = packet_be16(p) & 0xfff;
		type = packet_be16(p + 2);
		p += 4;
	}
	switch (type) {
	case PACKET_TYPE_IPV4:
		return packet_ipv4(p, end, pkt);
	case PACKET_TYPE_IPV6:
		return packet_ipv6(p, end, pkt);
	case PACKET_TYPE_8021Q:
	case PACKET_TYPE_8021AD:
		return PACKET_DEEP;
	default:
		return PACKET_NOT_IP;
	}
}

#endif
