/* SPDX-License-Identifier: MIT */
#include "server/access_format.h"

#include <stdio.h>
#include <time.h>

#include "server/http.h"
#include "server/proto.h"

#define ROOM_MIN 256u /* that every template leaves for the path */
#define UNIT_MAX 6u /* what one byte may become */
#define REMOTE_MAX 45u
#define METHOD_MAX 64u
#define HEADER_MAX 400u
#define NUMBER_MAX 20u

enum field {
	END, /* of the line */
	TIME,
	NCSA_TIME,
	METHOD,
	PATH,
	PATH_ONLY,
	QUERY,
	VERSION,
	STATUS,
	BYTES,
	TOTAL_MS,
	QUEUE_MS,
	APP_MS,
	WORKER,
	REQUEST_ID,
	REMOTE_ADDR,
	REFERER,
	USER_AGENT,
	SENT,
	NR_FIELDS,
};

/* max: of its bytes in the line; 0 = what the others leave. */
static const struct {
	const char *name;
	u16 max;
	u32 keep;
} fields[NR_FIELDS] = {
	[END] = { NULL, 1, 0 },
	[TIME] = { "time", 24, 0 },
	[NCSA_TIME] = { "ncsa_time", 26, 0 },
	[METHOD] = { "method", METHOD_MAX, KEEP_LINE },
	[PATH] = { "path", 0, KEEP_LINE },
	[PATH_ONLY] = { "path_only", 0, KEEP_LINE },
	[QUERY] = { "query", 0, KEEP_LINE },
	[VERSION] = { "version", 8, 0 },
	[STATUS] = { "status", 5, 0 },
	[BYTES] = { "bytes", NUMBER_MAX, 0 },
	[TOTAL_MS] = { "total_ms", NUMBER_MAX, 0 },
	[QUEUE_MS] = { "queue_ms", NUMBER_MAX, 0 },
	[APP_MS] = { "app_ms", NUMBER_MAX, 0 },
	[WORKER] = { "worker", 10, 0 },
	[REQUEST_ID] = { "request_id", REQID_MAX, KEEP_ID },
	[REMOTE_ADDR] = { "remote_addr", REMOTE_MAX, KEEP_PEER },
	[REFERER] = { "referer", HEADER_MAX, KEEP_REFERER },
	[USER_AGENT] = { "user_agent", HEADER_MAX, KEEP_AGENT },
	[SENT] = { "sent", 5, 0 },
};

#define FIELD_NAMES                                                                                \
	"{time} {ncsa_time} {method} {path} {path_only} {query} {version} {status} {bytes} "       \
	"{total_ms} {queue_ms} {app_ms} {worker} {request_id} {remote_addr} {referer} "            \
	"{user_agent} {sent}"

static const struct {
	const char *name, *template;
} named[] = {
	{ "text", "time={time} method={method} path=\"{path}\" status={status} bytes={bytes} "
		  "total_ms={total_ms} queue_ms={queue_ms} app_ms={app_ms} worker={worker} "
		  "id={request_id} remote={remote_addr} sent={sent}" },
	{ "json",
	  "{{\"time\":\"{time}\",\"method\":\"{method}\",\"path\":\"{path}\",\"status\":{status},"
	  "\"bytes\":{bytes},\"total_ms\":{total_ms},\"queue_ms\":{queue_ms},\"app_ms\":{app_ms},"
	  "\"worker\":{worker},\"request_id\":\"{request_id}\",\"remote\":\"{remote_addr}\","
	  "\"sent\":{sent}}}" },
	{ "common",
	  "{remote_addr} - - [{ncsa_time}] \"{method} {path} {version}\" {status} {bytes}" },
	{ "combined",
	  "{remote_addr} - - [{ncsa_time}] \"{method} {path} {version}\" {status} {bytes} "
	  "\"{referer}\" \"{user_agent}\"" },
};

/* --- compiling --- */

static enum field field_named(const char *name, size_t len)
{
	for (u32 i = END + 1; i < NR_FIELDS; i++)
		if (strlen(fields[i].name) == len && memcmp(fields[i].name, name, len) == 0)
			return (enum field)i;
	return END;
}

struct compiler {
	struct access_format *f;
	u32 text_at, text_len;
};

static int add_literal(struct compiler *c, char byte)
{
	if (c->text_at + c->text_len == ACCESS_TEXT_MAX)
		return -EINVAL;
	c->f->text[c->text_at + c->text_len++] = byte;
	return 0;
}

static int add_step(struct compiler *c, enum field field)
{
	struct access_format *f = c->f;

	if (f->nr_steps == ACCESS_STEPS_MAX)
		return -EINVAL;
	f->steps[f->nr_steps++] = (struct access_step){ .text_at = (u16)c->text_at,
							.text_len = (u16)c->text_len,
							.field = (u8)field };
	f->keep |= fields[field].keep;
	c->text_at += c->text_len;
	c->text_len = 0;
	return 0;
}

