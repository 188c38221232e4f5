/* SPDX-License-Identifier: MIT */
/* The Ruby threads of a worker. Whichever runs jobs is the leader; app.h says how the others come in. */
#include "ruby_glue/glue.h"

#include <assert.h>
#include <ruby.h>
#include <ruby/thread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ruby_glue/internal.h"
#include "ruby_glue/respond.h"
#include "ruby_glue/trace.h"
#include "server/clock.h"
#include "server/log.h"

/*
 * Ruby switches threads every 100 ms; a handler's `sleep 0.001` would return
 * after that long beside a busy leader. So the leader offers the GVL itself.
 * That it was free while the leader slept is no offer: whoever waits for it
 * needs a CPU to take it, and the leader is back before that.
 */
#define YIELD_NS (250 * NSEC_PER_USEC)
#define YIELD_ALONE_NS (5 * NSEC_PER_MSEC) /* to threads of the app's own, if there are any */

/* Of the one worker that a process is; threads that outlive their grace still look at it. */
static struct crew {
	struct app *app;
	VALUE threads; /* an Array; who is killed is replaced */
	u32 nr_started;
	int wake_fd; /* eventfd, __atomic: the main thread has something to do; 0 = not yet */
	u32 wanted; /* __atomic: one more thread */
} crew;

/* --- one thread --- */

static void *sleep_idle(void *app)
{
	if (app_idle(app))
		app_sleep(app);
	return NULL;
}

/* Without the GVL; whatever another thread raises in this one comes out here. */
static VALUE wait_for_job(VALUE app)
{
	rb_nogvl(sleep_idle, (void *)app, RUBY_UBF_IO, NULL, 0);
	return Qnil;
}

static VALUE offer_gvl(VALUE unused)
{
	rb_thread_schedule();
	return Qnil;
}

/* False: the app has killed this thread. Anything else raised from outside is only said. */
static bool step(VALUE (*fn)(VALUE arg), VALUE arg)
{
	int state = 0;
	VALUE error;

	rb_protect(fn, arg, &state);
	if (likely(!state))
		return true;
	error = rb_errinfo();
	rb_set_errinfo(Qnil);
	if (RB_FIXNUM_P(error))
		return false;
	if (RTEST(rb_obj_is_kind_of(error, rb_eException)))
		log_warn("ruby: an idle thread was sent an exception class=%s",
			 rb_obj_classname(error));
	return true;
}

/* Runs jobs until the app stops. */
static enum respond_end run_jobs(struct app *app)
{
	u64 now = monotonic_ns(), yielded = now;
	enum respond_end end;
	struct job *job;

	for (;;) {
		job = app_next(app, now);
		if (!job) {
			if (app_stopping(app))
				return RESPOND_GO_ON;
			if (!step(wait_for_job, (VALUE)app))
				return RESPOND_KILLED;
			now = monotonic_ns();
			continue;
		}
		end = glue_respond(app, job, &now);
		if (unlikely(end != RESPOND_GO_ON)) {
			if (end == RESPOND_KILLED)
				app_flush(app);
			return end;
		}
		if (unlikely(app_surplus(app))) {
			app_flush(app);
			return RESPOND_SURPLUS;
		}
		if (now - yielded > (app_has_others(app) ? YIELD_NS : YIELD_ALONE_NS)) {
			if (!step(offer_gvl, Qnil))
				return RESPOND_KILLED;
			now = yielded = monotonic_ns();
		}
	}
}

static VALUE start_thread(VALUE extra);

/* A thread's function may raise: Ruby catches it above. */
static VALUE thread_main(void *arg)
{
	enum respond_end end;

	if (arg)
		app_grown(crew.app);
	end = run_jobs(crew.app);
	if (end == RESPOND_SURPLUS && !app_stopping(crew.app))
		rb_ary_delete(crew.threads, rb_thread_current());
	if (end == RESPOND_KILLED && !app_stopping(crew.app)) {
		log_warn("ruby: a thread was killed by the app and is replaced threads=%u",
			 crew.app->nr_threads);
		start_thread(Qfalse);
	}
	return Qnil;
}

/* @extra: one that the app has asked for. */
static VALUE start_thread(VALUE extra)
{
	VALUE thread = rb_thread_create(thread_main, RTEST(extra) ? crew.app : NULL);
	VALUE name = rb_sprintf("hyperion %u", ++crew.nr_started);

	rb_ary_push(crew.threads, thread);
	rb_funcall(thread, rb_intern("name="), 1, name);
	rb_funcall(thread, rb_intern("report_on_exception="), 1, Qfalse);
	return Qnil;
}

/* --- all of them --- */

