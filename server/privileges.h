/* SPDX-License-Identifier: MIT */
/* Capabilities, of the calling thread: each process gives up what it does not need when it knows that. */
#ifndef HYPERION_SERVER_PRIVILEGES_H
#define HYPERION_SERVER_PRIVILEGES_H

#include "server/base.h"

/* What a supervisor still does when its start is over. Ports below 1024 it may bind in any case. */
struct privileges {
	bool bpf; /* programs and maps, sockets' programs: CAP_BPF, CAP_NET_ADMIN */
	bool starts_others; /* starts and ends processes of another user: CAP_SETUID, _SETGID, _KILL */
	bool acts_as_other; /* privileges_act_as(): CAP_SETUID, CAP_SETGID */
	bool starts_root; /* executes a mold as root; without @bounding that gives up what exec() gives it */
	bool bounding; /* what it executes may have all that it may have now */
};

/* Keeps these as far as we have them, and nothing else. 0 or -errno. */
int privileges_keep(const struct privileges *p) __must_check;

/* None are left, and none come back with exec() as far as that is ours to say. 0 or -errno. */
int privileges_drop(void) __must_check;

/* May we load BPF programs? */
bool privileges_have_bpf(void);

/*
 * Files are opened, made and removed as that user until privileges_act_as_self().
 * false: we may not, nothing has changed.
 */
bool privileges_act_as(uid_t uid, gid_t gid);
void privileges_act_as_self(void);

#endif
