/* SPDX-License-Identifier: MIT */
#include "tools/ctl_words.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORKERS 256
#define MAX_SECONDS (366ll * 24 * 3600)

struct word_list {
	int nr;
	char *const *p;
};

struct command {
	const char *name;
	const char *takes; /* behind the name */
	const char *help;
	/* Adds its arguments to @request; false: they are wrong, and @why says so. */
	bool (*read)(const struct word_list *w, json_t *request, char *why);
};

__attribute__((format(printf, 2, 3))) static bool wrong(char *why, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, CTL_WHY_LEN, fmt, args);
	va_end(args);
	return false;
}

/* --- values --- */

static bool number(const char *text, long long low, long long high, long long *out)
{
	char *end;

	errno = 0;
	*out = strtoll(text, &end, 10);
	return !errno && end != text && !*end && *out >= low && *out <= high;
}

static long long unit(char c)
{
	switch (c) {
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 3600;
	case 'd':
		return 24 * 3600;
	default:
		return 0;
	}
}

bool ctl_words_duration(const char *text, long long *seconds)
{
	long long last = MAX_SECONDS + 1;

	for (*seconds = 0; *text;) {
		long long n = 0, each;
		const char *digits = text;

		while (isdigit((unsigned char)*text) && n <= MAX_SECONDS)
			n = n * 10 + (*text++ - '0');
		/* A number without a unit is seconds, and the whole text. */
		each = *text ? unit(*text) : digits == text || last <= MAX_SECONDS ? 0 : 1;
		if (digits == text || !each || each >= last)
			return false;
		text += *text != '\0';
		*seconds += n * each;
		if (n > MAX_SECONDS || *seconds > MAX_SECONDS)
			return false;
		last = each;
	}
	return *seconds > 0;
}

bool ctl_words_cidr(const char *text)
{
	char addr[INET6_ADDRSTRLEN], bytes[16];
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	bool v6 = strchr(text, ':');
	long long bits = 0;

	if (!len || len >= sizeof(addr))
		return false;
	memcpy(addr, text, len);
	addr[len] = '\0';
	if (inet_pton(v6 ? AF_INET6 : AF_INET, addr, bytes) != 1)
		return false;
	return !slash ||
	       (isdigit((unsigned char)slash[1]) && number(slash + 1, 0, v6 ? 128 : 32, &bits));
}

/* --- arguments --- */

static bool read_nothing(const struct word_list *w, json_t *request, char *why)
{
	(void)request;
	return w->nr == 0 || wrong(why, "takes no argument, not %s", w->p[0]);
}

static bool read_workers(const struct word_list *w, json_t *request, char *why)
{
	bool by = w->nr == 1 && (w->p[0][0] == '+' || w->p[0][0] == '-');
	long long n;

	if (w->nr != 1 || !number(w->p[0], by ? -MAX_WORKERS : 1, MAX_WORKERS, &n) || !n)
		return wrong(why, "takes +N, -N or N, from 1 to %d", MAX_WORKERS);
	json_object_set_new(request, by ? "by" : "to", json_integer(n));
	return true;
}

static bool read_worker(const struct word_list *w, json_t *request, char *why)
{
	long long n;

	if (w->nr != 1 || !number(w->p[0], 0, MAX_WORKERS - 1, &n))
		return wrong(why, "takes the number of a worker, as status shows it");
	json_object_set_new(request, "worker", json_integer(n));
	return true;
}

static bool read_level(const struct word_list *w, json_t *request, char *why)
{
	static const char *const levels[] = { "debug", "info", "warn", "error" };

	for (size_t i = 0; w->nr == 1 && i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(w->p[0], levels[i]) != 0)
			continue;
		json_object_set_new(request, "level", json_string(levels[i]));
		return true;
	}
	return wrong(why, "takes debug, info, warn or error");
}

static bool read_cidr(const struct word_list *w, json_t *request, char *why)
{
	if (!w->nr || !ctl_words_cidr(w->p[0]))
		return wrong(why, "takes an address or a prefix, like 192.0.2.7, 192.0.2.0/24 or "
				  "2001:db8::/48");
	json_object_set_new(request, "cidr", json_string(w->p[0]));
	return true;
}

static bool read_forget(const struct word_list *w, json_t *request, char *why)
{
	if (!read_cidr(w, request, why))
		return false;
	return w->nr == 1 || wrong(why, "takes one address or prefix and nothing else");
}

static bool read_entry(const struct word_list *w, json_t *request, char *why)
{
	long long seconds;

	if (!read_cidr(w, request, why))
		return false;
	if (w->nr == 1)
		return true;
	if (w->nr != 3 || strcmp(w->p[1], "for") != 0 || !ctl_words_duration(w->p[2], &seconds))
		return wrong(
			why,
			"takes a time as in \"for 90s\", \"for 10m\", \"for 2h\", \"for 1d\", at "
			"most 366 days");
	json_object_set_new(request, "seconds", json_integer(seconds));
	return true;
}

/* --- commands --- */

static const struct command commands[] = {
	{ "status", "", "what runs, and how it is", read_nothing },
	{ "workers", "+N|-N|N", "N workers more, N fewer, or N in all", read_workers },
	{ "drain", "N", "worker N finishes what it has and is replaced", read_worker },
	{ "backtrace", "N", "what the Ruby threads of worker N are at", read_worker },
	{ "log-level", "LEVEL", "of all processes: debug, info, warn, error", read_level },
	{ "reopen-logs", "", "open the log files by their names once more", read_nothing },
	{ "deny", "CIDR [for TIME]", "drop packets from there (needs --attach)", read_entry },
	{ "allow", "CIDR [for TIME]", "... but not from there", read_entry },
	{ "forget", "CIDR", "neither denied nor allowed any more", read_forget },
	{ "lists", "", "what is denied and allowed, for how long, and what it hit", read_nothing },
	{ "stop", "", "stop when all requests are answered", read_nothing },
	{ "quit", "", "stop at once", read_nothing },
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

json_t *ctl_words_request(int nr, char *const *words, char why[CTL_WHY_LEN])
{
	const struct word_list rest = { nr - 1, words + 1 };
	char reason[CTL_WHY_LEN] = "";
	json_t *request;

	for (size_t i = 0; i < NR_COMMANDS; i++) {
		if (strcmp(commands[i].name, words[0]) != 0)
			continue;
		request = json_pack("{s:i,s:s}", "v", CTL_WORDS_VERSION, "command", words[0]);
		if (request && commands[i].read(&rest, request, reason))
			return request;
		json_decref(request);
		snprintf(why, CTL_WHY_LEN, "%s %.200s", words[0], reason);
		return NULL;
	}
	wrong(why, "%.64s is no command", words[0]);
	return NULL;
}

void ctl_words_print_help(void)
{
	for (size_t i = 0; i < NR_COMMANDS; i++) {
		char name[64];

		snprintf(name, sizeof(name), "%s %s", commands[i].name, commands[i].takes);
		printf("  %-24s %s\n", name, commands[i].help);
	}
	printf("  %-24s %s\n", "help", "print this");
}
