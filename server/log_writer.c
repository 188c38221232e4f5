/* SPDX-License-Identifier: MIT */
#include "server/log_writer.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/log.h"

#define TELL_MS 1000u /* between two lines that tell of dropped ones */
#define SYNC_MS 1000u
#define END_MS 1000u /* for the reader to take the rest */

static u64 nr_untold(const struct log_writer *lw)
{
	return lw->log.dropped - lw->nr_told;
}

static void tell(struct log_writer *lw)
{
	u64 nr = nr_untold(lw);

	if (nr && log_warn("log: %llu lines of the access log dropped, nobody took them worker=%u",
			   (unsigned long long)nr, lw->log.worker))
		lw->nr_told += nr;
}

static void tell_or_wait(struct log_writer *lw)
{
	if (!nr_untold(lw) || lw->tell_timer.pending)
		return;
	tell(lw);
	wheel_add(lw->wheel, &lw->tell_timer, lw->wheel->now_ms + TELL_MS);
}

static void tell_due(struct timer *t)
{
	tell_or_wait(container_of(t, struct log_writer, tell_timer));
}

static void end_due(struct timer *t)
{
	container_of(t, struct log_writer, end_timer)->given_up = true;
}

/* --- where to --- */

/* Lines of several workers do not mix in pieces that are taken as a whole. */
static size_t piece_max(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? ACCESS_LOG_LEN : PIPE_BUF;
}

static void wrote(struct io *io, ssize_t n);
static void ready(struct io *io, int revents);
static void quiet(struct io *io);

static const struct io_ops writer_ops = { .wrote = wrote, .ready = ready, .quiet = quiet };

/* Nothing is in flight: the descriptor that waits takes its place. */
static void swap(struct log_writer *lw)
{
	int fd = lw->next_fd, number = lw->io.fd;

	if (fd < 0)
		return;
	lw->next_fd = -1;
	loop_remove(lw->loop, &lw->io);
	/* The old number stays, for it is named elsewhere too. */
	if (dup3(fd, number, O_CLOEXEC) < 0)
		log_error("log: dup3: %s worker=%u", strerror(errno), lw->log.worker);
	close(fd);
	if (loop_add_plain(lw->loop, &lw->io, number, &writer_ops))
		lw->given_up = true;
	lw->log.piece_max = piece_max(number);
}

void log_writer_reopen(struct log_writer *lw, int fd)
{
	if (lw->next_fd >= 0)
		close(lw->next_fd);
	lw->next_fd = fd;
	/* A write that is under way ends by itself, and only then is known what it has written. */
	if (!lw->io.inflight ||
	    (lw->io.inflight == IO_POLL && !lw->io.cancelled && loop_cancel(lw->loop, &lw->io)))
		swap(lw);
}

/* --- writing --- */

/* -EAGAIN: full, there is a call when it has room. */
static void failed(struct log_writer *lw, ssize_t err, size_t len)
{
	if (err == -EAGAIN && loop_poll(lw->loop, &lw->io, POLLOUT) == -EINPROGRESS)
		return;
	access_log_lost(&lw->log, len);
}

void log_writer_flush(struct log_writer *lw)
{
	if (unlikely(lw->wheel->now_ms - lw->synced_ms >= SYNC_MS)) {
		lw->synced_ms = lw->wheel->now_ms;
		access_clock_sync(&lw->log.clock);
	}
	while (!lw->io.inflight && !lw->given_up) {
		struct view v = access_log_next(&lw->log);
		ssize_t n;

		if (!v.len)
			break;
		n = loop_write(lw->loop, &lw->io, v.p, v.len);
		if (n == -EINPROGRESS)
			break;
		if (n < 0)
			failed(lw, n, v.len);
		else
			access_log_written(&lw->log, (size_t)n);
	}
	tell_or_wait(lw);
}

static void wrote(struct io *io, ssize_t n)
{
	struct log_writer *lw = container_of(io, struct log_writer, io);

	if (n < 0)
		failed(lw, n, access_log_next(&lw->log).len);
	else
		access_log_written(&lw->log, (size_t)n);
	if (!io->inflight)
		swap(lw);
	else if (lw->next_fd >= 0 && loop_cancel(lw->loop, io))
		swap(lw);
}

static void ready(struct io *io, int revents)
{
	(void)revents;
	/* The flush behind this batch writes. */
	swap(container_of(io, struct log_writer, io));
}

static void quiet(struct io *io)
{
	swap(container_of(io, struct log_writer, io));
}

/* --- its life --- */

int log_writer_init(struct log_writer *lw, struct loop *loop, struct wheel *wheel, int fd,
		    const char *format, u32 worker)
{
	int err;

	*lw = (struct log_writer){ .loop = loop, .wheel = wheel, .next_fd = -1 };
	timer_init(&lw->tell_timer, tell_due);
	timer_init(&lw->end_timer, end_due);
	lw->synced_ms = wheel->now_ms;
	if (strcmp(format, "auto") == 0)
		format = isatty(fd) ? "text" : "json";
	err = access_log_init(&lw->log, format, worker);
	if (err)
		return err;
	lw->log.piece_max = piece_max(fd);
	err = loop_add_plain(loop, &lw->io, fd, &writer_ops);
	if (err)
		access_log_fini(&lw->log);
	return err;
}

void log_writer_fini(struct log_writer *lw)
{
	if (lw->next_fd >= 0)
		close(lw->next_fd);
	access_log_fini(&lw->log);
}

bool log_writer_ended(struct log_writer *lw)
{
	if (lw->given_up || (!lw->io.inflight && access_log_empty(&lw->log)))
		return true;
	if (!lw->ending)
		wheel_add(lw->wheel, &lw->end_timer, lw->wheel->now_ms + END_MS);
	lw->ending = true;
	return false;
}

void log_writer_end(struct log_writer *lw)
{
	access_log_give_up(&lw->log);
	tell(lw);
}
