/* SPDX-License-Identifier: MIT */
/* Settings: where they come from, which goes before which, what is refused. */
#include "server/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "selftests/harness/harness.h"
#include "server/log.h"

/* Reads a command line of at most 80 words; the program's name is added. */
static int read_words(struct conf *conf, const struct conf_settings *settings,
		      const char *const *words)
{
	char *argv[82] = { (char *)(uintptr_t) "hyperion-bpf" };
	int argc = 1;

	for (; words && *words; words++)
		argv[argc++] = (char *)(uintptr_t)*words;
	return conf_read(conf, settings, argc, argv);
}

#define READ(conf, ...) read_words(conf, NULL, (const char *const[]){ __VA_ARGS__, NULL })

/* Neither the caller's environment nor its folder has a say. */
static void alone(void)
{
	clearenv();
	ASSERT_EQ(chdir("/"), 0);
}

TEST(defaults)
{
	struct conf conf;

	alone();
	ASSERT_EQ(read_words(&conf, NULL, NULL), CONF_RUN);
	EXPECT_EQ(conf.nr_binds, 1);
	EXPECT_STREQ(conf.binds[0].text, "tcp://0.0.0.0:9292");
	EXPECT_GE(conf.nr_workers, 1);
	EXPECT_LE(conf.nr_workers, sysconf(_SC_NPROCESSORS_ONLN));
	EXPECT_EQ(conf.nr_threads, 5);
	EXPECT_EQ(conf.limits.max_header_bytes, 64 * KIB);
	EXPECT_EQ(conf.limits.max_body_bytes, 16 * MIB);
	EXPECT_EQ(conf.limits.read_timeout_ms, 30000);
	EXPECT_EQ(conf.limits.idle_keepalive_ms, 5000);
	EXPECT_EQ(conf.limits.max_request_read_ms, 60000);
	EXPECT_EQ(conf.graceful_timeout_ms, 30000);
	EXPECT_EQ(conf.io_uring, IO_URING_AUTO);
	EXPECT_STREQ(conf.log_format, "auto");
	EXPECT_TRUE(conf.log_requests);
	EXPECT_TRUE(conf.request_id);
	EXPECT_STREQ(conf.log_file, "");
	EXPECT_STREQ(conf.error_log, "");
	EXPECT_TRUE(conf.preload);
	EXPECT_TRUE(conf.rebalance);
	EXPECT_FALSE(conf.pin);
	EXPECT_STREQ(conf.rackup, "config.ru");
	EXPECT_STREQ(conf.environment, "development");
	EXPECT_STREQ(conf.config, "");
	EXPECT_STREQ(conf.pidfile, "");
}

TEST(every_option_sets_its_own)
{
	struct conf conf;

	alone();
	ASSERT_EQ(READ(&conf, "-b", "tcp://127.0.0.1:1", "--bind=unix:///run/x", "-p", "3", "-w", "7",
		       "-t", "2", "-C", "c.rb", "-e", "production", "--user", "u", "--group", "g",
		       "--max-pending", "11", "--constant", "/a=b=c", "--io-uring", "off", "--pin",
		       "--max-connections", "12", "--max-header-bytes", "2048", "--max-body-bytes",
		       "99", "--read-timeout", "2", "--max-request-read-seconds", "3",
		       "--idle-keepalive", "4", "--graceful-timeout", "5", "--log-level", "warn",
		       "--log-format", "text", "--no-log-requests", "--no-request-id", "--log-file",
		       "a.log", "--error-log", "e.log", "--pidfile", "pid", "--no-preload", "app.ru"),
		  CONF_RUN);
	EXPECT_EQ(conf.nr_binds, 3);
	EXPECT_STREQ(conf.binds[1].text, "unix:///run/x");
	EXPECT_STREQ(conf.binds[2].text, "tcp://0.0.0.0:3");
	EXPECT_EQ(conf.nr_workers, 7);
	EXPECT_EQ(conf.nr_threads, 2);
	EXPECT_STREQ(conf.config, "c.rb");
	EXPECT_STREQ(conf.environment, "production");
	EXPECT_STREQ(conf.user, "u");
	EXPECT_STREQ(conf.group, "g");
	EXPECT_EQ(conf.max_pending, 11);
	ASSERT_EQ(conf.nr_constants, 1);
	EXPECT_VIEW_EQ(((struct view){ conf.constants[0].path, conf.constants[0].path_len }), "/a");
	EXPECT_STREQ(conf.constants[0].body, "b=c");
	EXPECT_EQ(conf.io_uring, IO_URING_OFF);
	EXPECT_TRUE(conf.pin);
	EXPECT_EQ(conf.max_connections, 12);
	EXPECT_EQ(conf.limits.max_header_bytes, 2048);
	EXPECT_EQ(conf.limits.max_body_bytes, 99);
	EXPECT_EQ(conf.limits.read_timeout_ms, 2000);
	EXPECT_EQ(conf.limits.max_request_read_ms, 3000);
	EXPECT_EQ(conf.limits.idle_keepalive_ms, 4000);
	EXPECT_EQ(conf.graceful_timeout_ms, 5000);
	EXPECT_EQ(log_level, LOG_LEVEL_WARN);
	EXPECT_STREQ(conf.log_format, "text");
	EXPECT_FALSE(conf.log_requests);
	EXPECT_FALSE(conf.request_id);
	EXPECT_STREQ(conf.log_file, "a.log");
	EXPECT_STREQ(conf.error_log, "e.log");
	EXPECT_STREQ(conf.pidfile, "pid");
	EXPECT_FALSE(conf.preload);
	EXPECT_STREQ(conf.rackup, "app.ru");
}

