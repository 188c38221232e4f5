/* SPDX-License-Identifier: MIT */
#include "server/pipe.h"

#include <assert.h>
#include <fcntl.h>
#include <unistd.h>

#include "server/fail.h"

static int open_pipe(struct pipe **out)
{
	struct pipe *p = mem_alloc(sizeof(*p));
	int fds[2], len;

	if (!p)
		return -ENOMEM;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK)) {
		int err = -errno;

		free(p);
		return err;
	}
	/* EPERM beyond fs.pipe-max-size and the user's pages: the pipe stays as it is. */
	len = fcntl(fds[1], F_SETPIPE_SZ, (int)PIPE_LEN);
	if (len < 0)
		len = fcntl(fds[1], F_GETPIPE_SZ);
	*p = (struct pipe){ .read_fd = fds[0], .write_fd = fds[1], .len = (u32)len };
	*out = p;
	return 0;
}

static void close_pipe(struct pipe *p)
{
	close(p->read_fd);
	close(p->write_fd);
	free(p);
}

void pipe_pool_init(struct pipe_pool *pool, u32 max)
{
	*pool = (struct pipe_pool){ .max = max };
}

void pipe_pool_fini(struct pipe_pool *pool)
{
	struct pipe *p;

	assert(pool->nr_lent == 0);
	while ((p = pool->free)) {
		pool->free = p->next;
		pool->nr_free--;
		close_pipe(p);
	}
}

int pipe_get(struct pipe_pool *pool, struct pipe **out)
{
	int err;

	if (pool->free) {
		*out = pool->free;
		pool->free = pool->free->next;
		pool->nr_free--;
		pool->nr_lent++;
		return 0;
	}
	if (pool->nr_lent == pool->max)
		return -EAGAIN;
	err = open_pipe(out);
	if (!err)
		pool->nr_lent++;
	return err;
}

void pipe_put(struct pipe_pool *pool, struct pipe *p, size_t left)
{
	pool->nr_lent--;
	if (left) {
		close_pipe(p);
		return;
	}
	p->next = pool->free;
	pool->free = p;
	pool->nr_free++;
}
