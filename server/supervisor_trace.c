/* SPDX-License-Identifier: MIT */
/*
 * Backtraces of a worker: it is told to write them into memory that we have,
 * and the client is answered when it says that it has, or when the time is
 * over: then with what its I/O thread knew, or with what its row says.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/supervisor_state.h"

#define TRACE_MAX (256 * KIB) /* bytes that are read */

static struct trace *find(struct supervisor *s, u32 name)
{
	for (u32 i = 0; i < MAX_TRACES; i++)
		if (s->ctl.traces[i].name == name)
			return &s->ctl.traces[i];
	return NULL;
}

/* --- the answer --- */

static void set_number(json_t *o, const char *key, u64 n)
{
	json_object_set_new(o, key, json_integer((json_int_t)n));
}

static size_t line_len(const char *p)
{
	return strcspn(p, "\n");
}

/* "milliseconds method path" */
static json_t *running(const char *line)
{
	unsigned long long age = 0;
	char method[20] = "", path[128] = "";

	if (sscanf(line, "%llu %19s %127s", &age, method, path) != 3)
		return NULL;
	return json_pack("{s:I,s:o,s:o}", "age_ms", (json_int_t)age, "method",
			 ctl_string(method, strlen(method)), "path", ctl_string(path, strlen(path)));
}

/* What worker_trace.c tells; by a process that runs code of others, so nothing is taken for sure. */
static void add_facts(json_t *o, const char *facts)
{
	json_t *list = json_array();
	u32 busy = 0, queued = 0, with_app = 0;

	sscanf(facts, "%u %u %u", &busy, &queued, &with_app);
	set_number(o, "threads_busy", busy);
	set_number(o, "queued", queued);
	set_number(o, "with_app", with_app);
	for (const char *p = facts + line_len(facts); *p == '\n' && p[1]; p += 1 + line_len(p + 1)) {
		json_t *job = running(p + 1);

		if (job)
			json_array_append_new(list, job);
	}
	json_object_set_new(o, "running", list);
}

/* Its own last word in the statistics, when it does not answer. */
static void add_row(const struct supervisor *s, json_t *o, u32 id)
{
	const struct stats_header *header = s->stats.maps.header;
	const struct stats_worker *row;

	json_object_set_new(o, "running", json_null());
	if (!header || id >= header->nr_slots)
		return;
	row = &s->stats.maps.workers[id];
	set_number(o, "threads_busy", stats_get(row->threads_busy));
	set_number(o, "queued", stats_get(row->queued));
	set_number(o, "with_app", stats_get(row->with_app));
	set_number(o, "silent_ms",
		   supervisor_clock_ms() -
			   min(stats_get(row->seen_ns) / NSEC_PER_MSEC, supervisor_clock_ms()));
}

/* Lines as ruby_glue/trace.rb has them. */
static json_t *read_threads(char *text)
{
	json_t *list = json_array(), *frames = NULL;
	char *rest = text;

	for (char *line; (line = strsep(&rest, "\n"));) {
		if (strncmp(line, "t\t", 2) == 0) {
			size_t status_len = strcspn(line + 2, "\t");
			const char *name = line + 2 + status_len + (line[2 + status_len] == '\t');

			frames = json_array();
			json_array_append_new(list, json_pack("{s:o,s:o,s:o}", "name",
							      ctl_string(name, strlen(name)), "status",
							      ctl_string(line + 2, status_len),
							      "backtrace", frames));
		} else if (frames && strncmp(line, "f\t", 2) == 0) {
			json_array_append_new(frames, ctl_string(line + 2, strlen(line + 2)));
		}
	}
	return list;
}

static json_t *threads(const struct trace *t)
{
	char *text = malloc(TRACE_MAX + 1);
	json_t *list;
	ssize_t n;

	if (!text)
		return NULL;
	n = pread(t->fd, text, TRACE_MAX, 0);
	text[max(n, (ssize_t)0)] = '\0';
	list = read_threads(text);
	free(text);
	return list;
}

static const char *why_not(const struct supervisor *s, const struct trace *t)
{
	if (t->facts)
		return "a thread did not give Ruby's lock (the GVL) away in time: it is in a long "
		       "call "
		       "of C code, most likely the oldest request below";
	if (!s->conf->no_app && !s->conf->nr_threads)
		return "the worker did not answer in time: with threads 0 the I/O thread runs the "
		       "handler, which is most likely the one that takes so long";
	return "the worker's I/O thread did not answer in time";
}

