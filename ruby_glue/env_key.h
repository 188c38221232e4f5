/* SPDX-License-Identifier: MIT */
/*
 * The name of a request's header as a key of env: "HTTP_HOST". Keys are
 * interned once; names we do not know are kept in a small table that forgets,
 * so that no client makes it grow. Needs the GVL.
 */
#ifndef HYPERION_RUBY_GLUE_ENV_KEY_H
#define HYPERION_RUBY_GLUE_ENV_KEY_H

#include <ruby.h>

#include "server/base.h"

enum env_key_flag {
	/*
	 * Hardly ever changes within a connection, and apps do not write into it: the
	 * value may be one frozen string for all requests of the connection.
	 */
	KEY_STABLE = 1 << 0,
	KEY_DROP = 1 << 1, /* not from this field into env */
	KEY_LENGTH = 1 << 2, /* its value is the length of the body that was received */
	KEY_COOKIE = 1 << 3, /* repeated fields are joined by "; " (RFC 9113 8.2.3) */
};

struct env_key {
	VALUE name; /* frozen; 0 with KEY_DROP */
	u32 flags;
	u32 id; /* 0..ENV_KEYS_MAX - 1, one per name; ENV_KEYS_MAX: not one of the known */
};

#define ENV_KEYS_MAX 64u

/* May raise. */
void glue_env_key_init(void);

/* @name is a token of at least one character. May raise NoMemoryError. */
struct env_key glue_env_key(struct view name);

/* A string that lives as long as the process, the same object as in source text. May raise. */
VALUE glue_fixed(const char *text);

#endif