TEST(the_last_of_two_counts)
{
	struct conf conf;

	alone();
	ASSERT_EQ(READ(&conf, "-w", "2", "-w", "3", "--no-log-requests", "--log-requests"), CONF_RUN);
	EXPECT_EQ(conf.nr_workers, 3);
	EXPECT_TRUE(conf.log_requests);
}

TEST(actions)
{
	struct conf conf;

	alone();
	EXPECT_EQ(READ(&conf, "--check"), CONF_CHECK);
	EXPECT_EQ(READ(&conf, "--check", "-w", "2"), CONF_CHECK);
	EXPECT_EQ(READ(&conf, "--help"), CONF_EXIT);
	EXPECT_EQ(READ(&conf, "-v", "--bogus"), CONF_EXIT);
	EXPECT_EQ(READ(&conf, "--check", "-w", "x"), -EINVAL);
	EXPECT_EQ(READ(&conf, "a.ru", "b.ru"), -EINVAL);
	EXPECT_EQ(READ(&conf, "--bogus"), -EINVAL);
	EXPECT_EQ(READ(&conf, "--workers"), -EINVAL);
	/* A refused one does not stand in the way of the next. */
	EXPECT_EQ(READ(&conf, "-w", "2"), CONF_RUN);
}

static void add(struct conf_settings *s, const char *key, const char *value)
{
	ASSERT_OK(conf_settings_add(s, key, value));
}

TEST(environment_before_arguments_before_file)
{
	struct conf_settings file = { 0 };
	const char *const args[] = { "--log-format", "text", "--io-uring", "off", "-t", "3", NULL };
	struct conf conf;

	alone();
	add(&file, "log_format", "json");
	add(&file, "io_uring", "on");
	add(&file, "threads", "1");
	add(&file, "max_pending", "77");
	add(&file, "log_requests", "false");
	setenv("HYPERION_LOG_FORMAT", "auto", 1);
	setenv("HYPERION_LOG_REQUESTS", "yes", 1);
	ASSERT_EQ(read_words(&conf, &file, args), CONF_RUN);
	EXPECT_STREQ(conf.log_format, "auto");
	EXPECT_TRUE(conf.log_requests);
	EXPECT_EQ(conf.io_uring, IO_URING_OFF);
	EXPECT_EQ(conf.nr_threads, 3);
	EXPECT_EQ(conf.max_pending, 77);
	free(file.p);
}

/* Addresses add up within one place; another place replaces them all. */
TEST(addresses_of_file_and_arguments)
{
	const char *const args[] = { "-p", "5", NULL };
	struct conf_settings file = { 0 };
	struct conf conf;

	alone();
	add(&file, "bind", "tcp://127.0.0.1:1");
	add(&file, "bind", "tcp://127.0.0.1:2");
	ASSERT_EQ(read_words(&conf, &file, NULL), CONF_RUN);
	EXPECT_EQ(conf.nr_binds, 2);
	EXPECT_EQ(conf.binds_layer, CONF_FILE);
	ASSERT_EQ(read_words(&conf, &file, args), CONF_RUN);
	ASSERT_EQ(conf.nr_binds, 1);
	EXPECT_STREQ(conf.binds[0].text, "tcp://0.0.0.0:5");
	EXPECT_EQ(conf.binds_layer, CONF_ARGS);
	free(file.p);
}

