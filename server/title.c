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
#include <sys/prctl.h>
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
	/* The mold is executed as /proc/self/exe, and would be called "exe". */
	prctl(PR_SET_NAME, "hyperion-bpf");
}

void title_set(const char *fmt, ...)
{
	char text[256] = "hyperion-bpf: ";
	size_t len = strlen(text);
	va_list ap;

	if (!area_len)
		return;
	va_start(ap, fmt);
	vsnprintf(text + len, sizeof(text) - len, fmt, ap);
	va_end(ap);
	/* Never empty in between: somebody may look just then. */
	len = min(strlen(text), area_len - 1);
	memcpy(area, text, len);
	memset(area + len, 0, area_len - len);
}
