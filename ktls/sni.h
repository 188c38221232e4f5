/* SPDX-License-Identifier: MIT */
/*
 * Which certificates serve a name: a table of names, each leading to a set of
 * at most one certificate of each kind of key. Sets that are equal are one.
 */
#ifndef HYPERION_KTLS_SNI_H
#define HYPERION_KTLS_SNI_H

#include "ktls/cert.h"
#include "server/base.h"

struct sni_set {
	s32 cert[NR_CERT_KINDS]; /* index, -1 = none */
};

struct sni_name {
	char *name; /* lower case; "*.a.b" stands for one label before ".a.b" */
	u32 len;
	u32 cert; /* while building */
	u32 set;
};

struct sni {
	struct sni_name *names; /* sorted */
	u32 nr_names, max_names;
	struct sni_set *sets; /* the first is that of the first certificate's first name */
	u32 nr_sets;
};

/* @s is zeroed. 0 or -ENOMEM, then sni_fini() is due all the same. */
int sni_build(struct sni *s, const struct cert *certs, u32 nr) __must_check;
void sni_fini(struct sni *s);

/* The exact name, else the wildcard of its parent (RFC 6125 6.4.3); any case. */
bool sni_find(const struct sni *s, struct view name, u32 *set) __must_check;

#endif
