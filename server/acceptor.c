/* SPDX-License-Identifier: MIT */
#include "server/acceptor.h"

#include <sys/socket.h>
#include <unistd.h>

#include "server/log.h"
#include "server/observe.h"

#define ACCEPT_RETRY_MS 100 /* after running out of descriptors or memory */
#define SHUT_RETRY_MS 20 /* a listener that was shut under us listens again soon */
#define NEAR_LIMIT 256u /* connections; so near to max_connections they are accepted one by one */

static void take(struct listener *lis, int fd)
{
	struct acceptor *a = lis->acceptor;

	a->nr_steered += lis->steered;
	if (a->observe_fd >= 0 && lis->steered)
		observe_accepted(a->observe_fd, fd, a->row);
	if (conn_open(a->conns, fd, a->proto))
		log_limited(LOG_LEVEL_ERROR, "worker: no memory for a connection worker=%u",
			    a->worker);
}

/* What still waits in the queue would be reset by the close. */
static void close_listener(struct listener *lis)
{
	struct acceptor *a = lis->acceptor;
	int listener = lis->io.fd, fd;

	loop_remove(a->conns->loop, &lis->io);
	lis->open = false;
	while (a->state == ACCEPTOR_DRAINING &&
	       (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		take(lis, fd);
	/* Not loop_close(), which may take until the end of the batch. */
	close(listener);
}

/* Accepting follows the worker's state. */
static void update_listener(struct listener *lis)
{
	struct acceptor *a = lis->acceptor;
	bool armed = lis->io.inflight & IO_ACCEPT;
	bool want = a->state == ACCEPTOR_ON && !a->paused && a->conns->nr < a->max_connections;
	bool near = a->max_connections - a->conns->nr <= NEAR_LIMIT;

	if (!lis->open)
		return;
	if (armed && (!want || (near && !lis->io.single)))
		armed = !loop_accept_stop(a->conns->loop, &lis->io);
	if (want && !armed && near)
		loop_accept_one(a->conns->loop, &lis->io);
	else if (want && !armed)
		loop_accept(a->conns->loop, &lis->io);
	if (a->state != ACCEPTOR_ON && !armed)
		close_listener(lis);
}

static void update_listeners(struct acceptor *a)
{
	for (u32 i = 0; i < a->nr; i++)
		update_listener(&a->listeners[i]);
}

static void accept_failed(struct listener *lis, int err)
{
	struct acceptor *a = lis->acceptor;

	if (err == -ECONNABORTED || err == -EPROTO)
		return;
	a->paused = true;
	/* We were taken to hang, and others have got our queue: see supervisor_steer.c. */
	if (err == -EINVAL && lis->steered) {
		wheel_add(a->conns->wheel, &a->again, a->conns->wheel->now_ms + SHUT_RETRY_MS);
		return;
	}
	a->nr_errors++;
	log_limited(LOG_LEVEL_ERROR, "worker: accept failed: %s worker=%u connections=%u",
		    strerror(-err), a->worker, a->conns->nr);
	wheel_add(a->conns->wheel, &a->again, a->conns->wheel->now_ms + ACCEPT_RETRY_MS);
}

static void listener_accepted(struct io *io, int fd)
{
	struct listener *lis = container_of(io, struct listener, io);
	struct acceptor *a = lis->acceptor;

	if (fd < 0) {
		if (fd != -ECANCELED)
			accept_failed(lis, fd);
		update_listener(lis);
		return;
	}
	take(lis, fd);
	if (unlikely(a->conns->nr + NEAR_LIMIT >= a->max_connections))
		update_listeners(a);
	else if (unlikely(!(io->inflight & IO_ACCEPT)))
		update_listener(lis);
}

static void accept_again(struct timer *t)
{
	struct acceptor *a = container_of(t, struct acceptor, again);

	a->paused = false;
	update_listeners(a);
}

static const struct io_ops listener_ops = { .accepted = listener_accepted };

void acceptor_init(struct acceptor *a, struct conns *conns, const struct proto *proto, u32 worker,
		   u32 max_connections)
{
	*a = (struct acceptor){ .conns = conns,
				.proto = proto,
				.worker = worker,
				.observe_fd = -1,
				.max_connections = max_connections };
	timer_init(&a->again, accept_again);
}

static bool is_in_group(int fd)
{
	socklen_t len = sizeof(int);
	int on = 0;

	return getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, &len) == 0 && on;
}

int acceptor_add(struct acceptor *a, int fd)
{
	struct listener *lis = &a->listeners[a->nr];
	int err = loop_add(a->conns->loop, &lis->io, fd, &listener_ops);

	if (err)
		return err;
	a->nr++;
	lis->acceptor = a;
	lis->open = true;
	lis->steered = is_in_group(fd);
	update_listener(lis);
	return 0;
}

void acceptor_conn_closed(struct acceptor *a)
{
	if (unlikely(a->conns->nr + 1 == a->max_connections))
		update_listeners(a);
}

void acceptor_stop(struct acceptor *a, enum acceptor_state state)
{
	a->state = state;
	update_listeners(a);
}

bool acceptor_closed(const struct acceptor *a)
{
	for (u32 i = 0; i < a->nr; i++)
		if (a->listeners[i].open)
			return false;
	return true;
}
