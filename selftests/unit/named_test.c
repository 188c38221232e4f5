/* SPDX-License-Identifier: MIT */
/*
 * Files that an application names, as the client gets them; and that nothing is
 * left behind when memory runs out at any point of it.
 */
#include "selftests/harness/fail.h"
#include "selftests/harness/harness.h"
#include "selftests/h1_owner.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/job.h"
#include "server/named.h"
#include "server/req.h"
#include "server/route.h"

#define LINES "x-mine: 1\r\ncontent-type: text/mine\r\n"

static char dir[64];
static u32 nr_replies; /* not yet freed */

/* A worker without a process, whose application answers what the case says. */
struct scene {
	struct owner o;
	struct fcache files;
	struct named_roots roots;
	bool stands; /* the owner does */
	char out[4096];
};

struct reply {
	struct answer a;
	char bytes[512];
};

static void put_reply(struct hold *h)
{
	nr_replies--;
	free(container_of(h, struct reply, a.hold));
}

static void put(const char *name, const char *text)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void no_touch(struct link *l)
{
	(void)l; /* the owner looks after every step */
}

static bool add_root(struct scene *s)
{
	struct froot *root;

	if (froot_new(&root, dir, false))
		return false;
	root->plain = true;
	s->roots.nr_sendfile = 1;
	s->roots.sendfile[0].root = root;
	s->roots.sendfile[0].dir = s->roots.sendfile[0].real = dir;
	return true;
}

static bool add_tree(struct scene *s)
{
	struct handler *handler;
	struct froot *root;
	struct ftree *tree;

	if (froot_new(&root, dir, true))
		return false;
	tree = ftree_new(&s->files, root, false);
	if (tree)
		tree->internal = true;
	handler = handler_tree(tree);
	return handler && route_add_tree(s->o.routes, VIEW("/in"), handler) == 0;
}

static bool scene_init(struct scene *s)
{
	*s = (struct scene){ 0 };
	if (!owner_init(&s->o))
		return false;
	s->stands = true;
	s->o.http.has_app = true;
	s->o.http.max_waiting = 100;
	s->o.http.touch = no_touch;
	s->o.http.named = &s->roots;
	date_set(&s->o.http.date, 1ull << 34); /* every file has settled */
	if (fcache_init(&s->files, &FCACHE_LIMITS_DEFAULT))
		return false;
	s->roots.files = &s->files;
	if (froot_new(&s->roots.any, "/", false))
		return false;
	s->roots.any->plain = s->roots.any->anywhere = true;
	return add_root(s) && add_tree(s);
}

static void scene_fini(struct scene *s)
{
	if (s->stands) {
		owner_cut(&s->o);
		EXPECT_EQ(s->o.http.reqs.nr_used, 0);
		owner_fini(&s->o);
	}
	fcache_fini(&s->files);
	if (s->roots.any)
		froot_put(s->roots.any);
	if (s->roots.nr_sendfile)
		froot_put(s->roots.sendfile[0].root);
	EXPECT_EQ(nr_replies, 0);
}

static struct stamp stamp_at(const char *path)
{
	struct stat st = { 0 };

	EXPECT_OK(stat(path, &st));
	return stamp_of(&st);
}

/* Of the application: @path for what it names, a relative one below dir. */
static struct answer *name_it(struct job *j, enum named_kind kind, const char *path, u16 status)
{
	struct reply *reply = calloc(1, sizeof(*reply));
	struct named n = { .kind = kind };
	char full[256];

	ASSERT_NOT_NULL(reply);
	snprintf(full, sizeof(full), "%s%s%s", path[0] == '/' ? "" : dir, path[0] == '/' ? "" : "/",
		 path);
	n.len = strlen(full);
	if (kind == NAMED_FILE && access(full, F_OK) == 0)
		n.stamp = stamp_at(full);
	/* Behind a head there is no telling where it begins. */
	memcpy(reply->bytes + 1, &n, sizeof(n));
	memcpy(reply->bytes + 1 + sizeof(n), full, n.len);
	reply->a = (struct answer){
		.job = j,
		.hold.put = put_reply,
		.flags = ANSWER_HEAD | ANSWER_NAMED | ANSWER_END,
		.status = status,
		.content_length = 7777, /* what the app says of it counts for nothing */
		.head = VIEW(LINES),
		.data = { reply->bytes + 1, sizeof(n) + n.len },
		.fd = -1,
	};
	nr_replies++;
	return &reply->a;
}

