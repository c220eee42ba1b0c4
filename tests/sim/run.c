/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Runs seeds, each job in a process of its own. A seed that fails, however it does, is run once
 * more with its log, the last lines of which are shown; -v SEED shows all of it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

#define JOBS_MAX   64
#define TAIL       200 /* lines of a failing seed's log */
#define SEED_LIMIT 60  /* seconds of CPU */

/* What the processes share. */
struct board {
	uint64_t next, end;
	uint64_t current[JOBS_MAX];
	uint64_t events, datagrams, failed;
	struct census census;
};

static uint32_t clients, brokers; /* 0: as the seed says */
static bool fleet, quiet_failures, all_kinds, twice;

/* Its digest. */
static uint64_t run_once(uint64_t seed, bool verbose, uint8_t fill, struct board *board)
{
	struct sim s = {
		.verbose = verbose, .fill = fill, .want_clients = clients, .want_brokers = brokers
	};

	if (fleet) {
		sim_run_fleet(&s, seed);
	} else {
		sim_plan(&s, seed);
		sim_run_plan(&s);
	}
	if (board) {
		__atomic_fetch_add(&board->events, s.events, __ATOMIC_RELAXED);
		__atomic_fetch_add(&board->datagrams, s.datagrams, __ATOMIC_RELAXED);
		census_add(&board->census, &s.census);
	}
	sim_free(&s);
	return s.digest;
}

static void run_one(uint64_t seed, bool verbose, struct board *board)
{
	const uint64_t digest = run_once(seed, verbose, 0xee, board);

	if (verbose)
		printf("digest %016" PRIx64 "\n", digest);
	if (!twice || digest == run_once(seed, false, 0x11, NULL))
		return;
	fprintf(stderr, "seed %" PRIu64 ": its second run was another one\n", seed);
	abort();
}

static void work(struct board *board, int job)
{
	uint64_t seed;

	while ((seed = __atomic_fetch_add(&board->next, 1, __ATOMIC_RELAXED)) < board->end) {
		const struct rlimit limit = { (rlim_t)clock() / CLOCKS_PER_SEC + SEED_LIMIT,
					      RLIM_INFINITY };

		setrlimit(RLIMIT_CPU, &limit);
		board->current[job] = seed;
		run_one(seed, false, board);
	}
}

/* What runs this seed alone, with its log. */
static void put_command(char *line, size_t size, const char *self, uint64_t seed)
{
	snprintf(line, size, "'%s' %s-c %u -b %u -v %" PRIu64, self, fleet ? "-f " : "", clients,
		 brokers, seed);
}

static int command(const char *self, uint64_t seed, const char *rest)
{
	char line[4200];

	put_command(line, sizeof(line) - 100, self, seed);
	strncat(line, rest, 99);
	return system(line);
}

static void show_failure(const char *self, uint64_t seed)
{
	char line[4096], tail[64];

	put_command(line, sizeof(line), self, seed);
	printf("seed %" PRIu64 " failed; all of its log: %s\n", seed, line);
	fflush(stdout);
	snprintf(tail, sizeof(tail), " 2>&1 | tail -n %d", TAIL);
	if (!quiet_failures && command(self, seed, tail) != 0)
		printf("(its log cannot be shown)\n");
}

static pid_t start_job(struct board *board, int job)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid != 0)
		return pid;
	work(board, job);
	fflush(stdout);
	exit(0); /* not _exit(): coverage and leaks are told at exit */
}

/* A job that fails at its seed is replaced, and goes on with the next. */
static void run_all(struct board *board, int jobs, const char *self)
{
	pid_t pids[JOBS_MAX];
	int running = jobs, status;

	for (int job = 0; job < jobs; job++)
		pids[job] = start_job(board, job);
	while (running > 0) {
		const pid_t pid = waitpid(-1, &status, 0);
		int job = 0;

		if (pid < 0)
			break;
		while (job < jobs && pids[job] != pid)
			job++;
		if (job == jobs)
			continue;
		running--;
		if (status == 0)
			continue;
		board->failed++;
		show_failure(self, board->current[job]);
		pids[job] = start_job(board, job);
		running++;
	}
}

