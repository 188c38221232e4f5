/* SPDX-License-Identifier: MIT */
/* hyperion-top: what a running hyperion-bpf does, from its shared maps. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/top_screen.h"
#include "tools/top_text.h"

enum output { OUTPUT_SCREEN, OUTPUT_JSON, OUTPUT_CSV };

struct wishes {
	const char *instance;
	enum output output;
	bool once;
	double interval; /* seconds; 0 = not said */
};

static const char usage[] =
	"Usage: hyperion-top [options]\n\n"
	"Shows what a running hyperion-bpf does, without asking it. On a terminal ? lists the "
	"keys.\n\n"
	"  -i, --instance NAME   which one: its --instance (default)\n"
	"  -n, --interval S      seconds between two readings (1)\n"
	"  -1, --once            print once, since the start of the server; with --interval,\n"
	"                        what happened in that time\n"
	"  -j, --json            print an object per reading, one a line\n"
	"  -c, --csv             print a line per route and reading\n"
	"  -h, --help            print this\n"
	"  -v, --version         print the version of the statistics that it reads\n\n"
	"Exit status: 0; 1: no server, or its statistics cannot be read; 2: wrong options.\n";

static int refuse(const char *name, const char *value, const char *allowed)
{
	fprintf(stderr, "hyperion-top: --%s %s: allowed is %s\n", name, value, allowed);
	return -1;
}

static int take_interval(struct wishes *w, const char *text)
{
	char *end;

	errno = 0;
	w->interval = strtod(text, &end);
	if (errno || *end || end == text || !(w->interval >= 0.05 && w->interval <= 3600))
		return refuse("interval", text, "seconds, from 0.05 to 3600");
	return 0;
}

static int take_instance(struct wishes *w, const char *text)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
	size_t len = strlen(text);

	if (!len || len > 63 || strspn(text, allowed) != len)
		return refuse("instance", text,
			      "a name of letters, digits, - and _, at most 63 of them");
	w->instance = text;
	return 0;
}

/* -1: go on; else the exit status. */
static int read_options(struct wishes *w, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "instance", required_argument, NULL, 'i' },
		{ "interval", required_argument, NULL, 'n' },
		{ "once", no_argument, NULL, '1' },
		{ "json", no_argument, NULL, 'j' },
		{ "csv", no_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "i:n:1jchv", longs, NULL)) != -1) {
		switch (c) {
		case 'i':
			if (take_instance(w, optarg))
				return 2;
			break;
		case 'n':
			if (take_interval(w, optarg))
				return 2;
			break;
		case '1':
			w->once = true;
			break;
		case 'j':
			w->output = OUTPUT_JSON;
			break;
		case 'c':
			w->output = OUTPUT_CSV;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'v':
			printf("hyperion-top: statistics of version %u\n", STATS_VERSION);
			return 0;
		default:
			fputs("hyperion-top: see hyperion-top --help\n", stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "hyperion-top: %s: only options are taken, see --help\n",
			argv[optind]);
		return 2;
	}
	return -1;
}

static void pause_for(double seconds)
{
	struct timespec ts = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };

	nanosleep(&ts, NULL);
}

static int complain(const char *why)
{
	fflush(stdout);
	fprintf(stderr, "hyperion-top: %s\n", why);
	return 1;
}

static int print(const struct wishes *w, const struct top_model *m, bool first)
{
	if (w->output == OUTPUT_JSON)
		top_print_json(stdout, m);
	else if (w->output == OUTPUT_CSV)
		top_print_csv(stdout, m, first);
	else
		top_print_table(stdout, m);
	return fflush(stdout) ? 1 : 0;
}

/* Readings one after the other, until nobody takes them any more or the server ends. */
static int follow(const struct wishes *w, struct top_model *m, struct top_reading r[2])
{
	bool differences = !w->once || w->interval;
	char why[TOP_WHY_LEN];
	int at = 0;

	if (differences && top_read(&r[1], w->instance, why))
		return complain(why);
	for (bool first = true;; first = false, at = !at) {
		if (differences)
			pause_for(w->interval ? w->interval : 1);
		if (top_read(&r[at], w->instance, why))
			return complain(why);
		if (top_update(m, &r[at], differences ? &r[!at] : NULL))
			return complain("out of memory");
		if (print(w, m, first) || w->once)
			return 0;
	}
}

int main(int argc, char **argv)
{
	struct wishes w = { .instance = getenv("HYPERION_INSTANCE") };
	struct top_reading readings[2] = { 0 };
	int status = 0;
	struct top_model *m;

	if (!w.instance || !w.instance[0])
		w.instance = "default";
	status = read_options(&w, argc, argv);
	if (status >= 0)
		return status;
	if (w.output == OUTPUT_SCREEN && !w.once) {
		if (isatty(STDOUT_FILENO) && isatty(STDIN_FILENO))
			return top_screen_run(w.instance, w.interval ? w.interval : 1);
		/* Nobody is there to press q. */
		w.once = true;
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return complain("out of memory");
	status = follow(&w, m, readings);
	top_reading_free(&readings[0]);
	top_reading_free(&readings[1]);
	top_model_free(m);
	free(m);
	return status;
}
