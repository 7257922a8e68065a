/*
 * stepped.c - memory that changes between any two instructions of the writer. See stepped.h.
 *
 * A child takes a lane as the writer does, in single steps; between two of them its parent, which
 * has the segment mapped writable, makes good of the lane bad or bad good again. Whoever looks
 * twice at what he has checked sees something else the second time, sooner or later: no race has to
 * be won for it. Only what is good may get into the page; how much that is, is a matter of luck.
 */
#include "stepped.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drain.h"
#include "program.h"
#include "scene.h"
#include "scribble.h"

enum { LANES = 2, LANE = 1, RECORDS = 16, ANY_BAD = 4, NOT_TRACED = 77 };

static const char payload[] = "good, and nothing else";

/* What the child tells of its page. */
struct taken_page {
	uint64_t records;
	uint64_t refused;
};

struct stepped {
	char ring[64];
	struct segment segment;
	uint8_t *base;
	struct lane lane;
	struct dice dice;
	struct taken_page *page; /* shared */
	uint64_t steps;
};

static struct drain drain; /* the child's */

/* ---- the lane ---- */

static void open_ring(struct stepped *stepped)
{
	const struct segment_options options = { .lanes = LANES,
						 .lane_size = 64 * 1024,
						 .group = (gid_t)-1 };
	void *base;

	(void)snprintf(stepped->ring, sizeof(stepped->ring), "hostile.%d.stepped", (int)getppid());
	if (segment_create(&sys_real, stepped->ring, &options) < 0 ||
	    segment_open(&sys_real, stepped->ring, O_RDWR, &stepped->segment) < 0 ||
	    segment_map(&stepped->segment, stepped->segment.fd, 0, stepped->segment.geometry.size,
			true, &base) < 0)
		broken("ring: %s", reason_get());
	stepped->base = base;
	view_lane(&(struct segment_view){ .geometry = &stepped->segment.geometry, .base = base },
		  LANE, &stepped->lane);
}

static void close_ring(struct stepped *stepped)
{
	uint64_t undrained;

	(void)sys_real.unmap(stepped->base, stepped->segment.geometry.size);
	segment_close(&stepped->segment);
	(void)segment_remove(&sys_real, stepped->ring, true, &undrained);
}

static const struct record_header good_header = { .length = sizeof(payload),
						  .kind = RECORD_DATA,
						  .level = 6 };

static void publish(const struct lane *lane)
{
	for (uint64_t at = 0; at < RECORDS; at++) {
		ring_fill(lane, at, &good_header, payload);
		ring_publish(lane, at, 1, 0);
	}
}

/* Half of them are bad, each in one way or two. */
static void change_headers(struct stepped *stepped)
{
	for (uint64_t at = 0; at < RECORDS; at++) {
		struct record_header *header = (void *)lane_block(&stepped->lane, at);
		const uint64_t roll = dice_roll(&stepped->dice);

		*header = good_header;
		if (roll & 1)
			continue;
		if (roll & 6)
			header->length = roll & 2 ? UINT32_MAX - 7 : BLOCK_SIZE;
		if (roll & 8 || !(roll & 6))
			header->level = 255;
		if (roll & 16)
			header->kind = 255;
	}
}

/* One word at a time: a lane that makes no sense is not looked at any further. */
static void change_words(struct stepped *stepped)
{
	static const uint64_t sizes[] = { 0, 4095, RECORDS * 1024, 1 };
	struct dice *dice = &stepped->dice;
	const struct lane *lane = &stepped->lane;
	const uint64_t bad = dice_below(dice, ANY_BAD * RECORDS);

	for (uint64_t at = 0; at < RECORDS; at++) {
		const uint64_t size = sizes[dice_below(dice, COUNT_OF(sizes))];
		const uint64_t lap = lane_lap(lane, at) + (size == 1);

		if (at == bad)
			store_release(lane_word(lane, at), word_make(lap, size, 0, WORD_READY));
		else
			ring_publish(lane, at, 1, 0);
	}
}

/* ---- the child ---- */

static void look_at_record(const struct record_header *header, const void *data,
			   struct taken_page *page)
{
	if (header->kind != RECORD_DATA) { /* the writer's own: what was lost, why */
		page->refused += header->kind == RECORD_GAP;
		return;
	}
	page->records++;
	if (header->length != sizeof(payload) || header->level != good_header.level)
		violated("a record of %u bytes and level %u got into the page", header->length,
			 header->level);
	else if (memcmp(data, payload, sizeof(payload)) != 0)
		violated("a record that nobody wrote got into the page");
}

