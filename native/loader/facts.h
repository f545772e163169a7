// What this machine is, without torch: asked before anything heavy is opened.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace metavoice::loader {

// The limits of this process's control groups; none where there is no limit.
struct GroupLimits {
  std::optional<double> cpus;
  std::optional<std::uint64_t> memory;       // bytes
  std::optional<std::uint64_t> memory_used;  // bytes that can't be dropped, of the group that has the limit
};

// Read below a root other than / in tests.
GroupLimits group_limits(const std::string& root = "");

struct CpuFacts {
  std::string name;
  int cores = 1;                   // this process may use, by affinity and control group
  int physical_cores = 1;          // the same, with the threads of one core counted once
  std::uint64_t total_memory = 0;  // bytes, within the control group's limit
  std::uint64_t free_memory = 0;   // bytes that can be had without swapping
  GroupLimits limits;
  std::vector<std::string> features;
};

CpuFacts cpu_facts();

struct CudaDevice {
  int index = 0;  // as CUDA counts in this process
  std::string name;
  std::string compute_capability;
  std::uint64_t total_memory = 0;
  std::optional<std::uint64_t> free_memory;  // none where only a context could tell
  int multiprocessors = 0;
  bool mig = false;         // a slice of a GPU
  bool integrated = false;  // its memory is the machine's
};

// What the driver answered instead of starting.
struct CudaFailure {
  int code = 0;
  std::string name;  // CUDA_ERROR_NO_DEVICE
};

// A GPU that NVML lists, whether CUDA offers it to this process or not.
struct ListedGpu {
  std::string name;
  bool mig = false;  // it is in MIG mode: only its slices compute
};

struct CudaFacts {
  std::optional<std::string> driver;           // 550.54.15
  std::optional<std::string> driver_cuda;      // 12.4; none without a libcuda that answers
  std::optional<CudaFailure> failure;
  std::optional<std::string> visible_devices;  // CUDA_VISIBLE_DEVICES, where it is set
  std::vector<CudaDevice> devices;
  std::vector<ListedGpu> listed;
};

// None where there is no NVIDIA driver. Makes no context.
std::optional<CudaFacts> cuda_facts();

}  // namespace metavoice::loader
