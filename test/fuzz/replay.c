/*
 * Feeds files to a fuzz target without libFuzzer: replay FILE… Each file is one input. An input
 * that the target does not survive ends the process by the sanitizer's report.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int feed(const char *path)
{
	FILE *f = fopen(path, "rb");
	if (!f) {
		perror(path);
		return 1;
	}
	/* The exact size on the heap, so that one byte past the end is seen. */
	fseek(f, 0, SEEK_END);
	long size = ftell(f);
	rewind(f);
	uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
	int bad = size < 0 || !data || fread(data, 1, (size_t)size, f) != (size_t)size;
	fclose(f);
	if (bad)
		fprintf(stderr, "%s: not read\n", path);
	else
		LLVMFuzzerTestOneInput(data, (size_t)size);
	free(data);
	return bad;
}

int main(int argc, char **argv)
{
	int bad = 0;

	for (int i = 1; i < argc; i++)
		bad |= feed(argv[i]);
	return bad;
}
