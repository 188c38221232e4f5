/* SPDX-License-Identifier: MIT */
#include "server/worker_stats.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/log.h"

#define PROCESS_NS (100 * NSEC_PER_MSEC) /* how often we ask the kernel about ourselves */

void worker_stats_init(struct stats *s, const int *fds, u32 slot, u64 now_ns)
{
	struct stats_maps maps = { 0 };
	int err = fds ? stats_maps_open(&maps, fds) : 0;

	if (err)
		log_warn("worker: cannot use the shared statistics: %s worker=%u", strerror(-err),
			 slot);
	stats_init(s, &maps, slot, now_ns);
	s->statm_fd = s->row ? open("/proc/self/statm", O_RDONLY | O_CLOEXEC) : -1;
	if (fds && !err && !s->row)
		log_warn("worker: the shared statistics have room for %u workers, this one is not "
			 "counted worker=%u",
			 maps.header->nr_slots, slot);
	for (int i = 0; fds && i < NR_STATS_MAPS; i++)
		close(fds[i]);
}

void worker_stats_fini(struct stats *s)
{
	if (s->statm_fd >= 0)
		close(s->statm_fd);
	stats_fini(s);
}

static u64 timeval_ns(struct timeval tv)
{
	return (u64)tv.tv_sec * NSEC_PER_SEC + (u64)tv.tv_usec * NSEC_PER_USEC;
}

/* Of a file that is always read from its start, where it is made anew. */
static u64 rss_bytes(int statm_fd)
{
	char text[64], *second;
	ssize_t n = pread(statm_fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	second = strchr(text, ' ');
	return second ? strtoull(second, NULL, 10) * (u64)sysconf(_SC_PAGESIZE) : 0;
}

static void publish_process(struct stats *s)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) == 0)
		stats_set(s->row->cpu_ns,
			  s->base.cpu_ns + timeval_ns(usage.ru_utime) + timeval_ns(usage.ru_stime));
	stats_set(s->row->rss_bytes, rss_bytes(s->statm_fd));
}

static void publish_http(struct stats *s, const struct http_stats *h)
{
	struct stats_worker *w = s->row;
	const struct stats_worker *base = &s->base;

	stats_set(w->requests, base->requests + h->requests);
	stats_set(w->refused, base->refused + h->refused);
	stats_set(w->rejected_pending, base->rejected_pending + h->pending_rejections);
	stats_set(w->rejected_per_conn, base->rejected_per_conn + h->per_conn_rejections);
	stats_set(w->hijacked, base->hijacked + h->hijacked);
	stats_set(w->chunked_responses, base->chunked_responses + h->chunked_responses);
	stats_set(w->chunked_writes, base->chunked_writes + h->chunked_writes);
	stats_set(w->coalesced_writes, base->coalesced_writes + h->coalesced_writes);
	stats_set(w->sendfile_responses, base->sendfile_responses + h->file_responses);
	stats_set(w->overtime, base->overtime + h->overtime);
}

void worker_stats_publish(struct stats *s, const struct worker_numbers *n, u64 now_ns)
{
	struct stats_worker *w = s->row;
	const struct conns *cs = n->conns;

	if (!w)
		return;
	stats_set(w->state, n->draining ? STATS_WORKER_DRAINING : STATS_WORKER_SERVING);
	stats_set(w->accepted, s->base.accepted + cs->nr_accepted);
	stats_set(w->accept_errors, s->base.accept_errors + n->accept_errors);
	stats_set(w->log_dropped, s->base.log_dropped + n->log_dropped);
	stats_set(w->conns[STATS_CONNS_OPEN], cs->nr_in[CONN_OPEN] + cs->nr_in[CONN_DETACHING]);
	stats_set(w->conns[STATS_CONNS_LINGER], cs->nr_in[CONN_LINGER]);
	stats_set(w->conns[STATS_CONNS_CLOSING], cs->nr_in[CONN_CLOSING]);
	publish_http(s, &cs->http->stats);
	if (n->app) {
		stats_set(w->threads_busy, __atomic_load_n(&n->app->nr_running, __ATOMIC_RELAXED));
		stats_set(w->queued, cs->http->nr_submit + cs->http->nr_waiting);
		stats_set(w->with_app, n->nr_with_app);
	}
	if (now_ns >= s->process_at_ns) {
		s->process_at_ns = now_ns + PROCESS_NS;
		publish_process(s);
	}
}
