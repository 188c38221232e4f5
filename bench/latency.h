/* SPDX-License-Identifier: MIT */
/*
 * Times of requests, for the clients of bench/: a histogram with 16 buckets per power of two of
 * nanoseconds, hence right within 6 %.
 */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define LATENCY_BUCKETS 1024

struct latency {
	uint64_t count, max_ns;
	uint64_t bucket[LATENCY_BUCKETS];
};

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static inline void latency_add(struct latency *l, uint64_t ns)
{
	int exp = ns < 16 ? 0 : 63 - __builtin_clzll(ns);

	l->bucket[ns < 16 ? ns : (exp - 3) * 16 + ((ns >> (exp - 4)) & 15)]++;
	l->count++;
	if (ns > l->max_ns)
		l->max_ns = ns;
}

/* Upper end of the bucket in which the share @q of all ends. */
static inline uint64_t latency_at(const struct latency *l, double q)
{
	uint64_t want = q * l->count, seen = 0, top;
	int b;

	for (b = 0; b < LATENCY_BUCKETS; b++) {
		seen += l->bucket[b];
		if (seen <= want)
			continue;
		top = b < 16 ? (uint64_t)b : (16ull + b % 16 + 1) << (b / 16 - 1);
		return top < l->max_ns ? top : l->max_ns;
	}
	return l->max_ns;
}

/* Members of a JSON object: some by name, and the curve. */
static inline void latency_print(const struct latency *l)
{
	static const char *const names[] = { "10", "25", "50",   "75",   "90",
					     "95", "99", "99.5", "99.9", "99.99" };
	static const double shares[] = { .1, .25, .5, .75, .9, .95, .99, .995, .999, .9999 };
	size_t i;

	printf("\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,\"latency\":{",
	       latency_at(l, 0.5) / 1e3, latency_at(l, 0.99) / 1e3, latency_at(l, 0.999) / 1e3,
	       l->max_ns / 1e3);
	for (i = 0; i < sizeof(shares) / sizeof(*shares); i++)
		printf("\"%s\":%.1f,", names[i], latency_at(l, shares[i]) / 1e3);
	printf("\"100\":%.1f}", l->max_ns / 1e3);
}

#endif
