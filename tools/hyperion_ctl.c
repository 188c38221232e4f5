/* SPDX-License-Identifier: MIT */
/* hyperion-ctl: one command for a server that runs, and its answer. docs/CONTROL.md. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ctl_link.h"
#include "tools/ctl_show.h"
#include "tools/ctl_words.h"

#define LOOK_MS 100 /* how often --wait looks whether a worker was replaced */

struct wishes {
	const char *instance;
	const char *socket; /* NULL: by the instance's name */
	double timeout; /* seconds */
	bool json, wait;
};

static const char usage[] = "Usage: hyperion-ctl [options] COMMAND [ARGUMENT...]\n\n"
			    "Asks a running hyperion-bpf over its control socket.\n\n"
			    "Commands:\n";

static const char usage_options[] =
	"\nOptions:\n"
	"  -i, --instance NAME      that server (HYPERION_INSTANCE, else default)\n"
	"  -s, --socket PATH        the server at that socket\n"
	"  -j, --json               the answer as one line of JSON\n"
	"  -t, --timeout S          seconds to wait for the answer (10; with --wait 60)\n"
	"  -w, --wait               with stop, quit: until the server has ended; with drain: "
	"until\n"
	"                           the worker is replaced\n"
	"  -h, --help               print this\n"
	"  -v, --version            print the version of the protocol that it speaks\n\n"
	"Root and the user that runs the server may do all, others whom the socket lets in may\n"
	"ask for status and lists. Times are like 90s, 10m, 2h, 1d or 1h30m.\n\n"
	"Exit status: 0; 1: the server refused, failed or did not answer in time; 2: wrong use;\n"
	"3: no such server, or it ended before it answered; 4: not allowed.\n";

static void print_help(void)
{
	fputs(usage, stdout);
	ctl_words_print_help();
	fputs(usage_options, stdout);
}

/* --- the command line --- */