static json_t *body(const struct supervisor *s, const struct trace *t, bool traced)
{
	json_t *o = json_object();

	set_number(o, "worker", t->worker);
	set_number(o, "pid", (u64)t->pid);
	if (t->facts)
		add_facts(o, t->facts);
	else
		add_row(s, o, t->worker);
	json_object_set_new(o, "threads", traced ? threads(t) : json_null());
	if (!traced)
		json_object_set_new(o, "why", json_string(why_not(s, t)));
	else if (s->conf->no_app)
		json_object_set_new(o, "why", json_string("there is no Ruby in this server"));
	return o;
}

static void release(struct trace *t)
{
	ctl_request_release(&t->request);
	close(t->fd);
	free(t->facts);
	*t = (struct trace){ .fd = -1 };
}

/* @body may be NULL: the request says why. */
static void finish(struct supervisor *s, struct trace *t, json_t *answer)
{
	struct ctl_client *c = ctl_find(&s->ctl.socket, t->client);
	size_t len = 0;
	char *text = ctl_answer_line(&t->request, answer, &len);

	if (c)
		ctl_answer(c, text, len, supervisor_clock_ms());
	else
		free(text);
	release(t);
}

/* --- its life --- */

static int order(struct supervisor *s, struct trace *t)
{
	struct control c = { .word = CONTROL_TRACE, .number = t->name, .nr_fds = 1 };

	t->fd = memfd_create("backtraces", MFD_CLOEXEC);
	if (t->fd < 0)
		return -errno;
	c.fds[0] = t->fd;
	return control_send(s->slots.slots[t->worker].control_fd, &c);
}

bool trace_start(struct supervisor *s, const struct ctl_client *c, struct ctl_request *r,
		 u32 worker, u32 timeout_ms)
{
	const struct slot *slot = &s->slots.slots[worker];
	struct trace *t = find(s, 0);
	int err;

	if (slot->state == SLOT_EMPTY) {
		ctl_request_fail(r, CTL_NOT_FOUND, "there is no worker %u", worker);
		return false;
	}
	if (!slot->ready_at_ms || slot->control_fd < 0) {
		ctl_request_fail(r, CTL_REFUSED, "worker %u is only starting", worker);
		return false;
	}
	if (!t) {
		ctl_request_fail(r, CTL_BUSY, "%u backtraces are under way already", MAX_TRACES);
		return false;
	}
	*t = (struct trace){
		.name = ++s->ctl.last_trace,
		.client = c->name,
		.worker = worker,
		.pid = slot->pid,
		.due_ms = supervisor_clock_ms() + timeout_ms,
		.fd = -1,
	};
	err = order(s, t);
	if (err) {
		ctl_request_fail(r, CTL_INTERNAL, "cannot ask worker %u: %s", worker, strerror(-err));
		if (t->fd >= 0)
			close(t->fd);
		*t = (struct trace){ .fd = -1 };
		return false;
	}
	t->request = *r;
	return true;
}

void trace_said(struct supervisor *s, const struct slot *slot, const struct control *c)
{
	struct trace *t = c->number ? find(s, c->number) : NULL;

	if (!t || t->pid != slot->pid)
		return;
	if (c->word == CONTROL_FACTS && !t->facts)
		t->facts = strndup(c->text, c->text_len);
	else if (c->word == CONTROL_TRACED)
		finish(s, t, body(s, t, true));
}

void trace_gone(struct supervisor *s, pid_t pid)
{
	for (u32 i = 0; i < MAX_TRACES; i++) {
		struct trace *t = &s->ctl.traces[i];

		if (!t->name || t->pid != pid)
			continue;
		ctl_request_fail(&t->request, CTL_NOT_FOUND,
				 "worker %u (pid %d) has ended meanwhile", t->worker, (int)pid);
		finish(s, t, NULL);
	}
}

u64 trace_due_ms(const struct supervisor *s)
{
	u64 due = 0;

	for (u32 i = 0; i < MAX_TRACES; i++) {
		const struct trace *t = &s->ctl.traces[i];

		if (t->name && (!due || t->due_ms < due))
			due = t->due_ms;
	}
	return due;
}

void trace_expire(struct supervisor *s, u64 now_ms)
{
	for (u32 i = 0; i < MAX_TRACES; i++) {
		struct trace *t = &s->ctl.traces[i];

		if (t->name && now_ms >= t->due_ms)
			finish(s, t, body(s, t, false));
	}
}

void trace_fini(struct supervisor *s)
{
	for (u32 i = 0; i < MAX_TRACES; i++)
		if (s->ctl.traces[i].name)
			release(&s->ctl.traces[i]);
}
