/* SPDX-License-Identifier: MIT */
#include "server/framing.h"

struct seen {
	u32 host, length, te;
	bool close, keep_alive, upgrade;
};

static int read_te(struct view value, u32 nr_before, const char **why)
{
	*why = "Transfer-Encoding has to be one final chunked";
	if (nr_before)
		return 400;
	switch (h1_check_te(value)) {
	case 0:
		return 0;
	case -ENOTSUP:
		*why = "of the transfer codings only chunked is known here";
		return 501;
	default:
		return 400;
	}
}

static int read_field(const struct header *field, struct framing *f, struct seen *seen,
		      const char **why)
{
	struct view value = field->value;

	switch (h1_known_header(field->name)) {
	case HDR_HOST:
		seen->host++;
		*why = "the Host field is not a host";
		return h1_check_host(value) ? 400 : 0;
	case HDR_CONNECTION:
		seen->close |= h1_list_has(value, VIEW("close"));
		seen->keep_alive |= h1_list_has(value, VIEW("keep-alive"));
		seen->upgrade |= h1_list_has(value, VIEW("upgrade"));
		return 0;
	case HDR_CONTENT_LENGTH:
		*why = "Content-Length has to be one number";
		return seen->length++ || h1_parse_length(value, &f->length) ? 400 : 0;
	case HDR_TRANSFER_ENCODING:
		f->chunked = true;
		return read_te(value, seen->te++, why);
	case HDR_EXPECT:
		f->expect = true;
		*why = "the one expectation known here is 100-continue";
		return view_ieq(value, VIEW("100-continue")) ? 0 : 417;
	case HDR_UPGRADE:
		f->upgrade = true;
		return 0;
	default:
		return 0;
	}
}

int framing_read(const struct msg *m, struct framing *f, const char **why)
{
	struct seen seen = { 0 };
	bool old = m->version_minor == 0;

	*f = (struct framing){ 0 };
	for (u32 i = 0; i < m->nr_headers; i++) {
		int status = read_field(&m->headers[i], f, &seen, why);

		if (status)
			return status;
	}
	*why = "the request target has none of the forms that this method takes";
	if (h1_split_target(m->target, m->method, &f->target))
		return 400;
	*why = "exactly one Host field is needed";
	if (seen.host > 1 || (seen.host == 0 && !old))
		return 400;
	*why = "Content-Length and Transfer-Encoding exclude each other";
	if (seen.te && seen.length)
		return 400;
	*why = "HTTP/1.0 has no Transfer-Encoding";
	if (seen.te && old)
		return 400;
	f->expect &= !old;
	f->upgrade &= seen.upgrade && !old;
	f->persistent = !seen.close && (!old || seen.keep_alive);
	return 0;
}
