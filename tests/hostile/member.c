/*
 * member.c - a hostile member of the ring's group maps the whole segment writable, and has its
 * file.
 *
 * Each act is one kind of harm, done once by its function; members do it once or again and again.
 */
#include "member.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

/* ---- stores ---- */

static void scribble_part(struct member *member, uint64_t from, uint64_t to)
{
	for (int i = 0; i < 50; i++)
		scribble(&member->dice, member->base + from, to - from);
}

static void scribble_header(struct member *member)
{
	scribble_part(member, 0, RING_PAGE);
}

static void scribble_control(struct member *member)
{
	struct ring_header *header = (void *)member->base;

	store_relaxed_u32(&header->control,
			  (uint32_t)evil_value(&member->dice, 7) | (CONTROL_CLOSED));
}

static void scribble_doorbell(struct member *member)
{
	scribble_part(member, member->geometry.doorbell_offset, member->geometry.status_offset);
}

static void ring_doorbell(struct member *member)
{
	struct doorbell *doorbell = (void *)(member->base + member->geometry.doorbell_offset);

	(void)add_seq_cst_u32(&doorbell->rings, 1);
	(void)sys_real.futex_wake(&doorbell->rings.raw);
}

/* Requests and drops alone: each is a reason for the writer to do something. */
static void ring_for_nothing(struct member *member)
{
	struct doorbell *doorbell = (void *)(member->base + member->geometry.doorbell_offset);

	(void)add_seq_cst_u32(&doorbell->sync_requests, (uint32_t)dice_below(&member->dice, 3));
	(void)add_seq_cst_u32(&doorbell->rotate_requests, (uint32_t)dice_below(&member->dice, 3));
	(void)add_seq_cst_u32(&doorbell->drain_requests, (uint32_t)dice_roll(&member->dice));
	(void)add_relaxed(&doorbell->drops[dice_below(&member->dice, LOSS_REASONS)],
			  evil_value(&member->dice, 0));
	ring_doorbell(member);
}

static void scribble_status(struct member *member)
{
	scribble_part(member, member->geometry.status_offset, member->geometry.owners_offset);
}

/* Positions alone: where everybody else begins to look. */
static void move_positions(struct member *member)
{
	for (uint32_t lane = 0; lane < member->geometry.lanes; lane++) {
		struct lane_status *status =
			(void *)(member->base +
				 geometry_lane_status_offset(&member->geometry, lane));
		struct shared_u64 *const words[] = { &status->released, &status->written,
						     &status->durable, &status->records_released };
		struct shared_u64 *word = words[dice_below(&member->dice, COUNT_OF(words))];

		store_relaxed(word, evil_value(&member->dice, load_relaxed(word)));
		store_relaxed_u32(&status->quarantine, (uint32_t)dice_below(&member->dice, 2));
		(void)sys_real.futex_wake(&status->moved.raw);
	}
}

static void scribble_owners(struct member *member)
{
	scribble_part(member, member->geometry.owners_offset, member->geometry.lanes_offset);
}

/* A lane, and where its consumer was last seen. */
struct target {
	uint8_t *base;
	uint64_t *words;
	uint64_t released;
};

static struct target lane_target(struct member *member, uint32_t lane)
{
	const struct geometry *geometry = &member->geometry;
	const struct lane_status *status =
		(const void *)(member->base + geometry_lane_status_offset(geometry, lane));
	uint8_t *base = member->base + geometry_lane_offset(geometry, lane);

	return (struct target){ .base = base,
				.words = (uint64_t *)(void *)(base + geometry->words_offset),
				.released = load_relaxed(&status->released) };
}

static struct target any_lane(struct member *member)
{
	return lane_target(member, (uint32_t)dice_below(&member->dice, member->geometry.lanes));
}

static void scribble_lane_pages(struct member *member)
{
	for (int i = 0; i < 20; i++)
		scribble(&member->dice, any_lane(member).base, 512);
}

