/* SPDX-License-Identifier: MIT */
/*
 * The guard of interfaces (bpf/guard.bpf.c), seen from the supervisor, which
 * owns it: programs, their attachment, the lists. Attachments are held by
 * descriptors and end with the supervisor, however that ends. For what does
 * not (pins; a filter of clsact, where the kernel has nothing better) a small
 * process waits for its end; if that is killed, too, the next start finds it.
 */
#ifndef HYPERION_SERVER_GUARD_H
#define HYPERION_SERVER_GUARD_H

#include "bpf/guard_abi.h"
#include "server/base.h"
#include "server/cidr.h"

#define GUARD_CONF_ENTRIES 256u /* of each list, from the settings */

struct guard_settings {
	char ifaces[GUARD_IFACES][GUARD_NAME_LEN];
	u32 nr_ifaces;
	enum guard_mode mode;
	struct cidr deny[GUARD_CONF_ENTRIES], allow[GUARD_CONF_ENTRIES];
	u32 nr_deny, nr_allow;
	u32 syn_rate, syn_burst; /* per second; 0 = not limited, or as much as the rate */
	u32 syn_prefix_v4, syn_prefix_v6; /* bits; 0 = 32, 64 */
};

/* An address that we listen on. */
struct guard_address {
	u8 family; /* 4 or 6 */
	u8 addr[16]; /* network order; all 0 = any */
	u16 port;
	char iface[GUARD_NAME_LEN]; /* "" = any */
};

struct guard_config {
	const struct guard_settings *settings;
	const struct guard_address *addresses;
	u32 nr_addresses;
	const char *pins; /* an existing folder for the maps; "" = none */
	const char *locks; /* an existing folder for the interfaces' locks; "" = none */
	gid_t group; /* may read the pins */
	void (*forked)(void); /* in the process that cleans up after us; may be NULL */
};

struct guard_bpf;

struct guard_hook {
	enum guard_mode mode; /* GUARD_AUTO: nothing is attached */
	u32 ifindex;
	int link_fd; /* -1: clsact */
	bool made_qdisc;
	int lock_fd;
	char lock[192];
};

struct guard {
	struct guard_bpf *bpf; /* NULL: nothing is guarded */
	struct guard_about about;
	struct guard_hook hooks[GUARD_IFACES];
	char pins[128];
	u64 next_expiry_ns; /* of any entry; 0 = none expires */
	pid_t after_pid; /* who cleans up behind a supervisor that was killed */
	int after_fd; /* -1 = nobody */
};

enum guard_list { GUARD_DENY, GUARD_ALLOW, NR_GUARD_LISTS };

/* An entry as it is shown. */
struct guard_listed {
	enum guard_list list;
	struct cidr cidr;
	u64 expires_in_ns; /* 0 = never */
	u64 hits;
};

void guard_init(struct guard *g);

/* Exist all interfaces, are they up, can they be guarded? 0 or -errno; what is wrong was said. */
int guard_check(const struct guard_settings *settings) __must_check;

/* Loads, fills the lists, attaches, says how. 0 or -errno; what is wrong was said, and nothing is left. */
int guard_open(struct guard *g, const struct guard_config *config) __must_check;
void guard_close(struct guard *g);

/* What a killed instance has left among its pins. */
void guard_unpin(const char *pins);

/*
 * Into one list, out of the other if it is there; @seconds: 0 = for good. 0 or
 * -errno: -ENOSPC when the list is full, -ENODEV when nothing is guarded. An
 * entry that was there gets the new end and keeps its hits.
 */
int guard_deny(struct guard *g, const struct cidr *cidr, u64 seconds) __must_check;
int guard_allow(struct guard *g, const struct cidr *cidr, u64 seconds) __must_check;

/* Out of both lists; -ENOENT: it is in neither. */
int guard_remove(struct guard *g, const struct cidr *cidr) __must_check;

/* Every entry that has not expired; @fn stops it by a value other than 0, which is returned. */
int guard_each(const struct guard *g, int (*fn)(void *arg, const struct guard_listed *e), void *arg);

/* Takes away what has expired; the lists do not count it from its time on, with or without. */
void guard_sweep(struct guard *g, u64 now_ns);

/* --- guard_attach.c --- */

/*
 * Attaches to about.ifaces[@i], in the first way that works or the one that is
 * wanted. 0 or -errno; what is wrong was said.
 */
int guard_attach(struct guard *g, u32 i, enum guard_mode wanted) __must_check;
void guard_detach(struct guard *g, u32 i);

/* No other server has this interface, and none gets it. 0 or -errno; what is wrong was said. */
int guard_lock(struct guard *g, u32 i, const char *folder) __must_check;

/* Is it there, up, and an Ethernet? Its number, or -errno; what is wrong was said. */
int guard_find_iface(const char *name) __must_check;

#endif
