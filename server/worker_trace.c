/* SPDX-License-Identifier: MIT */
/*
 * What a worker is busy with, for `hyperion-ctl backtrace`. The I/O thread
 * answers at once with what it knows, whoever has Ruby's lock; backtraces
 * follow when Ruby's main thread gets that. Text of the facts: a line
 * "threads_busy queued with_app", then for each request that the app has begun,
 * oldest first, "milliseconds method path".
 */
#include <stdio.h>
#include <unistd.h>

#include "server/control.h"
#include "server/worker_state.h"

#define MAX_TOLD 20u /* requests */
#define PATH_TOLD 120u /* bytes */

/* Without blanks and line breaks, whatever a client has sent. */
static int plain(char *out, struct view v)
{
	size_t len = min(v.len, (size_t)PATH_TOLD);

	for (size_t i = 0; i < len; i++)
		out[i] = v.p[i] > ' ' && v.p[i] <= '~' ? v.p[i] : '?';
	return (int)len;
}

static void add_line(struct control *c, const struct worker *w, const struct req *r)
{
	char path[PATH_TOLD], method[PATH_TOLD];
	int path_len = plain(path, r->job.path), method_len = plain(method, r->job.method_name);
	u64 now = w->http.now_ns, from = min(r->job.queued_ns, now);
	size_t room = sizeof(c->text) - c->text_len;
	int n = snprintf(c->text + c->text_len, room, "%llu %.*s %.*s\n",
			 (unsigned long long)((now - from) / NSEC_PER_MSEC), min(method_len, 16),
			 method, path_len, path);

	if (n > 0 && (size_t)n < room)
		c->text_len += (u32)n;
}

static void tell_facts(struct worker *w, int control_fd, u32 name)
{
	struct control c = { .word = CONTROL_FACTS, .number = name };
	u32 busy = w->has_app ? __atomic_load_n(&w->app.nr_running, __ATOMIC_RELAXED) : 0;
	u32 told = 0;

	c.text_len = (u32)snprintf(c.text, sizeof(c.text), "%u %u %u\n", busy,
				   w->http.nr_submit + w->http.nr_waiting, w->nr_with_app);
	for (struct list *pos = w->with_app.next; pos != &w->with_app && told < MAX_TOLD;
	     pos = pos->next) {
		const struct req *r = list_entry(pos, struct req, with_app);

		if (!job_claimed(&r->job))
			continue;
		add_line(&c, w, r);
		told++;
	}
	control_send(control_fd, &c);
}

static void traced(void *arg, u32 name)
{
	const struct worker *w = arg;

	control_say(w->control.fd, CONTROL_TRACED, name);
}

void worker_trace(struct worker *w, const struct control *c)
{
	tell_facts(w, w->control.fd, c->number);
	if (c->nr_fds != 1 || !w->has_app || !w->app.ops || !w->app.ops->trace) {
		for (u32 i = 0; i < c->nr_fds; i++)
			close(c->fds[i]);
		traced(w, c->number);
		return;
	}
	w->app.traced = traced;
	w->app.traced_arg = w;
	w->app.ops->trace(&w->app, c->fds[0], c->number);
}
