/* SPDX-License-Identifier: MIT */
#include "server/runas.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/log.h"

static int find_user(struct runas *r, const char *user)
{
	const struct passwd *pw = getpwnam(user);

	if (!pw) {
		log_error(
			"conf: --user %s: there is no such user; name one of /etc/passwd, or root",
			user);
		return -EINVAL;
	}
	r->uid = pw->pw_uid;
	r->gid = pw->pw_gid;
	snprintf(r->user, sizeof(r->user), "%s", pw->pw_name);
	snprintf(r->home, sizeof(r->home), "%s", pw->pw_dir);
	return 0;
}

static int find_owner(struct runas *r, const char *rackup)
{
	const struct passwd *pw;
	struct stat st;

	if (!rackup[0] || stat(rackup, &st) || st.st_uid == 0)
		return 0;
	pw = getpwuid(st.st_uid);
	if (pw)
		return find_user(r, pw->pw_name);
	r->uid = st.st_uid;
	r->gid = st.st_gid;
	snprintf(r->user, sizeof(r->user), "%u", (u32)st.st_uid);
	snprintf(r->home, sizeof(r->home), "/");
	return 0;
}

static int find_group(struct runas *r, const char *group)
{
	const struct group *gr = getgrnam(group);

	if (!gr) {
		log_error("conf: --group %s: there is no such group", group);
		return -EINVAL;
	}
	r->gid = gr->gr_gid;
	return 0;
}

int runas_find(struct runas *r, const char *user, const char *group, const char *rackup)
{
	int err;

	*r = (struct runas){ .uid = geteuid(), .gid = getegid() };
	if (r->uid != 0) {
		if (!user[0] && !group[0])
			return 0;
		log_error("conf: --user and --group need root; start with sudo, or leave them out");
		return -EINVAL;
	}
	err = user[0] ? find_user(r, user) : find_owner(r, rackup);
	if (!err && group[0])
		err = find_group(r, group);
	if (err)
		return err;
	r->change = r->uid != 0 || r->gid != 0;
	r->powers = r->uid == 0 && user[0];
	if (r->change)
		log_info("workers and Ruby run as user=%s%s", r->user[0] ? r->user : "root",
			 user[0] ? "" : " (the owner of the rackup file; --user root overrides)");
	return 0;
}

int runas_become(const struct runas *r)
{
	if (!r->change)
		return 0;
	if ((r->user[0] ? initgroups(r->user, r->gid) : setgroups(0, NULL)) || setgid(r->gid) ||
	    setuid(r->uid))
		return -errno;
	if (r->user[0]) {
		setenv("HOME", r->home, 1);
		setenv("USER", r->user, 1);
		setenv("LOGNAME", r->user, 1);
	}
	return 0;
}
