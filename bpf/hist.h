/* SPDX-License-Identifier: MIT */
/*
 * Histograms of durations: eight buckets for each power of two, from 1 us
 * (2^10 ns) to 68 s (2^36 ns), one for what is shorter and one for what is
 * longer. A bucket is at most an eighth of its lower bound wide, so that a
 * quantile is off by 12.5 % at most. For BPF programs, the server and tools.
 */
#ifndef HYPERION_BPF_HIST_H
#define HYPERION_BPF_HIST_H

#include <linux/types.h>

#define HIST_LOW_SHIFT 10
#define HIST_HIGH_SHIFT 36
#define HIST_SUB_SHIFT 3
#define HIST_SUB (1u << HIST_SUB_SHIFT)
#define HIST_BUCKETS ((HIST_HIGH_SHIFT - HIST_LOW_SHIFT) * HIST_SUB + 2)
#define HIST_LAST (HIST_BUCKETS - 1)

/* The position of the highest bit of @v, which is not 0. */
static inline __u32 hist_log2(__u64 v)
{
#ifdef __bpf__
	/* The BPF backend has no instruction for it. */
	__u32 n = 0;

	for (__u32 shift = 32; shift; shift /= 2) {
		__u32 more = v >> shift ? shift : 0;

		v >>= more;
		n += more;
	}
	return n;
#else
	return 63 - (__u32)__builtin_clzll(v);
#endif
}

static inline __u32 hist_index(__u64 ns)
{
	__u32 log2;

	if (ns >> HIST_LOW_SHIFT == 0)
		return 0;
	if (ns >> HIST_HIGH_SHIFT)
		return HIST_LAST;
	log2 = hist_log2(ns);
	return 1 + (log2 - HIST_LOW_SHIFT) * HIST_SUB +
	       (__u32)(ns >> (log2 - HIST_SUB_SHIFT) & (HIST_SUB - 1));
}

/* The shortest duration that bucket @i counts, ns. */
static inline __u64 hist_low(__u32 i)
{
	__u32 octave, sub;

	if (i == 0)
		return 0;
	if (i >= HIST_LAST)
		return 1ull << HIST_HIGH_SHIFT;
	octave = (i - 1) / HIST_SUB + HIST_LOW_SHIFT;
	sub = (i - 1) % HIST_SUB;
	return (__u64)(HIST_SUB + sub) << (octave - HIST_SUB_SHIFT);
}

/* The first duration above bucket @i; the last one has no end, and is shown as its start. */
static inline __u64 hist_high(__u32 i)
{
	return hist_low(i >= HIST_LAST ? HIST_LAST : i + 1);
}

/*
 * The duration below which @per_100k of 100,000 counts lie, ns: within the
 * bucket it is interpolated. 0 when nothing was counted.
 */
static inline __u64 hist_quantile(const __u64 counts[HIST_BUCKETS], __u32 per_100k)
{
	__u64 total = 0, rank, below = 0;

	for (__u32 i = 0; i < HIST_BUCKETS; i++)
		total += counts[i];
	if (!total)
		return 0;
	/* In two steps: the product of a long-lived count would not fit. */
	rank = total / 100000 * per_100k + (total % 100000 * per_100k + 99999) / 100000;
	if (!rank)
		rank = 1;
	for (__u32 i = 0; i < HIST_BUCKETS; i++) {
		if (below + counts[i] >= rank) {
			__u64 width = hist_high(i) - hist_low(i);

			return hist_low(i) +
			       (__u64)((unsigned __int128)width * (rank - below) / counts[i]);
		}
		below += counts[i];
	}
	return hist_low(HIST_LAST);
}

#endif
