/* SPDX-License-Identifier: MIT */
#include "selftests/guard/frame.h"

#include <arpa/inet.h>

#define TCP_LEN 20u

static u8 *put16(u8 *p, u32 n)
{
	p[0] = (u8)(n >> 8);
	p[1] = (u8)n;
	return p + 2;
}

/* RFC 1071 */
static u32 add_words(u32 sum, const u8 *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (u32)p[i] << 8;
	return sum;
}

static u16 fold(u32 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (u16)~sum;
}

/* The addresses lie before each other in both families' pseudo headers. */
static void put_tcp(u8 *p, const struct frame_plan *plan, const u8 *addresses, size_t addresses_len)
{
	u32 len = TCP_LEN + plan->payload, sum;

	memset(p, 0, TCP_LEN);
	put16(p, plan->sport);
	put16(p + 2, plan->dport);
	p[7] = 1; /* sequence number */
	p[12] = TCP_LEN / 4 << 4;
	p[13] = plan->flags;
	put16(p + 14, 1024);
	memset(p + TCP_LEN, 'x', plan->payload);
	sum = add_words(6 + len, addresses, addresses_len);
	put16(p + 16, fold(add_words(sum, p, len)));
}

static u8 *put_ipv4(u8 *p, const struct frame_plan *plan)
{
	u32 head_len = 20 + plan->options, len = TCP_LEN + plan->payload;
	u8 *head = p;

	memset(p, 0, head_len);
	p[0] = (u8)(4 << 4 | head_len / 4);
	put16(p + 2, head_len + len);
	p[5] = 7; /* identification: that of all fragments */
	put16(p + 6, (plan->more ? 0x2000u : 0) | plan->offset);
	p[8] = 64;
	p[9] = plan->proto ? plan->proto : 6;
	inet_pton(AF_INET, plan->src, p + 12);
	inet_pton(AF_INET, plan->dst, p + 16);
	memset(p + 20, 1, plan->options); /* no operation */
	put16(head + 10, fold(add_words(0, head, head_len)));
	put_tcp(p + head_len, plan, head + 12, 8);
	return p + head_len + len;
}

#define EXT_FRAGMENT 44
#define EXT_AUTHENTICATION 51

/* One header, the next one's number still missing. */
static u8 *put_extension(u8 *p, const struct frame_plan *plan, u8 kind)
{
	memset(p, 0, 16);
	if (kind == EXT_FRAGMENT) {
		put16(p + 2, (u32)plan->offset << 3 | plan->more);
		p[7] = 9;
		return p + 8;
	}
	if (kind == EXT_AUTHENTICATION) {
		p[1] = 2;
		return p + 16;
	}
	p[1] = 1;
	/* Options that are skipped: PadN over all of it. */
	p[2] = 1;
	p[3] = 12;
	if (kind == 43)
		p[2] = 253, p[3] = 0; /* an experimental route with nothing left */
	return p + 16;
}

static u8 *put_ipv6(u8 *p, const struct frame_plan *plan)
{
	u8 *head = p, *next = p + 6;

	memset(p, 0, 40);
	p[0] = 6 << 4;
	p[7] = 64;
	inet_pton(AF_INET6, plan->src, p + 8);
	inet_pton(AF_INET6, plan->dst, p + 24);
	p += 40;
	for (u32 i = 0; i < plan->nr_extensions; i++) {
		*next = plan->extensions[i];
		next = p;
		p = put_extension(p, plan, plan->extensions[i]);
	}
	*next = plan->proto ? plan->proto : 6;
	put_tcp(p, plan, head + 8, 32);
	p += TCP_LEN + plan->payload;
	put16(head + 4, (u32)(p - head) - 40);
	return p;
}

size_t frame_build(const struct frame_plan *plan, u8 *out)
{
	bool v6 = plan->src && strchr(plan->src, ':');
	u8 *p = out;

	memcpy(p, plan->to, 6);
	memcpy(p + 6, plan->from, 6);
	p += 12;
	for (u32 i = 0; i < plan->nr_tags; i++) {
		p = put16(p, i + 1 < plan->nr_tags ? 0x88a8 : 0x8100);
		p = put16(p, plan->tags[i]);
	}
	p = put16(p, plan->ethertype ? plan->ethertype : v6 ? 0x86dd : 0x0800);
	if (!plan->src)
		return (size_t)(p - out);
	p = v6 ? put_ipv6(p, plan) : put_ipv4(p, plan);
	return (size_t)(p - out);
}
