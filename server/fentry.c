/* SPDX-License-Identifier: MIT */
#include "server/fentry.h"

#include <stdio.h>
#include <unistd.h>

#include "server/fail.h"

#define HEAD_MAX 1024u /* its longest lines come to 500 bytes */

static void put_hold(struct hold *h)
{
	struct fentry *e = container_of(h, struct fentry, hold);

	e->nr_queued--;
	fentry_put(e);
}

void fentry_put(struct fentry *e)
{
	if (--e->refs)
		return;
	if (e->fd >= 0)
		close(e->fd);
	free(e);
}

/* Eight bytes at a time; told apart have to be only versions of one file. */
static u64 hash_bytes(const char *p, size_t len)
{
	u64 h = len * 0x9e3779b97f4a7c15ull, word;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		h = (h ^ word) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
	}
	word = 0;
	memcpy(&word, p, len);
	h = (h ^ word) * 0xc4ceb9fe1a85ec53ull;
	return h ^ h >> 29;
}

/*
 * Strong. Of the bytes where we have them: a reproducible build gives every
 * version of a file the same time. Else of the time, the size and the inode.
 */
static void make_etag(char *out, size_t room, const struct stamp *stamp, enum coding coding,
		      const char *body)
{
	const char *suffix = coding == CODING_IDENTITY ? "" : coding_suffixes[coding] + 1;
	const char *dash = suffix[0] ? "-" : "";

	if (body)
		snprintf(out, room, "\"%llx-%016llx%s%s\"", (unsigned long long)stamp->size,
			 (unsigned long long)hash_bytes(body, stamp->size), dash, suffix);
	else
		snprintf(out, room, "\"%llx-%llx-%llx%s%s\"", (unsigned long long)stamp->size,
			 (unsigned long long)stamp->mtime_ns, (unsigned long long)stamp->ino, dash,
			 suffix);
}

/* The whole of a small file; -EAGAIN when it is shorter than it was. */
static int read_body(int fd, char *p, size_t len)
{
	size_t off = 0;

	while (off < len) {
		ssize_t n = pread(fd, p + off, len - off, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EAGAIN;
		off += (size_t)n;
	}
	return 0;
}

static int stamp_fd(int fd, struct stamp *out)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	*out = stamp_of(&st);
	return 0;
}

/* Writes the head to @p and notes where its parts are. */
static void put_head(struct fentry *e, const struct fentry_params *params, const char *etag, char *p)
{
	struct date modified = { .second = UINT64_MAX };
	int n, etag_off;

	date_set(&modified, e->modified);
	n = snprintf(p, HEAD_MAX, "HTTP/1.1 200 OK\r\ndate: ");
	e->date_off = (u32)n;
	n += snprintf(p + n, HEAD_MAX - (size_t)n, "%*s\r\ncontent-length: %llu\r\n", (int)DATE_LEN,
		      "", (unsigned long long)e->body_len);
	e->typed_off = (u32)n;
	n += snprintf(p + n, HEAD_MAX - (size_t)n, "content-type: %s\r\n", params->type);
	if (params->coding != CODING_IDENTITY)
		n += snprintf(p + n, HEAD_MAX - (size_t)n, "content-encoding: %s\r\n",
			      coding_names[params->coding]);
	e->common_off = (u32)n;
	n += snprintf(p + n, HEAD_MAX - (size_t)n, "etag: ");
	etag_off = n;
	n += snprintf(p + n, HEAD_MAX - (size_t)n, "%s\r\nlast-modified: %s\r\naccept-ranges: %s\r\n",
		      etag, modified.text, e->packed ? "none" : "bytes");
	if (params->vary)
		n += snprintf(p + n, HEAD_MAX - (size_t)n, "vary: accept-encoding\r\n");
	if (params->immutable)
		n += snprintf(p + n, HEAD_MAX - (size_t)n,
			      "cache-control: public, max-age=31536000, immutable\r\n");
	if (params->lines)
		n += snprintf(p + n, HEAD_MAX - (size_t)n, "%s", params->lines);
	e->head_len = (u32)n;
	e->etag = (struct view){ e->bytes + etag_off, strlen(etag) };
}

/* Behind the head, whose length is known only when the body was read: it is moved there. */
static int fill(struct fentry *e, const struct fentry_params *params, bool small)
{
	char head[HEAD_MAX], etag[80], *body = e->bytes + HEAD_MAX + 2;
	struct stamp after;
	int err = 0;

	if (small)
		err = read_body(params->fd, body, e->body_len);
	if (!err)
		err = stamp_fd(params->fd, &after);
	if (!err && !stamp_eq(&after, &e->stamp))
		err = -EAGAIN;
	if (err)
		return err;
	make_etag(etag, sizeof(etag), &e->stamp, params->coding, small ? body : NULL);
	put_head(e, params, etag, head);
	memcpy(e->bytes, head, e->head_len);
	memcpy(e->bytes + e->head_len, "\r\n", 2);
	if (small)
		memmove(e->bytes + e->head_len + 2, body, e->body_len);
	return 0;
}

int fentry_new(const struct fentry_params *params, struct fentry **out)
{
	struct fentry *e = NULL;
	struct stamp stamp;
	size_t cost;
	bool small;
	int err = stamp_fd(params->fd, &stamp);

	if (err)
		goto err_fd;
	small = stamp.size <= FENTRY_SMALL;
	cost = sizeof(*e) + HEAD_MAX + 2 + (small ? stamp.size : 0);
	e = mem_alloc(cost);
	err = -ENOMEM;
	if (!e)
		goto err_fd;
	*e = (struct fentry){
		.hold.put = put_hold,
		.refs = 1,
		.coding = params->coding,
		.fd = small ? -1 : params->fd,
		.stamp = stamp,
		.modified = stamp.mtime_ns / NSEC_PER_SEC,
		.body_len = stamp.size,
		.date_second = UINT64_MAX,
		.cost = cost,
	};
	err = fill(e, params, small);
	if (err)
		goto err_entry;
	if (small)
		close(params->fd);
	*out = e;
	return 0;

err_entry:
	free(e);
err_fd:
	close(params->fd);
	return err;
}

/* Whoever compresses it anew may get other bytes: the tag is weak. */
static void make_packed_etag(char *out, size_t room, const struct fentry *from, enum coding coding)
{
	snprintf(out, room, "W/%.*s-%s\"", (int)from->etag.len - 1, from->etag.p,
		 coding_suffixes[coding] + 1);
}

struct fentry *fentry_new_packed(const struct fentry *from, const struct fentry_params *params,
				 const char *body, size_t len)
{
	size_t cost = sizeof(*from) + HEAD_MAX + 2 + len;
	struct fentry *e = mem_alloc(cost);
	char etag[96], head[HEAD_MAX];

	if (!e)
		return NULL;
	*e = (struct fentry){
		.hold.put = put_hold,
		.refs = 1,
		.coding = params->coding,
		.packed = true,
		.fd = -1,
		.stamp = from->stamp,
		.modified = from->modified,
		.body_len = len,
		.date_second = UINT64_MAX,
		.cost = cost,
	};
	make_packed_etag(etag, sizeof(etag), from, params->coding);
	put_head(e, params, etag, head);
	memcpy(e->bytes, head, e->head_len);
	memcpy(e->bytes + e->head_len, "\r\n", 2);
	memcpy(e->bytes + e->head_len + 2, body, len);
	return e;
}
