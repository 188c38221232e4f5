/* SPDX-License-Identifier: MIT */
/*
 * What the supervisor says to a worker over a SEQPACKET socket pair, one word
 * per packet. The other end's death is the end of file.
 */
#ifndef HYPERION_SERVER_CONTROL_H
#define HYPERION_SERVER_CONTROL_H

#include "server/base.h"

enum control_word {
	CONTROL_READY = 1, /* worker: it accepts */
	CONTROL_DRAIN, /* supervisor: finish what is begun, then exit */
	CONTROL_STOP, /* supervisor: exit now */
};

/* -1 = error, with errno. Never waits. */
int control_send(int fd, enum control_word word);

/* 1 and @word, 0 at end of file, -errno; -EAGAIN when there is nothing. */
int control_recv(int fd, enum control_word *word) __must_check;

#endif
