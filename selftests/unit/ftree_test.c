/* SPDX-License-Identifier: MIT */
/* Requests for files, whole: which answer comes, and what it says (RFC 9110 13-15). */
#include "selftests/harness/harness.h"
#include "selftests/h1_owner.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/fcache.h"
#include "server/ftree.h"
#include "server/req.h"
#include "server/route.h"

#define MODIFIED "Sun, 06 Nov 1994 08:49:37 GMT"
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define SECOND 784111777

FIXTURE(tree)
{
	struct owner o;
	struct fcache files;
	char dir[64], etag[64];
};

static void put(const struct self_tree *self, const char *name, const char *text)
{
	struct timespec times[2] = { { .tv_sec = SECOND }, { .tv_sec = SECOND } };
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", self->dir, name);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(write(fd, text, strlen(text)), strlen(text));
	ASSERT_EQ(futimens(fd, times), 0);
	close(fd);
}

static void add_tree(struct self_tree *self, const char *prefix, bool fallthrough)
{
	struct froot *root;

	ASSERT_OK(froot_new(&root, self->dir, false));
	ASSERT_OK(route_add_tree(self->o.routes, view_of(prefix),
				 handler_tree(ftree_new(&self->files, root, fallthrough))));
}

/* The answer to one request on its own connection's next turn; NUL-terminated. */
static const char *ask(struct self_tree *self, const char *line, const char *fields)
{
	static char out[8192];
	char in[1024];
	int n = snprintf(in, sizeof(in), "%s HTTP/1.1\r\nHost: a\r\n%s\r\n", line, fields);

	self->o.out.len = 0;
	owner_feed(&self->o, in, (size_t)n);
	ASSERT_LT(self->o.out.len, sizeof(out));
	memcpy(out, self->o.out.p, self->o.out.len);
	out[self->o.out.len] = '\0';
	return out;
}

/* The value of a field of an answer; "" when it is not there. */
static const char *field(const char *answer, const char *name)
{
	static char value[128];
	const char *p = answer, *end = strstr(answer, "\r\n\r\n");

	value[0] = '\0';
	while ((p = strstr(p, "\r\n")) && p < end) {
		p += 2;
		if (strncmp(p, name, strlen(name)) == 0 && p[strlen(name)] == ':') {
			p += strlen(name) + 2;
			snprintf(value, sizeof(value), "%.*s", (int)strcspn(p, "\r"), p);
			break;
		}
	}
	return value;
}

static int status(const char *answer)
{
	return atoi(answer + 9);
}

static const char *body(const char *answer)
{
	return strstr(answer, "\r\n\r\n") + 4;
}

FIXTURE_SETUP(tree)
{
	snprintf(self->dir, sizeof(self->dir), "/tmp/hyperion-ftree-XXXXXX");
	ASSERT_NOT_NULL(mkdtemp(self->dir));
	ASSERT_TRUE(owner_init(&self->o));
	ASSERT_OK(fcache_init(&self->files, &FCACHE_LIMITS_DEFAULT));
	put(self, "a.txt", "0123456789");
	put(self, "empty", "");
	put(self, "c.js", "plain");
	put(self, "c.js.gz", "gz");
	add_tree(self, "/t", false);
	date_set(&self->o.http.date, 1ull << 34);
	snprintf(self->etag, sizeof(self->etag), "%s", field(ask(self, "HEAD /t/a.txt", ""), "etag"));
	ASSERT_GT(strlen(self->etag), 2);
}

FIXTURE_TEARDOWN(tree)
{
	char command[96];

	owner_fini(&self->o);
	fcache_fini(&self->files);
	snprintf(command, sizeof(command), "rm -r %s", self->dir);
	EXPECT_EQ(system(command), 0);
}

