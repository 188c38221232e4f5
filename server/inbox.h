/* SPDX-License-Identifier: MIT */
/*
 * Where connections wait that other workers have given to one: a SEQPACKET
 * pair for each slot. The supervisor holds both ends of all, so what lies in a
 * dead worker's inbox is there for its replacement. A packet is a parcel and the
 * connection's descriptor.
 */
#ifndef HYPERION_SERVER_INBOX_H
#define HYPERION_SERVER_INBOX_H

#include "server/base.h"
#include "server/parcel.h"

/* Slots that have one: the workers get the ends of all in one message, of 253 descriptors at most. */
#define INBOX_MAX 64u

struct inboxes {
	u32 nr;
	int in[INBOX_MAX]; /* the worker reads here */
	int to[INBOX_MAX]; /* the others write here */
};

/* CLOEXEC, non-blocking. 0 or -errno, then there are none. */
int inboxes_open(struct inboxes *b, u32 nr) __must_check;

/* What still lies in them is closed. */
void inboxes_close(struct inboxes *b);

/* The descriptor stays the caller's. 0 or -errno; -EAGAIN: it is full. */
int inbox_send(int to, const struct parcel *p, int fd) __must_check;

/* 1: @p and a descriptor that is the caller's; 0: nothing there; -EPROTO: not a parcel, and gone. */
int inbox_recv(int in, struct parcel *p, int *fd) __must_check;

#endif
