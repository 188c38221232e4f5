/* SPDX-License-Identifier: MIT */
/* What hyperion-top says without a screen: tables, JSON, CSV; and how it writes numbers. */
#ifndef HYPERION_TOOLS_TOP_TEXT_H
#define HYPERION_TOOLS_TOP_TEXT_H

#include <stdio.h>

#include "tools/top_model.h"

void top_print_table(FILE *f, const struct top_model *m);

/* One object on one line. */
void top_print_json(FILE *f, const struct top_model *m);

/* Routes, a line each. @header: with the line that names the columns. */
void top_print_csv(FILE *f, const struct top_model *m, bool header);

#define TOP_NUMBER_LEN 24u

/* "870us", "12.3ms", "1.50s"; "-" for 0. */
const char *top_duration(__u64 ns, char out[TOP_NUMBER_LEN]);

/* "0", "0.20", "12.3", "4567", "12.3k", "4.56M". */
const char *top_rate(double per_second, char out[TOP_NUMBER_LEN]);

/* "0B", "1.5kB", "23.4MB" */
const char *top_bytes(double n, char out[TOP_NUMBER_LEN]);

/* "3s", "4m05s", "2h03m", "5d02h" */
const char *top_age(__u64 ns, char out[TOP_NUMBER_LEN]);

#endif
