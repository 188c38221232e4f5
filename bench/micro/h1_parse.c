/* SPDX-License-Identifier: MIT */
/*
 * What one request head costs the parser: CPU cycles (where there is a cycle
 * counter) and ns, the best of some rounds, for a head as wrk sends it, a
 * pipeline of sixteen and a browser's.
 */
#include "server/h1_parse.h"

#include <stdio.h>
#include <time.h>

#define ROUNDS 40
#define HEADS_PER_ROUND 20000

static const char wrk[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1:9292\r\n\r\n";

static const char browser[] =
	"GET /articles/2024/the-cost-of-a-request?page=2&utm_source=feed HTTP/1.1\r\n"
	"Host: www.example.com\r\n"
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n"
	"Accept-Language: en-US,en;q=0.7,de;q=0.3\r\n"
	"Accept-Encoding: gzip, deflate, br, zstd\r\n"
	"Referer: https://www.example.com/articles/2024/\r\n"
	"DNT: 1\r\n"
	"Connection: keep-alive\r\n"
	"Cookie: session=3f9c2b7e8a6d41d0b5a1; theme=dark; consent=all\r\n"
	"Upgrade-Insecure-Requests: 1\r\n"
	"Sec-Fetch-Dest: document\r\n"
	"Sec-Fetch-Mode: navigate\r\n"
	"Sec-Fetch-Site: same-origin\r\n"
	"If-None-Match: \"5f2a-61b0c4d2\"\r\n"
	"Cache-Control: max-age=0\r\n"
	"\r\n";

#if defined(__x86_64__) || defined(__i386__)
static u64 cycles(void)
{
	return __builtin_ia32_rdtsc();
}
#else
static u64 cycles(void)
{
	return 0;
}
#endif

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

/* Heads of ten fields in which no length is like the one before. */
static size_t make_varied(char *buf, size_t size)
{
	static const char *const names[] = {
		"Host",           "User-Agent",
		"Accept",         "Accept-Language",
		"Cookie",         "DNT",
		"X-Request-Id",   "Referer",
		"If-None-Match",  "Upgrade-Insecure-Requests",
		"Sec-Fetch-Mode", "TE",
	};
	u32 seed = 1;
	size_t len = 0;

	while (len + 2048 < size) {
		seed = seed * 1664525 + 1013904223;
		len += (size_t)sprintf(buf + len, "GET /%.*s HTTP/1.1\r\n", (int)(seed >> 27),
				       "a/path/of/thirty-two/bytes/at/most");
		for (int i = 0; i < 10; i++) {
			seed = seed * 1664525 + 1013904223;
			len += (size_t)sprintf(
				buf + len, "%s: %.*s\r\n", names[(seed >> 16) % 12],
				(int)(seed >> 26),
				"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox");
		}
		len += (size_t)sprintf(buf + len, "\r\n");
	}
	return len;
}

/* With @classify, also what an engine does to each name. 0 where a head was refused. */
static size_t parse_all(const char *buf, size_t len, bool classify, u64 *known)
{
	static struct msg msg;
	size_t heads = 0;

	for (size_t off = 0; off < len; heads++) {
		ssize_t n = h1_parse_head(buf + off, len - off, 0, &msg);

		if (n < 0)
			return 0;
		off += (size_t)n;
		for (u32 i = 0; classify && i < msg.nr_headers; i++)
			*known += h1_known_header(msg.headers[i].name) != HDR_OTHER;
	}
	return heads;
}

static int measure(const char *what, const char *buf, size_t len, bool classify)
{
	double best_ns = 0, best_cycles = 0;
	size_t per_call = 1;
	u64 known = 0;

	for (int round = 0; round < ROUNDS; round++) {
		u64 ns = now_ns(), tsc = cycles(), heads = 0;

		while (heads < HEADS_PER_ROUND) {
			per_call = parse_all(buf, len, classify, &known);
			if (!per_call) {
				fprintf(stderr, "micro: %s: head refused\n", what);
				return 1;
			}
			heads += per_call;
		}
		tsc = cycles() - tsc;
		ns = now_ns() - ns;
		if (round == 0 || (double)ns / (double)heads < best_ns) {
			best_ns = (double)ns / (double)heads;
			best_cycles = (double)tsc / (double)heads;
		}
	}
	printf("%-24s %5zu bytes %8.1f ns %8.1f cycles/head%s\n", what, len / per_call, best_ns,
	       best_cycles, classify && !known ? " (no known names)" : "");
	return 0;
}

int main(void)
{
	static char varied[256 * KIB];
	static char pipeline[16 * (sizeof(wrk) - 1)];

	for (int i = 0; i < 16; i++)
		memcpy(pipeline + (size_t)i * (sizeof(wrk) - 1), wrk, sizeof(wrk) - 1);
	return measure("wrk", wrk, sizeof(wrk) - 1, false) |
	       measure("wrk, 16 pipelined", pipeline, sizeof(pipeline), false) |
	       measure("browser", browser, sizeof(browser) - 1, false) |
	       measure("browser, names known", browser, sizeof(browser) - 1, true) |
	       measure("varied", varied, make_varied(varied, sizeof(varied)), false);
}
