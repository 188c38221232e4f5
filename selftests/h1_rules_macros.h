/* SPDX-License-Identifier: MIT */
/* The vocabulary of the tables of rules. */
#ifndef HYPERION_SELFTESTS_H1_RULES_MACROS_H
#define HYPERION_SELFTESTS_H1_RULES_MACROS_H

#include "selftests/h1_rules.h"

/* Requests. @fields and @line are literals, a field line ends with its CRLF. */
#define HEAD_OF(line, fields) line " HTTP/1.1\r\nHost: a\r\n" fields "\r\n"
#define GET(path) HEAD_OF("GET " path, "")
#define POST(fields) HEAD_OF("POST /post", fields)
#define CHUNKED POST("Transfer-Encoding: chunked\r\n")

/* Answers. */
#define ROOT                                                                                       \
	{                                                                                          \
		.status = 200, .body = "root\n"                                                    \
	}
#define ONE                                                                                        \
	{                                                                                          \
		.status = 200, .body = "one\n"                                                     \
	}
#define TWO                                                                                        \
	{                                                                                          \
		.status = 200, .body = "two\n"                                                     \
	}
#define BIG                                                                                        \
	{                                                                                          \
		.status = 200, .has = "content-length: 5000"                                       \
	}
#define POSTED(bytes)                                                                              \
	{                                                                                          \
		.status = 200, .body = "posted\n", .took = (bytes)                                 \
	}
#define CONTINUE                                                                                   \
	{                                                                                          \
		.status = 100, .lacks = "date|content-length"                                      \
	}

/* Answered, and the connection takes another request. */
#define OPEN(rule, input, ...)                                                                     \
	{                                                                                          \
		.name = rule, .in = VIEW(input), .want = { __VA_ARGS__ }                           \
	}
/* Answered, the last answer says that it is, and the connection closes. */
#define CLOSES(rule, input, ...)                                                                   \
	{                                                                                          \
		.name = rule, .in = VIEW(input), .closes = true, .want = { __VA_ARGS__ }           \
	}
/* The same, and the client says more, though it knows that nobody listens (RFC 9112 9.6). */
#define TALKS_ON(rule, input, ...)                                                                 \
	{                                                                                          \
		.name = rule, .in = VIEW(input), .closes = true, .talks_on = true, .want = {       \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
/* The peer finishes behind the input. */
#define ENDS(rule, input, ...)                                                                     \
	{                                                                                          \
		.name = rule, .in = VIEW(input), .then = THEN_EOF, .closes = true, .want = {       \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
/* Refused with a short text, closed, and what stands behind is no request any more. */
#define REFUSED(rule, code, input)                                                                 \
	CLOSES(rule, input GET("/1"), { .status = code, .lacks = "x-route" })
/* The same after a time in which nothing came. */
#define STALLS(rule, input, ...)                                                                   \
	{                                                                                          \
		.name = rule, .in = VIEW(input), .then = THEN_STALL, .closes = true, .want = {     \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

#endif
