/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "server/conf.h"
#include "server/mold.h"
#include "server/supervisor.h"
#include "server/title.h"

int main(int argc, char **argv)
{
	static struct conf conf; /* outlives main's frames: workers are forked below it */
	const char *mold_fd = getenv(MOLD_ENV);
	int action;

	title_init(argc, argv);
	if (mold_fd)
		return mold_run(atoi(mold_fd), argc, argv);
	action = conf_read(&conf, NULL, argc, argv);
	if (action < 0)
		return 2;
	if (action == CONF_EXIT)
		return 0;
	return supervisor_run(&conf, (enum conf_action)action, argc, argv);
}
