/* SPDX-License-Identifier: MIT */
/*
 * The kernel shows the bytes that argv and environ had at exec (proc(5),
 * cmdline). They are one piece; the strings are copied elsewhere and the piece
 * becomes the title.
 */
#include "server/title.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char *area; /* the process's own, as there is one title */
static size_t area_len;

void title_init(int argc, char **argv)
{
	char *end = argv[0];

	for (int i = 0; i < argc; i++)
		if (argv[i] == end)
			end += strlen(argv[i]) + 1;
	for (char **e = environ; *e; e++)
		if (*e == end)
			end += strlen(*e) + 1;
	for (int i = 1; i < argc; i++)
		argv[i] = strdup(argv[i]);
	for (char **e = environ; *e; e++)
		*e = strdup(*e);
	area = argv[0];
	area_len = (size_t)(end - area);
	argv[0] = strdup(argv[0]);
}

void title_set(const char *fmt, ...)
{
	char text[256];
	va_list ap;
	int n;

	if (!area_len)
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	n = min(n, (int)sizeof(text) - 1);
	memset(area, 0, area_len);
	snprintf(area, area_len, "hyperion-bpf: %s", text);
}
