/* SPDX-License-Identifier: MIT */
#include "server/admin.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/control.h"
#include "server/fail.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/proto.h"
#include "server/req.h"

#define MAX_TASKS 8u /* scrapes at a time; more: 503 */
#define NICE 10 /* of the thread that writes: handlers and the loop go first */

enum admin_page_id { PAGE_READY, PAGE_METRICS, PAGE_STATS, PAGE_QUIT };

struct admin_task {
	struct admin_task *next;
	struct req *req;
	enum metrics_format format;
	struct text text;
	struct answer answer; /* its hold frees the task */
};

/* --- who may --- */

/* The time it takes says nothing of where they differ. */
static bool same_secret(struct view given, struct view secret)
{
	volatile u8 diff = given.len != secret.len;

	for (size_t i = 0; i < given.len; i++)
		diff |= (u8)given.p[i] ^ (u8)secret.p[secret.len ? i % secret.len : 0];
	return !diff && secret.len;
}

static struct view header_of(const struct job *j, struct view name)
{
	for (u32 i = 0; i < j->nr_headers; i++)
		if (view_ieq(j->headers[i].name, name))
			return j->headers[i].value;
	return VIEW("");
}

/* RFC 6750 2.1, or a field of our own for who cannot set that one. */
static bool has_token(const struct admin *a, const struct job *j)
{
	static const struct view bearer = VIEW("bearer ");
	struct view secret = view_of(a->conf->admin_token), given;

	given = header_of(j, VIEW("authorization"));
	if (given.len > bearer.len && view_ieq((struct view){ given.p, bearer.len }, bearer)) {
		given.p += bearer.len;
		given.len -= bearer.len;
	} else {
		given = header_of(j, VIEW("x-hyperion-admin-token"));
	}
	return same_secret(given, secret);
}

/* 0, or the status that refuses. */
static u16 refusal(const struct admin *a, struct req *r, enum admin_page_id page)
{
	const struct conf *conf = a->conf;

	if (page == PAGE_READY)
		return 0;
	if (conf->admin_port && link_peer(r->link)->server_port != conf->admin_port)
		return 404;
	if (conf->admin_token[0])
		return has_token(a, &r->job) ? 0 : 401;
	/* A listener of its own without a token may look, and not touch. */
	return page == PAGE_QUIT ? 404 : 0;
}

/* --- pages at once --- */

#define NO_STORE "cache-control: no-store\r\n"

static enum page_result say(struct answer *answer, u16 status, struct view text)
{
	answer->flags = ANSWER_HEAD | ANSWER_DATA | ANSWER_END;
	answer->status = status;
	answer->head = VIEW("content-type: text/plain\r\n" NO_STORE);
	if (status == 401)
		answer->head =
			VIEW("content-type: text/plain\r\nwww-authenticate: Bearer\r\n" NO_STORE);
	answer->data = text;
	answer->content_length = (s64)text.len;
	return PAGE_NOW;
}

static enum page_result quit(const struct admin *a, struct answer *answer)
{
	log_info("admin: asked to stop over HTTP");
	if (control_say(a->control_fd, CONTROL_QUIT, 0))
		return say(answer, 503, VIEW("the supervisor does not listen\n"));
	return say(answer, 202, VIEW("stopping\n"));
}

/* --- the thread --- */

static void write_page(struct admin_task *t, const struct stats_maps *maps)
{
	metrics_write(&t->text, maps, t->format);
}