static int refuse(const char *name, const char *value, const char *allowed)
{
	fprintf(stderr, "hyperion-ctl: --%s %s: allowed is %s\n", name, value, allowed);
	return -1;
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

static int take_timeout(struct wishes *w, const char *text)
{
	char *end;

	errno = 0;
	w->timeout = strtod(text, &end);
	if (errno || *end || end == text || !(w->timeout >= 0.1 && w->timeout <= 3600))
		return refuse("timeout", text, "seconds, from 0.1 to 3600");
	return 0;
}

/* -1: go on; else the exit status. */
static int read_options(struct wishes *w, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "instance", required_argument, NULL, 'i' },
		{ "socket", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ "timeout", required_argument, NULL, 't' },
		{ "wait", no_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	/* Options go before the command: behind it "-1" is a number. */
	while ((c = getopt_long(argc, argv, "+i:s:jt:whv", longs, NULL)) != -1) {
		switch (c) {
		case 'i':
			if (take_instance(w, optarg))
				return CTL_WRONG_USE;
			break;
		case 's':
			w->socket = optarg;
			break;
		case 'j':
			w->json = true;
			break;
		case 't':
			if (take_timeout(w, optarg))
				return CTL_WRONG_USE;
			break;
		case 'w':
			w->wait = true;
			break;
		case 'h':
			print_help();
			return CTL_FINE;
		case 'v':
			printf("hyperion-ctl: protocol version %d\n", CTL_WORDS_VERSION);
			return CTL_FINE;
		default:
			fputs("hyperion-ctl: see hyperion-ctl --help\n", stderr);
			return CTL_WRONG_USE;
		}
	}
	return -1;
}

/* --- asking --- */

static int complain(enum ctl_outcome outcome, const char *why)
{
	fflush(stdout);
	fprintf(stderr, "hyperion-ctl: %s\n", why);
	return outcome;
}

static bool is(const char *command, const char *name)
{
	return strcmp(command, name) == 0;
}

/* Does another process serve in the place of worker @id by now? */
static bool replaced(const json_t *status, long long id, long long pid)
{
	const json_t *w;
	size_t i;

	json_array_foreach (json_object_get(status, "workers"), i, w) {
		const char *state = json_string_value(json_object_get(w, "state"));

		if (json_integer_value(json_object_get(w, "worker")) == id)
			return state && is(state, "serving") &&
			       json_integer_value(json_object_get(w, "pid")) != pid;
	}
	return false;
}

static enum ctl_outcome wait_replaced(struct ctl_link *l, const json_t *drained)
{
	long long id = json_integer_value(json_object_get(drained, "worker"));
	long long pid = json_integer_value(json_object_get(drained, "pid"));
	json_t *request = json_pack("{s:i,s:s}", "v", CTL_WORDS_VERSION, "command", "status");
	enum ctl_outcome outcome;
	bool done = false;

	do {
		json_t *status;

		outcome = ctl_link_ask(l, request, &status);
		done = !outcome && replaced(status, id, pid);
		json_decref(status);
		if (!done && !outcome)
			poll(NULL, 0, LOOK_MS);
	} while (!outcome && !done);
	json_decref(request);
	return outcome;
}

/* The answer on stdout or as a complaint; the exit status. */
static int tell(const struct wishes *w, const char *command, const json_t *answer)
{
	bool ok = json_is_true(json_object_get(answer, "ok"));
	const char *code =
		json_string_value(json_object_get(json_object_get(answer, "error"), "code"));
	enum ctl_outcome refused = code && is(code, "forbidden") ? CTL_NOT_ALLOWED : CTL_FAILED;

	if (w->json) {
		json_dumpf(answer, stdout, JSON_COMPACT);
		putchar('\n');
	} else if (ok) {
		ctl_show(command, answer);
	}
	if (!ok)
		return w->json ? (int)refused : complain(refused, ctl_show_reason(answer));
	/* Asked for and not had: threads is null then. */
	if (is(command, "backtrace") && !json_is_array(json_object_get(answer, "threads")))
		return CTL_FAILED;
	return fflush(stdout) ? CTL_FAILED : CTL_FINE;
}

static int ask(const struct wishes *w, const char *command, const json_t *request)
{
	struct ctl_link link;
	json_t *answer = NULL;
	enum ctl_outcome outcome = ctl_link_open(&link, w->instance, w->socket, w->timeout);
	int status;

	if (!outcome)
		outcome = ctl_link_ask(&link, request, &answer);
	status = outcome ? complain(outcome, link.why) : tell(w, command, answer);
	if (!status && w->wait) {
		fflush(stdout);
		outcome = is(command, "drain") ? wait_replaced(&link, answer)
					       : ctl_link_wait_end(&link);
		if (outcome)
			status = complain(outcome, link.why);
	}
	json_decref(answer);
	ctl_link_close(&link);
	return status;
}

int main(int argc, char **argv)
{
	struct wishes w = { .instance = "default" };
	const char *instance = getenv("HYPERION_INSTANCE"), *command;
	char why[CTL_WHY_LEN];
	json_t *request;
	int status;

	if (instance && instance[0] && take_instance(&w, instance))
		return CTL_WRONG_USE;
	status = read_options(&w, argc, argv);
	if (status >= 0)
		return status;
	command = argv[optind];
	if (!command)
		return complain(CTL_WRONG_USE, "which command? see hyperion-ctl --help");
	if (is(command, "help")) {
		print_help();
		return CTL_FINE;
	}
	request = ctl_words_request(argc - optind, argv + optind, why);
	if (!request) {
		complain(CTL_WRONG_USE, why);
		fputs("hyperion-ctl: see hyperion-ctl --help\n", stderr);
		return CTL_WRONG_USE;
	}
	if (w.wait && !is(command, "stop") && !is(command, "quit") && !is(command, "drain"))
		return complain(CTL_WRONG_USE, "--wait goes with stop, quit and drain");
	if (!w.timeout)
		w.timeout = w.wait ? 60 : 10;
	status = ask(&w, command, request);
	json_decref(request);
	return status;
}