static void look_at_page(struct page_builder *builder, struct taken_page *page)
{
	struct page_stamp stamp = { .page_no = 1, .salt = 1 };
	struct page_cursor cursor = { 0 };
	struct record_header header;
	const void *data;
	uint32_t length;
	int r;

	drain_close_page(&drain, builder);
	drain_stamp(&drain, &stamp);
	length = page_finish(builder, &stamp);
	if (page_check(builder->buffer, length, stamp.salt) < 0)
		violated("a page of such a lane is none");
	while ((r = page_next_record(builder->buffer, &cursor, &header, &data)) > 0)
		look_at_record(&header, data, page);
	if (r < 0)
		violated("the records of such a page do not follow each other");
	if (drain.lanes[LANE].taken.position > RECORDS)
		violated("more was taken than there is");
}

/* It stops where its steps begin and where they end. */
static _Noreturn void take_lane(struct stepped *stepped)
{
	static uint8_t buffer[PAGE_MAX] __attribute__((aligned(PAGE_ALIGN)));
	struct page_builder builder;
	struct segment segment;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (segment_open(&sys_real, stepped->ring, O_RDWR, &segment) < 0 ||
	    drain_open(&drain, &segment) < 0)
		broken("drain: %s", reason_get());
	drain_restore_end(&drain, false);
	page_begin(&builder, buffer, PAGE_DATA);
	drain_begin_pass(&drain);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(NOT_TRACED);
	(void)raise(SIGSTOP);
	if (drain_continue(&drain, &builder) != DRAIN_DONE)
		violated("a few records fill a page");
	(void)raise(SIGSTOP);
	look_at_page(&builder, stepped->page);
	drain_close(&drain);
	_exit(violations() > 0);
}

/* ---- the parent ---- */

static bool is_stopped_by(pid_t child, int signal_no, int *ret_status)
{
	if (waitpid(child, ret_status, 0) != child)
		broken("waitpid: %s", strerror(errno));
	return WIFSTOPPED(*ret_status) && WSTOPSIG(*ret_status) == signal_no;
}

static void go_on(pid_t child, enum __ptrace_request request)
{
	if (ptrace(request, child, NULL, NULL) < 0)
		broken("ptrace: %s", strerror(errno));
}

/* False: this machine does not let it be traced. */
static bool run_pass(struct stepped *stepped, void (*change)(struct stepped *))
{
	const pid_t child = fork();
	int status;

	if (child < 0)
		broken("fork: %s", strerror(errno));
	if (child == 0)
		take_lane(stepped);
	if (!is_stopped_by(child, SIGSTOP, &status)) {
		if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_TRACED)
			return false;
		broken("the child that takes does not begin");
	}
	do {
		change(stepped);
		stepped->steps++;
		go_on(child, PTRACE_SINGLESTEP);
	} while (is_stopped_by(child, SIGTRAP, &status));
	if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP) {
		go_on(child, PTRACE_CONT);
		(void)waitpid(child, &status, 0);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	violated("who takes from memory that changes ended with wait status %#x", (unsigned)status);
	if (WIFSTOPPED(status)) {
		(void)kill(child, SIGKILL);
		(void)waitpid(child, &status, 0);
	}
	return true;
}

/* Child and parent take turns: on one processor that is several times as fast. */
static void stay_on_processor(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)sched_getcpu(), &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

void stepped_run(uint64_t seed, unsigned passes)
{
	struct stepped stepped = { .dice = dice_of(seed) };
	bool is_traced = true;

	stepped.page = mmap(NULL, sizeof(*stepped.page), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (stepped.page == MAP_FAILED)
		broken("mmap: %s", strerror(errno));
	stay_on_processor();
	for (unsigned pass = 0; pass < passes && !violations() && is_traced; pass++) {
		open_ring(&stepped);
		publish(&stepped.lane);
		is_traced = run_pass(&stepped, pass % 2 ? change_words : change_headers);
		close_ring(&stepped);
	}
	if (!is_traced) {
		printf("hostile: SKIPPED: stepped: ptrace(2) is not permitted here\n");
		return;
	}
	if (!violations() && (stepped.page->records == 0 || stepped.page->refused == 0))
		violated("nothing good, or nothing bad, was seen in such a lane");
	printf("hostile: stepped: %u passes of %lu steps, %lu records taken\n", passes,
	       stepped.steps / passes, stepped.page->records);
	(void)munmap(stepped.page, sizeof(*stepped.page));
}
