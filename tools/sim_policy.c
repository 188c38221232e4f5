/* SPDX-License-Identifier: MIT */
/* The ways to pick a worker that are compared. */
#include <stdlib.h>
#include <string.h>

#include "bpf/steer.h"
#include "tools/sim.h"

/* As the kernel's hash over addresses and ports: it knows nothing of the workers. */
static uint32_t pick_hash(struct sim *sim, uint64_t random)
{
	return (uint32_t)((random >> 32) * sim->conf->nr_workers >> 32);
}

/* One of 0 .. nr-1 that is not among the @nr_drawn before it; then it is. */
static uint32_t draw_other(uint32_t drawn[SIM_MAX_LOOKS], uint32_t nr_drawn, uint32_t nr,
			   struct sim_rng *rng)
{
	uint32_t i;

	do {
		drawn[nr_drawn] = sim_rng_below(rng, nr);
		for (i = 0; drawn[i] != drawn[nr_drawn]; i++)
			;
	} while (i != nr_drawn);
	return drawn[nr_drawn];
}

/* The least loaded of some at random, or of all; equal ones at random. */
static uint32_t pick_least(struct sim *sim, uint64_t random)
{
	uint32_t nr = sim->conf->nr_workers, nr_looks = sim->policy->nr_looks, best = 0;
	struct sim_rng rng = { .state = random };
	uint32_t drawn[SIM_MAX_LOOKS];
	uint64_t least = UINT64_MAX;

	if (!nr_looks || nr_looks > nr)
		nr_looks = nr;
	for (uint32_t i = 0; i < nr_looks; i++) {
		uint32_t w = nr_looks == nr ? i : draw_other(drawn, i, nr, &rng);
		struct steer_view view;
		uint64_t key;

		steer_read(&view, &sim->rows[w], sim->now_ns);
		key = steer_load(&view);
		if (sim->policy->sees_stalls)
			key += steer_penalty(&view) | (steer_stalled(&view) ? STEER_STALLED_BIT : 0);
		key = key << 24 | sim_rng_next(&rng) >> 40;
		if (key < least) {
			least = key;
			best = w;
		}
	}
	return best;
}

/* What the BPF program does. */
static uint32_t pick_steer(struct sim *sim, uint64_t random)
{
	struct steer_choice choice;

	steer_begin(&choice, sim->now_ns, (uint32_t)random);
	for (uint32_t i = 0; i < STEER_LOOKS && i < sim->conf->nr_workers; i++) {
		uint32_t slot = steer_look(&choice, i, sim->conf->nr_workers);

		steer_weigh(&choice, slot, &sim->rows[slot]);
	}
	steer_end(&choice);
	sim->result->by_reason[choice.reason]++;
	sim->result->avoided += choice.avoided != STEER_NOBODY;
	return choice.slot;
}

bool sim_policy_parse(struct sim_policy *policy, const char *name)
{
	size_t len = strlen(name);
	char *end;

	*policy = (struct sim_policy){ .name = name, .pick = pick_least };
	if (!strcmp(name, "hash"))
		policy->pick = pick_hash;
	if (!strcmp(name, "steer"))
		policy->pick = pick_steer;
	if (policy->pick != pick_least)
		return true;
	policy->sees_stalls = len && name[len - 1] == '+';
	if (!strcmp(name, "least") || !strcmp(name, "least+"))
		return true;
	if (strncmp(name, "pick-", 5) || name[5] < '1' || name[5] > '9')
		return false;
	policy->nr_looks = (uint32_t)strtoul(name + 5, &end, 10);
	return policy->nr_looks <= SIM_MAX_LOOKS && !strcmp(end, policy->sees_stalls ? "+" : "");
}