/* What each step has to leave; -EINVAL when little is left for the path. */
static int reserve(struct access_format *f)
{
	u32 after = 0;

	for (u32 i = f->nr_steps; i-- > 0;) {
		f->steps[i].after = (u16)after;
		after += f->steps[i].text_len + fields[f->steps[i].field].max;
		if (after > ACCESS_LINE_MAX - ROOM_MIN)
			return -EINVAL;
	}
	return 0;
}

static int compile(struct access_format *f, const char *t, const char **why)
{
	static const char too_long[] = "a shorter template: with all values a line has 2048 bytes";
	struct compiler c = { .f = f };

	*f = (struct access_format){ .json = t[0] == '{' && t[1] == '{' };
	while (*t) {
		const char *end;
		enum field field;

		*why = too_long;
		if (t[0] != '{' || t[1] == '{') {
			*why = "a template whose braces are balanced; {{ and }} stand for braces";
			if (t[0] == '}' && t[1] != '}')
				return -EINVAL;
			*why = "a template without control characters";
			if ((u8)t[0] < 0x20 || t[0] == 0x7f)
				return -EINVAL;
			*why = too_long;
			if (add_literal(&c, t[0]))
				return -EINVAL;
			t += t[0] == '{' || t[0] == '}' ? 2 : 1;
			continue;
		}
		end = strchr(t, '}');
		field = end ? field_named(t + 1, (size_t)(end - t - 1)) : END;
		*why = "a template of the fields " FIELD_NAMES;
		if (field == END)
			return -EINVAL;
		*why = too_long;
		if (add_step(&c, field))
			return -EINVAL;
		t = end + 1;
	}
	return add_step(&c, END) || reserve(f) ? -EINVAL : 0;
}

int access_format_compile(struct access_format *f, const char *format, const char **why)
{
	for (size_t i = 0; i < ARRAY_SIZE(named); i++)
		if (strcmp(format, named[i].name) == 0)
			return compile(f, named[i].template, why);
	*why = "text, json, common, combined, auto, or a template of " FIELD_NAMES;
	if (!strchr(format, '{'))
		return -EINVAL;
	return compile(f, format, why);
}

/* --- writing --- */

void access_clock_sync(struct access_clock *c)
{
	struct timespec real, mono;

	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	c->realtime_ns = (u64)(real.tv_sec - mono.tv_sec) * NSEC_PER_SEC + (u64)real.tv_nsec -
			 (u64)mono.tv_nsec;
}

static void __cold render_second(struct access_clock *c, u64 second)
{
	time_t t = (time_t)second;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(c->iso, sizeof(c->iso), "%Y-%m-%dT%H:%M:%S", &tm);
	/* Not %b, which follows the locale of the app. */
	snprintf(c->ncsa, sizeof(c->ncsa), "%02u/%.3s/%04u:%02u:%02u:%02u +0000",
		 (u32)tm.tm_mday % 100, &"JanFebMarAprMayJunJulAugSepOctNovDec"[3 * tm.tm_mon],
		 (u32)(tm.tm_year + 1900) % 10000, (u32)tm.tm_hour % 100, (u32)tm.tm_min % 100,
		 (u32)tm.tm_sec % 100);
	c->second = second;
}

static char *put(char *p, const char *from, size_t len)
{
	memcpy(p, from, len);
	return p + len;
}

static char *put_u64(char *p, u64 n)
{
	char digits[NUMBER_MAX];
	u32 i = sizeof(digits);

	do
		digits[--i] = (char)('0' + n % 10);
	while (n /= 10);
	return put(p, digits + i, sizeof(digits) - i);
}

static char *put_3(char *p, u32 n)
{
	p[0] = (char)('0' + n / 100 % 10);
	p[1] = (char)('0' + n / 10 % 10);
	p[2] = (char)('0' + n % 10);
	return p + 3;
}

/* Milliseconds with three decimals. */
static char *put_ms(char *p, u64 from, u64 to)
{
	u64 us = to > from ? (to - from + 500) / 1000 : 0;

	p = put_u64(p, us / 1000);
	*p++ = '.';
	return put_3(p, (u32)(us % 1000));
}

static char *put_none(char *p, bool json)
{
	return json ? put(p, "null", 4) : put(p, "-", 1);
}

static char *put_time(char *p, struct access_clock *c, u64 ns, bool ncsa)
{
	u64 second = ns / NSEC_PER_SEC;

	if (unlikely(second != c->second))
		render_second(c, second);
	if (ncsa)
		return put(p, c->ncsa, 26);
	p = put(p, c->iso, 19);
	*p++ = '.';
	p = put_3(p, (u32)(ns % NSEC_PER_SEC / NSEC_PER_MSEC));
	*p++ = 'Z';
	return p;
}

