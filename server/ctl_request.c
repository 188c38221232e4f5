/* SPDX-License-Identifier: MIT */
#include "server/ctl_request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const error_names[NR_CTL_ERRORS] = {
	[CTL_MALFORMED] = "malformed",       [CTL_TOO_LONG] = "too_long",
	[CTL_WRONG_VERSION] = "version",     [CTL_UNKNOWN] = "unknown_command",
	[CTL_BAD_ARGUMENT] = "bad_argument", [CTL_FORBIDDEN] = "forbidden",
	[CTL_REFUSED] = "refused",           [CTL_NOT_FOUND] = "not_found",
	[CTL_NO_GUARD] = "no_guard",         [CTL_FULL] = "full",
	[CTL_TIMEOUT] = "timeout",           [CTL_BUSY] = "busy",
	[CTL_INTERNAL] = "internal",
};

void ctl_request_fail(struct ctl_request *r, enum ctl_error error, const char *fmt, ...)
{
	va_list args;

	if (r->failed)
		return;
	r->failed = true;
	r->error = error;
	va_start(args, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, args);
	va_end(args);
}

/* --- reading --- */

static void check_version(struct ctl_request *r)
{
	const json_t *version = json_object_get(r->object, "v");

	if (!json_is_integer(version) || json_integer_value(version) != CTL_VERSION)
		ctl_request_fail(r, CTL_WRONG_VERSION, "this server speaks version %d: \"v\":%d",
				 CTL_VERSION, CTL_VERSION);
	json_object_del(r->object, "v");
}

/* A client's own mark: short, and nothing that has to be walked through. */
static void take_id(struct ctl_request *r)
{
	json_t *id = json_object_get(r->object, "id");

	if (!id)
		return;
	if (json_is_integer(id) || (json_is_string(id) && json_string_length(id) <= 64))
		r->id = json_incref(id);
	else
		ctl_request_fail(r, CTL_BAD_ARGUMENT, "id is a number or a text of at most 64 bytes");
	json_object_del(r->object, "id");
}

void ctl_request_parse(struct ctl_request *r, const char *line, size_t len)
{
	json_error_t error;

	*r = (struct ctl_request){ 0 };
	r->object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	if (!r->object) {
		ctl_request_fail(r, CTL_MALFORMED, "no JSON: %s", error.text);
		return;
	}
	if (!json_is_object(r->object)) {
		ctl_request_fail(r, CTL_MALFORMED, "a request is a JSON object");
		return;
	}
	take_id(r);
	check_version(r);
	if (!r->failed && !json_is_string(json_object_get(r->object, "command")))
		ctl_request_fail(r, CTL_MALFORMED, "a request has a \"command\"");
	if (!r->failed)
		ctl_request_text(r, "command", r->command, sizeof(r->command));
}

void ctl_request_release(struct ctl_request *r)
{
	json_decref(r->object);
	json_decref(r->id);
}

bool ctl_request_has(const struct ctl_request *r, const char *key)
{
	return json_object_get(r->object, key) != NULL;
}

s64 ctl_request_number(struct ctl_request *r, const char *key, s64 low, s64 high)
{
	const json_t *value = json_object_get(r->object, key);
	s64 n = json_integer_value(value);

	if (!json_is_integer(value) || n < low || n > high) {
		ctl_request_fail(r, CTL_BAD_ARGUMENT, "%s: \"%s\" is a number from %lld to %lld",
				 r->command, key, (long long)low, (long long)high);
		n = low;
	}
	json_object_del(r->object, key);
	return n;
}

void ctl_request_text(struct ctl_request *r, const char *key, char *out, size_t room)
{
	const json_t *value = json_object_get(r->object, key);
	size_t len = json_string_length(value);

	out[0] = '\0';
	/* A NUL within it would be a text that is shorter than what was sent. */
	if (!json_is_string(value) || !len || len >= room ||
	    memchr(json_string_value(value), '\0', len))
		ctl_request_fail(r, CTL_BAD_ARGUMENT, "%s%s\"%s\" is a text of at most %zu bytes",
				 r->command, r->command[0] ? ": " : "", key, room - 1);
	else
		memcpy(out, json_string_value(value), len + 1);
	json_object_del(r->object, key);
}

bool ctl_request_complete(struct ctl_request *r)
{
	const char *key = json_object_iter_key(json_object_iter(r->object));

	if (!r->failed && key)
		ctl_request_fail(r, CTL_BAD_ARGUMENT, "%s takes no \"%.64s\"", r->command, key);
	return !r->failed;
}

/* --- answering --- */

json_t *ctl_string(const char *p, size_t len)
{
	char *copy = malloc(len + 1);
	json_t *text;

	if (!copy)
		return NULL;
	for (size_t i = 0; i < len; i++)
		copy[i] = p[i] >= ' ' && p[i] <= '~' ? p[i] : '?';
	text = json_stringn(copy, len);
	free(copy);
	return text;
}

/* @body first, so that version, outcome and mark come from nobody else. */
static char *write_line(const struct ctl_request *r, bool ok, json_t *body, size_t *len)
{
	json_t *whole = json_object();
	char *text = NULL;

	if (!whole || json_object_set_new(whole, "v", json_integer(CTL_VERSION)) ||
	    (r && r->id && json_object_set(whole, "id", r->id)) ||
	    json_object_set_new(whole, "ok", json_boolean(ok)) ||
	    (body && json_object_update_missing(whole, body)))
		goto out;
	text = json_dumps(whole, JSON_COMPACT);
	if (text) {
		*len = strlen(text);
		text[(*len)++] = '\n'; /* in place of its NUL */
	}
out:
	json_decref(body);
	json_decref(whole);
	return text;
}

char *ctl_error_line(const struct ctl_request *r, enum ctl_error error, const char *why, size_t *len)
{
	json_t *body = json_pack("{s:{s:s,s:o}}", "error", "code", error_names[error], "message",
				 ctl_string(why, strlen(why)));

	return write_line(r, false, body, len);
}

char *ctl_answer_line(const struct ctl_request *r, json_t *body, size_t *len)
{
	char *text;

	if (r->failed) {
		json_decref(body);
		return ctl_error_line(r, r->error, r->why, len);
	}
	text = write_line(r, true, body, len);
	if (!text || *len <= CTL_ANSWER_MAX)
		return text;
	free(text);
	return ctl_error_line(r, CTL_TOO_LONG, "the answer would be longer than 1 MiB", len);
}
