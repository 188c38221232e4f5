/* SPDX-License-Identifier: MIT */
/*
 * The server's own pages: /-/ready for everybody; /-/metrics, /-/stats, /-/quit
 * for who has the token, or on a listener of their own. What takes its time is
 * written by a thread that is started with the first scrape; the I/O thread only
 * hands over and sends.
 */
#ifndef HYPERION_SERVER_ADMIN_H
#define HYPERION_SERVER_ADMIN_H

#include <pthread.h>

#include "server/base.h"
#include "server/conf.h"
#include "server/http.h"
#include "server/route.h"
#include "server/stats.h"

struct admin_task;

struct admin {
	const struct conf *conf;
	const struct stats_maps *maps;
	struct http *http;
	int control_fd;
	void (*wake)(void *arg); /* the loop, from the thread */
	void *wake_arg;
	u32 nr_tasks; /* handed over and not yet delivered */
	bool started;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t wanted;
	struct admin_task *todo, *done;
	bool stop;
};

/* The pages that @conf asks for become routes of @routes. 0 or -errno. */
int admin_add_routes(const struct conf *conf, struct route_table *routes) __must_check;

/* @maps may be empty: then there is nothing to scrape. All have to outlive it. */
void admin_init(struct admin *a, const struct conf *conf, struct http *http,
		const struct stats_maps *maps, int control_fd, void (*wake)(void *arg),
		void *wake_arg);

/* For http->page. */
enum page_result admin_page(struct admin *a, struct req *r, struct answer *answer);

/* Pages that were written go to their requests. */
void admin_deliver(struct admin *a);

void admin_fini(struct admin *a);

/*
 * --admin-token-file: its first line becomes the token. 0 or -errno; what is
 * wrong was said.
 */
int admin_read_token(struct conf *conf) __must_check;

#endif
