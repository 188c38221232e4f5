/* SPDX-License-Identifier: MIT */
/* steer-sim: policies of steering, compared on paper. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/sim.h"

#define MAX_POLICIES 16u
#define MAX_WORKERS 100000u

struct wishes {
	struct sim_conf conf;
	double load; /* of what the workers can do; 0: --rate says */
	struct sim_policy policies[MAX_POLICIES];
	uint32_t nr_policies;
};

static const char usage[] =
	"Usage: steer-sim [options] [POLICY...]\n\n"
	"Simulates connections to workers that publish rows as those of hyperion-bpf do, and "
	"prints "
	"how long\n"
	"requests waited for a thread under each policy. The same seed gives the same numbers.\n\n"
	"Policies: hash; pick-K: the least loaded of K at random; least: of all; with + behind it, "
	"stalled ones\nare avoided; steer: bpf/steer.h, as the BPF program does it. Default: hash "
	"pick-2 pick-2+ least+ steer.\n\n"
	"  -w, --workers N       (4)           -t, --threads N       per worker, 0 = inline (1)\n"
	"      --seconds S       (60)              --seed N          (1)\n"
	"Arrivals:\n"
	"      --load X          share of what the workers can do (0.6)\n"
	"      --rate N          connections a second instead\n"
	"      --bursts N        N at once         --wave S          a swing of +-60 % every S "
	"seconds\n"
	"Connections:\n"
	"      --keep X          share that stays (0)\n"
	"      --requests N      on those (20)     --think MS        between them, on average "
	"(1000)\n"
	"      --rtt US          SYN to accept queue, on average (100)\n"
	"      --half-open X     share of SYNs that nobody finishes (0)\n"
	"Requests:\n"
	"      --service US      on average, exponential (2000); --constant: all the same\n"
	"      --cpu X           share of it that holds the interpreter's lock (0.5)\n"
	"      --slow X:MS       share of requests that take that long instead (0)\n"
	"      --plain X         share that needs no thread: files (0)\n"
	"Workers:\n"
	"      --turn US         from a change to the row that tells of it, on average (50)\n"
	"      --late-claims     that a job was claimed is told by the next turn only\n"
	"      --sleep S:MS      every S seconds one handler sleeps that long; --burn S:MS: "
	"computes;\n"
	"      --stop S:MS       the process is stopped\n"
	"  -h, --help            print this\n\n"
	"Columns: waits (ms) of new connections and of later requests on kept ones; balance: the "
	"most picks of\na worker over the fewest; open: the fullest worker's open connections over "
	"the mean; herd: most picks\nof one worker among 8 x workers in a row, fair is 8; "
	"troubled: "
	"share of the connections that went to a\nworker 60 ms after its trouble began, of those "
	"that came while there was one.\n";

/* --- options --- */

static int refuse(const char *name, const char *value, const char *allowed)
{
	fprintf(stderr, "steer-sim: %s %s: allowed is %s\n", name, value, allowed);
	return -1;
}

static int take_number(double *out, const char *name, const char *text, double least, double most)
{
	char *end, allowed[64];

	errno = 0;
	*out = strtod(text, &end);
	if (!errno && !*end && end != text && *out >= least && *out <= most)
		return 0;
	snprintf(allowed, sizeof(allowed), "a number from %g to %g", least, most);
	return refuse(name, text, allowed);
}

static int take_whole(uint32_t *out, const char *name, const char *text, double least, double most)
{
	double number;

	if (take_number(&number, name, text, least, most))
		return -1;
	if (number != (double)(uint32_t)number)
		return refuse(name, text, "a whole number");
	*out = (uint32_t)number;
	return 0;
}

