/*
 * upkeep.h - a log of some full volumes is compressed and its oldest files deleted, in one process
 * and without a writer, while a call fails.
 */
#ifndef SHMLOG_TESTS_FAULT_UPKEEP_H
#define SHMLOG_TESTS_FAULT_UPKEEP_H

#include "scene.h"

/* The log, made once, and what its producer knows. */
struct upkeep;

/* By a clean writer with the scene's options: a volume for each file. The scene is over then. */
struct upkeep *upkeep_prepare(struct scene *scene);

/**
 * upkeep_run() - compress and delete in a copy of it, with the planned fault, then look.
 * @scene: begun; its directory takes the copy.
 * Return: 0, or what compressing or deleting ended with.
 */
int upkeep_run(struct scene *scene, const struct upkeep *upkeep, const struct fault *fault);

/* The same again without a fault gets through, and leaves what is to be kept, once. */
void upkeep_judge(struct scene *scene, const struct upkeep *upkeep);

#endif
