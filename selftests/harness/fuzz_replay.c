/* SPDX-License-Identifier: MIT */
/*
 * main() for a fuzz harness that does not search: gives it every input of its corpus, each in a
 * buffer that ends at a guard page. One TAP case per input; arguments are inputs to try instead.
 * The corpus is selftests/fuzz/corpus/<name of the program>, below HYPERION_ROOT or here.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "selftests/harness/guard.h"

int LLVMFuzzerTestOneInput(const u8 *p, size_t len);

#define MAX_INPUT_LEN MIB
#define INPUT_SECONDS 10

static const char *corpus_of(const char *program)
{
	static char path[4096];
	const char *root = getenv("HYPERION_ROOT"), *slash = strrchr(program, '/');

	snprintf(path, sizeof(path), "%s/selftests/fuzz/corpus/%s", root ? root : ".",
		 slash ? slash + 1 : program);
	return path;
}

static int feed_file(const char *path)
{
	static u8 buf[MAX_INPUT_LEN];
	FILE *f = fopen(path, "rb");
	size_t len;
	u8 *copy;

	if (!f) {
		perror(path);
		return 1;
	}
	len = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	copy = guard_copy(buf, len);
	LLVMFuzzerTestOneInput(copy, len);
	guard_free(copy, len);
	return 0;
}

/* In a process of its own: one crash must not hide the other inputs. True when it went well. */
static bool try_file(const char *path)
{
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		alarm(INPUT_SECONDS);
		exit(feed_file(path));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return false;
	if (WIFSIGNALED(status))
		printf("# killed by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int is_input(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

int main(int argc, char **argv)
{
	const char *dir = corpus_of(argv[0]);
	struct dirent **inputs = NULL;
	int nr = argc - 1, nr_failed = 0;

	if (argc < 2)
		nr = scandir(dir, &inputs, is_input, alphasort);
	printf("TAP version 13\n");
	if (nr <= 0) {
		fprintf(stderr, "%s: no inputs\n", dir);
		return 1;
	}
	printf("1..%d\n", nr);
	for (int i = 0; i < nr; i++) {
		const char *name = inputs ? inputs[i]->d_name : argv[1 + i];
		char path[8192];
		bool ok;

		snprintf(path, sizeof(path), "%s%s%s", inputs ? dir : "", inputs ? "/" : "", name);
		ok = try_file(path);
		nr_failed += !ok;
		printf("%s %d - %s\n", ok ? "ok" : "not ok", i + 1, name);
		if (inputs)
			free(inputs[i]);
	}
	free(inputs);
	return nr_failed != 0;
}
