/* SPDX-License-Identifier: MIT */
/* What an app sees: env, byte for byte, under Rack::Lint and without it. */
#include "selftests/ruby/rack_bed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each line "KEY=value", CGI keys by bytes, others by inspect; then what else an app would notice. */
#define SHOW                                                                                       \
	"show = ->(env) {\n"                                                                       \
	"  lines = env.map { |k, v| \"#{k}=#{k.include?('.') ? v.inspect : v}\\n\" }\n"            \
	"  odd = env.reject { |k, v| k.include?('.') || v.encoding == Encoding::BINARY || "        \
	"v.ascii_only? }\n"                                                                        \
	"  [200, { 'content-type' => 'text/plain' }, [\"\\n\", *lines, \"odd=#{odd.size}\\n\"]]\n" \
	"}\n"

FIXTURE(env)
{
	struct bed_setup setup;
};
FIXTURE_VARIANT(env)
{
	u32 nr_threads;
	bool lint, rack_2;
};
VARIANT(env, inline_bare) = { 0, false, false };
VARIANT(env, threads_lint) = { 2, true, false };
VARIANT(env, threads_rack_2_lint) = { 2, true, true };
static bool is_inline;
FIXTURE_SETUP(env)
{
	self->setup.app = SHOW "run show\n";
	is_inline = !variant->nr_threads;
	self->setup.nr_threads = variant->nr_threads;
	self->setup.lint = variant->lint;
	self->setup.rack_2 = variant->rack_2;
}
FIXTURE_TEARDOWN(env)
{
}

static const char *shown; /* what the app saw */

/* Whether env has exactly this line. */
static bool has(const char *line)
{
	char whole[512];

	snprintf(whole, sizeof(whole), "\n%s\n", line);
	return strstr(shown, whole);
}

static bool has_key(const char *key)
{
	char start[512];

	snprintf(start, sizeof(start), "\n%s=", key);
	return strstr(shown, start);
}

#define EXPECT_ENV(line) EXPECT_TRUE(has(line))
#define EXPECT_NO_KEY(key) EXPECT_FALSE(has_key(key))

/* A request of the same connection as others with that number. */
static void look(const struct request *rq)
{
	const struct got *g = bed_ask(rq);

	EXPECT_EQ(g->status, 200);
	shown = g->body;
	if (has_failed())
		NOTE("%s", shown);
}

