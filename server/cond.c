/* SPDX-License-Identifier: MIT */
#include "server/cond.h"

#include "server/date.h"

static bool is_weak(struct view etag)
{
	return etag.len >= 2 && etag.p[0] == 'W' && etag.p[1] == '/';
}

static struct view opaque(struct view etag)
{
	return is_weak(etag) ? (struct view){ etag.p + 2, etag.len - 2 } : etag;
}

/* RFC 9110 8.8.3.2 */
static bool tags_match(struct view a, struct view b, bool strong)
{
	if (strong && (is_weak(a) || is_weak(b)))
		return false;
	return view_eq(opaque(a), opaque(b));
}

static bool is_etagc(char c)
{
	return c == 0x21 || (u8)c >= 0x23;
}

/* The entity-tag at the start of @v; its length, 0 when there is none. */
static size_t scan_tag(struct view v)
{
	size_t i = is_weak(v) ? 2 : 0;

	if (i == v.len || v.p[i] != '"')
		return 0;
	for (i++; i < v.len && is_etagc(v.p[i]) && v.p[i] != 0x7f; i++)
		;
	return i < v.len && v.p[i] == '"' ? i + 1 : 0;
}

/* Is one of the tags of a line ours? What is malformed ends the line. */
static bool line_has(struct view line, struct view etag, bool strong)
{
	while (line.len) {
		size_t n;

		if (line.p[0] == ' ' || line.p[0] == '\t' || line.p[0] == ',') {
			line.p++;
			line.len--;
			continue;
		}
		n = scan_tag(line);
		if (!n)
			return false;
		if (tags_match((struct view){ line.p, n }, etag, strong))
			return true;
		line.p += n;
		line.len -= n;
	}
	return false;
}

static bool list_has(const struct lines *lines, struct view etag, bool strong)
{
	if (lines->nr == 1 && view_eq(lines->v[0], VIEW("*")))
		return true;
	for (u32 i = 0; i < lines->nr; i++)
		if (line_has(lines->v[i], etag, strong))
			return true;
	return false;
}

/* The date of a field, when it has one; 13.1.3 and 13.1.4: else it is as if it were not there. */
static bool date_of(const struct fields *f, enum field field, u64 *second)
{
	const struct view *v = field_one(f, field);

	return v && date_parse(*v, second) == 0;
}

enum cond_result cond_check(const struct fields *f, const struct validator *v)
{
	u64 second;

	if (field_seen(f, FIELD_IF_MATCH)) {
		if (!list_has(&f->of[FIELD_IF_MATCH], v->etag, true))
			return COND_FAILED;
	} else if (date_of(f, FIELD_IF_UNMODIFIED_SINCE, &second) && v->modified > second) {
		return COND_FAILED;
	}
	if (field_seen(f, FIELD_IF_NONE_MATCH))
		return list_has(&f->of[FIELD_IF_NONE_MATCH], v->etag, false) ? COND_NOT_MODIFIED
									     : COND_GO;
	if (date_of(f, FIELD_IF_MODIFIED_SINCE, &second) && v->modified <= second)
		return COND_NOT_MODIFIED;
	return COND_GO;
}

bool cond_allows_range(const struct fields *f, const struct validator *v, u64 now)
{
	const struct view *value = field_one(f, FIELD_IF_RANGE);
	u64 second;

	if (!field_seen(f, FIELD_IF_RANGE))
		return true;
	if (!value)
		return false;
	if (scan_tag(*value) == value->len && value->len)
		return tags_match(*value, v->etag, true);
	return date_parse(*value, &second) == 0 && second == v->modified && v->modified < now;
}