/* E stands for the file's own entity-tag. */
static const struct {
	const char *line, *fields;
	int status;
	const char *body;
} rules[] = {
	{ "GET /t/a.txt", "", 200, "0123456789" },
	{ "HEAD /t/a.txt", "", 200, "" },
	{ "GET /t/empty", "", 200, "" },
	/* 13.2.2: conditions before ranges */
	{ "GET /t/a.txt", "If-None-Match: E\r\nRange: bytes=0-1\r\n", 304, "" },
	{ "GET /t/a.txt", "If-None-Match: \"x\"\r\nRange: bytes=0-1\r\n", 206, "01" },
	{ "GET /t/a.txt", "If-Match: \"x\"\r\nRange: bytes=0-1\r\n", 412, NULL },
	{ "GET /t/a.txt", "If-Match: E\r\nRange: bytes=0-1\r\n", 206, "01" },
	{ "GET /t/a.txt", "If-Match: \"x\"\r\nIf-None-Match: E\r\n", 412, NULL },
	{ "GET /t/a.txt", "If-Modified-Since: " MODIFIED "\r\nRange: bytes=0-1\r\n", 304, "" },
	{ "GET /t/a.txt", "If-Unmodified-Since: " BEFORE "\r\nRange: bytes=0-1\r\n", 412, NULL },
	{ "HEAD /t/a.txt", "If-None-Match: E\r\n", 304, "" },
	{ "HEAD /t/a.txt", "If-Match: \"x\"\r\n", 412, "" },
	/* 13.1.5, 14.2: If-Range */
	{ "GET /t/a.txt", "If-Range: E\r\nRange: bytes=2-\r\n", 206, "23456789" },
	{ "GET /t/a.txt", "If-Range: \"x\"\r\nRange: bytes=2-\r\n", 200, "0123456789" },
	{ "GET /t/a.txt", "If-Range: W/E\r\nRange: bytes=2-\r\n", 200, "0123456789" },
	{ "GET /t/a.txt", "If-Range: " MODIFIED "\r\nRange: bytes=2-3\r\n", 206, "23" },
	{ "GET /t/a.txt", "If-Range: " BEFORE "\r\nRange: bytes=2-3\r\n", 200, "0123456789" },
	{ "GET /t/a.txt", "If-Range: \"x\"\r\nRange: bytes=99-\r\n", 200, "0123456789" },
	{ "GET /t/a.txt", "If-Range: E\r\n", 200, "0123456789" },
	/* 14.2: for GET only; ignored when malformed or of another unit, or there twice */
	{ "HEAD /t/a.txt", "Range: bytes=0-1\r\n", 200, "" },
	{ "HEAD /t/a.txt", "Range: bytes=99-\r\n", 200, "" },
	{ "GET /t/a.txt", "Range: bytes=3-2\r\n", 200, "0123456789" },
	{ "GET /t/a.txt", "Range: lines=1-2\r\n", 200, "0123456789" },
	{ "GET /t/a.txt", "Range: bytes=1-2\r\nRange: bytes=1-2\r\n", 200, "0123456789" },
	{ "GET /t/a.txt", "Range: bytes=-3\r\n", 206, "789" },
	{ "GET /t/a.txt", "Range: bytes=0-\r\n", 206, "0123456789" },
	{ "GET /t/a.txt", "Range: bytes=10-\r\n", 416, "" },
	{ "GET /t/empty", "Range: bytes=0-\r\n", 416, "" },
	{ "GET /t/empty", "Range: bytes=-1\r\n", 200, "" },
	/* what is not there has no conditions (13.2.1), but "*" */
	{ "GET /t/none", "If-None-Match: *\r\n", 404, NULL },
	{ "GET /t/none", "If-Match: *\r\n", 404, NULL },
	{ "GET /t/none", "Range: bytes=0-1\r\n", 404, NULL },
	/* ranges are of what is sent: 14.1.2, the coded bytes */
	{ "GET /t/c.js", "Accept-Encoding: gzip\r\nRange: bytes=1-\r\n", 206, "z" },
	{ "GET /t/c.js", "Range: bytes=1-\r\n", 206, "lain" },
	{ "GET /t/c.js", "Accept-Encoding: *;q=0\r\n", 406, NULL },
	{ "POST /t/a.txt", "Content-Length: 0\r\nIf-None-Match: *\r\n", 405, NULL },
};

static void replace_tag(char *out, size_t room, const char *fields, const char *etag)
{
	size_t n = 0;

	for (; *fields; fields++) {
		bool tag = *fields == 'E' && (fields[1] == '\r') &&
			   (fields[-1] == ' ' || fields[-1] == '/');

		n += (size_t)snprintf(out + n, room - n, "%.*s", tag ? (int)strlen(etag) : 1,
				      tag ? etag : fields);
	}
	out[n] = '\0';
}

TEST_F(tree, rules_of_the_rfc)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		char fields[256] = "";
		const char *answer;

		replace_tag(fields, sizeof(fields), rules[i].fields, self->etag);
		answer = ask(self, rules[i].line, fields);
		if (status(answer) != rules[i].status)
			NOTE("%s %s", rules[i].line, fields);
		EXPECT_EQ(status(answer), rules[i].status);
		if (rules[i].body)
			EXPECT_STREQ(body(answer), rules[i].body);
		EXPECT_FALSE(self->o.closed);
	}
}

/* 15.3.7: what a part says; 15.4.5: what 304 says; 15.5.17: what 416 says. */
TEST_F(tree, fields_of_the_answers)
{
	char range[128];
	const char *a = ask(self, "GET /t/a.txt", "Range: bytes=2-4\r\n");

	EXPECT_STREQ(field(a, "content-range"), "bytes 2-4/10");
	EXPECT_STREQ(field(a, "content-length"), "3");
	EXPECT_STREQ(field(a, "content-type"), "text/plain; charset=utf-8");
	EXPECT_STREQ(field(a, "etag"), self->etag);
	EXPECT_STREQ(field(a, "last-modified"), MODIFIED);
	EXPECT_EQ(strlen(field(a, "date")), DATE_LEN);
	a = ask(self, "GET /t/a.txt", "If-None-Match: *\r\n");
	EXPECT_STREQ(field(a, "etag"), self->etag);
	EXPECT_STREQ(field(a, "content-length"), "");
	EXPECT_STREQ(field(a, "content-type"), "");
	a = ask(self, "GET /t/a.txt", "Range: bytes=10-\r\n");
	EXPECT_STREQ(field(a, "content-range"), "bytes */10");
	EXPECT_STREQ(field(a, "content-length"), "0");
	a = ask(self, "GET /t/c.js", "Accept-Encoding: gzip\r\nIf-None-Match: *\r\n");
	EXPECT_STREQ(field(a, "vary"), "accept-encoding");
	snprintf(range, sizeof(range), "If-None-Match: %s\r\n",
		 field(ask(self, "GET /t/c.js", ""), "etag"));
	/* The tag of one coding is not that of another. */
	EXPECT_EQ(status(ask(self, "GET /t/c.js", range)), 304);
	snprintf(range + strlen(range), sizeof(range) - strlen(range), "Accept-Encoding: gzip\r\n");
	EXPECT_EQ(status(ask(self, "GET /t/c.js", range)), 200);
}

