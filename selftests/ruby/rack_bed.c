/* SPDX-License-Identifier: MIT */
#include "selftests/ruby/rack_bed.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ruby_glue/glue.h"
#include "selftests/ruby/rack_bed_parts.h"
#include "server/front.h"

#define MAX_ASKED 16
#define MAX_STALLED 256
#define ANSWER_SECONDS 20
#define GRACE_MS 5000

struct asked {
	struct job job;
	struct header headers[REQUEST_HEADERS_MAX];
	char *text; /* all bytes of the request */
	struct got got;
	size_t answers_len, body_room;
	u32 nr_answers;
	bool used, stalled;
	struct answer *lent; /* its producer still fills it */
	u64 lent_ns;
	struct answer *waiting[MAX_STALLED];
	u32 nr_waiting;
	struct hijack *hijack; /* waits */
};

static struct {
	struct app *app;
	int wake_fd, stop_fd, log_fd, old_stderr;
	off_t log_read;
	void (*script)(void);
	struct asked *asked[MAX_ASKED];
	u32 next_conn;
	enum bed_hijack hijack;
	int pipe[2]; /* from the app */
} bed;

const char *__lsan_default_suppressions(void);
/* Ruby leaves most of its memory to the end of the process. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libruby\n";
}

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

#define LOAN_NS NSEC_PER_MSEC

/* --- answers --- */

static const struct {
	u32 flag;
	const char *name;
} flag_names[] = {
	{ ANSWER_HEAD, "HEAD" },     { ANSWER_DATA, "DATA" },     { ANSWER_FILE, "FILE" },
	{ ANSWER_END, "END" },       { ANSWER_ABORT, "ABORT" },   { ANSWER_DROPPED, "DROPPED" },
	{ ANSWER_INFORM, "INFORM" }, { ANSWER_HIJACK, "HIJACK" }, { ANSWER_NAMED, "NAMED" },
};

static void note_answer(struct asked *q, u32 flags)
{
	char word[64] = "";

	for (size_t i = 0; i < ARRAY_SIZE(flag_names); i++) {
		if (!(flags & flag_names[i].flag))
			continue;
		if (word[0])
			strcat(word, "|");
		strcat(word, flag_names[i].name);
	}
	if (q->answers_len + strlen(word) + 2 < sizeof(q->got.answers))
		q->answers_len += (size_t)sprintf(q->got.answers + q->answers_len, "%s%s",
						  q->answers_len ? " " : "", word);
	q->nr_answers++;
}

static void add_body(struct asked *q, const char *p, size_t len)
{
	if (q->got.body_len + len + 1 > q->body_room) {
		q->body_room = 2 * (q->got.body_len + len) + 1;
		q->got.body = realloc(q->got.body, q->body_room);
	}
	if (len)
		memcpy(q->got.body + q->got.body_len, p, len);
	q->got.body_len += len;
	q->got.body[q->got.body_len] = '\0';
}

static void take_head(struct asked *q, const struct answer *a)
{
	EXPECT_NULL(q->got.head);
	q->got.status = a->status;
	q->got.has_date = a->has_date;
	q->got.close = a->close;
	q->got.raw = a->raw;
	q->got.content_length = a->content_length;
	q->got.head = strndup(a->head.p, a->head.len);
}

static void take_file(struct asked *q, const struct answer *a)
{
	char *p = malloc(a->len);

	EXPECT_EQ(pread(a->fd, p, a->len, (off_t)a->off), (ssize_t)a->len);
	add_body(q, p, a->len);
	free(p);
	EXPECT_OK(close(a->fd));
}

/* What a worker finds in its cache is read here. */
static void take_named(struct asked *q, const struct answer *a)
{
	const struct named *n = (const struct named *)a->data.p;
	char path[4096];
	struct answer file = *a;
	struct stat st;

	EXPECT_LT(n->len, sizeof(path));
	memcpy(path, n->path, n->len);
	path[n->len] = '\0';
	file.fd = open(path, O_RDONLY | O_CLOEXEC);
	EXPECT_OK(fstat(file.fd, &st));
	file.off = 0;
	file.len = (u64)st.st_size;
	take_file(q, &file);
}

