/* SPDX-License-Identifier: MIT */
/*
 * A body that comes in pieces, as the app produces them: small ones wait a
 * moment for others (the I/O thread lets them go after HTTP_LENT_NS, or when
 * there is enough), large ones leave at once, and nobody produces faster than
 * the client takes. Needs the GVL, releases it to wait; everything may raise.
 */
#ifndef HYPERION_RUBY_GLUE_POUR_H
#define HYPERION_RUBY_GLUE_POUR_H

#include <ruby.h>

#include "ruby_glue/reply.h"

#define POUR_SMALL 512u /* bytes; shorter pieces are collected */
#define POUR_ROOM 4096u /* in so much room */
#define POUR_ROOM_FAST 16384u /* for a producer that fills that before it is due */
#define POUR_INLINE_MAX (64 * MIB) /* threads 0: a body is collected whole */

struct pour {
	struct reply *r;
	u64 poured; /* bytes so far */
	s64 declared; /* bytes, or LENGTH_UNKNOWN */
	u64 offered_ns; /* when other threads were last let in */
	bool stopped; /* its stream has failed: who waits in it raises IOError */
	bool whole; /* threads 0: nobody takes a part while we run */
};

/* What @r's head says of the length is what counts. */
void pour_init(struct pour *p, struct reply *r);

/* The head leaves, whether or not a piece comes soon. */
void pour_head(struct pour *p);

/* A String; anything else raises. */
void pour_piece(struct pour *p, VALUE piece);

/* What was poured leaves now. */
void pour_flush(struct pour *p);

/* The last answer; raises when the body has not the length that was declared. */
void pour_end(struct pour *p);

/* Nobody takes it any more. */
static inline bool pour_gone(const struct pour *p)
{
	return job_gone(p->r->job);
}

#endif