static VALUE start_crew(VALUE unused)
{
	rb_gc_register_address(&crew.threads);
	crew.threads = rb_ary_new();
	for (u32 i = 0; i < crew.app->nr_threads; i++)
		start_thread(Qfalse);
	return Qnil;
}

/* The array may grow meanwhile. False: some still run. */
static VALUE join_crew(VALUE arg)
{
	const u64 *until_ns = (const u64 *)arg;

	for (long i = 0; i < RARRAY_LEN(crew.threads); i++) {
		u64 now = monotonic_ns(), left = *until_ns > now ? *until_ns - now : 0;
		VALUE limit = DBL2NUM((double)left / (double)NSEC_PER_SEC);
		VALUE thread = RARRAY_AREF(crew.threads, i);

		if (NIL_P(rb_funcall(thread, rb_intern("join"), 1, limit)))
			return Qfalse;
	}
	return Qtrue;
}

static int end_crew(u32 grace_ms)
{
	u64 until_ns = monotonic_ns() + grace_ms * NSEC_PER_MSEC;
	VALUE all = Qfalse;

	if (glue_protect(join_crew, (VALUE)&until_ns, &all))
		return -1;
	if (RTEST(all))
		return 0;
	log_warn("ruby: handlers still run at the end of the grace period grace_ms=%u", grace_ms);
	return -1;
}

void glue_wake_main(void)
{
	const u64 one = 1;
	int fd = __atomic_load_n(&crew.wake_fd, __ATOMIC_SEQ_CST);

	if (fd && write(fd, &one, sizeof(one)) < 0)
		log_limited(LOG_LEVEL_ERROR, "ruby: cannot wake the main thread: %s",
			    strerror(errno));
}

/* The I/O thread may make no thread of Ruby's: the main thread does. */
static void want_thread(void *arg)
{
	(void)arg;
	/* Release pairs with the acquire of the exchange below. */
	__atomic_store_n(&crew.wanted, 1, __ATOMIC_RELEASE);
	glue_wake_main();
}

static void main_woken(void)
{
	u64 nr;

	if (read(crew.wake_fd, &nr, sizeof(nr)) < 0)
		return;
	if (__atomic_exchange_n(&crew.wanted, 0, __ATOMIC_ACQUIRE) &&
	    glue_protect(start_thread, Qtrue, NULL))
		__atomic_store_n(&crew.app->growing, 0, __ATOMIC_RELEASE);
	glue_trace_pending();
}

int glue_serve(struct app *app, u32 nr_threads, int stop_fd, u32 grace_ms)
{
	int fd;

	assert(nr_threads && nr_threads == app->nr_threads);
	crew.app = app;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -1;
	__atomic_store_n(&crew.wake_fd, fd, __ATOMIC_SEQ_CST);
	/* Release pairs with the acquire in grow() of app.c: the I/O thread runs already. */
	__atomic_store_n(&app->grow, want_thread, __ATOMIC_RELEASE);
	if (glue_respond_init() || glue_protect(start_crew, Qnil, NULL))
		return -1;
	/* Asked for before there was anything to wake. */
	glue_trace_pending();
	while (glue_wait_either(stop_fd, crew.wake_fd) != stop_fd)
		main_woken();
	app_stop(app);
	return end_crew(grace_ms);
}

/* --- threads 0 --- */

struct inline_io {
	void (*io)(void *arg);
	void *arg;
	bool ran;
};

static void *call_io(void *arg)
{
	struct inline_io *call = arg;

	call->ran = true;
	call->io(call->arg);
	return NULL;
}

/* What other threads send to this one may not jump out of the loop: it waits until a job runs. */
static VALUE without_gvl(VALUE arg)
{
	struct inline_io *call = (struct inline_io *)arg;

	while (!call->ran) {
		rb_thread_check_ints();
		rb_nogvl(call_io, call, RUBY_UBF_IO, NULL, RB_NOGVL_INTR_FAIL);
	}
	return Qnil;
}

int glue_serve_inline(void (*io)(void *arg), void *arg)
{
	struct inline_io call = { .io = io, .arg = arg };

	if (glue_respond_init())
		return -1;
	return glue_protect(without_gvl, (VALUE)&call, NULL);
}

struct batch {
	struct app *app;
	struct job **jobs;
	u32 nr;
};

static void *run_batch(void *arg)
{
	struct batch *b = arg;
	u64 end_ns;

	for (u32 i = 0; i < b->nr; i++)
		if (glue_respond(b->app, b->jobs[i], &end_ns) == RESPOND_FORKED)
			ruby_stop(0); /* the app's own child: not to go on as a worker */
	return NULL;
}

void glue_run_jobs(void *priv, struct job **jobs, u32 nr)
{
	struct batch b = { priv, jobs, nr };

	rb_thread_call_with_gvl(run_batch, &b);
}