static void script_get(void)
{
	look(&(struct request){ .target = "/a%20b/c?x=1&y=%2F",
				.headers = { "Host: example.org:8080", "User-Agent: test" } });
	EXPECT_ENV("REQUEST_METHOD=GET");
	EXPECT_ENV("SCRIPT_NAME=");
	EXPECT_ENV("PATH_INFO=/a%20b/c");
	EXPECT_ENV("QUERY_STRING=x=1&y=%2F");
	EXPECT_ENV("REQUEST_URI=/a%20b/c?x=1&y=%2F");
	EXPECT_ENV("SERVER_NAME=example.org");
	EXPECT_ENV("SERVER_PORT=8080");
	EXPECT_ENV("SERVER_PROTOCOL=HTTP/1.1");
	EXPECT_ENV("REMOTE_ADDR=192.0.2.1");
	EXPECT_ENV("REMOTE_PORT=4711");
	EXPECT_ENV("HTTP_HOST=example.org:8080");
	EXPECT_ENV("HTTP_USER_AGENT=test");
	EXPECT_ENV("rack.url_scheme=\"http\"");
	/* On the I/O thread there is nobody who could hand the connection out. */
	EXPECT_TRUE(has(is_inline ? "rack.hijack?=false" : "rack.hijack?=true"));
	EXPECT_ENV("odd=0");
	EXPECT_NO_KEY("HTTP_VERSION");
	EXPECT_NO_KEY("CONTENT_LENGTH");
	EXPECT_NO_KEY("CONTENT_TYPE");
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(env, get)
{
	ASSERT_OK(bed_run(&self->setup, script_get));
}

static void script_no_query(void)
{
	look(&(struct request){ .target = "/", .http_1_0 = true });
	EXPECT_ENV("QUERY_STRING=");
	EXPECT_ENV("PATH_INFO=/");
	EXPECT_ENV("SERVER_PROTOCOL=HTTP/1.0");
	EXPECT_ENV("SERVER_NAME=localhost");
	EXPECT_ENV("SERVER_PORT=9292");
	EXPECT_NO_KEY("HTTP_HOST");
	look(&(struct request){ .target = "/?", .peer = "" });
	EXPECT_ENV("QUERY_STRING=");
	EXPECT_ENV("REQUEST_URI=/?");
	EXPECT_ENV("REMOTE_ADDR=127.0.0.1");
	EXPECT_ENV("SERVER_PORT=80");
	EXPECT_NO_KEY("REMOTE_PORT");
}
TEST_F(env, without_host_and_query)
{
	ASSERT_OK(bed_run(&self->setup, script_no_query));
}

static void script_authority(void)
{
	look(&(struct request){ .headers = { "Host: example.org" } });
	EXPECT_ENV("SERVER_NAME=example.org");
	EXPECT_ENV("SERVER_PORT=80");
	look(&(struct request){ .headers = { "Host: example.org" }, .tls = true });
	EXPECT_ENV("SERVER_PORT=443");
	EXPECT_ENV("rack.url_scheme=\"https\"");
	look(&(struct request){ .headers = { "Host: [2001:db8::1]:81" } });
	EXPECT_ENV("SERVER_NAME=[2001:db8::1]");
	EXPECT_ENV("SERVER_PORT=81");
	look(&(struct request){ .headers = { "Host: [::1]" } });
	EXPECT_ENV("SERVER_NAME=[::1]");
	EXPECT_ENV("SERVER_PORT=80");
	look(&(struct request){ .headers = { "Host: example.org:" } });
	EXPECT_ENV("SERVER_NAME=example.org");
	EXPECT_ENV("SERVER_PORT=80");
	/* The target of a proxy's request wins over Host. */
	look(&(struct request){ .headers = { "Host: other.org:1" }, .host = "example.org:8080" });
	EXPECT_ENV("HTTP_HOST=example.org:8080");
	EXPECT_ENV("SERVER_PORT=8080");
}
TEST_F(env, authority)
{
	ASSERT_OK(bed_run(&self->setup, script_authority));
}

static void script_methods(void)
{
	static const char *const names[] = { "POST", "PUT", "DELETE", "PATCH", "TRACE", "PURGE" };
	char line[64];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		look(&(struct request){ .method = names[i], .headers = { "Host: a" } });
		snprintf(line, sizeof(line), "REQUEST_METHOD=%s", names[i]);
		EXPECT_ENV(line);
	}
}
TEST_F(env, methods)
{
	ASSERT_OK(bed_run(&self->setup, script_methods));
}