/* Goes in as it is? The blank only where quotes are usual: it separates values. */
static bool is_plain(u8 c, bool blank)
{
	return c < 0x7f && c != '"' && c != '\\' && (c > 0x20 || (c == 0x20 && blank));
}

static char *put_code(char *p, u8 c, bool json)
{
	static const char hex[] = "0123456789abcdef";

	if (c == '"' || c == '\\') {
		*p++ = '\\';
		*p++ = (char)c;
		return p;
	}
	p = json ? put(p, "\\u00", 4) : put(p, "\\x", 2);
	*p++ = hex[c >> 4];
	*p++ = hex[c & 15];
	return p;
}

/* Bytes that could end the line or the string, or steer a terminal, become codes. */
static char *put_text(char *p, size_t room, struct view v, bool json, bool blank)
{
	const char *end = p + room;

	if (!v.len && !json)
		return put(p, "-", room ? 1 : 0);
	for (size_t i = 0; i < v.len && p < end; i++) {
		u8 c = (u8)v.p[i];

		if (likely(is_plain(c, blank)))
			*p++ = (char)c;
		else if ((size_t)(end - p) >= UNIT_MAX)
			p = put_code(p, c, json);
		else
			break;
	}
	return p;
}

static struct view path_of(struct view target, bool query)
{
	const char *mark = target.len ? memchr(target.p, '?', target.len) : NULL;
	size_t len = mark ? (size_t)(mark - target.p) : target.len;

	if (!query)
		return (struct view){ target.p, len };
	return mark ? (struct view){ mark + 1, target.len - len - 1 } : (struct view){ NULL, 0 };
}

static struct view remote_of(const struct req *r)
{
	if (r->link)
		return view_of(r->link->peer.known ? r->link->peer.text : "");
	return r->times[REQ_T_CLAIM] ? r->job.peer : (struct view){ NULL, 0 };
}

/* Nobody's clock: what the app took is known only when it was claimed. */
static char *put_duration(char *p, const struct req *r, enum field field, bool json)
{
	const u64 *t = r->times;

	if (field == TOTAL_MS)
		return put_ms(p, t[REQ_T_START], t[REQ_T_SENT]);
	if (!t[REQ_T_CLAIM])
		return put_none(p, json);
	if (field == QUEUE_MS)
		return put_ms(p, t[REQ_T_READY], t[REQ_T_CLAIM]);
	return put_ms(p, t[REQ_T_CLAIM], r->job.answered_ns);
}

static char *put_field(char *p, size_t room, enum field field, const struct access_format *f,
		       struct access_clock *c, u32 worker, const struct req *r)
{
	bool json = f->json;

	switch (field) {
	case TIME:
	case NCSA_TIME:
		return put_time(p, c, r->times[REQ_T_START] + c->realtime_ns, field == NCSA_TIME);
	case METHOD:
		return put_text(p, room, r->method_name, json, false);
	case PATH:
		return put_text(p, room, r->target, json, false);
	case PATH_ONLY:
	case QUERY:
		return put_text(p, room, path_of(r->target, field == QUERY), json, false);
	case VERSION:
		return put(p, r->version_minor ? "HTTP/1.1" : "HTTP/1.0", 8);
	case STATUS:
		return put_u64(p, r->status);
	case BYTES:
		return put_u64(p, r->bytes_out);
	case TOTAL_MS:
	case QUEUE_MS:
	case APP_MS:
		return put_duration(p, r, field, json);
	case WORKER:
		return put_u64(p, worker);
	case REQUEST_ID:
		return put_text(p, room, r->request_id, json, false);
	case REMOTE_ADDR:
		return put_text(p, room, remote_of(r), json, false);
	case REFERER:
		return put_text(p, room, r->referer, json, true);
	case USER_AGENT:
		return put_text(p, room, r->user_agent, json, true);
	case SENT:
		return r->times[REQ_T_SENT] ? put(p, "true", 4) : put(p, "false", 5);
	case END:
	case NR_FIELDS:
		break;
	}
	*p++ = '\n';
	return p;
}

size_t access_format_line(const struct access_format *f, struct access_clock *c, u32 worker,
			  const struct req *r, char *line)
{
	char *p = line;

	for (u32 i = 0; i < f->nr_steps; i++) {
		const struct access_step *s = &f->steps[i];
		enum field field = (enum field)s->field;
		size_t room;

		p = put(p, f->text + s->text_at, s->text_len);
		room = ACCESS_LINE_MAX - (size_t)(p - line) - s->after;
		if (fields[field].max)
			room = min(room, (size_t)fields[field].max);
		p = put_field(p, room, field, f, c, worker, r);
	}
	return (size_t)(p - line);
}
