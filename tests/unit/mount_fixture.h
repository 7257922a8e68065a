/*
 * mount_fixture.h - a small tmpfs for rings, which only the calling process sees.
 */
#ifndef SHMLOG_TESTS_MOUNT_FIXTURE_H
#define SHMLOG_TESTS_MOUNT_FIXTURE_H

/* Rings live in a tmpfs of @size ("640k") from here on. Skips the test, loudly, where only root
 * could have one. */
void mount_fixture_begin(const char *size);
void mount_fixture_resize(const char *size);
/* For a test's .fini; also where there is none. */
void mount_fixture_end(void);

#endif
