/*
 * scene.h - one run: a ring, a log, a journal, the writer in a child of its own, and the verdict.
 */
#ifndef SHMLOG_TESTS_FAULT_SCENE_H
#define SHMLOG_TESTS_FAULT_SCENE_H

#include <sys/types.h>

#include "journal.h"
#include "plan.h"
#include "session.h"

enum { SCENE_OPTIONS_MAX = 20, SCENE_PATH_SIZE = 160, SCENE_DEADLINE_MS = 20000 };

/* How the writer of a run is set up. */
struct setting {
	const char *name;
	const char *options[SCENE_OPTIONS_MAX];
	session_open_io *open_io;
	bool makes_ring; /* the writer does; else there is one before                       */
	bool loses;      /* --release written: a failed sync may lose what was released      */
	bool deletes;    /* the oldest files                                                 */
};

/* What a writer said at its end; in shared memory. */
struct report {
	bool has_ended; /* session_run() has returned                                        */
	int result;
	unsigned descriptors_before, descriptors_after;
	unsigned mappings_before, mappings_after;
	bool has_leaked;
	char reason[512];
};

struct scene {
	const struct setting *setting;
	const char *label;
	char ring[64];
	char directory[SCENE_PATH_SIZE];
	char errors[SCENE_PATH_SIZE]; /* standard error of the writers */
	struct journal *journal;
	struct report *report;
	uint64_t counted;      /* as lost, by the ring */
	uint32_t durable_from; /* a sync that says yes speaks of what lies behind this */
};

/* Where rings and logs are: a directory of this process in shared memory, gone with scene_leave().
 */
void scene_enter(void);
void scene_leave(void);
const char *scene_root(void);

void scene_begin(struct scene *scene, const struct setting *setting, const char *label);
void scene_end(struct scene *scene);

/* A writer in a child; @once: drains and ends, without the fault. */
pid_t scene_start_writer(struct scene *scene, bool is_faulty, bool once);

/* What a child of a run does before and after what is looked at. */
void scene_redirect_errors(const struct scene *scene);
void scene_report_begin(struct scene *scene);
void scene_report_end(struct scene *scene);

/* Wait for the writer's end and look at what it left behind. Return: its result, or 1:
 * killed as planned, 2: it gave a disk up that did not answer. */
int scene_wait_writer(struct scene *scene, pid_t pid);

/* Push, sync, roll and overflow, while the writer @pid is at it or gone. */
void scene_produce(struct scene *scene, pid_t pid);
/* TERM, and once more for who waits for the disk. */
void scene_stop_writer(pid_t pid);

/* A clean writer drains the rest; then the log is compared with the journal.
 * @may_lose: records may be missing if marks name as many; @takes_data: they are, and so are marks
 * among them; @is_marked: false: several syncs failed, and took what named the losses to the first:
 * then the ring's count names them. */
void scene_judge(struct scene *scene, bool may_lose, bool takes_data, bool is_marked);

/* The log holds what was published, but perhaps its beginning. */
void scene_compare_deleted(const struct scene *scene);

unsigned scene_count_descriptors(void);
unsigned scene_count_ring_mappings(void);

/* One line on what a writer printed, for who reads about a breach. */
void scene_tell_errors(const struct scene *scene);

#endif
