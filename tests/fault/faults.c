/*
 * faults.c - the whole writer, with the first, the second, ... the Nth call of each kind failing in
 * each way that it can, until a run is over before its Nth call.
 *
 *	faults SHARE [ONLY]
 *
 * A way to fail is a call, an error, a setting and how often in a row; each is tried for all N. Of
 * all ways one in SHARE is taken; 1: all. ONLY: labels that begin so, all of them; a label is
 * SCENARIO.CALL.ERROR.SETTING.SPAN.NTH.
 *
 * live       a writer begins, writes, syncs, rolls and ends, while a thread publishes; in one
 *            setting it also compresses and deletes
 * library    a ring is made and attached, two threads push, and give it back
 * upkeep     the files of a log are compressed, and the oldest deleted
 * recovery   a writer begins in a directory that a killed writer left; what a failed recovery
 *leaves is recovered again
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "client.h"
#include "faulty_disk.h"
#include "program.h"
#include "scene.h"
#include "upkeep.h"

enum {
	WORKERS = 2,
	ERRORS_MAX = 8,
	LABEL_SIZE = 120,
	POLLED_MAX = 12, /* of calls that are repeated while nothing happens */
	NTH_MAX = 4096,
};

struct call_errors {
	enum fault_call call;
	int errors[ERRORS_MAX]; /* 0: the end */
};

/* What each call can answer. */
static const struct call_errors table[] = {
	{ CALL_OPEN, { -EMFILE, -ENFILE, -ENOMEM, -EACCES, -EINTR } },
	{ CALL_OPENAT, { -EMFILE, -ENOMEM, -EACCES, -EIO, -ENOSPC, -EINTR, -EROFS } },
	{ CALL_CLOSE, { -EIO, -EINTR } },
	{ CALL_FSTAT, { -EIO, -ENOMEM } },
	{ CALL_FSTATAT, { -EIO, -ENOMEM, -EACCES } },
	{ CALL_FSTATFS, { -EIO, -ENOSYS } },
	{ CALL_FTRUNCATE, { -EIO, -ENOSPC, -EINTR, -EFBIG } },
	{ CALL_FALLOCATE, { -ENOSPC, -EDQUOT, -EIO, -EINTR, -EOPNOTSUPP, -EFBIG } },
	{ CALL_FCHMOD, { -EPERM, -EIO } },
	{ CALL_FCHOWN, { -EPERM, -EIO } },
	{ CALL_MKDIRAT, { -ENOSPC, -EDQUOT, -EACCES, -EIO } },
	{ CALL_LINKAT, { -ENOSPC, -EMLINK, -EIO } },
	{ CALL_UNLINKAT, { -EIO, -EACCES } },
	{ CALL_RENAMEAT, { -ENOSPC, -EIO, -EACCES } },
	{ CALL_FSYNC, { -EIO, -ENOSPC, -EINTR } },
	{ CALL_FDATASYNC, { -EIO, -ENOSPC, -EDQUOT } },
	{ CALL_PREAD, { -EIO, -EINTR, FAULT_SHORT } },
	{ CALL_PWRITE, { -EIO, -ENOSPC, -EDQUOT, -EINTR, -EAGAIN, FAULT_SHORT } },
	{ CALL_MAP, { -ENOMEM, -EAGAIN } },
	{ CALL_ADVISE, { -EAGAIN, -EINVAL } },
	{ CALL_LOCK, { -EAGAIN, -ENOLCK, -EINTR } },
	{ CALL_UNLOCK, { -ENOLCK } },
	{ CALL_LOCK_QUERY, { -ENOLCK, -EINTR } },
	{ CALL_FUTEX_WAIT, { -EINTR, -EAGAIN } },
	{ CALL_FUTEX_WAKE, { -EFAULT } },
	{ CALL_GETRANDOM, { -EINTR, -ENOSYS } },
	{ CALL_SLEEP, { -EINTR } },
	{ CALL_FUTIMENS, { -EPERM } },
	{ CALL_SPAWN, { -EAGAIN } },
	{ CALL_IO_OPEN, { -ENOMEM, -EPERM } },
	{ CALL_IO_SUBMIT, { -EAGAIN, -EIO, -ENOMEM } },
	{ CALL_IO_WRITE, { -ENOSPC, -EDQUOT, -EIO, -EFBIG, -EINTR, -EAGAIN, FAULT_SHORT } },
	{ CALL_IO_SYNC, { -EIO, -ENOSPC, -EDQUOT, -EINTR } },
	{ CALL_IO_REAP, { -EINTR, -EIO } },
};

/* Once, for a while, from then on. */
static const uint32_t spans[] = { 1, 4, UINT32_MAX };

