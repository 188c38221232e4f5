/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a stream of TLS records, whole, byte by byte and in splits that
 * the input chooses; the first byte is the phase. A plain reading of the same
 * bytes says what has to come out.
 */
#include "ktls/record.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct outcome {
	u64 nr; /* whole records */
	u64 ends; /* sum of the places where they end */
	u32 err;
	size_t at; /* of the byte that was refused, or the length */
	u32 need;
};

enum cuts { CUT_NONE, CUT_BYTES, CUT_HASHED, NR_CUTS };

static struct outcome walk(u8 phase, const u8 *p, size_t len, enum cuts cuts)
{
	struct record_walk w = { .phase = phase };
	struct outcome o = { .at = 0 };
	u64 hash = len;

	while (o.at < len) {
		size_t piece = len - o.at;
		u8 before = w.nr_head;
		bool whole;
		ssize_t n;

		hash = hash * 6364136223846793005ull + 1442695040888963407ull + p[o.at];
		if (cuts == CUT_BYTES)
			piece = 1;
		else if (cuts == CUT_HASHED)
			piece = min(piece, (size_t)(1 + (hash >> 33) % 40));
		n = record_next(&w, p + o.at, piece, &whole);
		MUST(n != 0 && n <= (ssize_t)piece);
		if (n < 0) {
			o.err = record_err_of(n);
			MUST(o.err && o.err < NR_RECORD_ERRS);
			o.at += w.nr_head - before - 1u;
			MUST(record_next(&w, p, len, &whole) == n);
			break;
		}
		o.at += (size_t)n;
		MUST(whole == (w.nr_head == 0));
		MUST(whole == (record_need(&w) == 0));
		if (whole)
			o.ends += o.at;
	}
	o.nr = w.nr;
	o.need = o.err ? 0 : record_need(&w);
	return o;
}

static u32 judge(u8 phase, const u8 *p, size_t len, size_t *bad)
{
	static const u32 most[] = { 16384, 16384 + 2048, 16384 + 256 };
	static const char *const types[] = { "\24\25\26", "\25\26\27", "\24\25\26\27" };
	u32 n;

	*bad = 0;
	if (p[0] == 0 || !strchr(types[phase], p[0]))
		return RECORD_ERR_TYPE;
	*bad = 1;
	if (len > 1 && p[1] != 3)
		return RECORD_ERR_VERSION;
	*bad = 2;
	if (len > 2 && phase != RECORD_PLAIN && p[2] != 3)
		return RECORD_ERR_VERSION;
	*bad = 4;
	if (len < 5)
		return 0;
	n = p[3] * 256u + p[4];
	return n > most[phase] ? RECORD_ERR_LENGTH : n == 0 ? RECORD_ERR_EMPTY : 0;
}

static struct outcome expected(u8 phase, const u8 *p, size_t len)
{
	struct outcome o = { .at = 0 };

	while (o.at < len) {
		size_t left = len - o.at, bad, end;

		o.err = judge(phase, p + o.at, left, &bad);
		if (o.err) {
			o.at += bad;
			return o;
		}
		end = left < 5 ? 5 : 5u + p[o.at + 3] * 256u + p[o.at + 4];
		if (left < end) {
			o.need = (u32)(end - left);
			o.at = len;
			return o;
		}
		if (phase == RECORD_PLAIN && p[o.at] == RECORD_CCS)
			phase = RECORD_SEALED_12;
		o.at += end;
		o.ends += o.at;
		o.nr++;
	}
	return o;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	struct outcome want;
	u8 phase;

	if (len < 2)
		return 0;
	phase = data[0] % NR_RECORD_PHASES;
	want = expected(phase, data + 1, len - 1);
	for (int cuts = CUT_NONE; cuts < NR_CUTS; cuts++) {
		struct outcome got = walk(phase, data + 1, len - 1, (enum cuts)cuts);

		MUST(got.nr == want.nr && got.ends == want.ends && got.err == want.err);
		MUST(got.at == want.at && got.need == want.need);
	}
	return 0;
}
