/*
 * points.c - where a program's named points are. See points.h.
 *
 * A note: three 32-bit words (size of the name, size of the description, type 3), the name
 * "stapsdt", then the description: address of the point, of .stapsdt.base, of a semaphore (64 bits
 * each), and three strings: provider, name, arguments. Each part is filled up to 4 bytes.
 */
#include "points.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

enum { NOTE_TYPE = 3, ADDRESSES = 3 };

struct image {
	const uint8_t *bytes;
	size_t size;
};

static struct image map_file(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct image image = { 0 };
	struct stat st;
	void *at;

	if (fd < 0 || fstat(fd, &st) < 0)
		broken("%s: %s", path, strerror(errno));
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		broken("%s: %s", path, strerror(errno));
	close(fd);
	image.bytes = at;
	image.size = (size_t)st.st_size;
	return image;
}

static const void *part(const struct image *image, uint64_t offset, uint64_t size)
{
	if (offset > image->size || size > image->size - offset)
		broken("the program's section headers make no sense");
	return image->bytes + offset;
}

int points_find(const struct points *points, const char *name)
{
	for (unsigned i = 0; i < points->count; i++)
		if (strcmp(points->names[i], name) == 0)
			return (int)i;
	return -1;
}

static unsigned name_index(struct points *points, const char *name)
{
	const int found = points_find(points, name);

	if (found >= 0)
		return (unsigned)found;
	if (points->count == POINTS_MAX || strlen(name) >= POINT_NAME_SIZE)
		broken("too many points, or too long a name: %s", name);
	strcpy(points->names[points->count], name);
	return points->count++;
}

static void take_description(struct points *points, const char *description, size_t size)
{
	const char *provider = description + ADDRESSES * sizeof(uint64_t);
	const char *name = provider + strlen(provider) + 1;
	struct point_site *site = &points->sites[points->sites_count];

	if (size < ADDRESSES * sizeof(uint64_t) + 3 || strcmp(provider, "shmlog") != 0)
		return;
	if (++points->sites_count > POINT_SITES_MAX)
		broken("too many places of points");
	memcpy(&site->address, description, sizeof(site->address));
	site->point = name_index(points, name);
}

static size_t padded(size_t size)
{
	return (size + 3) & ~(size_t)3;
}

static void take_notes(struct points *points, const uint8_t *notes, size_t size)
{
	size_t at = 0;

	while (at + sizeof(Elf64_Nhdr) < size) {
		Elf64_Nhdr note;
		const uint8_t *name;

		memcpy(&note, notes + at, sizeof(note));
		name = notes + at + sizeof(note);
		at += sizeof(note) + padded(note.n_namesz) + padded(note.n_descsz);
		if (at > size)
			break;
		if (note.n_type == NOTE_TYPE && memcmp(name, "stapsdt", note.n_namesz) == 0)
			take_description(points, (const char *)name + padded(note.n_namesz),
					 note.n_descsz);
	}
}

void points_read(const char *path, struct points *ret)
{
	const struct image image = map_file(path);
	const Elf64_Ehdr *header = part(&image, 0, sizeof(*header));
	const Elf64_Shdr *sections =
		part(&image, header->e_shoff, (uint64_t)header->e_shnum * sizeof(*sections));
	const Elf64_Shdr *names = &sections[header->e_shstrndx];

	*ret = (struct points){ .entry = header->e_entry };
	for (unsigned i = 0; i < header->e_shnum; i++) {
		const char *name = part(&image, names->sh_offset + sections[i].sh_name, 1);

		if (strcmp(name, ".note.stapsdt") == 0)
			take_notes(ret, part(&image, sections[i].sh_offset, sections[i].sh_size),
				   sections[i].sh_size);
	}
	munmap((void *)(uintptr_t)image.bytes, image.size);
	if (ret->count == 0)
		broken("%s has no named points", path);
}
