/* SPDX-License-Identifier: MIT */
#include "selftests/harness/rng.h"

#include <stdlib.h>
#include <sys/random.h>

u64 rng_run_seed(void)
{
	static u64 seed;
	static bool known;
	const char *env;

	if (known)
		return seed;
	env = getenv("HYPERION_SEED");
	if (env && *env)
		seed = strtoull(env, NULL, 0);
	else if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		abort();
	known = true;
	return seed;
}

void rng_init_seed(struct rng *r, u64 seed)
{
	r->state = seed;
}

void rng_init(struct rng *r)
{
	rng_init_seed(r, rng_run_seed());
}

/* splitmix64: any seed will do, 0 too. */
u64 rng_next(struct rng *r)
{
	u64 z = r->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* The bias of % is of no account at the sizes that tests use. */
u64 rng_below(struct rng *r, u64 n)
{
	return rng_next(r) % n;
}

void rng_fill(struct rng *r, void *p, size_t len)
{
	u8 *to = p;

	for (size_t i = 0; i < len; i++)
		to[i] = (u8)rng_next(r);
}

void feed_init(struct feed *f, enum feeding how, size_t len, struct rng *rng)
{
	*f = (struct feed){ .how = how, .left = len, .rng = rng };
}

size_t feed_next(struct feed *f)
{
	size_t len = f->left;

	if (!len)
		return 0;
	if (f->how == FEED_BYTES)
		len = 1;
	else if (f->how == FEED_RANDOM)
		/* Short pieces often, long ones now and then: seams fall everywhere. */
		len = 1 + rng_below(f->rng, rng_below(f->rng, 4) ? min(len, (size_t)16) : len);
	f->left -= len;
	return len;
}

const char *feeding_name(enum feeding how)
{
	static const char *const names[] = {
		[FEED_WHOLE] = "whole",
		[FEED_BYTES] = "bytes",
		[FEED_RANDOM] = "random",
	};

	return names[how];
}