/* The whole answer to a request that the application answers so. "" if the link gave up. */
static const char *ask(struct scene *s, const char *line, const char *fields, enum named_kind kind,
		       const char *path, u16 status)
{
	struct http *http = &s->o.http;
	struct req *r;
	char in[512];
	int n = snprintf(in, sizeof(in), "%s HTTP/1.1\r\nHost: a\r\n%s\r\n", line, fields);

	s->o.out.len = 0;
	owner_feed(&s->o, in, (size_t)n);
	if (!list_empty(&http->submit)) {
		r = list_first(&http->submit, struct req, submit);
		list_del(&r->submit);
		http->nr_submit--;
		r->app = REQ_WITH_APP;
		ASSERT_TRUE(job_claim(&r->job));
		s->o.link->proto->answer(s->o.link, r, name_it(&r->job, kind, path, status));
		owner_flush(&s->o);
	}
	ASSERT_LT(s->o.out.len, sizeof(s->out));
	if (s->o.out.len)
		memcpy(s->out, s->o.out.p, s->o.out.len);
	s->out[s->o.out.len] = '\0';
	return s->out;
}

static int status_of(const char *answer)
{
	return answer[0] ? atoi(answer + 9) : 0;
}

static const char *body_of(const char *answer)
{
	const char *p = strstr(answer, "\r\n\r\n");

	return p ? p + 4 : "";
}

static u32 count(const char *text, const char *word)
{
	u32 nr = 0;

	for (; (text = strstr(text, word)); text += strlen(word))
		nr++;
	return nr;
}

FIXTURE(named)
{
	struct scene s;
};

FIXTURE_SETUP(named)
{
	snprintf(dir, sizeof(dir), "/tmp/hyperion-named-XXXXXX");
	ASSERT_NOT_NULL(mkdtemp(dir));
	put("a.txt", "0123456789");
	put("c.js", "plain");
	put("c.js.gz", "gz");
	put("empty", "");
}

FIXTURE_TEARDOWN(named)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -r %s", dir);
	EXPECT_EQ(system(command), 0);
}

static const struct {
	const char *line, *fields;
	enum named_kind kind;
	const char *path;
	u16 said;
	int status;
	const char *body;
} rules[] = {
	{ "GET /x", "", NAMED_FILE, "a.txt", 200, 200, "0123456789" },
	{ "GET /x", "Range: bytes=1-1\r\n", NAMED_FILE, "a.txt", 201, 201, "0123456789" },
	{ "GET /x", "Accept-Encoding: gzip\r\n", NAMED_FILE, "c.js", 200, 200, "plain" },
	{ "GET /x", "", NAMED_FILE, "empty", 200, 200, "" },
	{ "GET /x", "", NAMED_FILE, "none", 200, 500, NULL },
	{ "HEAD /x", "", NAMED_SENDFILE, "a.txt", 200, 200, "" },
	{ "GET /x", "", NAMED_SENDFILE, "a.txt", 200, 200, "0123456789" },
	{ "GET /x", "Range: bytes=2-3\r\n", NAMED_SENDFILE, "a.txt", 200, 206, "23" },
	{ "GET /x", "Range: bytes=2-3\r\n", NAMED_SENDFILE, "a.txt", 403, 403, "0123456789" },
	{ "GET /x", "Range: bytes=10-\r\n", NAMED_SENDFILE, "a.txt", 200, 416, "" },
	{ "GET /x", "If-None-Match: *\r\n", NAMED_SENDFILE, "a.txt", 200, 304, "" },
	{ "GET /x", "If-Match: \"x\"\r\n", NAMED_SENDFILE, "a.txt", 200, 412, NULL },
	{ "GET /x", "Accept-Encoding: gzip\r\n", NAMED_SENDFILE, "c.js", 200, 200, "plain" },
	{ "POST /x", "Content-Length: 0\r\nRange: bytes=2-3\r\n", NAMED_SENDFILE, "a.txt", 200, 200,
	  "0123456789" },
	{ "GET /x", "", NAMED_SENDFILE, "a.txt", 206, 200, "0123456789" },
	{ "GET /x", "", NAMED_SENDFILE, "none", 200, 404, NULL },
	{ "GET /x", "", NAMED_SENDFILE, "../etc/passwd", 200, 500, NULL },
	{ "GET /x", "", NAMED_SENDFILE, "/etc/passwd", 200, 500, NULL },
	{ "GET /x", "", NAMED_URI, "/in/a.txt", 200, 200, "0123456789" },
	{ "GET /x", "Accept-Encoding: gzip\r\n", NAMED_URI, "/in/c.js", 200, 200, "gz" },
	{ "GET /x", "", NAMED_URI, "/in/%2e%2e/etc/passwd", 200, 404, NULL },
	{ "GET /x", "", NAMED_URI, "/next", 200, 500, NULL },
	{ "GET /x", "", NAMED_URI, "/nowhere", 200, 500, NULL },
};

