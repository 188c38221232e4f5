/* SPDX-License-Identifier: MIT */
#include "server/handler.h"

#include <stdio.h>
#include <stdlib.h>

#include "server/fail.h"
#include "server/ftree.h"
#include "server/http.h"

struct handler *handler_constant(int status, struct view content_type, struct view headers,
				 struct view body)
{
	struct view reason = http_reason(status);
	struct handler *h = mem_zalloc(sizeof(*h));
	size_t room = 256 + reason.len + content_type.len + headers.len + body.len;
	int n;

	if (!h)
		return NULL;
	h->bytes = mem_alloc(room);
	if (!h->bytes) {
		free(h);
		return NULL;
	}
	n = snprintf(h->bytes, room, "HTTP/1.1 %d %.*s\r\ndate: ", status, (int)reason.len, reason.p);
	h->date_off = (u32)n;
	memset(h->bytes + n, ' ', DATE_LEN);
	n += (int)DATE_LEN;
	if (status == 204) /* has no body, and so neither of these (RFC 9110 8.6) */
		body.len = 0;
	else
		n += snprintf(h->bytes + n, room - (size_t)n,
			      "\r\ncontent-type: %.*s\r\ncontent-length: %zu",
			      (int)content_type.len, content_type.p, body.len);
	n += snprintf(h->bytes + n, room - (size_t)n, "\r\n%.*s", (int)headers.len, headers.p);
	h->head_len = (u32)n;
	memcpy(h->bytes + n, "\r\n", 2);
	if (body.len)
		memcpy(h->bytes + n + 2, body.p, body.len);
	h->kind = HANDLER_CONSTANT;
	h->refs = 1;
	h->status = (u16)status;
	h->body_len = (u32)body.len;
	return h;
}

struct handler *handler_page(u32 page)
{
	struct handler *h = mem_zalloc(sizeof(*h));

	if (!h)
		return NULL;
	*h = (struct handler){ .kind = HANDLER_PAGE, .refs = 1, .page = page };
	return h;
}

struct handler *handler_tree(struct ftree *tree)
{
	struct handler *h = tree ? mem_zalloc(sizeof(*h)) : NULL;

	if (!h) {
		ftree_free(tree);
		return NULL;
	}
	*h = (struct handler){ .kind = HANDLER_TREE, .refs = 1, .tree = tree };
	return h;
}

struct handler *handler_direct(u32 number)
{
	struct handler *h = mem_zalloc(sizeof(*h));

	if (h)
		*h = (struct handler){ .kind = HANDLER_DIRECT, .refs = 1, .direct = number };
	return h;
}

void handler_put(struct handler *h)
{
	if (!h || --h->refs)
		return;
	ftree_free(h->tree);
	free(h->bytes);
	free(h);
}

struct view persist_line(enum persist persist)
{
	switch (persist) {
	case PERSIST_KEEP_ALIVE:
		return VIEW("connection: keep-alive\r\n");
	case PERSIST_CLOSE:
		return VIEW("connection: close\r\n");
	case PERSIST_DEFAULT:
		break;
	}
	return VIEW("");
}

int handler_answer(struct handler *h, const struct date *date, struct outq *q, bool head_only,
		   enum persist persist)
{
	size_t rest_len = 2 + (head_only ? 0 : h->body_len);
	const char *rest = h->bytes + h->head_len;
	int err;

	if (h->date_second != date->second) {
		memcpy(h->bytes + h->date_off, date->text, DATE_LEN);
		h->date_second = date->second;
	}
	if (likely(persist == PERSIST_DEFAULT && h->head_len + rest_len <= OUTQ_COPY_MAX)) {
		char *p = outq_reserve(q, h->head_len + rest_len);

		if (!p)
			return -ENOMEM;
		memcpy(p, h->bytes, h->head_len + rest_len);
		outq_commit(q, h->head_len + rest_len);
		return 0;
	}
	err = outq_copy(q, h->bytes, h->head_len);
	if (!err) {
		struct view line = persist_line(persist);

		err = outq_copy(q, line.p, line.len);
	}
	if (err)
		return err;
	/* The head is copied because the date in it changes while it is sent. */
	return rest_len > OUTQ_COPY_MAX ? outq_ref(q, rest, rest_len, NULL)
					: outq_copy(q, rest, rest_len);
}
