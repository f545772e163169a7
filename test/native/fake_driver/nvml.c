// libnvidia-ml.so.1, made up: see fake_driver.h. It knows nothing of CUDA_VISIBLE_DEVICES, and a handle of a GPU with a
// slice is the whole GPU's, whose free memory is told a thousandfold, so that nobody takes it for the slice's.
#include "fake_driver.h"

enum { UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6 };

typedef struct {
  const FakeGpu* gpu;
  int slice;
} Handle;

typedef struct {
  unsigned long long total, free, used;
} Memory;

static int started = 0;
static Handle whole[MOST_GPUS], slices[MOST_GPUS];  // in the order of the buses

int nvmlInit_v2(void) {
  MAY_FAIL;
  const FakeDriver* fake = fake_driver();
  for (int i = 0; i < fake->gpus; ++i) {
    int before = 0;
    for (int j = 0; j < fake->gpus; ++j) before += fake->gpu[j].bus < fake->gpu[i].bus;
    whole[before] = (Handle){&fake->gpu[i], 0};
    slices[before] = (Handle){&fake->gpu[i], 1};
  }
  started = 1;
  return 0;
}

int nvmlSystemGetDriverVersion(char* text, unsigned length) {
  MAY_FAIL;
  if (!started) return UNINITIALIZED;
  snprintf(text, length, "%s", fake_driver()->driver);
  return 0;
}

int nvmlDeviceGetCount_v2(unsigned* count) {
  MAY_FAIL;
  if (!started) return UNINITIALIZED;
  *count = (unsigned)fake_driver()->gpus;
  return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle** handle) {
  MAY_FAIL;
  if (!started || index >= (unsigned)fake_driver()->gpus) return INVALID_ARGUMENT;
  *handle = &whole[index];
  return 0;
}

// Whether a text such as GPU-0123abcd-… is the name of these 32 digits.
static int names(const char* text, const char* prefix, const char* digits) {
  const size_t length = strlen(prefix);
  if (strncmp(text, prefix, length) != 0) return 0;
  for (text += length; *text != '\0'; ++text) {
    if (*text == '-') continue;
    if (*text != *digits) return 0;
    ++digits;
  }
  return *digits == '\0';
}

int nvmlDeviceGetHandleByUUID(const char* uuid, Handle** handle) {
  MAY_FAIL;
  if (!started) return UNINITIALIZED;
  for (int i = 0; i < fake_driver()->gpus; ++i) {
    const FakeGpu* gpu = whole[i].gpu;
    if (names(uuid, "GPU-", gpu->uuid)) *handle = &whole[i];
    else if (is_slice(gpu) && names(uuid, "MIG-", gpu->slice)) *handle = &slices[i];
    else continue;
    return 0;
  }
  return NOT_FOUND;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char* text, Handle** handle) {
  MAY_FAIL;
  unsigned domain = 0, bus = 0;
  if (!started || sscanf(text, "%x:%x:", &domain, &bus) != 2) return INVALID_ARGUMENT;
  for (int i = 0; i < fake_driver()->gpus; ++i) {
    if (whole[i].gpu->bus != (int)bus) continue;
    *handle = &whole[i];
    return 0;
  }
  return NOT_FOUND;
}

int nvmlDeviceGetName(const Handle* handle, char* text, unsigned length) {
  MAY_FAIL;
  snprintf(text, length, "%s", handle->gpu->name);
  char* slice = handle->slice ? NULL : strstr(text, " MIG ");
  if (slice != NULL) *slice = '\0';
  return 0;
}

int nvmlDeviceGetMigMode(const Handle* handle, unsigned* current, unsigned* pending) {
  MAY_FAIL;
  if (handle->gpu->major < 8) return NOT_SUPPORTED;
  *current = *pending = is_slice(handle->gpu) || is_hidden(handle->gpu);
  return 0;
}

int nvmlDeviceGetMemoryInfo(const Handle* handle, Memory* memory) {
  MAY_FAIL;
  const FakeGpu* gpu = handle->gpu;
  if (gpu->integrated) return NOT_SUPPORTED;
  const unsigned long long times = is_slice(gpu) && !handle->slice ? 1000 : 1;
  *memory = (Memory){gpu->total * times, gpu->free * times, (gpu->total - gpu->free) * times};
  return 0;
}