/* The parts of 14.6: exactly as many bytes as were promised, each part whole. */
TEST_F(tree, several_ranges)
{
	const char *a = ask(self, "GET /t/a.txt", "Range: bytes=0-1,4-4,-2\r\n");
	char boundary[80], want[1024];

	EXPECT_EQ(status(a), 206);
	EXPECT_STREQ(field(a, "content-range"), "");
	snprintf(boundary, sizeof(boundary), "%s", strstr(field(a, "content-type"), "boundary=") + 9);
	EXPECT_EQ(strncmp(field(a, "content-type"), "multipart/byteranges; ", 22), 0);
	snprintf(want, sizeof(want),
		 "\r\n--%s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-range: bytes "
		 "0-1/10\r\n\r\n01"
		 "\r\n--%s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-range: bytes "
		 "4-4/10\r\n\r\n4"
		 "\r\n--%s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-range: bytes "
		 "8-9/10\r\n\r\n89"
		 "\r\n--%s--\r\n",
		 boundary, boundary, boundary, boundary);
	EXPECT_STREQ(body(a), want);
	EXPECT_EQ(atoi(field(a, "content-length")), strlen(want));
}

/* While a queue may be reading the head it stays as it is; the next answer has its own. */
TEST_F(tree, the_date_of_an_answer_on_its_way)
{
	char text[2001];
	const char *a;

	memset(text, 'x', 2000);
	text[2000] = '\0';
	put(self, "long", text);
	ask(self, "GET /t/long", "");
	self->o.stopped = true;
	ask(self, "GET /t/long", "");
	date_set(&self->o.http.date, self->o.http.date.second + 1);
	ask(self, "GET /t/long", "");
	self->o.stopped = false;
	self->o.out.len = 0;
	owner_flush(&self->o);
	a = self->o.out.p;
	EXPECT_NE(strncmp(field(a, "date"), self->o.http.date.text, DATE_LEN), 0);
	a = strstr(body(a), "HTTP/1.1");
	EXPECT_EQ(strncmp(field(a, "date"), self->o.http.date.text, DATE_LEN), 0);
}

/* An app's public folder: what is no file there is the app's, whatever the method. */
TEST_F(tree, falls_through_to_the_app)
{
	struct http *http = &self->o.http;
	static const char *const apps[] = { "GET /none", "GET /sub/",      "POST /a.txt",
					    "GET /../x", "OPTIONS /a.txt", "GET /%00" };

	add_tree(self, "/", true);
	http->has_app = true;
	http->max_waiting = 100;
	EXPECT_STREQ(body(ask(self, "GET /a.txt", "")), "0123456789");
	/* The other tree keeps to itself. */
	EXPECT_EQ(status(ask(self, "GET /t/none", "")), 404);
	EXPECT_EQ(status(ask(self, "POST /t/a.txt", "Content-Length: 0\r\n")), 405);
	for (u32 i = 0; i < ARRAY_SIZE(apps); i++) {
		ask(self, apps[i], "");
		EXPECT_EQ(http->nr_submit, i + 1);
	}
	owner_cut(&self->o);
}

/* A new table while an answer of the old one is on its way: it stays whole. */
TEST_F(tree, routes_are_replaced_under_way)
{
	struct route_table *next = route_table_new();
	char big[5000];
	struct handler *h;

	memset(big, 'b', sizeof(big));
	ASSERT_NOT_NULL(next);
	h = handler_constant(200, VIEW("text/plain"), VIEW(""), (struct view){ big, sizeof(big) });
	ASSERT_NOT_NULL(h);
	ASSERT_OK(route_add(next, METHOD_GET, VIEW("/big"), h));
	http_set_routes(&self->o.http, next);
	route_table_put(next);
	self->o.stopped = true;
	ask(self, "GET /big", "");
	/* The last reference of the table is now that of the request. */
	http_set_routes(&self->o.http, self->o.routes);
	self->o.stopped = false;
	self->o.out.len = 0;
	owner_flush(&self->o);
	EXPECT_EQ(memcmp(self->o.out.p + self->o.out.len - sizeof(big), big, sizeof(big)), 0);
	EXPECT_EQ(status(ask(self, "GET /t/a.txt", "")), 200);
	EXPECT_EQ(status(ask(self, "GET /big", "")), 200); /* the owner's own */
}
