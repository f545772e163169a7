// What this machine is, without torch: asked before anything heavy is opened.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace metavoice::loader {

struct CpuFacts {
  std::string name;
  int cores = 1;                    // this process may use, by affinity and control group
  std::uint64_t total_memory = 0;   // bytes, within the control group's limit
  std::uint64_t free_memory = 0;    // bytes that can be had without swapping
  std::vector<std::string> features;
};

CpuFacts cpu_facts();

struct CudaDevice {
  int index = 0;
  std::string name;
  std::string compute_capability;
  std::uint64_t total_memory = 0;
  std::optional<std::uint64_t> free_memory;  // none where only a context could tell
};

struct CudaFacts {
  std::string driver_cuda;
  std::vector<CudaDevice> devices;
};

// None where there is no NVIDIA driver. Makes no context.
std::optional<CudaFacts> cuda_facts();

// The limits of this process's control groups; none where there is no limit.
struct GroupLimits {
  std::optional<double> cpus;
  std::optional<std::uint64_t> memory;       // bytes
  std::optional<std::uint64_t> memory_used;  // bytes that can't be dropped, of the group that has the limit
};

GroupLimits group_limits();

}  // namespace metavoice::loader
