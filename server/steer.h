/* SPDX-License-Identifier: MIT */
/*
 * The supervisor's hold on bpf/steer.bpf.c: one program and one array of
 * listeners per address. Everything lives as long as its descriptors, and those of
 * the listeners it is attached to; nothing is pinned.
 */
#ifndef HYPERION_SERVER_STEER_H
#define HYPERION_SERVER_STEER_H

#include "server/base.h"

#define STEER_MAX_GROUPS 16u

struct steer_bpf;

struct steer {
	u32 nr_slots; /* rows that there are; 0 = nothing is steered */
	u32 nr_groups;
	struct steer_bpf *groups[STEER_MAX_GROUPS]; /* NULL: that address is not steered */
};

/*
 * Loads a program for each address b of @nr_groups with @wanted[b]. @rows_fd,
 * @header_fd: the maps "steer" and "header". 0 or -errno, and then nothing of it is left.
 */
int steer_open(struct steer *s, const bool *wanted, u32 nr_groups, int rows_fd, int header_fd,
	       u32 nr_slots) __must_check;
void steer_close(struct steer *s);

/* The program of that address, for bind_steer(); -1 = none. */
int steer_prog(const struct steer *s, u32 group);

/* May that slot be picked for that address? @fd listens. 0 or -errno. */
int steer_put(struct steer *s, u32 group, u32 slot, int fd) __must_check;
void steer_remove(struct steer *s, u32 group, u32 slot);

/* No slot at or beyond @nr is looked at. */
void steer_bound(struct steer *s, u32 nr);

#endif