/* ...and where none is said, those of whoever starts us. */
TEST(addresses_by_default)
{
	const char *const args[] = { "-p", "5", NULL };
	struct conf conf;

	alone();
	setenv("HYPERION_DEFAULT_BIND", "tcp://127.0.0.1:3,nonsense,tcp://[::1]:3", 1);
	ASSERT_EQ(read_words(&conf, NULL, NULL), CONF_RUN);
	ASSERT_EQ(conf.nr_binds, 2);
	EXPECT_STREQ(conf.binds[0].text, "tcp://127.0.0.1:3");
	EXPECT_STREQ(conf.binds[1].text, "tcp://[::1]:3");
	EXPECT_EQ(conf.binds_layer, CONF_DEFAULT);
	ASSERT_EQ(read_words(&conf, NULL, args), CONF_RUN);
	ASSERT_EQ(conf.nr_binds, 1);
	EXPECT_STREQ(conf.binds[0].text, "tcp://0.0.0.0:5");
	setenv("HYPERION_DEFAULT_BIND", "nonsense", 1);
	ASSERT_EQ(read_words(&conf, NULL, NULL), CONF_RUN);
	ASSERT_EQ(conf.nr_binds, 1);
	EXPECT_STREQ(conf.binds[0].text, "tcp://0.0.0.0:9292");
}

TEST(bad_environment_is_ignored)
{
	static const char *const names[] = { "HYPERION_IO_URING", "HYPERION_LOG_LEVEL",
					     "HYPERION_LOG_FORMAT", "HYPERION_LOG_REQUESTS" };
	struct conf conf;

	alone();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		setenv(names[i], "nonsense", 1);
	ASSERT_EQ(READ(&conf, "--io-uring", "off", "--log-format", "json", "--no-log-requests",
		       "--log-level", "warn"),
		  CONF_RUN);
	EXPECT_EQ(conf.io_uring, IO_URING_OFF);
	EXPECT_STREQ(conf.log_format, "json");
	EXPECT_FALSE(conf.log_requests);
	EXPECT_EQ(log_level, LOG_LEVEL_WARN);
}

TEST(rack_env)
{
	struct conf conf;

	alone();
	setenv("RACK_ENV", "staging", 1);
	ASSERT_EQ(read_words(&conf, NULL, NULL), CONF_RUN);
	EXPECT_STREQ(conf.environment, "staging");
	ASSERT_EQ(READ(&conf, "-e", "test"), CONF_RUN);
	EXPECT_STREQ(conf.environment, "test");
	setenv("RACK_ENV", "", 1);
	ASSERT_EQ(read_words(&conf, NULL, NULL), CONF_RUN);
	EXPECT_STREQ(conf.environment, "development");
}

TEST(words_for_switches)
{
	static const char *const yes[] = { "1", "true", "yes", "on", "TRUE" };
	static const char *const no[] = { "0", "false", "no", "off", "Off" };
	struct conf conf;

	alone();
	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		setenv("HYPERION_LOG_REQUESTS", yes[i], 1);
		ASSERT_EQ(READ(&conf, "--no-log-requests"), CONF_RUN);
		EXPECT_TRUE(conf.log_requests);
		setenv("HYPERION_LOG_REQUESTS", no[i], 1);
		ASSERT_EQ(READ(&conf, "--log-requests"), CONF_RUN);
		EXPECT_FALSE(conf.log_requests);
	}
}

/* What a config file says is judged where it stands, before it is taken. */
TEST(settings_of_a_file_are_checked)
{
	static const char *const good[][2] = {
		{ "workers", "4" },         { "max_body_bytes", "0" },
		{ "max-body-bytes", "1" },  { "bind", "unix:///a" },
		{ "pin", "true" },          { "log_requests", "off" },
		{ "environment", "a b c" }, { "log_level", "info" },
		{ "preload", "0" },         { "rebalance", "false" },
		{ "log_format", "{path}" }, { "log_format", "combined" },
		{ "log_file", "a" },        { "error_log", "b" },
		{ "request_id", "false" },
	};
	static const char *const bad[][2] = {
		{ "workers", "0" },        { "workers", "" },        { "worker", "1" },
		{ "workers_", "1" },       { "WORKERS", "1" },       { "", "1" },
		{ "pin", "maybe" },        { "bind", "tcp://x" },    { "log_level", "loud" },
		{ "help", "1" },           { "check", "1" },         { "version", "1" },
		{ "user", "root" },        { "group", "root" },      { "config", "other.rb" },
		{ "no_app", "true" },      { "no-app", "true" },     { "environment", "" },
		{ "constant", "nothing" }, { "max_pending", "0x1" }, { "log_format", "{nope}" },
		{ "log_format", "xml" },   { "log_file", "" },       { "request_id", "perhaps" },
	};

	alone();
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		const char *why = conf_check_setting(good[i][0], good[i][1]);

		if (why)
			NOTE("%s %s: %s", good[i][0], good[i][1], why);
		EXPECT_NULL(why);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *why = conf_check_setting(bad[i][0], bad[i][1]);

		if (!why || !why[0])
			NOTE("%s %s was taken", bad[i][0], bad[i][1]);
		EXPECT_TRUE(why && why[0]);
	}
}