#define COMMON                                                                                  \
	"--lane-size", "64K", "--max-file", "1M", "--flush-interval", "20ms", "--stop-timeout", \
		"10s"

static const struct setting settings[] = {
	{ "written-page",
	  { COMMON, "--release", "written", "--sync", "page" },
	  faulty_disk_in_order,
	  .loses = true },
	{ "durable-page",
	  { COMMON, "--release", "durable", "--sync", "page" },
	  faulty_disk_shuffled,
	  .loses = false },
	{ "written-interval",
	  { COMMON, "--lanes", "1", "--release", "written", "--sync", "100ms" },
	  faulty_disk_shuffled,
	  .makes_ring = true,
	  .loses = true },
	{ "durable-none",
	  { COMMON, "--lanes", "4", "--release", "durable", "--sync", "none" },
	  faulty_disk_real,
	  .makes_ring = true },
	{ "tidied",
	  { COMMON, "--max-volume", "1M", "--max-files", "3", "--compress", "--release", "written",
	    "--sync", "page" },
	  faulty_disk_in_order,
	  .loses = true,
	  .deletes = true },
};

/* Of the log that is compressed and deleted: a volume for each file. */
static const struct setting setting_upkeep = {
	.name = "volumes",
	.options = { COMMON, "--max-volume", "1M", "--no-compress" },
	.open_io = faulty_disk_in_order,
};

/* Where a writer is killed, for those that come after it. */
static const struct fault kills[] = {
	{ CALL_IO_WRITE, 2, 1, FAULT_KILL, false },  { CALL_IO_WRITE, 5, 1, FAULT_KILL, false },
	{ CALL_IO_SYNC, 2, 1, FAULT_KILL, false },   { CALL_FTRUNCATE, 1, 1, FAULT_KILL, false },
	{ CALL_RENAMEAT, 1, 1, FAULT_KILL, false },  { CALL_FALLOCATE, 2, 1, FAULT_KILL, false },
	{ CALL_FDATASYNC, 2, 1, FAULT_KILL, false }, { CALL_RENAMEAT, 2, 1, FAULT_KILL, false },
};

enum scenario { LIVE, LIBRARY, UPKEEP, RECOVERY };
static const char *const scenario_names[] = { "live", "library", "upkeep", "recovery" };

/* One call failing in one way; the Nth is what varies. */
struct group {
	enum scenario scenario;
	const struct setting *setting;
	const struct fault *kill; /* RECOVERY */
	struct fault fault;
};

/* Of all workers; in shared memory. */
struct totals {
	uint64_t next_group;
	uint64_t runs;
	uint64_t untouched; /* over before the fault                                         */
	uint64_t survived;  /* went on, and ended well                                       */
	uint64_t refused;   /* ended with a reason                                           */
	uint64_t hung;      /* gave a disk up that did not answer: exit code 74              */
	uint64_t killed;
	uint64_t groups;
	uint64_t capped; /* groups that were left although there were more calls          */
};

static struct totals *totals;
static struct upkeep *upkeep; /* of this worker */
static uint64_t share;
static const char *only;

static void add(uint64_t *count)
{
	__atomic_add_fetch(count, 1, __ATOMIC_RELAXED);
}

/* ---- one run ---- */

static const char *error_name(int error)
{
	return error == FAULT_SHORT  ? "SHORT"
	       : error == FAULT_KILL ? "KILL"
				     : strerrorname_np(-error);
}

static void make_label(const struct group *group, char label[LABEL_SIZE])
{
	const struct fault *fault = &group->fault;
	char span[16] = "on";

	if (fault->span != UINT32_MAX)
		(void)snprintf(span, sizeof(span), "%u", fault->span);
	(void)snprintf(label, LABEL_SIZE, "%s%.0td.%s.%s%s.%s.%s.%u",
		       scenario_names[group->scenario], group->kill ? group->kill - kills : 0,
		       plan_call_name(fault->call), error_name(fault->error),
		       fault->takes_data ? "-taken" : "", group->setting->name, span, fault->nth);
}

static void count_outcome(int result, bool was_reached)
{
	if (!was_reached)
		add(&totals->untouched);
	else if (result == 1)
		add(&totals->killed);
	else if (result == 0)
		add(&totals->survived);
	else if (result == 2)
		add(&totals->hung);
	else
		add(&totals->refused);
}

static bool is_sync_failure(const struct fault *fault)
{
	return fault->call == CALL_FSYNC || fault->call == CALL_FDATASYNC ||
	       fault->call == CALL_IO_SYNC;
}

