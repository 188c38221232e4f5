/* SPDX-License-Identifier: MIT */
#include "ruby_glue/gvl.h"

#include <ruby.h>
#include <ruby/thread.h>

#include "server/clock.h"

#ifdef RUBY_INTERNAL_THREAD_EVENT_READY

/* Ruby calls this on the thread of which it tells, without the GVL or about to run. */
static void thread_event(rb_event_flag_t event, const rb_internal_thread_event_data_t *unused,
			 void *wait_ns)
{
	static _Thread_local u64 ready_ns;
	u64 now = monotonic_ns();

	(void)unused;
	if (event == RUBY_INTERNAL_THREAD_EVENT_READY)
		ready_ns = now;
	else if (ready_ns)
		__atomic_fetch_add((u64 *)wait_ns, now - ready_ns, __ATOMIC_RELAXED);
	if (event == RUBY_INTERNAL_THREAD_EVENT_RESUMED)
		ready_ns = 0;
}

bool glue_gvl_watch(u64 *wait_ns)
{
	return rb_internal_thread_add_event_hook(thread_event,
						 RUBY_INTERNAL_THREAD_EVENT_READY |
							 RUBY_INTERNAL_THREAD_EVENT_RESUMED,
						 wait_ns) != NULL;
}

#else

bool glue_gvl_watch(u64 *wait_ns)
{
	(void)wait_ns;
	return false;
}

#endif
