/* SPDX-License-Identifier: MIT */
#include "server/spill.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/fail.h"

#define BLOCK_LEN (64 * KIB)

struct block {
	struct block *next;
	size_t filled, written; /* bytes */
	char bytes[];
};

struct spill {
	struct io io;
	struct loop *loop;
	struct block *head, *tail;
	size_t queued;
	int err;
	void (*progress)(void *arg, int err);
	void *arg;
};

static const struct io_ops spill_io_ops;

static int open_file(void)
{
	const char *dir = getenv("TMPDIR");
	char path[256];
	int fd;

	dir = dir && dir[0] ? dir : "/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
		return fd;
	/* A file system without O_TMPFILE. */
	snprintf(path, sizeof(path), "%s/hyperion-body-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

static struct spill *spill_open(void *priv, void (*progress)(void *arg, int err), void *arg)
{
	struct spill *s = mem_zalloc(sizeof(*s));
	int fd, err;

	if (!s) {
		errno = ENOMEM;
		return NULL;
	}
	fd = open_file();
	if (fd < 0)
		goto err_free;
	err = loop_add_plain(priv, &s->io, fd, &spill_io_ops);
	if (err) {
		close(fd);
		errno = -err;
		goto err_free;
	}
	s->loop = priv;
	s->progress = progress;
	s->arg = arg;
	return s;

err_free:
	free(s);
	return NULL;
}

static void free_blocks(struct spill *s)
{
	struct block *b;

	while ((b = s->head)) {
		s->head = b->next;
		free(b);
	}
	s->tail = NULL;
	s->queued = 0;
}

static void took(struct spill *s, size_t n)
{
	struct block *b = s->head;

	b->written += n;
	s->queued -= n;
	if (b->written < b->filled)
		return;
	s->head = b->next;
	if (!s->head)
		s->tail = NULL;
	free(b);
}

/* Starts or does the next write; 0 or -errno. */
static int pump(struct spill *s)
{
	while (s->head && !s->io.inflight) {
		struct block *b = s->head;
		ssize_t n =
			loop_write(s->loop, &s->io, b->bytes + b->written, b->filled - b->written);

		if (n == -EINPROGRESS)
			return 0;
		if (n < 0)
			return (int)n;
		took(s, (size_t)n);
	}
	return 0;
}

static void spill_wrote(struct io *io, ssize_t n)
{
	struct spill *s = container_of(io, struct spill, io);

	if (n > 0) {
		took(s, (size_t)n);
		n = pump(s);
	} else if (n == 0) {
		n = -EIO;
	}
	if (n < 0) {
		s->err = (int)n;
		free_blocks(s);
	}
	if (!s->queued)
		s->progress(s->arg, s->err);
}

static int append(struct spill *s, const char *p, size_t len)
{
	while (len) {
		struct block *b = s->tail;
		size_t n;

		if (!b || b->filled == BLOCK_LEN) {
			b = mem_alloc(sizeof(*b) + BLOCK_LEN);
			if (!b)
				return -ENOMEM;
			*b = (struct block){ 0 };
			if (s->tail)
				s->tail->next = b;
			else
				s->head = b;
			s->tail = b;
		}
		n = min(len, BLOCK_LEN - b->filled);
		memcpy(b->bytes + b->filled, p, n);
		b->filled += n;
		s->queued += n;
		p += n;
		len -= n;
	}
	return 0;
}

static int spill_write(struct spill *s, const char *p, size_t len)
{
	int err = s->err ? s->err : append(s, p, len);

	return err ? err : pump(s);
}

static size_t spill_queued(const struct spill *s)
{
	return s->queued;
}

static int spill_fd(const struct spill *s)
{
	return s->io.fd;
}

static void spill_free(struct spill *s)
{
	free_blocks(s);
	loop_close(s->loop, &s->io);
	free(s);
}

static void spill_quiet(struct io *io)
{
	spill_free(container_of(io, struct spill, io));
}

static void spill_close(struct spill *s)
{
	if (loop_cancel(s->loop, &s->io))
		spill_free(s);
}

static const struct io_ops spill_io_ops = { .wrote = spill_wrote, .quiet = spill_quiet };

const struct spill_ops spill_ops = {
	.open = spill_open,
	.write = spill_write,
	.queued = spill_queued,
	.fd = spill_fd,
	.close = spill_close,
};
