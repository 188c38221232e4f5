/* SPDX-License-Identifier: MIT */
#include "server/reqid.h"

#include <sys/random.h>

/* 64 bits, highest first: 4 in the first character, 6 in each other one. */
static void put(char *p, u64 n)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

	for (u32 i = 0; i < REQID_HALF; i++)
		p[i] = digits[n >> (60 - 6 * i) & (i ? 63 : 15)];
}

static u32 ror(u32 x, int n)
{
	return x >> n | x << (32 - n);
}

static u32 rol(u32 x, int n)
{
	return x << n | x >> (32 - n);
}

/* One round of Speck (Beaulieu et al. 2013, the one with blocks of 64 bits). */
static void mix(u32 *x, u32 *y, u32 key)
{
	*x = (ror(*x, 8) + *y) ^ key;
	*y = rol(*y, 3) ^ *x;
}

/* A cipher maps no two numbers to the same one, unlike a hash. */
static u64 encipher(const struct reqid *g, u64 n)
{
	u32 x = (u32)(n >> 32), y = (u32)n;

	for (u32 i = 0; i < REQID_ROUNDS; i++)
		mix(&x, &y, g->keys[i]);
	return (u64)x << 32 | y;
}

void reqid_seed(struct reqid *g, u64 start, const u32 key[4])
{
	u32 l[3] = { key[1], key[2], key[3] }, k = key[0];

	for (u32 i = 0; i < REQID_ROUNDS; i++) {
		g->keys[i] = k;
		mix(&l[i % 3], &k, i);
	}
	put(g->start, start);
	g->next = 0;
}

int reqid_init(struct reqid *g)
{
	struct {
		u64 start;
		u32 key[4];
	} seed;
	ssize_t n = getrandom(&seed, sizeof(seed), 0);

	if (n != sizeof(seed))
		return n < 0 ? -errno : -EIO;
	reqid_seed(g, seed.start, seed.key);
	return 0;
}

void reqid_next(struct reqid *g, char out[REQID_LEN])
{
	memcpy(out, g->start, REQID_HALF);
	put(out + REQID_HALF, encipher(g, g->next++));
}

bool reqid_sane(struct view id)
{
	bool good = id.len > 0 && id.len <= REQID_MAX;

	for (size_t i = 0; good && i < id.len; i++) {
		char c = id.p[i];

		good = c > 0x20 && c < 0x7f && c != '"' && c != '\'' && c != '`' && c != '\\';
	}
	return good;
}
