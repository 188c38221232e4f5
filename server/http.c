/* SPDX-License-Identifier: MIT */
#include "server/http.h"

#include "server/proto.h"
#include "server/req.h"
#include "server/route.h"

void http_init(struct http *http, const struct limits *limits, struct route_table *routes)
{
	*http = (struct http){ .limits = limits, .routes = route_table_get(routes) };
	list_init(&http->submit);
	list_init(&http->lent);
	outq_pool_init(&http->out);
	arena_pool_init(&http->arenas);
	slab_init(&http->reqs, sizeof(struct req), 32);
}

void http_fini(struct http *http)
{
	slab_fini(&http->reqs);
	arena_pool_fini(&http->arenas);
	outq_pool_fini(&http->out);
	route_table_put(http->routes);
}

void http_set_routes(struct http *http, struct route_table *routes)
{
	route_table_get(routes);
	route_table_put(http->routes);
	http->routes = routes;
}

u64 http_lent_due_ns(const struct http *http)
{
	if (list_empty(&http->lent))
		return 0;
	return list_first(&http->lent, struct req, lent_order)->lent_ns + HTTP_LENT_NS;
}

void http_flush_lent(struct http *http)
{
	u64 due;

	while ((due = http_lent_due_ns(http)) && due <= http->now_ns) {
		struct req *r = list_first(&http->lent, struct req, lent_order);
		struct link *l = r->link;

		/* It takes the request off the list. */
		l->proto->due(l, r);
		http->touch(l);
	}
}

/* RFC 9110 section 15 and the IANA registry of status codes. */
struct view http_reason(int status)
{
	switch (status) {
	case 100:
		return VIEW("Continue");
	case 101:
		return VIEW("Switching Protocols");
	case 102:
		return VIEW("Processing");
	case 103:
		return VIEW("Early Hints");
	case 200:
		return VIEW("OK");
	case 201:
		return VIEW("Created");
	case 202:
		return VIEW("Accepted");
	case 203:
		return VIEW("Non-Authoritative Information");
	case 204:
		return VIEW("No Content");
	case 205:
		return VIEW("Reset Content");
	case 206:
		return VIEW("Partial Content");
	case 207:
		return VIEW("Multi-Status");
	case 208:
		return VIEW("Already Reported");
	case 226:
		return VIEW("IM Used");
	case 300:
		return VIEW("Multiple Choices");
	case 301:
		return VIEW("Moved Permanently");
	case 302:
		return VIEW("Found");
	case 303:
		return VIEW("See Other");
	case 304:
		return VIEW("Not Modified");
	case 305:
		return VIEW("Use Proxy");
	case 307:
		return VIEW("Temporary Redirect");
	case 308:
		return VIEW("Permanent Redirect");
	case 400:
		return VIEW("Bad Request");
	case 401:
		return VIEW("Unauthorized");
	case 402:
		return VIEW("Payment Required");
	case 403:
		return VIEW("Forbidden");
	case 404:
		return VIEW("Not Found");
	case 405:
		return VIEW("Method Not Allowed");
	case 406:
		return VIEW("Not Acceptable");
	case 407:
		return VIEW("Proxy Authentication Required");
	case 408:
		return VIEW("Request Timeout");
	case 409:
		return VIEW("Conflict");
	case 410:
		return VIEW("Gone");
	case 411:
		return VIEW("Length Required");
	case 412:
		return VIEW("Precondition Failed");
	case 413:
		return VIEW("Content Too Large");
	case 414:
		return VIEW("URI Too Long");
	case 415:
		return VIEW("Unsupported Media Type");
	case 416:
		return VIEW("Range Not Satisfiable");
	case 417:
		return VIEW("Expectation Failed");
	case 421:
		return VIEW("Misdirected Request");
	case 422:
		return VIEW("Unprocessable Content");
	case 423:
		return VIEW("Locked");
	case 424:
		return VIEW("Failed Dependency");
	case 425:
		return VIEW("Too Early");
	case 426:
		return VIEW("Upgrade Required");
	case 428:
		return VIEW("Precondition Required");
	case 429:
		return VIEW("Too Many Requests");
	case 431:
		return VIEW("Request Header Fields Too Large");
	case 451:
		return VIEW("Unavailable For Legal Reasons");
	case 500:
		return VIEW("Internal Server Error");
	case 501:
		return VIEW("Not Implemented");
	case 502:
		return VIEW("Bad Gateway");
	case 503:
		return VIEW("Service Unavailable");
	case 504:
		return VIEW("Gateway Timeout");
	case 505:
		return VIEW("HTTP Version Not Supported");
	case 506:
		return VIEW("Variant Also Negotiates");
	case 507:
		return VIEW("Insufficient Storage");
	case 508:
		return VIEW("Loop Detected");
	case 511:
		return VIEW("Network Authentication Required");
	default:
		return VIEW("Unknown");
	}
}