static void put(struct answer *a)
{
	if (a->hold.put)
		a->hold.put(&a->hold);
}

/* The app has a socket of its own, the test the other end. */
static void give_hijack(struct asked *q, struct hijack *h)
{
	int pair[2];

	if (bed.hijack != BED_HIJACK_GIVE) {
		q->hijack = bed.hijack == BED_HIJACK_WAIT ? h : NULL;
		if (!q->hijack)
			hijack_done(h, -1, NULL, 0);
		return;
	}
	EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
	q->got.hijack_fd = pair[0];
	hijack_done(h, pair[1], "rest", 4);
}

void bed_hijack(enum bed_hijack how)
{
	bed.hijack = how;
}

void bed_give_hijack(struct asked *a)
{
	struct hijack *h = a->hijack;

	a->hijack = NULL;
	bed.hijack = BED_HIJACK_GIVE;
	if (h)
		give_hijack(a, h);
}

static void take_whole(struct answer *a)
{
	struct asked *q = container_of(a->job, struct asked, job);

	q->got.nr_after += q->got.nr_last;
	note_answer(q, a->flags);
	q->got.pieces += a->flags & ANSWER_DATA ? a->pieces : 0;
	if (a->flags & ANSWER_HIJACK)
		give_hijack(q, a->hijack);
	a->flags &= ~(u32)ANSWER_HIJACK;
	if (a->flags & ANSWER_INFORM) {
		free(q->got.informed);
		q->got.informed = strndup(a->head.p, a->head.len);
	}
	if (a->flags & ANSWER_HEAD)
		take_head(q, a);
	if (a->flags & ANSWER_DATA)
		add_body(q, a->data.p, a->data.len);
	if (a->flags & ANSWER_FILE)
		take_file(q, a);
	if (a->flags & ANSWER_NAMED)
		take_named(q, a);
	if (a->flags & ANSWER_LAST) {
		q->got.nr_last++;
		q->got.claimed_ns = a->job->claimed_ns;
		q->got.answered_ns = a->job->answered_ns;
	}
	if (q->stalled && q->nr_waiting < MAX_STALLED)
		q->waiting[q->nr_waiting++] = a;
	else
		put(a);
}

/* What a loop does with a loan: the next answer ends it, or time does. */
static void end_loan(struct asked *q)
{
	struct answer *a = q->lent;

	q->lent = NULL;
	if (!a)
		return;
	answer_seal(a);
	take_whole(a);
}

static void take_answer(struct answer *a)
{
	struct asked *q = container_of(a->job, struct asked, job);

	EXPECT_TRUE(job_claimed(a->job) || a->flags == ANSWER_DROPPED);
	end_loan(q);
	if (a->fill) {
		q->lent = a;
		q->lent_ns = now_ns();
	} else {
		take_whole(a);
	}
}

static void end_loans(void)
{
	u64 now = now_ns();

	for (u32 i = 0; i < MAX_ASKED; i++) {
		struct asked *q = bed.asked[i];

		if (q && q->lent && now - q->lent_ns >= LOAN_NS)
			end_loan(q);
	}
}

static void reap(void)
{
	struct answer *a;

	while ((a = app_reap(bed.app)))
		take_answer(a);
}

