/* SPDX-License-Identifier: MIT */
/* Who holds an address that we wanted, as far as /proc tells. */
#ifndef HYPERION_SERVER_HOLDER_H
#define HYPERION_SERVER_HOLDER_H

#include "server/base.h"
#include "server/listen.h"

struct holder {
	bool listens; /* else nothing is known */
	uid_t uid; /* TCP only; of who made the socket */
	bool has_uid;
	pid_t pid; /* 0: not ours to see */
	char name[32]; /* of its program */
};

/* Looks through all processes: for an address that is taken, on the way out. */
void holder_find(const struct bind *b, struct holder *h);

/* "; another process listens there: ..." and the way out, for the end of a line. */
void holder_show(const struct holder *h, char *text, size_t room);

#endif
