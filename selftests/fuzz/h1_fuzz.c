/* SPDX-License-Identifier: MIT */
/*
 * A whole connection: the input is said at once, byte by byte, and in pieces
 * that its first bytes choose, to links with and without back-pressure. All
 * must answer the same, in answers that a strict client can read.
 *
 * Input: one byte of flags, one that seeds the pieces, then what the peer says.
 */
#include <stdio.h>
#include <stdlib.h>

#include "selftests/h1_owner.h"
#include "selftests/harness/rng.h"
#include "server/reqid.h"

int LLVMFuzzerTestOneInput(const u8 *p, size_t len);

#define FUZZ_MAX_LEN 16384

enum fuzz_flag {
	FUZZ_EOF = 1 << 0, /* the peer finishes; else nothing more comes */
	FUZZ_SMALL = 1 << 1, /* limits so small that short inputs meet them */
	FUZZ_DRAIN = 1 << 2, /* the server is about to stop */
	FUZZ_VIEWS = 1 << 3,
};

struct way {
	enum feeding how;
	size_t send_max;
	bool late;
	u32 max_out;
};

/* Ends what the input left open in the same way for all: a head, but not a body. */
static const char line_ends[] = "\r\n\r\n";

static struct reqid ids; /* zeros will do */

static void set_up(struct owner *o, const struct way *way, u8 flags)
{
	if (!owner_init(o))
		abort();
	o->send_max = way->send_max;
	o->copy = COPY_TO_HEAP;
	o->stopped = way->late;
	if (way->max_out)
		o->limits.max_out_bytes = way->max_out;
	if (flags & FUZZ_SMALL) {
		o->limits.max_header_bytes = 80;
		o->limits.max_body_bytes = 9;
	}
	o->http.draining = flags & FUZZ_DRAIN;
	o->http.keep = flags & FUZZ_VIEWS ? ~0u : 0;
	o->http.ids = flags & FUZZ_VIEWS ? &ids : NULL;
}

/* What came out, with the state of the link behind it. */
static struct bytes converse(const struct way *way, u8 flags, u64 seed, const char *p, size_t len)
{
	struct bytes out;
	struct owner o;
	struct feed f;
	struct rng rng;
	size_t n;
	bool closed;

	set_up(&o, way, flags);
	rng_init_seed(&rng, seed);
	feed_init(&f, way->how, len, &rng);
	for (; (n = feed_next(&f)); p += n)
		owner_feed(&o, p, n);
	owner_feed(&o, line_ends, sizeof(line_ends) - 1);
	o.stopped = false;
	owner_flush(&o);
	closed = o.closed;
	if (flags & FUZZ_EOF)
		owner_eof(&o);
	else
		owner_wait(&o, 120 * MSEC_PER_SEC);
	/* Nothing is open for ever. */
	if (!o.closed)
		abort();
	out = o.out;
	o.out = (struct bytes){ 0 };
	owner_fini(&o);
	/* Room for one more: bytes_add() leaves some, but not always. */
	out.p = realloc(out.p, out.len + 1);
	if (!out.p)
		abort();
	out.p[out.len++] = closed ? 'c' : 'o';
	return out;
}

/* Only status lines are looked for: whether an answer is to HEAD is not known here. */
static void check(const struct bytes *out)
{
	if (out->len > 1 && (out->len < 20 || memcmp(out->p, "HTTP/1.1 ", 9) != 0))
		abort();
}

int LLVMFuzzerTestOneInput(const u8 *p, size_t len)
{
	struct bytes want, out;
	u64 seed;
	struct way ways[] = {
		{ .how = FEED_WHOLE, .send_max = SIZE_MAX },
		{ .how = FEED_BYTES, .send_max = SIZE_MAX },
		{ .how = FEED_RANDOM, .send_max = SIZE_MAX, .late = true },
		{ .how = FEED_RANDOM, .send_max = 100, .max_out = 1 },
		{ .how = FEED_WHOLE, .send_max = 1000, .late = true, .max_out = 1000 },
	};

	if (len < 2 || len > FUZZ_MAX_LEN)
		return 0;
	seed = p[1];
	want = converse(&ways[0], p[0], seed, (const char *)p + 2, len - 2);
	check(&want);
	for (size_t i = 1; i < ARRAY_SIZE(ways); i++) {
		out = converse(&ways[i], p[0], seed, (const char *)p + 2, len - 2);
		if (out.len != want.len || memcmp(out.p, want.p, out.len) != 0) {
			fprintf(stderr, "--- way 0: %.*s\n--- way %zu: %.*s\n", (int)want.len,
				want.p, i, (int)out.len, out.p);
			abort();
		}
		free(out.p);
	}
	free(want.p);
	return 0;
}
