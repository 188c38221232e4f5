/* SPDX-License-Identifier: MIT */
/* An io that writes down what the loop tells it, and the loops to try it on. */
#ifndef HYPERION_SELFTESTS_IO_PROBE_H
#define HYPERION_SELFTESTS_IO_PROBE_H

#include "server/base.h"
#include "server/loop.h"

#define PROBE_FDS 256

/* For calls that answer -1 and errno. */
#define SYS(x) ((x) < 0 ? -errno : 0)

struct probe {
	struct io io;
	struct loop *l;
	u32 nr_accepted, nr_received, nr_sent, nr_ready, nr_wrote, nr_spliced, nr_quiet;
	ssize_t last; /* result of the last callback */
	int fds[PROBE_FDS]; /* accepted */
	u32 nr_fds;
	char *in; /* received */
	size_t in_len, in_room;
	/* Called last in each callback; may close the probe, even free it. */
	void (*hook)(struct probe *p, enum io_op op, ssize_t n);
	void (*quiet)(struct probe *p);
	void *arg;
};

/* Skips the case where this backend cannot run. @config: NULL = defaults. */
struct loop *probe_loop(enum loop_kind kind, const struct loop_config *config);

/* Owns the descriptor from here on; probe_fini() cancels and closes it. */
void probe_init(struct probe *p, struct loop *l, int fd);
void probe_init_plain(struct probe *p, struct loop *l, int fd);
void probe_fini(struct probe *p);

/* All callbacks so far, quiet() too. */
u32 probe_events(const struct probe *p);

/* One turn of the loop: at most @ms of sleep, then the callbacks. */
void turn(struct loop *l, int ms);

/* Turns until nothing can be under way any more. */
void settle(struct loop *l);

/* Turns until @cond holds; fails the case when it does not within 5 s. */
#define RUN_UNTIL(l, cond)                                                                         \
	do {                                                                                       \
		u64 _end = probe_clock_ms() + 5000 * probe_time_scale();                           \
		while (!(cond) && probe_clock_ms() < _end)                                         \
			turn(l, 10);                                                               \
		ASSERT_TRUE(cond);                                                                 \
	} while (0)

u64 probe_clock_ms(void);
u64 probe_time_scale(void);

/* Connected blocking stream sockets, CLOEXEC; @small: with the smallest send buffer. */
void stream_pair(int fds[2]);
void tcp_pair(int fds[2]);
/* Listening on 127.0.0.1, non-blocking; a connection to what @fd listens on. */
int tcp_listen(void);
int tcp_connect(int listener);

/* Writes all of it to a blocking descriptor from another thread; join with writer_join(). */
struct writer;
struct writer *writer_start(int fd, const void *p, size_t len, u64 seed);
void writer_join(struct writer *w);

/* Everything that @fd has now without waiting; the number of bytes. */
size_t read_now(int fd, char *p, size_t room);
/* Fills a pipe or socket until it takes no more; the number of bytes. */
size_t fill(int fd);
int nr_open_fds(void);

#endif