/* "A:B"; @unit_ns: what A and B are multiplied with. */
static int take_pair(double out[2], const char *name, const char *text, double most)
{
	char first[32];
	const char *colon = strchr(text, ':');

	if (!colon || (size_t)(colon - text) >= sizeof(first))
		return refuse(name, text, "two numbers with a colon between");
	memcpy(first, text, (size_t)(colon - text));
	first[colon - text] = '\0';
	if (take_number(&out[0], name, first, 0, most) ||
	    take_number(&out[1], name, colon + 1, 0.001, 3.6e6))
		return -1;
	return 0;
}

static int take_trouble(struct sim_conf *conf, enum sim_trouble kind, const char *name,
			const char *text)
{
	double pair[2];

	if (take_pair(pair, name, text, 1e6))
		return -1;
	if (pair[0] <= 0)
		return refuse(name, text, "an interval of more than 0 seconds");
	conf->trouble = kind;
	conf->every_ns = (uint64_t)(pair[0] * (double)SIM_S);
	conf->for_ns = (uint64_t)(pair[1] * (double)SIM_MS);
	return 0;
}

static int take_slow(struct sim_conf *conf, const char *name, const char *text)
{
	double pair[2];

	if (take_pair(pair, name, text, 1))
		return -1;
	conf->slow = pair[0];
	conf->slow_ns = pair[1] * (double)SIM_MS;
	return 0;
}

static int take_scaled(double *out, double unit, const char *name, const char *text, double least)
{
	if (take_number(out, name, text, least, 1e9))
		return -1;
	*out *= unit;
	return 0;
}

enum option_id {
	OPT_SECONDS = 256,
	OPT_SEED,
	OPT_LOAD,
	OPT_RATE,
	OPT_BURSTS,
	OPT_WAVE,
	OPT_KEEP,
	OPT_REQUESTS,
	OPT_THINK,
	OPT_RTT,
	OPT_HALF_OPEN,
	OPT_SERVICE,
	OPT_CONSTANT,
	OPT_CPU,
	OPT_SLOW,
	OPT_PLAIN,
	OPT_TURN,
	OPT_LATE_CLAIMS,
	OPT_SLEEP,
	OPT_BURN,
	OPT_STOP,
};

static const struct option options[] = {
	{ "workers", required_argument, NULL, 'w' },
	{ "threads", required_argument, NULL, 't' },
	{ "help", no_argument, NULL, 'h' },
	{ "seconds", required_argument, NULL, OPT_SECONDS },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "load", required_argument, NULL, OPT_LOAD },
	{ "rate", required_argument, NULL, OPT_RATE },
	{ "bursts", required_argument, NULL, OPT_BURSTS },
	{ "wave", required_argument, NULL, OPT_WAVE },
	{ "keep", required_argument, NULL, OPT_KEEP },
	{ "requests", required_argument, NULL, OPT_REQUESTS },
	{ "think", required_argument, NULL, OPT_THINK },
	{ "rtt", required_argument, NULL, OPT_RTT },
	{ "half-open", required_argument, NULL, OPT_HALF_OPEN },
	{ "service", required_argument, NULL, OPT_SERVICE },
	{ "constant", no_argument, NULL, OPT_CONSTANT },
	{ "cpu", required_argument, NULL, OPT_CPU },
	{ "slow", required_argument, NULL, OPT_SLOW },
	{ "plain", required_argument, NULL, OPT_PLAIN },
	{ "turn", required_argument, NULL, OPT_TURN },
	{ "late-claims", no_argument, NULL, OPT_LATE_CLAIMS },
	{ "sleep", required_argument, NULL, OPT_SLEEP },
	{ "burn", required_argument, NULL, OPT_BURN },
	{ "stop", required_argument, NULL, OPT_STOP },
	{ 0 },
};

