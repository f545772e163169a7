// A driver of NVIDIA that is made up, for tests of the facts: it answers from the text file that
// METAVOICE_FAKE_DRIVER names, and without one it refuses to start. Built into a temporary folder, never installed.
//
// A line of the file is a key and its value, or a GPU; fields are parted by tabs:
//
//   driver  550.54.15               what NVML calls the driver
//   cuda    12040                   what cuDriverGetVersion answers
//   fail    cuInit  803             a function that answers an error
//   gpu     name  major.minor  total  free  multiprocessors  integrated  bus  uuid  slice
//
// GPUs stand in CUDA's order; NVML's is that of their bus numbers. A uuid is 32 hexadecimal digits. `slice` is the uuid
// of a MIG slice, whose memory the line tells, `-` for a whole GPU, or `hidden` for one in MIG mode without slices, which
// NVML lists and CUDA does not.
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_GPUS = 8, STUB_LIBRARY = 34 };

typedef struct {
  char name[96];
  int major, minor;
  unsigned long long total, free;
  int multiprocessors, integrated, bus;
  char uuid[33], slice[33];
} FakeGpu;

typedef struct {
  int there;
  char driver[32];
  int cuda;
  int gpus;
  FakeGpu gpu[MOST_GPUS];
  char failing[1024];  // "cuInit 803\n…"
} FakeDriver;

static inline void read_line(FakeDriver* fake, const char* line) {
  FakeGpu* gpu = &fake->gpu[fake->gpus];
  char function[64];
  int code = 0;
  if (sscanf(line, "driver\t%31[^\t\n]", fake->driver) == 1) return;
  if (sscanf(line, "cuda\t%d", &fake->cuda) == 1) return;
  if (sscanf(line, "fail\t%63[^\t\n]\t%d", function, &code) == 2) {
    const size_t used = strlen(fake->failing);
    snprintf(fake->failing + used, sizeof fake->failing - used, "%s %d\n", function, code);
    return;
  }
  if (fake->gpus < MOST_GPUS &&
      sscanf(line, "gpu\t%95[^\t]\t%d.%d\t%llu\t%llu\t%d\t%d\t%d\t%32s\t%32s", gpu->name, &gpu->major, &gpu->minor,
             &gpu->total, &gpu->free, &gpu->multiprocessors, &gpu->integrated, &gpu->bus, gpu->uuid, gpu->slice) == 10)
    fake->gpus++;
}

static inline FakeDriver* fake_driver(void) {
  static FakeDriver fake;
  const char* path = getenv("METAVOICE_FAKE_DRIVER");
  FILE* file = fake.there || path == NULL ? NULL : fopen(path, "r");
  if (file == NULL) return &fake;
  char line[512];
  while (fgets(line, sizeof line, file)) read_line(&fake, line);
  fclose(file);
  fake.there = 1;
  return &fake;
}

// The error that the file wants of a function; 0 for none.
static inline int failure_of(const char* function) {
  const FakeDriver* fake = fake_driver();
  if (!fake->there) return STUB_LIBRARY;
  char wanted[80];
  snprintf(wanted, sizeof wanted, "%s ", function);
  const char* found = strstr(fake->failing, wanted);
  return found == NULL ? 0 : atoi(found + strlen(wanted));
}

#define MAY_FAIL                              \
  do {                                        \
    const int code = failure_of(__func__);    \
    if (code != 0) return code;               \
  } while (0)

static inline int is_slice(const FakeGpu* gpu) { return strlen(gpu->slice) == 32; }
static inline int is_hidden(const FakeGpu* gpu) { return strcmp(gpu->slice, "hidden") == 0; }
