/* SPDX-License-Identifier: MIT */
/* Random numbers that can be repeated, and the ways to feed a parser its input in pieces. */
#ifndef HYPERION_SELFTESTS_RNG_H
#define HYPERION_SELFTESTS_RNG_H

#include "server/base.h"

struct rng {
	u64 state;
};

/* The seed of this run: HYPERION_SEED, else random; the harness prints it. */
u64 rng_run_seed(void);

/* Starts @r from the seed of this run. */
void rng_init(struct rng *r);
void rng_init_seed(struct rng *r, u64 seed);
u64 rng_next(struct rng *r);
/* 0 .. n-1; n > 0. */
u64 rng_below(struct rng *r, u64 n);
void rng_fill(struct rng *r, void *p, size_t len);

enum feeding {
	FEED_WHOLE,
	FEED_BYTES,
	FEED_RANDOM,
};

/* for (size_t n; (n = feed_next(&f)); p += n) ... : the lengths of the pieces, in order. */
struct feed {
	enum feeding how;
	size_t left;
	struct rng *rng;
};

/* @rng is read only for FEED_RANDOM; it must outlive @f. */
void feed_init(struct feed *f, enum feeding how, size_t len, struct rng *rng);
/* Length of the next piece, 0 at the end. */
size_t feed_next(struct feed *f);
const char *feeding_name(enum feeding how);

#endif
