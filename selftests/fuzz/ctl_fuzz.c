/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a line of the control socket: taken apart as each of its commands
 * would, and answered. Aborts when the answer is not one line of JSON that says
 * yes or no, or when what was taken is out of its bounds.
 */
#include <stdio.h>
#include <stdlib.h>

#include "server/ctl_request.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static void check_answer(char *text, size_t len, bool failed)
{
	json_error_t error;
	json_t *answer;

	MUST(text && len && len <= CTL_ANSWER_MAX);
	MUST(memchr(text, '\n', len) == text + len - 1);
	answer = json_loadb(text, len - 1, JSON_REJECT_DUPLICATES, &error);
	MUST(json_is_object(answer));
	MUST(json_integer_value(json_object_get(answer, "v")) == CTL_VERSION);
	MUST(json_is_boolean(json_object_get(answer, "ok")));
	MUST(json_is_true(json_object_get(answer, "ok")) == !failed);
	MUST(!failed || json_is_string(json_object_get(json_object_get(answer, "error"), "code")));
	json_decref(answer);
	free(text);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	/* Of its own length, so that a byte too many shows. */
	char *line = malloc(len ? len : 1), cidr[50] = "", *text;
	struct ctl_request r;
	json_t *body = NULL;
	size_t text_len = 0;
	s64 n = 1;

	MUST(line);
	memcpy(line, data, len);
	ctl_request_parse(&r, line, len);
	if (!r.failed && ctl_request_has(&r, "worker"))
		n = ctl_request_number(&r, "worker", 0, 255);
	MUST(n >= 0 && n <= 255);
	if (!r.failed && ctl_request_has(&r, "cidr"))
		ctl_request_text(&r, "cidr", cidr, sizeof(cidr));
	MUST(memchr(cidr, '\0', sizeof(cidr)));
	if (!r.failed && ctl_request_complete(&r))
		body = json_pack("{s:o,s:I}", "message", ctl_string(line, len), "v", (json_int_t)n);
	text = ctl_answer_line(&r, body, &text_len);
	check_answer(text, text_len, r.failed);
	ctl_request_release(&r);
	free(line);
	return 0;
}