static void *run(void *arg)
{
	struct admin *a = arg;
	struct admin_task *t;

	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
	pthread_mutex_lock(&a->lock);
	while (!a->stop) {
		t = a->todo;
		if (!t) {
			pthread_cond_wait(&a->wanted, &a->lock);
			continue;
		}
		a->todo = t->next;
		pthread_mutex_unlock(&a->lock);
		write_page(t, a->maps);
		pthread_mutex_lock(&a->lock);
		t->next = a->done;
		a->done = t;
		a->wake(a->wake_arg);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

/* No signal is for it. */
static int start(struct admin *a)
{
	sigset_t all, old;
	int err;

	if (a->started)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&a->thread, NULL, run, a);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	a->started = !err;
	return -err;
}

static void put_task(struct hold *h)
{
	struct admin_task *t = container_of(h, struct admin_task, answer.hold);

	text_free(&t->text);
	free(t);
}

static enum page_result begin(struct admin *a, struct req *r, enum metrics_format format)
{
	struct admin_task *t, **end;

	if (a->nr_tasks >= MAX_TASKS || start(a))
		return PAGE_BUSY;
	t = mem_zalloc(sizeof(*t));
	if (!t)
		return PAGE_BUSY;
	t->req = r;
	t->format = format;
	a->nr_tasks++;
	/* As for the app's jobs: its link may go, the request stays until this comes back. */
	if (!job_claim(&r->job))
		log_error("admin: a job that is claimed already");
	pthread_mutex_lock(&a->lock);
	for (end = &a->todo; *end; end = &(*end)->next)
		;
	*end = t;
	pthread_cond_signal(&a->wanted);
	pthread_mutex_unlock(&a->lock);
	return PAGE_LATER;
}

static void fill_answer(struct admin_task *t)
{
	static const struct view heads[] = {
		[METRICS_PROMETHEUS] =
			VIEW("content-type: text/plain; version=0.0.4; charset=utf-8\r\n" NO_STORE),
		[METRICS_OPENMETRICS] =
			VIEW("content-type: application/openmetrics-text; version=1.0.0; "
			     "charset=utf-8\r\n" NO_STORE),
		[METRICS_JSON] = VIEW("content-type: application/json\r\n" NO_STORE),
	};
	struct answer *a = &t->answer;

	a->job = &t->req->job;
	a->hold.put = put_task;
	a->flags = ANSWER_HEAD | ANSWER_DATA | ANSWER_END;
	a->status = 200;
	a->head = heads[t->format];
	a->data = (struct view){ t->text.p, t->text.len };
	a->content_length = (s64)t->text.len;
	if (t->text.failed)
		a->flags = ANSWER_ABORT;
}

static void deliver(struct admin *a, struct admin_task *t)
{
	struct req *r = t->req;
	struct link *l = r->link;

	a->nr_tasks--;
	fill_answer(t);
	if (!l) {
		answer_drop(&t->answer);
		req_returned(r);
		return;
	}
	l->proto->answer(l, r, &t->answer);
	a->http->touch(l);
}

void admin_deliver(struct admin *a)
{
	struct admin_task *t, *next;

	if (likely(!a->nr_tasks))
		return;
	pthread_mutex_lock(&a->lock);
	t = a->done;
	a->done = NULL;
	pthread_mutex_unlock(&a->lock);
	for (; t; t = next) {
		next = t->next;
		deliver(a, t);
	}
}

/* --- */

enum page_result admin_page(struct admin *a, struct req *r, struct answer *answer)
{
	enum admin_page_id page = (enum admin_page_id)r->route->handler->page;
	u16 status = refusal(a, r, page);

	if (status == 404)
		return PAGE_NOT_FOUND;
	if (status)
		return say(answer, status, VIEW("the admin token is needed\n"));
	switch (page) {
	case PAGE_QUIT:
		return quit(a, answer);
	case PAGE_METRICS:
	case PAGE_STATS:
		if (!a->maps->header)
			return say(answer, 503, VIEW("there are no statistics, see the log\n"));
		return begin(a, r,
			     page == PAGE_STATS
				     ? METRICS_JSON
				     : metrics_accepted(header_of(&r->job, VIEW("accept"))));
	case PAGE_READY:
		break;
	}
	return a->http->draining ? say(answer, 503, VIEW("draining\n"))
				 : say(answer, 200, VIEW("ready\n"));
}

static int add_page(struct route_table *routes, enum method method, struct view path,
		    enum admin_page_id page)
{
	struct handler *h = handler_page((u32)page);

	return h ? route_add(routes, method, path, h) : -ENOMEM;
}

int admin_add_routes(const struct conf *conf, struct route_table *routes)
{
	int err = add_page(routes, METHOD_GET, VIEW("/-/ready"), PAGE_READY);

	if (err || (!conf->admin_token[0] && !conf->admin_port))
		return err;
	err = add_page(routes, METHOD_GET, VIEW("/-/metrics"), PAGE_METRICS);
	if (!err)
		err = add_page(routes, METHOD_GET, VIEW("/-/stats"), PAGE_STATS);
	return err ? err : add_page(routes, METHOD_POST, VIEW("/-/quit"), PAGE_QUIT);
}

void admin_init(struct admin *a, const struct conf *conf, struct http *http,
		const struct stats_maps *maps, int control_fd, void (*wake)(void *arg),
		void *wake_arg)
{
	*a = (struct admin){ .conf = conf,
			     .maps = maps,
			     .http = http,
			     .control_fd = control_fd,
			     .wake = wake,
			     .wake_arg = wake_arg };
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->wanted, NULL);
}

void admin_fini(struct admin *a)
{
	struct admin_task *lists[2], *next;

	pthread_mutex_lock(&a->lock);
	a->stop = true;
	pthread_cond_signal(&a->wanted);
	pthread_mutex_unlock(&a->lock);
	if (a->started)
		pthread_join(a->thread, NULL);
	lists[0] = a->todo;
	lists[1] = a->done;
	for (int i = 0; i < 2; i++) {
		for (struct admin_task *t = lists[i]; t; t = next) {
			next = t->next;
			put_task(&t->answer.hold);
		}
	}
	pthread_cond_destroy(&a->wanted);
	pthread_mutex_destroy(&a->lock);
}

/* --- the supervisor --- */

int admin_read_token(struct conf *conf)
{
	const char *path = conf->admin_token_file;
	struct stat st;
	ssize_t n;
	int fd;

	if (!path[0])
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st)) {
		log_error("conf: --admin-token-file %s: %s", path, strerror(errno));
		goto err_fd;
	}
	if (!S_ISREG(st.st_mode) || st.st_mode & (S_IROTH | S_IWOTH)) {
		log_error("conf: --admin-token-file %s: a file is needed that others may neither "
			  "read "
			  "nor write: chmod o-rw",
			  path);
		goto err_fd;
	}
	n = read(fd, conf->admin_token, sizeof(conf->admin_token) - 1);
	conf->admin_token[max(n, (ssize_t)0)] = '\0';
	conf->admin_token[strcspn(conf->admin_token, "\r\n")] = '\0';
	close(fd);
	if (conf->admin_token[0])
		return 0;
	log_error("conf: --admin-token-file %s: its first line is to be the token", path);
	return -EINVAL;

err_fd:
	if (fd >= 0)
		close(fd);
	return -EINVAL;
}
