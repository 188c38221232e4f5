/* SPDX-License-Identifier: MIT */
/*
 * What one hello costs between the hand-over and the app, without a socket:
 * env, call, answer; CPU time and Ruby objects per request. For numbers, not
 * a test: rack_bench [headers [connections [requests [direct]]]]; with the last word
 * it is a handler of Hyperion::Server.handle.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ruby_glue/glue.h"
#include "server/app.h"
#include "server/front.h"

#define BATCH 64

static const char app_text[] =
	"answer = ->(_) { [200, { 'content-type' => 'text/plain' }, ['Hello, world!']] }\n"
	"Hyperion::Server.handle(:GET, '/', answer)\n"
	"run ->(env) {\n"
	"  if env['PATH_INFO'] == '/allocated'\n"
	"    [200, {}, [GC.stat(:total_allocated_objects).to_s]]\n"
	"  else\n"
	"    [200, { 'content-type' => 'text/plain' }, ['Hello, world!']]\n"
	"  end\n"
	"}\n";

/* The first is what wrk sends, all together a browser's. */
static const struct header headers[] = {
	{ VIEW("Host"), VIEW("127.0.0.1:9292") },
	{ VIEW("User-Agent"), VIEW("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101") },
	{ VIEW("Accept"), VIEW("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8") },
	{ VIEW("Accept-Language"), VIEW("en-US,en;q=0.5") },
	{ VIEW("Accept-Encoding"), VIEW("gzip, deflate, br, zstd") },
	{ VIEW("Connection"), VIEW("keep-alive") },
	{ VIEW("Cookie"), VIEW("session=3f9c2b7e8a6d41d0b5a1; theme=dark") },
	{ VIEW("Upgrade-Insecure-Requests"), VIEW("1") },
};

static struct {
	struct app *app;
	u32 nr_headers, nr_conns, nr_requests;
	bool direct;
	struct job jobs[BATCH];
	char rooms[BATCH][2048];
} bench = { .nr_headers = 1, .nr_conns = 100, .nr_requests = 1000000 };

static u64 cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

static void fill(u32 i, u32 conn, const char *path)
{
	bench.jobs[i] = (struct job){
		.conn_idx = conn,
		.method = METHOD_GET,
		.version_minor = 1,
		.nr_headers = bench.nr_headers,
		.headers = headers,
		.method_name = VIEW("GET"),
		.target = view_of(path),
		.path = view_of(path),
		.authority = headers[0].value,
		.peer = VIEW("127.0.0.1"),
		.peer_port = 4711,
		.server_port = 9292,
		.body_fd = -1,
		.room = bench.rooms[i],
		.room_len = sizeof(bench.rooms[i]),
		.direct = bench.direct && strcmp(path, "/") == 0,
	};
}

static void run_batch(u32 nr)
{
	struct job *jobs[BATCH];
	struct answer *a;

	for (u32 i = 0; i < nr; i++)
		jobs[i] = &bench.jobs[i];
	if (app_submit(bench.app, jobs, nr, 1) != nr)
		abort();
	while ((a = app_reap(bench.app)))
		if (a->status != 200)
			abort();
}

static u64 allocated(void)
{
	char text[32];

	fill(0, UINT32_MAX, "/allocated");
	run_batch(1);
	snprintf(text, sizeof(text), "%.*s", (int)bench.jobs[0].first.data.len,
		 bench.jobs[0].first.data.p);
	return strtoull(text, NULL, 10);
}

static void run(u32 nr_requests)
{
	for (u32 done = 0; done < nr_requests; done += BATCH) {
		for (u32 i = 0; i < BATCH; i++)
			fill(i, (done + i) % bench.nr_conns, "/");
		run_batch(BATCH);
	}
}

static void measure(void *unused)
{
	u64 ns, objects;
	double nr;

	(void)unused;
	run(bench.nr_requests / 10);
	objects = allocated();
	ns = cpu_ns();
	run(bench.nr_requests);
	ns = cpu_ns() - ns;
	objects = allocated() - objects;
	nr = (double)bench.nr_requests;
	printf("headers=%u connections=%u ns/request=%.0f objects/request=%.2f\n", bench.nr_headers,
	       bench.nr_conns, (double)ns / nr, (double)objects / nr);
}

static void nobody(void *unused)
{
	(void)unused;
}

/* Boots Ruby with the app; 0 or -1. */
static int boot(char *name)
{
	char path[] = "/tmp/rack_bench.XXXXXX.ru";
	char *argv[] = { name, NULL };
	struct glue_app settings = { .rackup = path, .environment = "production" };
	static struct front front;
	int fd = mkstemps(path, 3), err;

	if (fd < 0 || write(fd, app_text, sizeof(app_text) - 1) < 0)
		return -1;
	close(fd);
	if (front_init(&front))
		return -1;
	glue_set_front(&front);
	err = glue_boot(1, argv, path) || glue_load_app(&settings) ? -1 : 0;
	unlink(path);
	return err;
}

int main(int argc, char **argv)
{
	static const struct app_ops ops = { .run = glue_run_jobs };

	if (argc > 1)
		bench.nr_headers = min((u32)atoi(argv[1]), (u32)ARRAY_SIZE(headers));
	if (argc > 2)
		bench.nr_conns = max((u32)atoi(argv[2]), 1u);
	if (argc > 3)
		bench.nr_requests = max((u32)atoi(argv[3]), 1u);
	bench.direct = argc > 4 && strcmp(argv[4], "direct") == 0;
	bench.app = aligned_alloc(64, sizeof(*bench.app));
	if (!bench.app || app_init(bench.app, 0, BATCH, nobody, NULL) || boot(argv[0]))
		return 1;
	bench.app->ops = &ops;
	bench.app->priv = bench.app;
	return glue_serve_inline(measure, NULL) ? 1 : 0;
}
