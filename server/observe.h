/* SPDX-License-Identifier: MIT */
/*
 * The supervisor's hold on bpf/observe.bpf.c, and what a worker adds to it: how
 * long a connection waited until it was accepted. Programs live as long as the
 * supervisor's descriptors.
 */
#ifndef HYPERION_SERVER_OBSERVE_H
#define HYPERION_SERVER_OBSERVE_H

#include "bpf/abi.h"
#include "server/base.h"

struct observe_bpf;

struct observe {
	struct observe_bpf *bpf; /* NULL: off */
	char pin[160]; /* "" = not pinned */
};

/*
 * Loads and attaches; @pins: a folder for the map, "" = none; @group may read. 0 or -errno, and
 * then nothing of it is left.
 */
int observe_open(struct observe *o, const char *pins, gid_t group, u32 nr_slots) __must_check;
void observe_close(struct observe *o);

/* Connections that come to the listener @fd from now on are those of @slot. 0 or -errno. */
int observe_listener(const struct observe *o, int fd, u32 slot) __must_check;

/* The map that a worker needs for the next; -1 = off. */
int observe_fd(const struct observe *o);

/* @fd was just accepted by the worker that writes @row: when was its SYN? */
void observe_accepted(int map_fd, int fd, struct stats_worker *row);

#endif
