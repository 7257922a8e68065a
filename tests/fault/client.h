/*
 * client.h - one run of the library under the planned fault: a ring is made and attached, two
 * threads bind, push, wait, sync; all is given back.
 */
#ifndef SHMLOG_TESTS_FAULT_CLIENT_H
#define SHMLOG_TESTS_FAULT_CLIENT_H

#include "scene.h"

/* In a child, with the fault in the library's own table of calls. To be waited for by
 * scene_wait_writer(). */
pid_t client_start(struct scene *scene);

#endif
