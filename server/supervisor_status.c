/* SPDX-License-Identifier: MIT */
/* The answer to `status`: what the supervisor knows, and what the workers' rows say. */
#include <unistd.h>

#include "server/log.h"
#include "server/supervisor_ctl.h"
#include "server/supervisor_state.h"

static const char *state_name(const struct supervisor *s)
{
	static const char *const names[] = {
		[STOP_DRAIN] = "stopping",
		[STOP_NOW] = "quitting",
	};

	return s->stop == STOP_NONE ? s->served ? "serving" : "starting" : names[s->stop];
}

static const char *mold_name(const struct supervisor *s)
{
	static const char *const names[] = {
		[MOLD_NONE] = "none",
		[MOLD_SETTLING] = "reads the settings",
		[MOLD_LOADING] = "loads the app",
		[MOLD_READY] = "ready",
		[MOLD_LEAVING] = "leaving",
	};

	return names[s->mold.state];
}

static const char *slot_name(const struct slot *slot)
{
	static const char *const names[] = {
		[SLOT_EMPTY] = "none",
		[SLOT_STARTING] = "starting",
		[SLOT_READY] = "serving",
		[SLOT_LEAVING] = "draining",
	};

	return names[slot->state];
}

/* NULL for "". */
static json_t *text_or_null(const char *text)
{
	return text[0] ? ctl_string(text, strlen(text)) : json_null();
}

/* --- workers --- */

static void add_number(json_t *o, const char *key, u64 n)
{
	json_object_set_new(o, key, json_integer((json_int_t)n));
}

static void add_row(json_t *o, const struct stats_worker *row)
{
	u64 conns = 0;

	for (int i = 0; i < NR_STATS_CONNS; i++)
		conns += stats_get(row->conns[i]);
	add_number(o, "connections", conns);
	add_number(o, "threads_busy", stats_get(row->threads_busy));
	add_number(o, "queued", stats_get(row->queued));
	add_number(o, "with_app", stats_get(row->with_app));
	add_number(o, "requests", stats_get(row->requests));
	add_number(o, "rss_bytes", stats_get(row->rss_bytes));
}

static json_t *worker(const struct supervisor *s, u32 id, u64 now_ms)
{
	const struct slot *slot = &s->slots.slots[id];
	const struct stats_header *header = s->stats.maps.header;
	u64 up_ms = slot->ready_at_ms && slot->state != SLOT_EMPTY ? now_ms - slot->ready_at_ms : 0;
	json_t *o = json_object();

	add_number(o, "worker", id);
	json_object_set_new(o, "state", json_string(slot_name(slot)));
	json_object_set_new(o, "pid", slot->pid ? json_integer(slot->pid) : json_null());
	add_number(o, "uptime_s", up_ms / MSEC_PER_SEC);
	add_number(o, "restarts", slot->nr_starts ? slot->nr_starts - 1 : 0);
	if (header && id < header->nr_slots)
		add_row(o, &s->stats.maps.workers[id]);
	return o;
}

static json_t *workers(const struct supervisor *s, u64 now_ms)
{
	json_t *list = json_array();

	for (u32 i = 0; i < MAX_WORKERS; i++)
		if (i < s->nr_wanted || s->slots.slots[i].state != SLOT_EMPTY)
			json_array_append_new(list, worker(s, i, now_ms));
	return list;
}

/* --- the rest --- */

static json_t *listeners(const struct conf *conf)
{
	json_t *list = json_array();

	for (u32 b = 0; b < conf->nr_binds; b++)
		json_array_append_new(list, text_or_null(conf->binds[b].text));
	return list;
}

static json_t *statistics(const struct supervisor *s)
{
	const struct stats_area *a = &s->stats;
	const char *kind = a->pins[0]       ? "bpf"
			   : a->files       ? "files"
			   : a->fds[0] >= 0 ? "memory"
					    : "none";

	return json_pack("{s:s,s:o}", "kind", kind, "folder",
			 text_or_null(a->pins[0] ? a->pins
				      : a->files ? a->folder
						 : ""));
}

static json_t *settings(const struct supervisor *s)
{
	const struct conf *conf = s->conf;

	return json_pack("{s:o,s:o,s:i,s:i,s:I,s:I,s:i,s:i,s:f,s:f,s:f,s:s,s:o,s:o,s:o,s:b}",
			 "rackup", text_or_null(conf->no_app ? "" : conf->rackup), "environment",
			 text_or_null(conf->environment), "workers", (int)conf->nr_workers,
			 "threads", conf->no_app ? 0 : (int)conf->nr_threads, "max_body_bytes",
			 (json_int_t)conf->limits.max_body_bytes, "max_header_bytes",
			 (json_int_t)conf->limits.max_header_bytes, "max_connections",
			 (int)conf->max_connections, "max_pending", (int)conf->max_pending,
			 "graceful_timeout", conf->graceful_timeout_ms / 1e3, "idle_keepalive",
			 conf->limits.idle_keepalive_ms / 1e3, "max_request_seconds",
			 conf->limits.max_request_ms / 1e3, "log_level",
			 log_level_name(log_level_get()), "log_file", text_or_null(conf->log_file),
			 "error_log", text_or_null(conf->error_log), "user",
			 text_or_null(s->runas.user), "log_requests", conf->log_requests);
}

json_t *supervisor_status(const struct supervisor *s)
{
	u64 now_ms = supervisor_clock_ms();

	return json_pack("{s:s,s:s,s:i,s:I,s:s,s:o,s:s,s:s,s:o,s:{s:s,s:o},s:i,s:o,s:o,s:o,s:o}",
			 "server", HYPERION_VERSION, "instance", s->conf->instance, "pid",
			 (int)getpid(), "uptime_s",
			 (json_int_t)((now_ms - s->started_ms) / MSEC_PER_SEC), "state",
			 state_name(s), "ruby", text_or_null(s->ruby), "loop",
			 s->backend == WORKER_URING ? "io_uring" : "epoll", "steering",
			 s->steering.steer.nr_slots ? "bpf" : "hash", "statistics", statistics(s),
			 "mold", "state", mold_name(s), "pid",
			 s->mold.pid ? json_integer(s->mold.pid) : json_null(), "workers_wanted",
			 (int)s->nr_wanted, "workers", workers(s, now_ms), "listeners",
			 listeners(s->conf), "settings", settings(s), "guard", ctl_guard_status(s));
}