TEST_F(named, what_comes_of_it)
{
	struct scene *s = &self->s;

	ASSERT_TRUE(scene_init(s));
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		const char *answer = ask(s, rules[i].line, rules[i].fields, rules[i].kind,
					 rules[i].path, rules[i].said);

		EXPECT_EQ(status_of(answer), rules[i].status);
		EXPECT_EQ(count(answer, "content-length: "), rules[i].status == 304 ? 0 : 1);
		if (!rules[i].body)
			continue;
		EXPECT_STREQ(body_of(answer), rules[i].body);
		EXPECT_EQ(count(answer, "x-mine: 1\r\n"), 1);
		EXPECT_EQ(count(answer, "content-type: "),
			  rules[i].status == 304 || rules[i].status == 416 ? 0 : 1);
		EXPECT_EQ(count(answer, "date: "), 1);
	}
	scene_fini(s);
}

TEST_F(named, several_ranges_have_the_type_that_the_app_says)
{
	struct scene *s = &self->s;
	const char *answer, *length;

	ASSERT_TRUE(scene_init(s));
	answer = ask(s, "GET /x", "Range: bytes=0-1,5-5\r\n", NAMED_SENDFILE, "a.txt", 200);
	EXPECT_EQ(status_of(answer), 206);
	EXPECT_EQ(count(answer, "content-type: text/mine\r\n"), 2);
	EXPECT_EQ(count(answer, "content-type: multipart/byteranges; "), 1);
	length = strstr(answer, "content-length: ");
	ASSERT_NOT_NULL(length);
	EXPECT_EQ((size_t)atoi(length + 16), strlen(body_of(answer)));
	scene_fini(s);
}

TEST_F(named, another_version_is_not_the_cached_one)
{
	struct scene *s = &self->s;
	char path[128];

	ASSERT_TRUE(scene_init(s));
	for (int i = 0; i < 3; i++)
		EXPECT_STREQ(body_of(ask(s, "GET /x", "", NAMED_FILE, "a.txt", 200)), "0123456789");
	EXPECT_EQ(s->files.stats.hits, 2);
	snprintf(path, sizeof(path), "%s/a.txt", dir);
	ASSERT_OK(unlink(path));
	put("a.txt", "new");
	EXPECT_STREQ(body_of(ask(s, "GET /x", "", NAMED_FILE, "a.txt", 200)), "new");
	EXPECT_EQ(s->files.stats.misses, 2);
	EXPECT_EQ(s->files.nr_nodes, 1);
	scene_fini(s);
}

/* One of each kind; whatever fails, the client has a prefix of the truth, and nothing stays. */
static void play(void *arg)
{
	struct scene *s = arg;

	if (scene_init(s)) {
		const char *answer = ask(s, "GET /x", "", NAMED_FILE, "a.txt", 200);

		if (status_of(answer) == 200)
			EXPECT_TRUE(strncmp("0123456789", body_of(answer),
					    strlen(body_of(answer))) == 0);
		if (!s->o.closed)
			answer = ask(s, "GET /x", "Range: bytes=0-1,3-3\r\n", NAMED_SENDFILE,
				     "a.txt", 200);
		if (!s->o.closed)
			ask(s, "GET /x", "", NAMED_URI, "/in/c.js", 200);
		if (!s->o.closed)
			ask(s, "GET /x", "", NAMED_URI, "/none", 200);
	}
	scene_fini(s);
}

TEST_F(named, memory_runs_out_anywhere)
{
	EXPECT_GE(for_each_failing_alloc(play, &self->s), 20);
}
