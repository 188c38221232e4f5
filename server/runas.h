/* SPDX-License-Identifier: MIT */
/* The user that Ruby and all workers run as. */
#ifndef HYPERION_SERVER_RUNAS_H
#define HYPERION_SERVER_RUNAS_H

#include "server/base.h"

struct runas {
	bool change; /* false: stay who we are */
	uid_t uid;
	gid_t gid;
	bool powers; /* root, and that was said: all capabilities */
	char user[64], home[256];
};

/*
 * @user and @group may be "": then, started by root, the owner of @rackup is
 * taken (@rackup "" = stay root). 0 or -EINVAL; what is wrong was said.
 */
int runas_find(struct runas *r, const char *user, const char *group, const char *rackup) __must_check;

/* For good: groups, gid, uid, HOME, USER, LOGNAME. 0 or -errno. */
int runas_become(const struct runas *r) __must_check;

#endif