/* Seeds that failed once, one a line, with what it was. */
static int run_file(const char *path, const char *self)
{
	FILE *file = fopen(path, "r");
	char line[512];
	int failed = 0, count = 0;

	if (!file) {
		fprintf(stderr, "sim: cannot read %s\n", path);
		return 1;
	}
	while (fgets(line, sizeof(line), file)) {
		if (line[0] == '#' || line[0] == '\n')
			continue;
		count++;
		if (command(self, strtoull(line, NULL, 10), " >/dev/null") != 0) {
			failed++;
			show_failure(self, strtoull(line, NULL, 10));
		}
	}
	fclose(file);
	printf("%d seeds of %s, %d failed\n", count, path, failed);
	return failed > 0;
}

static double clock_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int run_range(uint64_t first, uint64_t count, int jobs, const char *self)
{
	struct board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const double start = clock_s();
	double took;

	if (board == MAP_FAILED)
		return 1;
	board->next = first;
	board->end = first + count;
	run_all(board, jobs, self);
	took = clock_s() - start;
	printf("%" PRIu64 " seeds from %" PRIu64 ", %" PRIu64 " failed; %.1f s, %.1f seeds/s, "
	       "%.2f million events, %.2f million datagrams\n",
	       count, first, board->failed, took, (double)count / took, (double)board->events / 1e6,
	       (double)board->datagrams / 1e6);
	if (!all_kinds)
		return board->failed > 0;
	census_print(&board->census);
	return !census_complete(&board->census) || board->failed > 0;
}

static int usage(void)
{
	fputs("usage: sim [OPTION ...] [-s FIRST] [-n COUNT] [-j JOBS]   runs that many seeds\n"
	      "       sim [OPTION ...] -v SEED    one seed, with its log\n"
	      "       sim -r FILE                 the seeds in a file\n"
	      "       sim -t DIRECTORY            deployed peers' models against their "
	      "transcripts\n"
	      "-f: a fleet of 1,000 clients for an hour    -c CLIENTS, -b BROKERS: so many\n"
	      "-2: each seed twice, which has to be the same    -q: of what fails only the seed\n"
	      "-a: prints what happened how often; nothing of it may never happen\n",
	      stderr);
	return 2;
}

struct range {
	uint64_t first, count;
	int jobs;
};

/* An option of how to run seeds; false: it is none. */
static bool set_option(int option, const char *value, struct range *range)
{
	switch (option) {
	case '2':
		return twice = true;
	case 'a':
		return all_kinds = true;
	case 'f':
		return fleet = true;
	case 'q':
		return quiet_failures = true;
	case 'b':
		return (brokers = (uint32_t)strtoul(value, NULL, 10)) <= OLD_BROKERS;
	case 'c':
		return (clients = (uint32_t)strtoul(value, NULL, 10)) <= UINT16_MAX;
	case 's':
		range->first = strtoull(value, NULL, 10);
		return true;
	case 'n':
		range->count = strtoull(value, NULL, 10);
		return true;
	case 'j':
		range->jobs = atoi(value);
		return range->jobs >= 1;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	struct range range = { 1, 100, (int)sysconf(_SC_NPROCESSORS_ONLN) };
	int c;

	while ((c = getopt(argc, argv, "2afqb:c:v:s:n:j:r:t:")) != -1) {
		if (c == 'r')
			return run_file(optarg, argv[0]);
		if (c == 't')
			return sim_replay(optarg);
		if (c == 'v') {
			setvbuf(stdout, NULL, _IOLBF, 0); /* nothing of it may be lost */
			run_one(strtoull(optarg, NULL, 10), true, NULL);
			return 0;
		}
		if (!set_option(c, optarg, &range))
			return usage();
	}
	if (optind != argc)
		return usage();
	range.jobs = range.jobs > JOBS_MAX ? JOBS_MAX : range.jobs;
	return run_range(range.first, range.count, range.jobs, argv[0]);
}