static int take_arrivals(struct wishes *w, int id, const char *name, const char *text)
{
	struct sim_conf *conf = &w->conf;

	switch (id) {
	case OPT_LOAD:
		return take_number(&w->load, name, text, 0.001, 10);
	case OPT_RATE:
		w->load = 0;
		return take_number(&conf->rate, name, text, 0.001, 1e7);
	case OPT_BURSTS:
		conf->shape = SIM_BURSTS;
		return take_whole(&conf->burst, name, text, 1, 1e6);
	case OPT_WAVE:
		conf->shape = SIM_WAVE;
		return take_scaled(&conf->period_ns, (double)SIM_S, name, text, 0.001);
	case OPT_KEEP:
		return take_number(&conf->keep, name, text, 0, 1);
	case OPT_REQUESTS:
		return take_whole(&conf->nr_requests, name, text, 1, 1e6);
	case OPT_THINK:
		return take_scaled(&conf->think_ns, (double)SIM_MS, name, text, 0.001);
	case OPT_RTT:
		return take_scaled(&conf->rtt_ns, (double)SIM_US, name, text, 0);
	default:
		return take_number(&conf->half_open, name, text, 0, 1);
	}
}

static int take(struct wishes *w, int id, const char *name, const char *text)
{
	struct sim_conf *conf = &w->conf;
	double number;

	switch (id) {
	case 'w':
		return take_whole(&conf->nr_workers, name, text, 1, MAX_WORKERS);
	case 't':
		return take_whole(&conf->nr_threads, name, text, 0, SIM_MAX_THREADS);
	case OPT_SECONDS:
		if (take_number(&number, name, text, 0.001, 1e6))
			return -1;
		conf->length_ns = (uint64_t)(number * (double)SIM_S);
		return 0;
	case OPT_SEED:
		if (take_number(&number, name, text, 0, 1e15))
			return -1;
		conf->seed = (uint64_t)number;
		return 0;
	case OPT_SERVICE:
		return take_scaled(&conf->service_ns, (double)SIM_US, name, text, 0.001);
	case OPT_CONSTANT:
		conf->is_constant = true;
		return 0;
	case OPT_CPU:
		return take_number(&conf->cpu, name, text, 0, 1);
	case OPT_SLOW:
		return take_slow(conf, name, text);
	case OPT_PLAIN:
		return take_number(&conf->plain, name, text, 0, 1);
	case OPT_TURN:
		return take_scaled(&conf->turn_ns, (double)SIM_US, name, text, 0.001);
	case OPT_LATE_CLAIMS:
		conf->claims_late = true;
		return 0;
	case OPT_SLEEP:
		return take_trouble(conf, SIM_SLEEP, name, text);
	case OPT_BURN:
		return take_trouble(conf, SIM_BURN, name, text);
	case OPT_STOP:
		return take_trouble(conf, SIM_STOP, name, text);
	default:
		return take_arrivals(w, id, name, text);
	}
}

static int take_policy(struct wishes *w, const char *name)
{
	if (w->nr_policies == MAX_POLICIES)
		return refuse("POLICY", name, "up to 16 of them");
	if (!sim_policy_parse(&w->policies[w->nr_policies++], name))
		return refuse("POLICY", name, "hash, pick-K, pick-K+, least, least+, steer");
	return 0;
}

/* 0, 1: all said, as for --help; -1: wrong. */
static int take_all(struct wishes *w, int argc, char **argv)
{
	static const char *const usual[] = { "hash", "pick-2", "pick-2+", "least+", "steer" };
	size_t nr_usual;
	int id, at = 0, rc = 0;

	while (!rc && (id = getopt_long(argc, argv, "w:t:h", options, &at)) != -1) {
		char name[32] = { '-', (char)id };

		if (id == '?')
			return -1;
		if (id == 'h') {
			fputs(usage, stdout);
			return 1;
		}
		if (id >= 256)
			snprintf(name, sizeof(name), "--%s", options[at].name);
		rc = take(w, id, name, optarg);
	}
	for (; !rc && optind < argc; optind++)
		rc = take_policy(w, argv[optind]);
	nr_usual = w->nr_policies ? 0 : sizeof(usual) / sizeof(usual[0]);
	for (size_t i = 0; !rc && i < nr_usual; i++)
		rc = take_policy(w, usual[i]);
	return rc;
}

