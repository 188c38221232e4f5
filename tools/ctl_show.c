/* SPDX-License-Identifier: MIT */
#include "tools/ctl_show.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* --- values, or what stands for them where they are missing --- */

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "-";
}

static long long number_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* Bytes of a terminal's language become "?"; letters of any other stay. */
static void put(const char *s)
{
	for (; *s; s++)
		putchar((unsigned char)*s < ' ' || *s == 0x7f ? '?' : *s);
}

static void put_time(long long s)
{
	if (s < 60)
		printf("%llds", s);
	else if (s < 3600)
		printf("%lldm %llds", s / 60, s % 60);
	else if (s < 24 * 3600)
		printf("%lldh %lldm", s / 3600, s / 60 % 60);
	else
		printf("%lldd %lldh", s / 86400, s / 3600 % 24);
}

/* --- status --- */

static void show_worker(const json_t *w, long long threads)
{
	char busy[32], up[32];
	long long s = number_of(w, "uptime_s");

	snprintf(busy, sizeof(busy), "%lld/%lld", number_of(w, "threads_busy"), threads);
	if (s < 3600)
		snprintf(up, sizeof(up), "%lldm%02llds", s / 60, s % 60);
	else
		snprintf(up, sizeof(up), "%lldh%02lldm", s / 3600, s / 60 % 60);
	printf("%6lld %7lld %-9.9s %8s %8lld %7lld %8s %6lld %9lld %6.1fMB\n",
	       number_of(w, "worker"), number_of(w, "pid"), text_of(w, "state"), up,
	       number_of(w, "restarts"), number_of(w, "connections"), busy, number_of(w, "queued"),
	       number_of(w, "requests"), (double)number_of(w, "rss_bytes") / 1e6);
}

static void show_app(const json_t *a, const json_t *set)
{
	if (json_is_string(json_object_get(a, "ruby"))) {
		printf("Ruby ");
		put(text_of(a, "ruby"));
		printf(" serves ");
		put(text_of(set, "rackup"));
		printf(" in ");
		put(text_of(set, "environment"));
		printf(", %lld threads per worker; ", number_of(set, "threads"));
	} else {
		printf("no app; ");
	}
	printf("loop ");
	put(text_of(a, "loop"));
	printf(", connections by ");
	put(text_of(a, "steering"));
	printf(", log-level ");
	put(text_of(set, "log_level"));
	printf("\nstatistics: ");
	put(text_of(json_object_get(a, "statistics"), "kind"));
	if (json_is_string(json_object_get(json_object_get(a, "statistics"), "folder"))) {
		printf(" in ");
		put(text_of(json_object_get(a, "statistics"), "folder"));
	}
	putchar('\n');
}

static void show_status(const json_t *a)
{
	const json_t *set = json_object_get(a, "settings"), *item;
	size_t i;

	put(text_of(a, "instance"));
	printf("  hyperion-bpf ");
	put(text_of(a, "server"));
	printf("  ");
	put(text_of(a, "state"));
	printf("  pid %lld  up ", number_of(a, "pid"));
	put_time(number_of(a, "uptime_s"));
	putchar('\n');
	show_app(a, set);
	json_array_foreach (json_object_get(a, "listeners"), i, item) {
		printf("listening on ");
		put(json_string_value(item) ? json_string_value(item) : "-");
		putchar('\n');
	}
	json_array_foreach (json_object_get(a, "guard"), i, item) {
		printf("guard on ");
		put(text_of(item, "interface"));
		printf(" (");
		put(text_of(item, "mode"));
		printf(")\n");
	}
	printf("\nWORKER     PID STATE           UP RESTARTS   CONNS     BUSY QUEUED  REQUESTS     "
	       " RSS\n");
	json_array_foreach (json_object_get(a, "workers"), i, item)
		show_worker(item, number_of(set, "threads"));
}

/* --- backtrace --- */

static void show_thread(const json_t *t)
{
	const json_t *frame;
	size_t i;

	put(text_of(t, "name"));
	printf(" (");
	put(text_of(t, "status"));
	printf(")\n");
	if (!json_array_size(json_object_get(t, "backtrace")))
		printf("    idle, or outside of Ruby code\n");
	json_array_foreach (json_object_get(t, "backtrace"), i, frame) {
		printf("    ");
		put(json_string_value(frame) ? json_string_value(frame) : "-");
		putchar('\n');
	}
}

static void show_backtrace(const json_t *a)
{
	const json_t *item;
	size_t i;

	printf("worker %lld pid %lld: %lld threads busy, %lld requests queued\n",
	       number_of(a, "worker"), number_of(a, "pid"), number_of(a, "threads_busy"),
	       number_of(a, "queued"));
	if (json_object_get(a, "silent_ms"))
		printf("as of its last turn, %lld ms ago\n", number_of(a, "silent_ms"));
	json_array_foreach (json_object_get(a, "running"), i, item) {
		printf("running for %lld ms: ", number_of(item, "age_ms"));
		put(text_of(item, "method"));
		putchar(' ');
		put(text_of(item, "path"));
		putchar('\n');
	}
	json_array_foreach (json_object_get(a, "threads"), i, item) {
		putchar('\n');
		show_thread(item);
	}
	if (json_is_string(json_object_get(a, "why"))) {
		printf("\nno backtraces: ");
		put(text_of(a, "why"));
		putchar('\n');
	}
}

/* --- lists --- */

static void show_list(const char *name, const json_t *list)
{
	const json_t *e;
	size_t i;

	json_array_foreach (list, i, e) {
		printf("%-5s %-43s ", name, text_of(e, "cidr"));
		printf("%lld hits", number_of(e, "hits"));
		if (json_is_integer(json_object_get(e, "expires_in_s"))) {
			printf(", ends in ");
			put_time(number_of(e, "expires_in_s"));
		}
		putchar('\n');
	}
}

static void show_lists(const json_t *a)
{
	show_list("deny", json_object_get(a, "deny"));
	show_list("allow", json_object_get(a, "allow"));
	if (!json_array_size(json_object_get(a, "deny")) &&
	    !json_array_size(json_object_get(a, "allow")))
		printf("nothing is denied, nothing allowed\n");
	if (json_is_true(json_object_get(a, "more")))
		printf("... and more\n");
}

/* --- */

void ctl_show(const char *command, const json_t *answer)
{
	if (strcmp(command, "status") == 0) {
		show_status(answer);
	} else if (strcmp(command, "backtrace") == 0) {
		show_backtrace(answer);
	} else if (strcmp(command, "lists") == 0) {
		show_lists(answer);
	} else {
		put(text_of(answer, "message"));
		putchar('\n');
	}
}

const char *ctl_show_reason(const json_t *answer)
{
	return text_of(json_object_get(answer, "error"), "message");
}
