/* SPDX-License-Identifier: MIT */
/* Whose connections are observed: those to listeners that a worker has for itself. */
#include <unistd.h>

#include "server/log.h"
#include "server/supervisor_state.h"

void observing_open(struct supervisor *s)
{
	int err;

	if (!s->conf->observe || !s->stats.bpf)
		return;
	err = observe_open(&s->observe, s->stats.pins, s->runas.change ? s->runas.gid : getegid(),
			   s->stats.maps.header->nr_slots);
	if (err)
		log_info(
			"bpf: connections are not observed: %s; it takes CAP_PERFMON, and a kernel "
			"with BTF",
			strerror(-err));
}

void observing_slot(struct supervisor *s, u32 id)
{
	for (u32 b = 0; b < s->conf->nr_binds; b++) {
		int err = 0;

		if (!slots_shared(&s->slots, b))
			err = observe_listener(&s->observe, s->slots.slots[id].listeners[b], id);
		if (err)
			log_error("bpf: connections to %s are not observed: %s worker=%u",
				  s->conf->binds[b].text, strerror(-err), id);
	}
}
