/* SPDX-License-Identifier: MIT */
#include "ruby_glue/trace.h"

#include <ruby.h>
#include <ruby/thread.h>
#include <stdlib.h>
#include <unistd.h>

#include "ruby_glue/glue.h"
#include "ruby_glue/internal.h"
#include "server/log.h"

#define TRACE_MAX (256 * KIB) /* bytes; the rest is left out */

struct order {
	struct app *app;
	int fd;
	u32 name;
};

/* __atomic: the one that the main thread has not taken yet; a process has one main thread. */
static struct order *pending;

static void write_all(int fd, const char *p, size_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		p += n;
		len -= (size_t)n;
	}
}

static void *carry_out(void *arg)
{
	struct order *o = arg;
	VALUE text = Qnil;

	/* It is memory: this does not wait. */
	if (!glue_call(&text, "traces", 0, NULL) && RB_TYPE_P(text, T_STRING))
		write_all(o->fd, RSTRING_PTR(text), min((size_t)RSTRING_LEN(text), TRACE_MAX));
	close(o->fd);
	o->app->traced(o->app->traced_arg, o->name);
	free(o);
	return NULL;
}

void glue_trace_pending(void)
{
	/* Sequentially consistent, as in glue_trace() and with the wake: one of us sees the other. */
	struct order *o = __atomic_exchange_n(&pending, NULL, __ATOMIC_SEQ_CST);

	if (o)
		carry_out(o);
}

void glue_trace(struct app *app, int fd, u32 name)
{
	struct order *o = malloc(sizeof(*o)), *old;

	if (!o) {
		close(fd);
		return;
	}
	*o = (struct order){ .app = app, .fd = fd, .name = name };
	if (!app->nr_threads) {
		/* This is the main thread, and no handler runs on it. */
		rb_thread_call_with_gvl(carry_out, o);
		return;
	}
	old = __atomic_exchange_n(&pending, o, __ATOMIC_SEQ_CST);
	if (old) {
		close(old->fd);
		free(old);
	}
	glue_wake_main();
}
