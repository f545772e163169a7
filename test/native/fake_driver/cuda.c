// libcuda.so.1, made up: see fake_driver.h.
#include "fake_driver.h"

enum { INVALID_VALUE = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101 };

typedef struct {
  unsigned char bytes[16];
} Uuid;

static int started = 0;
static int count = 0;
static const FakeGpu* devices[MOST_GPUS];

// As the real one does: what CUDA_VISIBLE_DEVICES names, in its order, up to the first number that is none.
static void choose_devices(void) {
  const FakeDriver* fake = fake_driver();
  const FakeGpu* all[MOST_GPUS];
  int there = 0;
  for (int i = 0; i < fake->gpus; ++i)
    if (!is_hidden(&fake->gpu[i])) all[there++] = &fake->gpu[i];
  const char* visible = getenv("CUDA_VISIBLE_DEVICES");
  if (visible == NULL) {
    memcpy(devices, all, sizeof all);
    count = there;
    return;
  }
  char* end = NULL;
  for (const char* text = visible; count < MOST_GPUS; text = end + 1) {
    const long index = strtol(text, &end, 10);
    if (end == text || index < 0 || index >= there) return;
    devices[count++] = all[index];
    if (*end != ',') return;
  }
}

int cuInit(unsigned flags) {
  MAY_FAIL;
  if (flags != 0) return INVALID_VALUE;
  if (!started) choose_devices();
  started = 1;
  return count == 0 ? NO_DEVICE : 0;
}

int cuDriverGetVersion(int* version) {
  MAY_FAIL;
  *version = fake_driver()->cuda;
  return 0;
}

int cuGetErrorName(int code, const char** name) {
  MAY_FAIL;
  switch (code) {
    case STUB_LIBRARY: *name = "CUDA_ERROR_STUB_LIBRARY"; return 0;
    case NO_DEVICE: *name = "CUDA_ERROR_NO_DEVICE"; return 0;
    case 803: *name = "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"; return 0;
    case 804: *name = "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE"; return 0;
    case 999: *name = "CUDA_ERROR_UNKNOWN"; return 0;
    default: *name = NULL; return INVALID_VALUE;
  }
}

int cuDeviceGetCount(int* result) {
  MAY_FAIL;
  if (!started) return NOT_INITIALIZED;
  *result = count;
  return 0;
}

// Handles are not numbers of devices, so that nobody takes one for the other.
enum { FIRST_HANDLE = 1000 };

static const FakeGpu* of(int handle) {
  const int index = handle - FIRST_HANDLE;
  return started && index >= 0 && index < count ? devices[index] : NULL;
}

int cuDeviceGet(int* handle, int index) {
  MAY_FAIL;
  if (index < 0 || index >= count) return INVALID_DEVICE;
  *handle = FIRST_HANDLE + index;
  return 0;
}

int cuDeviceGetName(char* name, int length, int handle) {
  MAY_FAIL;
  if (of(handle) == NULL) return INVALID_DEVICE;
  snprintf(name, (size_t)length, "%s", of(handle)->name);
  return 0;
}

int cuDeviceGetAttribute(int* value, int attribute, int handle) {
  MAY_FAIL;
  const FakeGpu* gpu = of(handle);
  if (gpu == NULL) return INVALID_DEVICE;
  switch (attribute) {
    case 16: *value = gpu->multiprocessors; return 0;
    case 18: *value = gpu->integrated; return 0;
    case 75: *value = gpu->major; return 0;
    case 76: *value = gpu->minor; return 0;
    default: return INVALID_VALUE;
  }
}

int cuDeviceTotalMem_v2(size_t* bytes, int handle) {
  MAY_FAIL;
  if (of(handle) == NULL) return INVALID_DEVICE;
  *bytes = (size_t)of(handle)->total;
  return 0;
}

static int write_uuid(Uuid* uuid, const char* digits) {
  for (int i = 0; i < 16; ++i) {
    unsigned byte = 0;
    sscanf(digits + 2 * i, "%2x", &byte);
    uuid->bytes[i] = (unsigned char)byte;
  }
  return 0;
}

int cuDeviceGetUuid(Uuid* uuid, int handle) {
  MAY_FAIL;
  return of(handle) == NULL ? INVALID_DEVICE : write_uuid(uuid, of(handle)->uuid);
}

int cuDeviceGetUuid_v2(Uuid* uuid, int handle) {
  MAY_FAIL;
  const FakeGpu* gpu = of(handle);
  if (gpu == NULL) return INVALID_DEVICE;
  return write_uuid(uuid, is_slice(gpu) ? gpu->slice : gpu->uuid);
}

int cuDeviceGetPCIBusId(char* text, int length, int handle) {
  MAY_FAIL;
  if (of(handle) == NULL) return INVALID_DEVICE;
  snprintf(text, (size_t)length, "0000:%02X:00.0", of(handle)->bus);
  return 0;
}

// Facts are to be had without a context.
int cuCtxCreate_v2(void** context, unsigned flags, int handle) {
  (void)context, (void)flags, (void)handle;
  abort();
}

int cuDevicePrimaryCtxRetain(void** context, int handle) {
  (void)context, (void)handle;
  abort();
}
