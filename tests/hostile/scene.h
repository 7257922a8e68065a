/*
 * scene.h - a ring, its writer, healthy producers and the tools; and what must hold of them.
 *
 * A scene has a directory of its own, with the log beside files that nobody may touch. What is
 * demanded of the writer whatever others do: it answers, or ends as documented; it stays small; it
 * writes only into the log; what it wrote can be read.
 */
#ifndef SHMLOG_TESTS_HOSTILE_SCENE_H
#define SHMLOG_TESTS_HOSTILE_SCENE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "journal.h"
#include "segment.h"

enum {
	SCENE_PRODUCERS = 16,
	SCENE_RECORDS = 200000,
	ANSWER_MS = 20000, /* a writer answers, a tool ends                                 */
	HEAL_MS = 20000,   /* what hostility has left is put right                          */
	LIE_BLOCKS = 1000 * 1000 * 1000,
};

struct scene {
	char ring[64];
	char base[128];    /* holds all that follows                                      */
	char log[160];     /* the log directory                                           */
	char outside[160]; /* files that nobody may touch                                 */
	char errors[160];  /* the writer's standard error                                 */
	char noise[160];   /* the tools'                                                  */
	uint64_t manifest; /* of `outside`                                                */
	uint32_t lanes;
	uint64_t lane_size;
	pid_t writer;        /* 0: none                                                     */
	uint64_t private_kb; /* memory of the writer's own when it began                    */
	uint64_t mark;       /* see scene_has_repaired()                                   */
	struct journal *journal;
	pid_t producers[SCENE_PRODUCERS];
};

/* Figures of the whole run. */
struct figures {
	uint64_t rounds, writers, writer_ends, refusals, tools;
	uint64_t published, found, wild_stores, shielded;
};
extern struct figures *figures; /* shared with children */

/* Is this the share under sanitizers? */
bool is_sanitized(void);

/* In a child that runs one round: names hold its parent's pid, which sweeps when it ends. */
void scene_begin(struct scene *scene, const char *name, uint32_t lanes, uint64_t lane_size);
/* All that was demanded, once more; then everything is gone. */
void scene_end(struct scene *scene);

/* After a breach: nothing more is asked, everything is gone. */
void scene_abandon(struct scene *scene);

/* ---- the writer ---- */

/* False: it ended as documented, with a line. @options: NULL-terminated. */
bool scene_start_writer(struct scene *scene, const char *const options[]);
void scene_kill_writer(struct scene *scene);
/* TERM: it ends in time. Return: its exit status, which is a documented one. */
int scene_stop_writer(struct scene *scene);
/* Has it ended by itself? Then it did as documented. */
bool scene_writer_is_gone(struct scene *scene);
void scene_check_memory(const struct scene *scene);

/* ---- producers ---- */

/* A child that pushes and notes until it is told to end, or @records are published (0: for ever).
 * Its name in the log is "p" and its number. Where it @syncs, it leaves nothing in its lane: a lane
 * that is free is everybody's, with what lies in it. */
void scene_start_producer(struct scene *scene, unsigned number, uint32_t records, bool syncs);
/* Its lane is its own, or lane 0, from its first push on. */
void scene_wait_first_push(const struct scene *scene, unsigned number);
/* Tell all to end, and wait. They may have died of it where @may_die; none may hang. */
void scene_end_producers(struct scene *scene, bool may_die);
/* Wait for those that end by themselves; they must have got everything in. */
void scene_wait_producers(struct scene *scene);

/* Records of @count producers from @first on, from the log, against the journal. */
void scene_check_records(struct scene *scene, unsigned first, unsigned count);

/* ---- tools ---- */

/* Run to its end; output goes to @out (NULL: nowhere). Exit codes: those of sysexits(3) and @code.
 * Return: the code. */
int scene_run(const struct scene *scene, const char *out, int code, const char *const argv[]);

/* Every tool that looks at the ring or the log. */
void scene_look(const struct scene *scene);

/* ---- questions ---- */

/* Path of the ring's segment. */
void scene_segment_path(const struct scene *scene, char path[256]);
/* Open and map it writable as a member of its group would; NULL: it cannot be. */
uint8_t *scene_map(const struct scene *scene, struct geometry *ret_geometry, int *ret_fd);
uint64_t scene_log_bytes(const struct scene *scene);
/* Wait until the log no longer grows; it may have grown by @most bytes since @before. */
void scene_check_quiet(struct scene *scene, uint64_t before, uint64_t most);
/* A lie is told over one of the writer's own words, unless @mark says that it was. A writer that
 * drains looks at what others may have changed once a second: has it put that right, or made
 * another ring? */
bool scene_has_repaired(struct scene *scene);
/* Wait until the ring is whole: nothing quarantined, and one more producer gets all of its records
 * through. */
void scene_check_healed(struct scene *scene, unsigned number);

void sleep_ms(int ms);
int64_t now_ms(void);

#endif
