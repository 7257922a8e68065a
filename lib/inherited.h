/*
 * inherited.h - what a forked child holds of a lane that another thread of its parent was binding.
 *
 * Between the open of a lane and the close of its descriptor, and between its mmap and the advice
 * not to fork it, a fork copies both; the child would keep the lane's lock until it ends, and
 * whoever waits for that lock to fall would wait for the child. No heap: runs in atfork handlers.
 */
#ifndef SHMLOG_LIB_INHERITED_H
#define SHMLOG_LIB_INHERITED_H

#include "segment.h"

/* Close all descriptors of the segment, and unmap what lies behind @segment's shown part. */
void inherited_drop(const struct segment *segment);

#endif