static void script_headers(void)
{
	look(&(struct request){
		.headers = { "Host: a", "X-Own-Name: 1", "x-own-name: 2", "ACCEPT: text/html",
			     "Accept: */*", "Cookie: a=1", "cookie: b=2", "X_Forwarded_For: evil",
			     "X-Forwarded-For: 10.0.0.1", "Proxy: evil", "Content-Type: text/x",
			     "X-Empty: ", "X-Bytes: \xff\x80", "IF-NONE-MATCH: \"e\"" } });
	EXPECT_ENV("HTTP_X_OWN_NAME=1, 2");
	EXPECT_ENV("HTTP_ACCEPT=text/html, */*");
	EXPECT_ENV("HTTP_COOKIE=a=1; b=2");
	EXPECT_ENV("HTTP_X_FORWARDED_FOR=10.0.0.1");
	EXPECT_ENV("CONTENT_TYPE=text/x");
	EXPECT_ENV("HTTP_X_EMPTY=");
	EXPECT_ENV("HTTP_X_BYTES=\xff\x80");
	EXPECT_ENV("HTTP_IF_NONE_MATCH=\"e\"");
	EXPECT_ENV("odd=0");
	EXPECT_NO_KEY("HTTP_PROXY");
	EXPECT_NO_KEY("HTTP_CONTENT_TYPE");
	EXPECT_NO_KEY("HTTP_X_Forwarded_For");
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(env, headers)
{
	ASSERT_OK(bed_run(&self->setup, script_headers));
}

static void script_body_headers(void)
{
	look(&(struct request){ .method = "POST",
				.headers = { "Host: a", "Transfer-Encoding: chunked" },
				.body = "hello" });
	EXPECT_ENV("CONTENT_LENGTH=5");
	EXPECT_NO_KEY("HTTP_TRANSFER_ENCODING");
	EXPECT_NO_KEY("HTTP_CONTENT_LENGTH");
	look(&(struct request){
		.method = "POST", .headers = { "Host: a", "Content-Length: 3" }, .body = "abc" });
	EXPECT_ENV("CONTENT_LENGTH=3");
	look(&(struct request){ .method = "POST", .headers = { "Host: a", "Content-Length: 0" } });
	EXPECT_ENV("CONTENT_LENGTH=0");
}
TEST_F(env, length_of_the_body)
{
	ASSERT_OK(bed_run(&self->setup, script_body_headers));
}

/* --- one connection, several requests: what is cached may not be seen --- */

static void same_conn(const char *target, const char *h1, const char *h2, const char *h3)
{
	look(&(struct request){ .target = target,
				.conn = 7,
				.gen = 1,
				.headers = { "Host: example.org", h1, h2, h3 } });
}

static void script_conn(void)
{
	for (int i = 0; i < 6; i++) {
		same_conn("/a", "Accept: x", "Cookie: a=1", "X-Own: 1");
		EXPECT_ENV("PATH_INFO=/a");
		EXPECT_ENV("REQUEST_URI=/a");
		EXPECT_ENV("HTTP_COOKIE=a=1");
		EXPECT_ENV("HTTP_X_OWN=1");
		same_conn("/b?q", "Accept: y", "Cookie: b=22", "X-Own: 2");
		EXPECT_ENV("PATH_INFO=/b");
		EXPECT_ENV("QUERY_STRING=q");
		EXPECT_ENV("REQUEST_URI=/b?q");
		EXPECT_ENV("HTTP_ACCEPT=y");
		EXPECT_ENV("HTTP_COOKIE=b=22");
		EXPECT_ENV("HTTP_X_OWN=2");
	}
	/* Other names: nothing of before is left. */
	same_conn("/c", "X-Other: 1", NULL, NULL);
	EXPECT_ENV("HTTP_X_OTHER=1");
	EXPECT_ENV("QUERY_STRING=");
	EXPECT_NO_KEY("HTTP_ACCEPT");
	EXPECT_NO_KEY("HTTP_COOKIE");
	EXPECT_NO_KEY("HTTP_X_OWN");
	for (int i = 0; i < 10; i++) {
		same_conn("/c", "X-Other: 1", "X-Other: 2", NULL);
		EXPECT_ENV("HTTP_X_OTHER=1, 2");
	}
	/* The same slot, another connection: nothing of its predecessor. */
	look(&(struct request){ .conn = 7, .gen = 2, .peer = "198.51.100.9", .http_1_0 = true });
	EXPECT_ENV("REMOTE_ADDR=198.51.100.9");
	EXPECT_ENV("SERVER_PROTOCOL=HTTP/1.0");
	EXPECT_NO_KEY("HTTP_HOST");
	EXPECT_NO_KEY("HTTP_X_OTHER");
}
TEST_F(env, requests_of_one_connection)
{
	ASSERT_OK(bed_run(&self->setup, script_conn));
}

static void script_conn_line(void)
{
	struct request rq = { .conn = 3, .headers = { "Host: a" } };

	for (int i = 0; i < 3; i++) {
		rq.method = NULL;
		rq.http_1_0 = false;
		rq.host = NULL;
		look(&rq);
		EXPECT_ENV("REQUEST_METHOD=GET");
		EXPECT_ENV("SERVER_PROTOCOL=HTTP/1.1");
		EXPECT_ENV("SERVER_NAME=a");
		rq.method = "POST";
		rq.http_1_0 = true;
		rq.host = "b:1";
		look(&rq);
		EXPECT_ENV("REQUEST_METHOD=POST");
		EXPECT_ENV("SERVER_PROTOCOL=HTTP/1.0");
		EXPECT_ENV("SERVER_NAME=b");
		EXPECT_ENV("HTTP_HOST=b:1");
	}
}
TEST_F(env, request_line_is_not_cached)
{
	ASSERT_OK(bed_run(&self->setup, script_conn_line));
}

/* Connections whose numbers collide in the table take each other's place, not each other's headers. */
static void script_collision(void)
{
	struct request rq = { 0 };
	char host[32], line[48];

	for (u32 i = 0; i < 200; i++) {
		u32 who = (i * 7 + i / 9) % 3;

		rq.conn = 5 + who * 1024;
		rq.gen = who == 2 ? i / 50 : 0;
		snprintf(host, sizeof(host), "Host: host-%u-%u", who, rq.gen);
		snprintf(line, sizeof(line), "SERVER_NAME=%s", host + 6);
		rq.headers[0] = host;
		rq.headers[1] = who ? "Accept: a" : "Accept: b";
		look(&rq);
		EXPECT_ENV(line);
		EXPECT_ENV(who ? "HTTP_ACCEPT=a" : "HTTP_ACCEPT=b");
	}
}
TEST_F(env, connections_that_collide)
{
	ASSERT_OK(bed_run(&self->setup, script_collision));
}

/* An app may write into everything that differs between requests. */
static void script_mutation(void)
{
	for (int i = 0; i < 4; i++) {
		same_conn("/a?b", "User-Agent: ua", "Cookie: c", "X-Own: 1");
		EXPECT_ENV("PATH_INFO=/a!");
		EXPECT_ENV("QUERY_STRING=b!");
		EXPECT_ENV("HTTP_USER_AGENT=ua!");
		EXPECT_ENV("HTTP_COOKIE=c!");
		EXPECT_ENV("HTTP_X_OWN=1!");
		EXPECT_ENV("SCRIPT_NAME=/new");
		EXPECT_ENV("HTTP_NEW=new");
	}
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(env, app_writes_into_env)
{
	self->setup.app =
		SHOW "run ->(env) {\n"
		     "  %w[PATH_INFO QUERY_STRING HTTP_USER_AGENT HTTP_COOKIE HTTP_X_OWN].each { "
		     "|k| env[k] << '!' }\n"
		     "  raise 'left behind' if env.key?('HTTP_NEW')\n"
		     "  env['SCRIPT_NAME'] = '/new'\n"
		     "  env['HTTP_NEW'] = 'new'\n"
		     "  show.(env)\n"
		     "}\n";
	ASSERT_OK(bed_run(&self->setup, script_mutation));
}

/* --- many names: nothing grows --- */

static void script_many_names(void)
{
	char names[10][64];
	struct request rq = { .headers = { "Host: a" }, .target = "/count" };
	long first = 0, last;

	for (int round = 0; round < 2000; round++) {
		for (int i = 0; i < 10; i++) {
			snprintf(names[i], sizeof(names[i]), "X-Name-%d-%d: v", round, i);
			rq.headers[1 + i] = names[i];
		}
		shown = bed_ask(&rq)->body;
		if (round == 200)
			first = atol(shown);
	}
	last = atol(shown);
	/* 18,000 names later there are no more strings than those of some requests. */
	EXPECT_LT(last, first + 2000);
}
TEST_F(env, many_names_are_forgotten)
{
	self->setup.app = "run ->(env) { n = 0\n"
			  "  if env['HTTP_X_NAME_200_9'] || env['HTTP_X_NAME_1999_9']\n"
			  "    GC.start\n"
			  "    n = ObjectSpace.each_object(String).count { |s| "
			  "s.start_with?('HTTP_X_NAME_') }\n"
			  "  end\n"
			  "  [200, {}, [n.to_s]] }\n";
	ASSERT_OK(bed_run(&self->setup, script_many_names));
}

static void script_long_name(void)
{
	char header[3000];
	const struct got *g;

	memset(header, 'x', sizeof(header));
	memcpy(header + 2990, ": 1", 4);
	g = bed_ask(&(struct request){ .headers = { header } });
	EXPECT_STREQ(g->body, "[2995, \"1\"]");
}
TEST_F(env, long_name)
{
	self->setup.app = "run ->(env) { k = env.keys.find { |n| n.size > 999 }\n"
			  "[200, {}, [[k.size, env[k]].inspect]] }\n";
	ASSERT_OK(bed_run(&self->setup, script_long_name));
}

/* --- rack.input --- */

#define INPUT_APP                                                                                  \
	"run ->(env) { i = env['rack.input']\n"                                                    \
	"  out = [i.gets.inspect, i.read(3).inspect, i.read(2, buf = +'zz').inspect, buf]\n"       \
	"  lines = []\n"                                                                           \
	"  i.each { |l| lines << l }\n"                                                            \
	"  out << lines.inspect << i.read.inspect << i.read(1).inspect << i.gets.inspect\n"        \
	"  if i.respond_to?(:rewind)\n"                                                            \
	"    i.rewind\n"                                                                           \
	"    out << i.read.b.inspect\n"                                                            \
	"  end\n"                                                                                  \
	"  [200, {}, [out.join(' ')]] }\n"

static void script_input(void)
{
	const char *const all =
		"\"ab\\n\" \"cde\" \"f\\n\" f\n [\"gh\\n\", \"\\xFF\"] \"\" nil nil";
	struct request rq = { .method = "POST", .body = "ab\ncdef\ngh\n\xff" };
	const struct got *g;

	for (int in_file = 0; in_file < 2; in_file++) {
		rq.in_file = in_file;
		g = bed_ask(&rq);
		EXPECT_EQ(g->status, 200);
		EXPECT_MEMEQ(g->body, all, strlen(all));
		if (g->body_len > strlen(all))
			EXPECT_STREQ(g->body + strlen(all), " \"ab\\ncdef\\ngh\\n\\xFF\"");
	}
	g = bed_ask(&(struct request){ .method = "POST" });
	EXPECT_EQ(bed_count(g->body, "nil nil nil  [] \"\" nil nil"), 1);
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(env, input)
{
	self->setup.app = INPUT_APP;
	ASSERT_OK(bed_run(&self->setup, script_input));
}

static void script_input_file(void)
{
	struct request rq = { .method = "POST", .body = "0123456789", .in_file = true };

	EXPECT_STREQ(bed_ask(&rq)->body, "File ASCII-8BIT 0123456789");
	/* Ours is closed; the job's own descriptor is not ours to close. */
	EXPECT_STREQ(bed_ask(&rq)->body, "File ASCII-8BIT 0123456789");
	/* Behind its answer, so perhaps behind the next request. */
	EXPECT_TRUE(bed_until("/closed", "[true, true]"));
}
TEST_F(env, input_file_is_closed_after_the_request)
{
	self->setup.lint = false; /* Lint gives the app an object of its own */
	self->setup.app = "$files = []\n"
			  "run ->(env) { i = env['rack.input']\n"
			  "  next [200, {}, [$files.map(&:closed?).inspect]] if env['PATH_INFO'] "
			  "== '/closed'\n"
			  "  $files << i\n"
			  "  [200, {}, [\"#{i.class} #{i.external_encoding} #{i.read}\"]] }\n";
	ASSERT_OK(bed_run(&self->setup, script_input_file));
}
