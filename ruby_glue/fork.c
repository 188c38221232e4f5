/* SPDX-License-Identifier: MIT */
/* Forks: ours, which make workers; and the app's own, which must not keep our sockets alive. */
#include "ruby_glue/internal.h"

#include <poll.h>
#include <pthread.h>

#include <ruby/thread.h>

static struct {
	/* Only this thread's forks are ours: others may run while it waits. */
	bool ours;
	pthread_t thread;
	bool by_app;
	void (*cleanup)(void *arg);
	void *arg;
} forks;

void glue_set_fork_cleanup(void (*fn)(void *arg), void *arg)
{
	forks.cleanup = fn;
	forks.arg = arg;
}

bool glue_forked_by_app(void)
{
	return forks.by_app;
}

/* In the child of any fork, before anything else of Ruby runs there. */
static VALUE internal_forked(VALUE self)
{
	(void)self;
	if (forks.ours && pthread_equal(forks.thread, pthread_self()))
		return Qnil;
	forks.by_app = true;
	glue_restore_signals();
	if (forks.cleanup)
		forks.cleanup(forks.arg);
	forks.cleanup = NULL;
	return Qnil;
}

void glue_init_fork(VALUE module)
{
	rb_define_singleton_method(module, "forked", internal_forked, 0);
}

int glue_before_fork(void)
{
	return glue_call(NULL, "before_fork", 0, NULL);
}

int glue_fork(void)
{
	VALUE in_worker = Qfalse;
	int err;

	forks.thread = pthread_self();
	forks.ours = true;
	err = glue_call(&in_worker, "fork_worker", 0, NULL);
	forks.ours = false;
	if (err)
		return -1;
	return RB_TEST(in_worker) ? 0 : 1;
}

/* --- waiting --- */

struct wait {
	struct pollfd pfd[2];
	nfds_t nr_fds;
	int nr;
};

static void *do_poll(void *arg)
{
	struct wait *w = arg;

	w->nr = poll(w->pfd, w->nr_fds, -1);
	return NULL;
}

static VALUE do_wait(VALUE arg)
{
	struct wait *w = (struct wait *)arg;

	/* A wake-up of Ruby's looks like nothing: its interrupts run here, and may raise. */
	while (w->nr <= 0)
		rb_thread_call_without_gvl(do_poll, w, RUBY_UBF_IO, NULL);
	return Qnil;
}

/* What an app's thread raises here (abort_on_exception) is said, and the wait goes on. */
static void wait_readable(struct wait *w)
{
	while (w->nr <= 0 && glue_protect(do_wait, (VALUE)w, NULL))
		;
}

void glue_wait_readable(int fd)
{
	struct wait w = { .pfd = { { .fd = fd, .events = POLLIN } }, .nr_fds = 1 };

	wait_readable(&w);
}

int glue_wait_either(int first, int second)
{
	struct wait w = { .pfd = { { .fd = first, .events = POLLIN },
				   { .fd = second, .events = POLLIN } },
			  .nr_fds = 2 };

	wait_readable(&w);
	return w.pfd[0].revents ? first : second;
}