static void leave_behind(struct scene *scene, const struct fault *kill)
{
	pid_t pid;

	plan_set(kill);
	pid = scene_start_writer(scene, true, false);
	scene_produce(scene, pid);
	scene_stop_writer(pid);
	(void)scene_wait_writer(scene, pid);
}

static int run_live(struct scene *scene, const struct fault *fault, bool *ret_reached)
{
	pid_t pid;
	int r;

	plan_set(fault);
	pid = scene_start_writer(scene, true, false);
	scene_produce(scene, pid);
	scene_stop_writer(pid);
	r = scene_wait_writer(scene, pid);
	*ret_reached = plan_was_reached();
	return r;
}

static int run_library(struct scene *scene, const struct fault *fault, bool *ret_reached)
{
	int r;

	plan_set(fault);
	r = scene_wait_writer(scene, client_start(scene));
	*ret_reached = plan_was_reached();
	return r;
}

static int run_upkeep(struct scene *scene, const struct fault *fault, bool *ret_reached)
{
	const int r = upkeep_run(scene, upkeep, fault);

	*ret_reached = plan_was_reached();
	upkeep_judge(scene, upkeep);
	return r;
}

/* Twice: what the first leaves is for the second, which fails a little later. */
static int run_recovery(struct scene *scene, const struct fault *fault, bool *ret_reached)
{
	struct fault later = *fault;
	int r;

	plan_set(fault);
	r = scene_wait_writer(scene, scene_start_writer(scene, true, true));
	*ret_reached = plan_was_reached();
	if (!*ret_reached || r == 0)
		return r;
	later.nth += 1 + fault->nth % 3;
	plan_set(&later);
	(void)scene_wait_writer(scene, scene_start_writer(scene, true, true));
	return r;
}

/* True: the fault was reached. */
static bool run_one(const struct group *group)
{
	const struct fault *fault = &group->fault;
	const bool may_lose = group->setting->loses && is_sync_failure(fault);
	const uint64_t before = violations();
	char label[LABEL_SIZE];
	struct scene scene;
	bool was_reached = false;
	int r = 0;

	make_label(group, label);
	if (only && strncmp(label, only, strlen(only)) != 0)
		return true;
	faulty_disk_seed = 0x9e3779b97f4a7c15u * (fault->nth + 1) + (uint64_t)fault->call;
	scene_begin(&scene, group->setting, label);
	if (group->kill)
		leave_behind(&scene, group->kill);
	switch (group->scenario) {
	case LIVE:
		r = run_live(&scene, fault, &was_reached);
		break;
	case LIBRARY:
		r = run_library(&scene, fault, &was_reached);
		break;
	case UPKEEP:
		r = run_upkeep(&scene, fault, &was_reached);
		break;
	case RECOVERY:
		r = run_recovery(&scene, fault, &was_reached);
	}
	count_outcome(r, was_reached);
	add(&totals->runs);
	if (group->scenario != UPKEEP)
		scene_judge(&scene, may_lose, fault->takes_data,
			    !fault->takes_data || fault->span == 1);
	if (violations() != before)
		scene_tell_errors(&scene);
	scene_end(&scene);
	return was_reached;
}

/* ---- all runs ---- */

/* Calls that are made over and over while nothing happens: the first ones stand for all. */
static bool is_polled(enum fault_call call)
{
	return call == CALL_FUTEX_WAIT || call == CALL_FUTEX_WAKE || call == CALL_SLEEP ||
	       call == CALL_IO_REAP || call == CALL_LOCK_QUERY;
}

static void prepare_upkeep(void)
{
	struct scene scene;

	scene_begin(&scene, &setting_upkeep, "upkeep");
	upkeep = upkeep_prepare(&scene);
	scene_end(&scene);
}

static void run_group(struct group *group)
{
	const uint32_t last = is_polled(group->fault.call) ? POLLED_MAX : NTH_MAX;

	if (group->scenario == UPKEEP && !upkeep)
		prepare_upkeep();
	add(&totals->groups);
	for (uint32_t nth = 1; nth <= last; nth++) {
		group->fault.nth = nth;
		if (!run_one(group))
			return;
	}
	add(&totals->capped);
}

static bool is_wanted(const struct group *group)
{
	char label[LABEL_SIZE];
	size_t size;

	if (!only)
		return true;
	make_label(group, label);
	size = (size_t)(strrchr(label, '.') + 1 - label); /* any NTH */
	return strncmp(label, only, size < strlen(only) ? size : strlen(only)) == 0;
}