static void wake(void *arg)
{
	u64 one = 1;

	(void)arg;
	if (write(bed.wake_fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

/* One turn of a loop that has nothing but the app. */
static void turn(void)
{
	struct pollfd p = { .fd = bed.wake_fd, .events = POLLIN };
	s64 look = app_before_wait(bed.app, now_ns());
	u64 nr;

	if (look)
		poll(&p, 1, 1);
	if (p.revents && read(bed.wake_fd, &nr, sizeof(nr)) < 0)
		abort();
	app_after_wait(bed.app);
	reap();
	end_loans();
}

/* --- requests --- */

static void forget(struct asked *q)
{
	free(q->text);
	free(q->got.head);
	free(q->got.informed);
	free(q->got.body);
	free(q->job.room);
	free((char *)q->job.body);
	if (q->job.body_fd >= 0)
		close(q->job.body_fd);
	free(q);
}

static struct asked *asked_new(void)
{
	for (u32 i = 0; i < MAX_ASKED; i++) {
		struct asked *q = bed.asked[i];

		if (q && q->used)
			continue;
		if (q)
			forget(q);
		bed.asked[i] = calloc(1, sizeof(*q));
		bed.asked[i]->used = true;
		return bed.asked[i];
	}
	abort();
}

struct asked *bed_submit(const struct request *rq)
{
	struct asked *q = asked_new();
	struct job *j = &q->job, **jobs = &j;

	q->text = malloc(REQUEST_TEXT_MAX);
	request_to_job(rq, j, q->headers, q->text);
	j->conn_idx = rq->conn ? rq->conn : 100000 + bed.next_conn++;
	j->conn_gen = rq->gen;
	j->room_len = JOB_ROOM_MIN;
	j->room = malloc(j->room_len);
	EXPECT_EQ(app_submit(bed.app, jobs, 1, now_ns()), 1);
	reap();
	return q;
}

bool bed_wait_answers(struct asked *a, u32 nr)
{
	u64 end = now_ns() + ANSWER_SECONDS * NSEC_PER_SEC;

	while (a->nr_answers < nr && !a->got.nr_last && now_ns() < end)
		turn();
	return a->nr_answers >= nr || a->got.nr_last;
}

const struct got *bed_wait(struct asked *a)
{
	if (!bed_wait_answers(a, UINT32_MAX))
		EXPECT_STREQ("no last answer", a->got.answers);
	EXPECT_EQ(a->got.nr_last, 1);
	EXPECT_EQ(a->got.nr_after, 0);
	if (!a->got.head)
		a->got.head = strdup("");
	if (!a->got.body)
		add_body(a, NULL, 0);
	a->used = false;
	return &a->got;
}

bool bed_tell_sent(struct asked *a, bool sent)
{
	struct job *j = &a->job;

	if (!j->token)
		return false;
	a->used = true;
	a->got.nr_last = 0;
	j->kind = JOB_SENT;
	j->sent = sent;
	j->state = JOB_QUEUED;
	EXPECT_EQ(app_submit(bed.app, &j, 1, now_ns()), 1);
	reap();
	if (!bed_wait_answers(a, UINT32_MAX))
		EXPECT_STREQ("no last answer", a->got.answers);
	a->used = false;
	return true;
}

const struct got *bed_ask(const struct request *rq)
{
	return bed_wait(bed_submit(rq));
}

const struct got *bed_get(const char *target)
{
	return bed_ask(&(struct request){ .target = target, .headers = { "Host: example.org" } });
}

void bed_leave(struct asked *a)
{
	EXPECT_FALSE(job_cancel(&a->job));
	job_wake_producer(&a->job);
}

bool bed_until(const char *target, const char *text)
{
	u64 end = now_ns() + ANSWER_SECONDS * NSEC_PER_SEC;
	const struct got *g;

	do {
		g = bed_get(target);
		if (strcmp(g->body, text) == 0)
			return true;
		usleep(2000);
	} while (now_ns() < end);
	EXPECT_STREQ(g->body, text);
	return false;
}

struct job *bed_job(struct asked *a)
{
	return &a->job;
}

void bed_stall(struct asked *a)
{
	a->stalled = true;
}

void bed_resume(struct asked *a)
{
	a->stalled = false;
	for (u32 i = 0; i < a->nr_waiting; i++)
		put(a->waiting[i]);
	a->nr_waiting = 0;
}

size_t bed_stalled_bytes(struct asked *a)
{
	size_t len = 0;

	for (u32 i = 0; i < a->nr_waiting; i++)
		len += a->waiting[i]->data.len;
	return len;
}

/* --- stderr, and what the app says --- */

const char *bed_log(void)
{
	static char text[256 * KIB];
	ssize_t n = pread(bed.log_fd, text, sizeof(text) - 1, bed.log_read);

	text[max(n, 0)] = '\0';
	bed.log_read += max(n, 0);
	return text;
}

bool bed_logs(const char *word)
{
	u64 end = now_ns() + ANSWER_SECONDS * NSEC_PER_SEC;

	while (now_ns() < end) {
		if (strstr(bed_log(), word))
			return true;
		usleep(2000);
	}
	EXPECT_STREQ("not in the log", word);
	return false;
}

u32 bed_count(const char *text, const char *word)
{
	u32 n = 0;

	while ((text = strstr(text, word))) {
		text += strlen(word);
		n++;
	}
	return n;
}

bool bed_read_byte(char *c)
{
	struct pollfd p = { .fd = bed.pipe[0], .events = POLLIN };

	return poll(&p, 1, ANSWER_SECONDS * 1000) == 1 && read(bed.pipe[0], c, 1) == 1;
}

static void catch_stderr(void)
{
	bed.log_fd = memfd_create("stderr", MFD_CLOEXEC);
	bed.old_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	dup2(bed.log_fd, STDERR_FILENO);
}

static void release_stderr(void)
{
	char buf[4096];
	ssize_t n;
	off_t off = 0;

	dup2(bed.old_stderr, STDERR_FILENO);
	while ((n = pread(bed.log_fd, buf, sizeof(buf), off)) > 0) {
		off += n;
		if (write(STDERR_FILENO, buf, (size_t)n) < 0)
			break;
	}
}

/* --- the app --- */

static void *script_thread(void *unused)
{
	(void)unused;
	bed.script();
	eventfd_write(bed.stop_fd, 1);
	return NULL;
}

static void script_inline(void *unused)
{
	(void)unused;
	bed.script();
}

static int serve(const struct bed_setup *setup)
{
	pthread_t thread;
	int err;

	if (!setup->nr_threads)
		return glue_serve_inline(script_inline, NULL);
	if (pthread_create(&thread, NULL, script_thread, NULL))
		abort();
	err = glue_serve(bed.app, setup->nr_threads, bed.stop_fd,
			 setup->grace_ms ? setup->grace_ms : GRACE_MS);
	pthread_join(thread, NULL);
	return err;
}

int bed_run(const struct bed_setup *setup, void (*script)(void))
{
	static const struct app_ops ops = { .run = glue_run_jobs };
	u32 max_jobs = setup->max_jobs ? setup->max_jobs : 64;
	int err;

	time_limit(60);
	bed.script = script;
	bed.wake_fd = eventfd(0, EFD_CLOEXEC);
	bed.stop_fd = eventfd(0, EFD_CLOEXEC);
	bed.app = aligned_alloc(64, sizeof(*bed.app));
	ASSERT_OK(pipe2(bed.pipe, O_CLOEXEC));
	ASSERT_OK(app_init(bed.app, setup->nr_threads, max_jobs, wake, NULL));
	bed.app->ops = &ops;
	bed.app->priv = bed.app;
	choose_gems(setup->rack_2);
	catch_stderr();
	err = load_app(setup, bed.pipe[1]);
	if (!err)
		err = serve(setup);
	release_stderr();
	for (u32 i = 0; i < MAX_ASKED; i++)
		if (bed.asked[i])
			forget(bed.asked[i]);
	memset(bed.asked, 0, sizeof(bed.asked));
	/* Handlers that outlive their grace still look at it. */
	if (!err)
		app_fini(bed.app);
	if (!err)
		free(bed.app);
	return err;
}
