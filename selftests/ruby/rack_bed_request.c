/* SPDX-License-Identifier: MIT */
#include "selftests/ruby/rack_bed_parts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct view text_view(char **p, const char *s, size_t len)
{
	struct view v = { *p, len };

	memcpy(*p, s, len);
	*p += len;
	return v;
}

static void set_headers(struct job *j, struct header *headers, const struct request *rq, char **p)
{
	u32 i;

	for (i = 0; i < 20 && rq->headers[i]; i++) {
		const char *h = rq->headers[i], *colon = strstr(h, ": ");

		headers[i].name = text_view(p, h, (size_t)(colon - h));
		headers[i].value = text_view(p, colon + 2, strlen(colon + 2));
		if (!rq->host && view_ieq(headers[i].name, VIEW("host")))
			j->authority = headers[i].value;
	}
	j->headers = headers;
	j->nr_headers = i;
}

static const struct {
	const char *name;
	enum method method;
} methods[] = {
	{ "GET", METHOD_GET },         { "HEAD", METHOD_HEAD },       { "POST", METHOD_POST },
	{ "PUT", METHOD_PUT },         { "DELETE", METHOD_DELETE },   { "PATCH", METHOD_PATCH },
	{ "OPTIONS", METHOD_OPTIONS }, { "CONNECT", METHOD_CONNECT }, { "TRACE", METHOD_TRACE },
};

static void set_line(struct job *j, const struct request *rq, char **p)
{
	const char *method = rq->method ? rq->method : "GET", *target = rq->target ? rq->target : "/";
	const char *mark;

	j->method_name = text_view(p, method, strlen(method));
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (strcmp(method, methods[i].name) == 0)
			j->method = methods[i].method;
	j->target = text_view(p, target, strlen(target));
	mark = memchr(j->target.p, '?', j->target.len);
	j->path = (struct view){ j->target.p, mark ? (size_t)(mark - j->target.p) : j->target.len };
	j->has_query = mark;
	if (mark)
		j->query = (struct view){ mark + 1, j->target.len - j->path.len - 1 };
	j->version_minor = !rq->http_1_0;
}

static void set_body(struct job *j, const struct request *rq)
{
	j->body_fd = -1;
	if (!rq->body)
		return;
	j->body_len = rq->body_len ? rq->body_len : strlen(rq->body);
	if (!rq->in_file) {
		/* Of its exact size, so that a sanitizer sees a step beyond. */
		j->body = memcpy(malloc(j->body_len), rq->body, j->body_len);
		return;
	}
	j->body_fd = memfd_create("body", MFD_CLOEXEC);
	if (write(j->body_fd, rq->body, j->body_len) != (ssize_t)j->body_len)
		abort();
}

void request_to_job(const struct request *rq, struct job *j, struct header *headers, char *text)
{
	char *p = text;

	set_line(j, rq, &p);
	set_headers(j, headers, rq, &p);
	if (rq->host)
		j->authority = text_view(&p, rq->host, strlen(rq->host));
	j->peer = view_of(rq->peer ? rq->peer : "192.0.2.1");
	j->peer_port = rq->peer_port ? rq->peer_port : 4711;
	j->server_port = j->peer.len ? 9292 : 0;
	j->tls = rq->tls;
	set_body(j, rq);
}
