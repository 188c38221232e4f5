/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a request: the head by both parsers, whole, byte by byte and
 * in splits that the input chooses; what follows it, and the input itself, as
 * a chunked body in the same ways; the fields and the target. Aborts when two
 * ways differ, or when a view leaves the buffer.
 */
#include "selftests/unit/h1_parse_portable.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_LEN (16 * KIB)
#define MAX_LEN_BYTES (2 * KIB) /* byte by byte copies the square of it */

int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

typedef ssize_t parse_fn(const char *buf, size_t len, size_t seen, struct msg *msg);

/* The next piece of @left bytes: all of them, one, or as many as the input's hash says. */
struct cuts {
	enum { CUT_NONE, CUT_BYTES, CUT_HASHED, NR_CUTS } how;
	u64 hash;
};

static u64 hash_of(const char *p, size_t len)
{
	u64 h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (u8)p[i]) * 0x100000001b3ull;
	return h;
}

static size_t next_piece(struct cuts *cuts, size_t left)
{
	if (cuts->how == CUT_NONE || left <= 1)
		return left;
	if (cuts->how == CUT_BYTES)
		return 1;
	cuts->hash = cuts->hash * 6364136223846793005ull + 1442695040888963407ull;
	return 1 + (size_t)((cuts->hash >> 33) % min(left, (size_t)64));
}

static void check_inside(struct view v, const char *p, size_t len)
{
	MUST(v.p >= p && v.len <= len && v.p - p <= (ssize_t)(len - v.len));
}

static bool same_place(struct view a, const char *abuf, struct view b, const char *bbuf)
{
	return a.p - abuf == b.p - bbuf && a.len == b.len;
}

static void check_same(const struct msg *a, const char *abuf, const struct msg *b, const char *bbuf)
{
	MUST(a->method == b->method && a->version_minor == b->version_minor);
	MUST(a->nr_headers == b->nr_headers);
	MUST(same_place(a->method_name, abuf, b->method_name, bbuf));
	MUST(same_place(a->target, abuf, b->target, bbuf));
	for (u32 i = 0; i < a->nr_headers; i++) {
		MUST(same_place(a->headers[i].name, abuf, b->headers[i].name, bbuf));
		MUST(same_place(a->headers[i].value, abuf, b->headers[i].value, bbuf));
	}
}

/* The bytes so far are always in a buffer that is no longer than they are. */
static ssize_t parse_in_pieces(parse_fn *parse, const char *p, size_t len, struct cuts cuts,
			       struct msg *msg, char **buf)
{
	size_t have = 0;
	ssize_t ret;

	*buf = NULL;
	do {
		size_t seen = have;

		have += next_piece(&cuts, len - have);
		free(*buf);
		*buf = malloc(have);
		memcpy(*buf, p, have);
		ret = parse(*buf, have, seen, msg);
		MUST(ret != 0 && ret <= (ssize_t)have);
		MUST(ret > 0 || ret == -EAGAIN ||
		     (h1_parse_err_of(ret) >= H1_ERR_METHOD && h1_parse_err_of(ret) < NR_H1_ERRS));
	} while (ret == -EAGAIN && have < len);
	return ret;
}

/* What an accepted head must be, said once more and simply. */
static void check_head(const char *p, size_t len, const struct msg *msg)
{
	MUST(memcmp(p + len - 2, "\r\n", 2) == 0);
	for (size_t i = 0; i < len; i++) {
		MUST(p[i] != 0 && p[i] != 0x7f);
		MUST((p[i] == '\n') == (i > 0 && p[i - 1] == '\r'));
	}
	MUST(msg->nr_headers <= MAX_HEADERS && msg->version_minor <= 1);
	MUST(msg->method_name.len > 0 && msg->target.len > 0);
	check_inside(msg->method_name, p, len);
	check_inside(msg->target, p, len);
	for (u32 i = 0; i < msg->nr_headers; i++) {
		struct view name = msg->headers[i].name, value = msg->headers[i].value;

		check_inside(name, p, len);
		check_inside(value, p, len);
		MUST(name.len > 0 && name.p[name.len] == ':');
		MUST(!memchr(value.p, '\r', value.len));
		MUST(value.len == 0 ||
		     (value.p[0] != ' ' && value.p[0] != '\t' && value.p[value.len - 1] != ' ' &&
		      value.p[value.len - 1] != '\t'));
	}
}

