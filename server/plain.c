/* SPDX-License-Identifier: MIT */
#include "server/plain.h"

#include <stdio.h>

#include "server/http.h"
#include "server/msg.h"

static const char method_names[NR_METHODS][8] = {
	[METHOD_GET] = "GET",         [METHOD_HEAD] = "HEAD",       [METHOD_POST] = "POST",
	[METHOD_PUT] = "PUT",         [METHOD_DELETE] = "DELETE",   [METHOD_PATCH] = "PATCH",
	[METHOD_OPTIONS] = "OPTIONS", [METHOD_CONNECT] = "CONNECT", [METHOD_TRACE] = "TRACE",
};

static size_t put_allow(u32 allow, char *p, size_t room)
{
	size_t n = (size_t)snprintf(p, room, "allow:");

	for (int m = METHOD_GET, nr = 0; m < NR_METHODS; m++)
		if (allow & 1u << m)
			n += (size_t)snprintf(p + n, room - n, "%s %s", nr++ ? "," : "",
					      method_names[m]);
	return n + (size_t)snprintf(p + n, room - n, "\r\n");
}

int plain_answer(const struct plain *a, const struct date *date, struct outq *q)
{
	struct view reason = http_reason(a->status), line = persist_line(a->persist);
	char text[640], body[192];
	size_t n, body_len;

	/* Every piece is bounded: the longest come to 430 and 150 bytes. */
	body_len = (size_t)snprintf(body, sizeof(body), "%d %.*s%s%.100s\n", a->status,
				    (int)reason.len, reason.p, a->why ? ": " : "",
				    a->why ? a->why : "");
	n = (size_t)snprintf(text, sizeof(text),
			     "HTTP/1.1 %d %.*s\r\ndate: %s\r\ncontent-type: text/plain\r\n"
			     "content-length: %zu\r\n%.*s",
			     a->status, (int)reason.len, reason.p, date->text, body_len,
			     (int)line.len, line.p);
	if (a->allow)
		n += put_allow(a->allow, text + n, sizeof(text) - n);
	if (a->retry_after)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "retry-after: %u\r\n",
				      a->retry_after);
	memcpy(text + n, "\r\n", 2);
	n += 2;
	if (!a->head_only) {
		memcpy(text + n, body, body_len);
		n += body_len;
	}
	return outq_copy(q, text, n);
}
