/*
 * recover.h - restart: what the directory says, and nothing else, is what was written.
 *
 * Owns the reading of files that an earlier writer left, their fence, and their sealing. Restores a
 * ring's positions from the pages of that ring. Every step can be repeated: a kill inside recovery
 * leaves a directory that recovers to the same.
 *
 * I1. No file is read before its fence is free: a killed writer's last writes may still land.
 * I2. Files and directories are synced before they are believed.
 * I3. Of the newest begun file the valid prefix counts, up to its first bad page, even if later
 *     ones verify: their records are still in the ring. What is cut off is kept beside (.torn).
 * I4. What is known to be lost is said: by the SEAL page of the file that it was in, by the numbers
 *     between two files, and at the beginning of the log by a file that stays although it is bad.
 */
#ifndef SHMLOG_WRITER_RECOVER_H
#define SHMLOG_WRITER_RECOVER_H

#include "drain.h"
#include "roll.h"

struct recovery {
	uint64_t log_id; /* 0: the directory holds no log yet                               */
	uint64_t page_next;
	uint64_t previous_file_no;
	uint64_t previous_checksum;
	uint64_t keep_from; /* the first of the files that a restart would need; 0: none    */
	struct roll_volume volume;
	int64_t volume_began_ns; /* CLOCK_REALTIME; 0: its first file is still to come      */
	unsigned sealed;         /* files that this recovery sealed                               */
	uint64_t missing;        /* pages known to be lost                                        */
	uint64_t cut;            /* bytes set aside                                               */
};

/**
 * recover_log() - settle a log directory, and restore @ring from it.
 * @ring: may be NULL: only the directory. Its positions are raised; call drain_restore_end() then.
 * Return: 0; -EAGAIN a killed writer's writes did not end within 10 s; -EBADMSG, -EPROTO a file of
 *         another format; other -errno. With a reason.
 */
int recover_log(struct roll *roll, struct drain *ring, struct recovery *ret);

/* Only the log's id: of its newest file that has begun; 0 if there is none. Nothing is changed. */
int recover_log_id(const struct sys *sys, int dir, uint64_t *ret_log_id);

#endif
