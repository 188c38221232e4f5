/* SPDX-License-Identifier: MIT */
/* What loop.c and its two backends share; nobody else includes it. */
#ifndef HYPERION_SERVER_LOOP_BACKEND_H
#define HYPERION_SERVER_LOOP_BACKEND_H

#include "server/loop.h"

struct loop_backend {
	const char *name;
	int (*init)(struct loop *l, const struct loop_config *config);
	void (*fini)(struct loop *l);
	int (*fd)(const struct loop *l);
	int (*add)(struct loop *l, struct io *io, bool plain);
	void (*remove)(struct loop *l, struct io *io);
	void (*close)(struct loop *l, struct io *io);
	void (*accept)(struct loop *l, struct io *io);
	void (*recv)(struct loop *l, struct io *io);
	bool (*stop)(struct loop *l, struct io *io, u8 op);
	ssize_t (*send)(struct loop *l, struct io *io, const struct iovec *iov, int nr, bool more);
	ssize_t (*wait_room)(struct loop *l, struct io *io);
	int (*poll)(struct loop *l, struct io *io, int events);
	ssize_t (*write)(struct loop *l, struct io *io, const void *p, size_t len);
	ssize_t (*splice)(struct loop *l, struct io *io, int fd_in, s64 off, size_t len);
	bool (*cancel)(struct loop *l, struct io *io);
	void (*submit)(struct loop *l);
	int (*wait)(struct loop *l, s64 timeout_ns);
	u32 (*dispatch)(struct loop *l);
};

extern const struct loop_backend loop_uring;
extern const struct loop_backend loop_epoll;

#define MAX_ACCEPTS 64 /* of one listener in a turn */
#define IO_GEN_MASK 0xffffffu /* what fits beside op and index in 64 bits */
#define IO_NONE UINT32_MAX

struct io_slot {
	struct io *io;
	u32 gen;
	u32 next_free;
};

struct loop {
	const struct loop_backend *backend;
	void *priv;
	struct io_slot *slots;
	u32 nr_slots, free_slot;
	struct io wake; /* an eventfd */
};

/* op:8 | gen:24 | idx:32 */
static inline u64 io_name(const struct io *io, u8 op)
{
	return (u64)op << 56 | (u64)io->gen << 32 | io->idx;
}

/* NULL when the name is stale: the io it meant is gone. */
static inline struct io *io_of(const struct loop *l, u64 name)
{
	const struct io_slot *s = &l->slots[(u32)name];

	return s->gen == ((name >> 32) & IO_GEN_MASK) ? s->io : NULL;
}

#endif