static void scribble_any_words(struct member *member)
{
	for (int i = 0; i < 20; i++) {
		const struct target lane = any_lane(member);

		scribble_words(&member->dice, lane.words, member->geometry.blocks, lane.released);
	}
}

/* Records of no blocks, where the consumer is: it must not stay there for ever. */
static void store_zero_words(struct member *member)
{
	const struct target lane = any_lane(member);
	const uint32_t blocks = member->geometry.blocks;
	const uint64_t states[] = { WORD_READY, WORD_READY, WORD_SKIP, WORD_CLAIMED };

	for (uint64_t at = lane.released; at < lane.released + 64; at++)
		lane.words[at & (blocks - 1)] = word_make(
			at / blocks + 1, 0, 0, states[dice_below(&member->dice, COUNT_OF(states))]);
}

static void scribble_blocks(struct member *member)
{
	scribble_part(member, member->geometry.lanes_offset, member->geometry.size);
}

static void scribble_all(struct member *member)
{
	for (int i = 0; i < 10; i++)
		scribble(&member->dice, member->base, member->geometry.size);
	scribble_any_words(member);
	scribble_status(member);
}

/* A full lane in front of the consumer, lap after lap. */
static void forge_lanes(struct member *member)
{
	for (uint32_t i = 0; i < member->geometry.lanes; i++) {
		const struct target lane = lane_target(member, i);

		forge_chain(&member->dice, &member->geometry, lane.base, lane.released);
	}
}

/* Records of one block each, as a producer would publish them, a lane full. */
static void publish_lane(struct member *member, const struct target *lane)
{
	const struct record_header header = { .length = 24, .kind = RECORD_DATA };
	const uint32_t blocks = member->geometry.blocks;

	for (uint64_t at = lane->released; at < lane->released + blocks; at++) {
		const uint32_t index = (uint32_t)at & (blocks - 1);

		memcpy(lane->base + member->geometry.blocks_offset + (size_t)index * BLOCK_SIZE,
		       &header, sizeof(header));
		lane->words[index] = word_make(at / blocks + 1, 1, 0, WORD_READY);
	}
}

/* Lengths that change between two looks at them, while the writer is asked to look. */
static void flicker(struct member *member)
{
	const struct target lane = any_lane(member);
	uint8_t *blocks = lane.base + member->geometry.blocks_offset;

	publish_lane(member, &lane);
	ring_doorbell(member);
	for (int turn = 0; turn < 200; turn++)
		for (uint32_t i = 0; i < member->geometry.blocks; i++)
			*(volatile uint32_t *)(void *)(blocks + (size_t)i * BLOCK_SIZE) =
				turn & 1 ? 24 : UINT32_MAX - 7;
}

/* ---- the file ---- */

static void cut(struct member *member)
{
	const off_t size = (off_t)member->geometry.size;
	const off_t sizes[] = { 0, size / 2, size - 1, size - 4096, 4096, 1, size / 4 };

	(void)!ftruncate(member->fd, sizes[dice_below(&member->dice, COUNT_OF(sizes))]);
}

static void cut_and_grow(struct member *member)
{
	cut(member);
	(void)!ftruncate(member->fd, (off_t)member->geometry.size);
}

static void extend(struct member *member)
{
	(void)!ftruncate(member->fd,
			 (off_t)(member->geometry.size << dice_below(&member->dice, 9)));
}

static void punch(struct member *member)
{
	const uint64_t pages = member->geometry.size / RING_PAGE;
	const uint64_t from = dice_below(&member->dice, pages);
	const uint64_t count =
		1 + dice_below(&member->dice, dice_below(&member->dice, 2) ? 4 : pages);

	(void)fallocate(member->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			(off_t)(from * RING_PAGE), (off_t)(count * RING_PAGE));
}

void member_filler_path(char path[256])
{
	(void)snprintf(path, 256, "%s/filler", segment_directory());
}

