/* SPDX-License-Identifier: MIT */
#include "server/packer.h"

#include <brotli/encode.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "server/fail.h"

#define MAX_OPEN 256u /* asked for and not yet in the cache */
#define GZIP_LEVEL 6
#define BROTLI_LEVEL 5 /* about as dear as gzip's 6, and smaller */
#define GZIP_WINDOW (15 + 16) /* with gzip's head and tail */

struct pack {
	struct list list;
	struct froot *root; /* held */
	struct fentry *from; /* held */
	enum coding coding;
	char *p; /* the result, NULL: none */
	size_t len;
	size_t path_len;
	char path[];
};

static size_t gzip(const char *from, size_t len, char *to, size_t room)
{
	z_stream z = { 0 };
	int err;

	if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return 0;
	z.next_in = (Bytef *)(uintptr_t)from;
	z.avail_in = (uInt)len;
	z.next_out = (Bytef *)to;
	z.avail_out = (uInt)room;
	err = deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return err == Z_STREAM_END ? z.total_out : 0;
}

static size_t brotli(const char *from, size_t len, char *to, size_t room)
{
	size_t n = room;

	return BrotliEncoderCompress(BROTLI_LEVEL, BROTLI_DEFAULT_WINDOW, BROTLI_MODE_TEXT, len,
				     (const u8 *)from, &n, (u8 *)to)
		       ? n
		       : 0;
}

/* The bytes of an open file; NULL when it is not what it was. */
static char *read_file(const struct fentry *e)
{
	char *p = malloc(e->body_len);
	size_t off = 0;
	struct stamp now;
	struct stat st;

	while (p && off < e->body_len) {
		ssize_t n = pread(e->fd, p + off, e->body_len - off, (off_t)off);

		if (n <= 0)
			goto err_free;
		off += (size_t)n;
	}
	if (!p || fstat(e->fd, &st))
		goto err_free;
	now = stamp_of(&st);
	if (stamp_eq(&now, &e->stamp))
		return p;
err_free:
	free(p);
	return NULL;
}

/* On the thread: touches nothing of the cache but the bytes of an entry that is held. */
static void run(struct pack *k)
{
	const struct fentry *e = k->from;
	size_t room = e->body_len - e->body_len / 10; /* else it does not pay */
	char *own = e->fd >= 0 ? read_file(e) : NULL;
	const char *from = e->fd >= 0 ? own : fentry_body(e);

	k->p = from ? malloc(room) : NULL;
	if (k->p)
		k->len = (k->coding == CODING_BR ? brotli : gzip)(from, e->body_len, k->p, room);
	free(own);
}

static void *pack_thread(void *arg)
{
	struct packer *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct pack *k;

		while (list_empty(&p->waiting) && !p->stop)
			pthread_cond_wait(&p->more, &p->lock);
		if (p->stop)
			break;
		k = list_first(&p->waiting, struct pack, list);
		list_del(&k->list);
		pthread_mutex_unlock(&p->lock);
		run(k);
		pthread_mutex_lock(&p->lock);
		list_add_tail(&k->list, &p->done);
		__atomic_fetch_add(&p->nr_done, 1, __ATOMIC_RELEASE);
		p->wake(p->arg);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Signals are for others. 0 or -errno. */
static int start(struct packer *p)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&p->thread, NULL, pack_thread, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	p->started = err == 0;
	return -err;
}

static void free_pack(struct pack *k)
{
	froot_put(k->root);
	fentry_put(k->from);
	free(k->p);
	free(k);
}

/* Is told once for each node and coding, unless it returns false. */
static bool want(struct fcache *c, struct fnode *n, enum coding coding)
{
	struct packer *p = c->packer;
	struct pack *k;

	if (p->nr_open == MAX_OPEN || (!p->started && start(p)))
		return false;
	k = mem_zalloc(sizeof(*k) + n->path_len);
	if (!k)
		return false;
	p->nr_open++;
	k->root = froot_get(n->root);
	k->from = fentry_get(n->entries[CODING_IDENTITY]);
	k->coding = coding;
	k->path_len = n->path_len;
	memcpy(k->path, n->path, n->path_len);
	pthread_mutex_lock(&p->lock);
	list_add_tail(&k->list, &p->waiting);
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
	return true;
}

static void finish(struct packer *p, struct pack *k)
{
	struct fnode *n = fcache_peek(p->cache, k->root, (struct view){ k->path, k->path_len });

	/* Not if the file has become another one meanwhile. */
	if (k->len && n && n->entries[CODING_IDENTITY] == k->from && !n->entries[k->coding])
		fcache_add_packed(p->cache, n, k->coding, k->p, k->len);
	free_pack(k);
}

void packer_reap_slow(struct packer *p)
{
	struct list done;

	list_init(&done);
	pthread_mutex_lock(&p->lock);
	list_splice_tail(&p->done, &done);
	__atomic_store_n(&p->nr_done, 0, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&p->lock);
	while (!list_empty(&done)) {
		struct pack *k = list_first(&done, struct pack, list);

		list_del(&k->list);
		p->nr_open--;
		finish(p, k);
	}
}

void packer_init(struct packer *p, struct fcache *cache, void (*wake)(void *arg), void *arg)
{
	*p = (struct packer){ .cache = cache, .wake = wake, .arg = arg };
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	list_init(&p->waiting);
	list_init(&p->done);
	cache->packer = p;
	cache->want = want;
	cache->packs = PACKER_CODINGS;
}

void packer_fini(struct packer *p)
{
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
	if (p->started)
		pthread_join(p->thread, NULL);
	p->cache->packs = 0;
	list_splice_tail(&p->waiting, &p->done);
	while (!list_empty(&p->done)) {
		struct pack *k = list_first(&p->done, struct pack, list);

		list_del(&k->list);
		free_pack(k);
	}
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->more);
}
