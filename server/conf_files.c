/* SPDX-License-Identifier: MIT */
#include "server/conf_files.h"

#include <sys/stat.h>

#include "server/option_value.h"

int conf_add_constant(struct conf *conf, const char *value, const char **why)
{
	const char *eq = strchr(value, '=');

	*why = "PATH=TEXT with a PATH that starts with /, at most 64 of them";
	if (!eq || value[0] != '/' || conf->nr_constants == MAX_CONSTANTS)
		return -EINVAL;
	conf->constants[conf->nr_constants++] = (struct conf_constant){
		.path = value, .path_len = (size_t)(eq - value), .body = eq + 1
	};
	return 0;
}

/* The last one for a prefix counts. */
static struct conf_tree *tree_for(struct conf *conf, struct view prefix)
{
	for (u32 i = 0; i < conf->nr_trees; i++)
		if (view_eq(view_of(conf->trees[i].prefix), prefix))
			return &conf->trees[i];
	return conf->nr_trees == MAX_TREES ? NULL : &conf->trees[conf->nr_trees++];
}

int conf_add_tree(struct conf *conf, const char *value, struct conf_tree what, const char **why)
{
	const char *eq = strchr(value, '=');
	struct conf_tree *tree;
	struct stat st;
	size_t len;

	*why = "PREFIX=DIR, a PREFIX that starts with / and a folder that exists";
	if (!eq || value[0] != '/' || eq - value >= (ssize_t)CONF_TEXT_LEN ||
	    strlen(eq + 1) >= CONF_TEXT_LEN || stat(eq + 1, &st) || !S_ISDIR(st.st_mode))
		return -EINVAL;
	for (len = (size_t)(eq - value); len && value[len - 1] == '/'; len--)
		;
	tree = tree_for(conf, (struct view){ value, len });
	if (!tree) {
		*why = "PREFIX=DIR, at most 32 of them";
		return -EINVAL;
	}
	memcpy(tree->prefix, value, len);
	tree->prefix[len] = '\0';
	memcpy(tree->dir, eq + 1, strlen(eq + 1) + 1);
	tree->immutable = what.immutable;
	tree->internal = what.internal;
	return 0;
}

int conf_add_preload(struct conf *conf, const char *value, bool immutable, const char **why)
{
	struct conf_preload *p = &conf->preloads[conf->nr_preloads];

	*why = "a folder, at most 32 of them, their names not longer than 255 bytes";
	if (conf->nr_preloads == MAX_PRELOADS || option_text(p->dir, sizeof(p->dir), value, why))
		return -EINVAL;
	p->immutable = immutable;
	conf->nr_preloads++;
	return 0;
}

int conf_add_sendfile_root(struct conf *conf, const char *value, const char **why)
{
	char *root = conf->sendfile_roots[conf->nr_sendfile_roots];
	struct stat st;

	*why = "the absolute path of a folder that exists, at most 8 of them";
	if (conf->nr_sendfile_roots == MAX_SENDFILE_ROOTS || value[0] != '/' ||
	    strlen(value) >= CONF_TEXT_LEN || stat(value, &st) || !S_ISDIR(st.st_mode))
		return -EINVAL;
	memcpy(root, value, strlen(value) + 1);
	conf->nr_sendfile_roots++;
	return 0;
}