/* What the hole gave back is taken at once: who touches it next gets no page. */
static void starve(struct member *member)
{
	static const uint8_t bytes[RING_PAGE] = { 1 };
	char path[256];
	int fd;

	member_filler_path(path);
	punch(member);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	while (fd >= 0 && write(fd, bytes, sizeof(bytes)) == sizeof(bytes))
		;
	(void)close(fd);
}

const struct act act_starve = { "starve", starve, true, true };

/* ---- locks; they fall with the process ---- */

static void hold_locks(struct member *member)
{
	struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	const int64_t starts[] = { 0, LOCK_BYTE_LANE(0), LOCK_BYTE_OWNER(0), LOCK_BYTE_WRITER };
	const int64_t sizes[] = { 0, LANES_MAX, OWNER_IDS, 1 };

	for (size_t i = 0; i < COUNT_OF(starts); i++) {
		range.l_start = starts[i];
		range.l_len = sizes[i];
		range.l_pid = 0;
		(void)fcntl(member->fd, dice_below(&member->dice, 2) ? F_OFD_SETLK : F_SETLK,
			    &range);
	}
	for (int64_t byte = 0; byte < LOCK_BYTES; byte++) {
		range = (struct flock){ .l_type = (short)(dice_below(&member->dice, 2) ? F_WRLCK
										       : F_RDLCK),
					.l_whence = SEEK_SET,
					.l_start = LOCK_BYTE_WRITER + byte,
					.l_len = 1 };
		(void)fcntl(member->fd, F_OFD_SETLK, &range);
	}
	(void)flock(member->fd, LOCK_EX | LOCK_NB);
}

/* ---- the table ---- */

const struct act acts[] = {
	{ "header", scribble_header, false, true },
	{ "control", scribble_control, false, false },
	{ "doorbell", scribble_doorbell, false, false },
	{ "ringing", ring_for_nothing, false, false },
	{ "status", scribble_status, false, false },
	{ "positions", move_positions, false, false },
	{ "owners", scribble_owners, false, false },
	{ "lane-pages", scribble_lane_pages, false, false },
	{ "words", scribble_any_words, false, false },
	{ "zero", store_zero_words, false, false },
	{ "blocks", scribble_blocks, false, false },
	{ "forge", forge_lanes, false, false },
	{ "flicker", flicker, false, false },
	{ "all", scribble_all, false, true },
	{ "truncate", cut, true, true },
	{ "regrow", cut_and_grow, true, true },
	{ "extend", extend, false, false },
	{ "punch", punch, true, true },
	{ "locks", hold_locks, false, false },
};
const unsigned act_count = COUNT_OF(acts);

/* ---- the process ---- */

/* A ring that was replaced is taken again. */
static bool enter(struct member *member)
{
	if (member->base) {
		(void)munmap(member->base, member->geometry.size);
		(void)close(member->fd);
	}
	member->base = scene_map(member->scene, &member->geometry, &member->fd);
	return member->base != NULL;
}

static _Noreturn void be_hostile(const struct scene *scene, const struct act *act, uint64_t seed,
				 bool again)
{
	struct member member = { .scene = scene, .dice = dice_of(seed) };

	while (!enter(&member))
		sleep_ms(5);
	act->once(&member);
	for (unsigned round = 1; again; round++) {
		if (round % 64 == 0) {
			sleep_ms(1);
			while (round % 4096 == 0 && !enter(&member))
				sleep_ms(5);
		}
		act->once(&member);
	}
	if (act->once == hold_locks) /* while it lives */
		(void)pause();
	_exit(0);
}

pid_t member_start(const struct scene *scene, const struct act *act, uint64_t seed, bool again)
{
	const pid_t parent = getpid();
	const pid_t pid = fork();

	if (pid < 0)
		broken("fork: %s", strerror(errno));
	if (pid > 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	(void)signal(SIGBUS, SIG_DFL);
	be_hostile(scene, act, seed, again);
}
