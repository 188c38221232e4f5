/* SPDX-License-Identifier: MIT */
/* What the supervisor keeps of its privileges when the start is over, and whose files it still has to do with. */
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/holder.h"
#include "server/log.h"
#include "server/pidfile.h"
#include "server/privileges.h"
#include "server/supervisor_state.h"

/* The user that a folder belongs to, if it is neither us nor unknown. */
static bool find_owner(struct supervisor *s, const char *path)
{
	char copy[CONF_TEXT_LEN];
	struct stat st;

	if (!path[0])
		return false;
	snprintf(copy, sizeof(copy), "%s", path);
	if (stat(dirname(copy), &st) || st.st_uid == geteuid())
		return false;
	s->files_uid = st.st_uid;
	s->files_gid = st.st_gid;
	return true;
}

/* While we may still look everywhere. */
static bool files_are_others(struct supervisor *s)
{
	const struct conf *conf = s->conf;

	if (geteuid() != 0)
		return false;
	if (find_owner(s, conf->log_file) || find_owner(s, conf->error_log) ||
	    find_owner(s, conf->pidfile))
		return true;
	for (u32 b = s->slots.nr_inherited; b < conf->nr_binds; b++)
		if (bind_is_unix(&conf->binds[b]) && find_owner(s, conf->binds[b].addr.un.sun_path))
			return true;
	s->files_uid = s->runas.uid;
	s->files_gid = s->runas.gid;
	return s->runas.change;
}

int supervisor_drop_privileges(struct supervisor *s)
{
	bool others = files_are_others(s);
	const struct privileges keep = {
		.bpf = !s->conf->no_bpf,
		.starts_others = s->runas.change,
		.acts_as_other = others,
		.starts_root = !s->conf->no_app && s->runas.uid == 0,
		/* What is taken from the set here no sudo of the app could give it, once the mold is another. */
		.bounding = !s->conf->no_app && (s->runas.change || s->runas.powers),
	};
	int err = privileges_keep(&keep);

	s->acts_as_owner = !err && others;
	if (err)
		log_error("supervisor: cannot give capabilities up: %s", strerror(-err));
	return err;
}

static void remove_socket(const struct bind *b)
{
	const char *path = b->addr.un.sun_path;
	struct holder holder;
	struct stat st;

	/* Its owner may not connect to what root has made there. */
	holder_find(b, &holder);
	if (path[0] && !holder.listens && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
}

void supervisor_remove_files(const struct supervisor *s)
{
	const struct conf *conf = s->conf;

	for (u32 b = s->slots.nr_inherited; b < conf->nr_binds; b++)
		bind_unlink(&conf->binds[b]);
	if (s->has_pidfile)
		pidfile_remove(conf->pidfile);
	if (!supervisor_act_as_owner(s))
		return;
	for (u32 b = s->slots.nr_inherited; b < conf->nr_binds; b++)
		if (bind_is_unix(&conf->binds[b]))
			remove_socket(&conf->binds[b]);
	if (s->has_pidfile)
		pidfile_remove(conf->pidfile);
	privileges_act_as_self();
}

bool supervisor_act_as_owner(const struct supervisor *s)
{
	return s->acts_as_owner && privileges_act_as(s->files_uid, s->files_gid);
}
