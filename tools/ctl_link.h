/* SPDX-License-Identifier: MIT */
/* The way to a server: where its control socket is, and lines over it. */
#ifndef HYPERION_TOOLS_CTL_LINK_H
#define HYPERION_TOOLS_CTL_LINK_H

#include <jansson.h>

#define CTL_LINK_WHY_LEN 1024u

/* In the order of the exit statuses. */
enum ctl_outcome {
	CTL_FINE,
	CTL_FAILED, /* it refused, or did not answer in time */
	CTL_WRONG_USE,
	CTL_NO_SERVER, /* none of that name, or not any more */
	CTL_NOT_ALLOWED,
};

struct ctl_link {
	int fd; /* -1 = none */
	int process_fd; /* of the server; -1 = not to be had, as from another container */
	long long until_ms; /* CLOCK_MONOTONIC: when patience ends */
	double patience; /* seconds, to say so */
	char *rest; /* heap: received, not yet a whole line */
	size_t rest_len, rest_cap;
	char why[CTL_LINK_WHY_LEN]; /* what is wrong, if anything is */
};

/*
 * Connects to the server of that name, or with @path to that socket. From now on everything
 * together may take @patience seconds.
 */
enum ctl_outcome ctl_link_open(struct ctl_link *l, const char *instance, const char *path,
			       double patience);

/* Asks and waits for the answer, a new reference; it may be one that says no. */
enum ctl_outcome ctl_link_ask(struct ctl_link *l, const json_t *request, json_t **answer);

/* Waits until the server has ended. */
enum ctl_outcome ctl_link_wait_end(struct ctl_link *l);

void ctl_link_close(struct ctl_link *l);

#endif