/* The rate at which the workers would have nothing left to give, times --load. */
static int settle_rate(struct wishes *w)
{
	struct sim_conf *conf = &w->conf;
	double service = conf->service_ns * (1 - conf->slow) + conf->slow_ns * conf->slow;
	double by_cpu = service * conf->cpu;
	double each = service / (conf->nr_threads ? conf->nr_threads : 1);
	double requests = (1 - conf->keep + conf->keep * conf->nr_requests) * (1 - conf->plain);

	if (!w->load)
		return 0;
	if (requests <= 0)
		return refuse("--plain", "1", "less than 1, or with --rate");
	each = each > by_cpu ? each : by_cpu;
	conf->rate = w->load * conf->nr_workers * (double)SIM_S / each / requests;
	return 0;
}

/* --- output --- */

static double in_ms(const uint64_t counts[HIST_BUCKETS], uint32_t per_100k)
{
	__u64 copy[HIST_BUCKETS];

	for (uint32_t i = 0; i < HIST_BUCKETS; i++)
		copy[i] = counts[i];
	return (double)hist_quantile(copy, per_100k) / (double)SIM_MS;
}

static void print_result(const struct sim_conf *conf, const struct sim_policy *policy,
			 const struct sim_result *r, const struct stats_steer *rows)
{
	__u64 most = 0, fewest = UINT64_MAX;

	for (uint32_t w = 0; w < conf->nr_workers; w++) {
		most = rows[w].picks > most ? rows[w].picks : most;
		fewest = rows[w].picks < fewest ? rows[w].picks : fewest;
	}
	printf("%-8s %9llu %9.3f %9.3f %9.3f", policy->name, (unsigned long long)r->nr_conns,
	       in_ms(r->first, 50000), in_ms(r->first, 99000), in_ms(r->first, 99900));
	if (r->nr_later)
		printf(" %9.3f %9.3f", in_ms(r->later, 99000), in_ms(r->later, 99900));
	else
		printf(" %9s %9s", "-", "-");
	printf(" %8.3f %6.2f %5u", fewest ? (double)most / (double)fewest : 0.0, r->kept_over_mean,
	       r->herd);
	if (r->while_troubled)
		printf(" %8.4f", (double)r->to_troubled / (double)r->while_troubled);
	else
		printf(" %8s", "-");
	printf(" %9llu %9llu\n", (unsigned long long)r->by_reason[STEER_STALLED],
	       (unsigned long long)r->avoided);
}

int main(int argc, char **argv)
{
	struct wishes w = { .conf = { .seed = 1,
				      .length_ns = 60 * SIM_S,
				      .nr_workers = 4,
				      .nr_threads = 1,
				      .nr_requests = 20,
				      .think_ns = (double)SIM_S,
				      .service_ns = 2000 * SIM_US,
				      .cpu = 0.5,
				      .turn_ns = 50 * SIM_US,
				      .rtt_ns = 100 * SIM_US },
			    .load = 0.6 };
	struct stats_steer *rows;
	struct sim_result *result;
	int rc = take_all(&w, argc, argv);

	if (rc || settle_rate(&w))
		return rc > 0 ? 0 : 2;
	rows = sim_alloc(w.conf.nr_workers, sizeof(*rows));
	result = sim_alloc(1, sizeof(*result));
	printf("%-8s %9s %9s %9s %9s %9s %9s %8s %6s %5s %8s %9s %9s\n", "policy", "conns", "p50",
	       "p99", "p99.9", "late p99", "late 99.9", "balance", "open", "herd", "troubled",
	       "stalled", "avoided");
	for (uint32_t i = 0; i < w.nr_policies; i++) {
		sim_run(&w.conf, &w.policies[i], result, rows);
		print_result(&w.conf, &w.policies[i], result, rows);
		fflush(stdout);
	}
	free(rows);
	free(result);
	return 0;
}