static void try_fields(const struct msg *msg)
{
	static const char *const methods[NR_METHODS] = {
		[METHOD_GET] = "GET",         [METHOD_HEAD] = "HEAD",
		[METHOD_POST] = "POST",       [METHOD_PUT] = "PUT",
		[METHOD_DELETE] = "DELETE",   [METHOD_PATCH] = "PATCH",
		[METHOD_OPTIONS] = "OPTIONS", [METHOD_CONNECT] = "CONNECT",
		[METHOD_TRACE] = "TRACE",
	};
	struct target t;
	u64 n;

	for (int m = METHOD_GET; m < NR_METHODS; m++)
		MUST(view_eq(msg->method_name, view_of(methods[m])) == ((int)msg->method == m));
	for (int m = 0; m < NR_METHODS; m++) {
		if (h1_split_target(msg->target, m, &t))
			continue;
		if (t.authority.len)
			check_inside(t.authority, msg->target.p, msg->target.len);
		if (t.has_query)
			check_inside(t.query, msg->target.p, msg->target.len);
		if (!view_eq(t.path, VIEW("/")) && t.path.len)
			check_inside(t.path, msg->target.p, msg->target.len);
		MUST(t.form == TARGET_AUTHORITY || t.path.len > 0);
	}
	for (u32 i = 0; i < msg->nr_headers; i++) {
		struct view name = msg->headers[i].name, value = msg->headers[i].value;

		MUST((h1_known_header(name) == HDR_TRANSFER_ENCODING) ==
		     view_ieq(name, VIEW("Transfer-Encoding")));
		MUST((h1_known_header(name) == HDR_CONTENT_LENGTH) ==
		     view_ieq(name, VIEW("Content-Length")));
		MUST((h1_check_te(value) == 0) == view_ieq(value, VIEW("chunked")));
		if (view_ieq(value, VIEW("chunked")))
			MUST(h1_list_has(value, VIEW("CHUNKED")));
		if (h1_check_host(value) == 0)
			MUST(!value.len || !memchr(value.p, '@', value.len));
		if (h1_parse_length(value, &n) == 0)
			MUST(n <= INT64_MAX);
	}
}

/* Returns the length of the head, 0 if there is none. */
static size_t try_head(const char *p, size_t len, u64 hash)
{
	static parse_fn *const parsers[] = { h1_parse_head, portable_parse_head };
	static struct msg first, msg;
	ssize_t want = h1_parse_head(p, len, 0, &first);

	for (size_t i = 0; i < ARRAY_SIZE(parsers); i++) {
		for (int how = 0; how < NR_CUTS; how++) {
			struct cuts cuts = { how, hash };
			char *buf;
			ssize_t ret;

			if (how == CUT_BYTES && len > MAX_LEN_BYTES)
				continue;
			ret = parse_in_pieces(parsers[i], p, len, cuts, &msg, &buf);

			/* Certain from the first, but in pieces it may wait for the end of a line. */
			MUST(ret == want || (want < 0 && ret == -EAGAIN));
			if (ret > 0) {
				check_same(&first, p, &msg, buf);
				check_head(buf, (size_t)ret, &msg);
				try_fields(&msg);
			}
			free(buf);
		}
	}
	return want > 0 ? (size_t)want : 0;
}

/* Where a body ended, and what was in it. */
struct outcome {
	ssize_t ret; /* bytes taken, or the refusal */
	bool done;
	u64 total;
	u64 hash;
};

static struct outcome decode(const char *p, size_t len, struct cuts cuts)
{
	struct outcome o = { .hash = 0xcbf29ce484222325ull };
	struct h1_chunked c = { .left = 0 };
	size_t off = 0;

	while (off < len && !o.done) {
		size_t piece = next_piece(&cuts, len - off), used = 0;
		char *buf = malloc(piece);

		memcpy(buf, p + off, piece);
		while (used < piece && !o.done) {
			struct view data;
			ssize_t n = h1_chunked_next(&c, buf + used, piece - used, &data, &o.done);

			if (n < 0) {
				o.ret = n;
				break;
			}
			MUST(n > 0 && (size_t)n <= piece - used);
			check_inside(data, buf + used, (size_t)n);
			for (size_t i = 0; i < data.len; i++)
				o.hash = (o.hash ^ (u8)data.p[i]) * 0x100000001b3ull;
			o.total += data.len;
			used += (size_t)n;
		}
		free(buf);
		if (o.ret < 0)
			break;
		off += used;
	}
	MUST(c.total == o.total);
	if (o.ret == 0)
		o.ret = (ssize_t)off;
	return o;
}

static void try_chunked(const char *p, size_t len, u64 hash)
{
	struct outcome want = decode(p, len, (struct cuts){ CUT_NONE, 0 });

	for (int how = CUT_BYTES; how < NR_CUTS; how++) {
		struct outcome o = decode(p, len, (struct cuts){ how, hash });

		MUST(o.ret == want.ret && o.done == want.done);
		MUST(o.total == want.total && o.hash == want.hash);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	const char *p = (const char *)data;
	size_t head;
	u64 hash;

	if (len == 0 || len > MAX_LEN)
		return 0;
	hash = hash_of(p, len);
	head = try_head(p, len, hash);
	try_chunked(p, len, hash);
	if (head)
		try_chunked(p + head, len - head, hash);
	return 0;
}