TEST(texts_have_a_limit)
{
	char name[CONF_TEXT_LEN + 1];
	struct conf conf;

	alone();
	memset(name, 'x', sizeof(name));
	name[CONF_TEXT_LEN - 1] = '\0';
	ASSERT_EQ(READ(&conf, "--pidfile", name), CONF_RUN);
	EXPECT_STREQ(conf.pidfile, name);
	name[CONF_TEXT_LEN - 1] = 'x';
	name[CONF_TEXT_LEN] = '\0';
	EXPECT_EQ(READ(&conf, "--pidfile", name), -EINVAL);
}

TEST(as_many_constants_as_there_is_room_for)
{
	const char *words[2 * (MAX_CONSTANTS + 1) + 1] = { NULL };
	static char texts[MAX_CONSTANTS + 1][16];
	char *argv[2 * (MAX_CONSTANTS + 1) + 2] = { (char *)(uintptr_t) "hyperion-bpf" };
	struct conf conf;
	int n = 0;

	alone();
	for (u32 i = 0; i <= MAX_CONSTANTS; i++) {
		snprintf(texts[i], sizeof(texts[i]), "/%u=%u", i, i);
		words[n++] = "--constant";
		words[n++] = texts[i];
	}
	for (int i = 0; i < n; i++)
		argv[i + 1] = (char *)(uintptr_t)words[i];
	EXPECT_EQ(conf_read(&conf, NULL, n + 1, argv), -EINVAL);
	EXPECT_EQ(conf_read(&conf, NULL, n - 1, argv), CONF_RUN);
	EXPECT_EQ(conf.nr_constants, MAX_CONSTANTS);
	EXPECT_STREQ(conf.constants[63].body, "63");
}

/* What the system allows, less what is not a connection. */
TEST(connections_follow_the_descriptors)
{
	static const struct {
		rlim_t nofile;
		u32 want;
	} cases[] = { { 1000, 936 }, { 129, 65 }, { 128, 64 }, { 40, 20 } };
	struct conf conf;

	alone();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rlimit lim = { 20, cases[i].nofile };

		ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &lim), 0);
		ASSERT_EQ(read_words(&conf, NULL, NULL), CONF_RUN);
		EXPECT_EQ(conf.max_connections, cases[i].want);
		ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &lim), 0);
		/* The soft limit is raised for the workers. */
		EXPECT_EQ(lim.rlim_cur, cases[i].nofile);
	}
}

TEST(in_flight_follows_the_threads)
{
	static const struct {
		const char *threads, *nr;
		u32 want;
	} cases[] = {
		{ "16", "auto", 4 }, { "7", "auto", 1 }, { "3", "auto", 1 },
		{ "0", "auto", 1 },  { "16", "3", 3 },   { "16", "off", 0 },
	};
	struct conf conf;

	alone();
	ASSERT_EQ(read_words(&conf, NULL, NULL), CONF_RUN);
	EXPECT_EQ(conf.limits.max_in_flight, 0);
	EXPECT_EQ(conf.limits.max_request_ms, 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		/* Whichever is said first. */
		ASSERT_EQ(READ(&conf, "--max-in-flight-per-conn", cases[i].nr, "-t", cases[i].threads),
			  CONF_RUN);
		EXPECT_EQ(conf.limits.max_in_flight, cases[i].want);
	}
	setenv("HYPERION_MAX_IN_FLIGHT_PER_CONN", "2", 1);
	ASSERT_EQ(READ(&conf, "--max-in-flight-per-conn", "9", "--max-request-seconds", "7"),
		  CONF_RUN);
	EXPECT_EQ(conf.limits.max_in_flight, 2);
	EXPECT_EQ(conf.limits.max_request_ms, 7000);
}
