/* SPDX-License-Identifier: MIT */
/* What rack_bed.c is made of; a test includes rack_bed.h alone. */
#ifndef HYPERION_SELFTESTS_RUBY_RACK_BED_PARTS_H
#define HYPERION_SELFTESTS_RUBY_RACK_BED_PARTS_H

#include "selftests/ruby/rack_bed.h"

#define REQUEST_HEADERS_MAX 20
#define REQUEST_TEXT_MAX (128 * KIB)

/*
 * The request as a job that is zeroed so far; @headers and @text have room for as much as is
 * allowed, and outlive it.
 */
void request_to_job(const struct request *rq, struct job *j, struct header *headers, char *text);

/* Which Rack the app gets; before Ruby starts. */
void choose_gems(bool rack_2);

/* Starts Ruby and loads the app, which writes into @pipe_fd; not 0: it did not load. */
int load_app(const struct bed_setup *setup, int pipe_fd);

#endif