/* Can it fail so? */
static bool is_possible(const struct group *group)
{
	const struct fault *fault = &group->fault;

	if (fault->takes_data && (group->setting->open_io == faulty_disk_real ||
				  !is_sync_failure(fault) || fault->error == -EINTR))
		return false;
	/* It is given no writer, and makes its ring: one setting is enough. */
	if (group->scenario == LIBRARY && group->setting->open_io != faulty_disk_real)
		return false;
	/* It has no writer, either. */
	if (group->scenario == UPKEEP && group->setting != &settings[0])
		return false;
	/* Nobody is interrupted for ever. */
	return fault->span != UINT32_MAX || fault->error != -EINTR;
}

/* Whole scenarios would take a day: a share of the ways to fail, the same at each call. */
static bool is_in_share(const struct group *group, uint64_t count)
{
	const uint64_t mixed = (count + 1) * 0x9e3779b97f4a7c15u >> 20;

	if (only)
		return true;
	if (group->scenario == RECOVERY && (mixed / 64) % COUNT_OF(kills) != 0)
		return false;
	if (group->scenario == UPKEEP) /* its runs are short */
		return mixed % (share > 4 ? share / 4 : 1) == 0;
	return mixed % (share * (group->scenario == RECOVERY ? 2 : 1)) == 0;
}

/* Group number @number of all that there could be. */
static void group_at(uint64_t number, struct group *ret)
{
	const uint64_t ways = COUNT_OF(spans) * 2;
	const struct call_errors *calls;
	unsigned scenario;

	*ret = (struct group){ .fault = { .span = spans[number % COUNT_OF(spans)],
					  .takes_data = number % ways >= COUNT_OF(spans) } };
	number /= ways;
	calls = &table[number / ERRORS_MAX % COUNT_OF(table)];
	ret->fault.call = calls->call;
	ret->fault.error = calls->errors[number % ERRORS_MAX];
	number /= ERRORS_MAX * COUNT_OF(table);
	ret->setting = &settings[number % COUNT_OF(settings)];
	scenario = (unsigned)(number / COUNT_OF(settings));
	ret->scenario = scenario < RECOVERY ? scenario : RECOVERY;
	ret->kill = scenario < RECOVERY ? NULL : &kills[scenario - RECOVERY];
	ret->fault.nth = 1;
}

enum {
	GROUPS = COUNT_OF(spans) * 2 * ERRORS_MAX * COUNT_OF(table) * COUNT_OF(settings) *
		 (RECOVERY + COUNT_OF(kills))
};

static int work(void)
{
	struct group group;

	for (;;) {
		const uint64_t number =
			__atomic_fetch_add(&totals->next_group, 1, __ATOMIC_RELAXED);

		if (number >= GROUPS)
			return violations() != 0;
		group_at(number, &group);
		if (group.fault.error && is_possible(&group) && is_wanted(&group) &&
		    is_in_share(&group, number))
			run_group(&group);
	}
}

static pid_t start_worker(void)
{
	const pid_t pid = fork();

	if (pid < 0)
		broken("fork");
	if (pid > 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	plan_init();
	exit(work());
}

static int run_workers(void)
{
	pid_t pids[WORKERS];
	int worst = 0;

	for (int i = 0; i < WORKERS; i++)
		pids[i] = start_worker();
	for (int i = 0; i < WORKERS; i++) {
		int status;

		if (waitpid(pids[i], &status, 0) < 0)
			broken("waitpid");
		if (WIFSIGNALED(status))
			(void)fprintf(stderr, "broken: a worker was killed by signal %d\n",
				      WTERMSIG(status));
		status = WIFEXITED(status) ? WEXITSTATUS(status) : 2;
		worst = status > worst ? status : worst;
	}
	return worst;
}

static void tell(void)
{
	(void)printf(
		"fault: %llu runs of the writer, %llu ways to fail: %llu survived it, %llu ended "
		"with a reason, %llu gave a silent disk up, %llu were over before\n",
		(unsigned long long)totals->runs, (unsigned long long)totals->groups,
		(unsigned long long)totals->survived, (unsigned long long)totals->refused,
		(unsigned long long)totals->hung, (unsigned long long)totals->untouched);
}

int main(int argc, char **argv)
{
	int worst;

	if (argc < 2)
		broken("usage: faults SHARE [ONLY]");
	share = strtoul(argv[1], NULL, 10);
	only = argc > 2 && *argv[2] ? argv[2] : NULL;
	if (share == 0)
		broken("SHARE is 1 or more");
	totals = mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (totals == MAP_FAILED)
		broken("no memory");
	scene_enter();
	worst = run_workers();
	scene_leave();
	tell();
	if (totals->runs == 0)
		broken("no run has a label that begins with %s", only ? only : "anything");
	return worst;
}
