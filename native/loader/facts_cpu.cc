#include "loader/facts.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <set>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#include <sys/auxv.h>
#endif
#if defined(__APPLE__)
#include <mach/mach.h>
#include <sys/sysctl.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace metavoice::loader {
namespace {

#if defined(__x86_64__)

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf, unsigned sub = 0) {
  Registers r;
  if (!__get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d)) return {};
  return r;
}

bool bit(unsigned word, unsigned position) { return (word >> position & 1U) != 0; }

// Which register files the operating system saves: without that, an instruction of the processor is of no use.
std::uint64_t saved_state() {
  if (!bit(cpuid(1).c, 27)) return 0;
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

std::string brand() {
  char text[49] = {};
  if (cpuid(0x80000000U).a < 0x80000004U) return "";
  for (unsigned leaf = 0; leaf < 3; ++leaf) {
    const Registers r = cpuid(0x80000002U + leaf);
    std::memcpy(text + 16 * leaf, &r, 16);
  }
  return text;
}

std::vector<std::string> features() {
  const Registers one = cpuid(1), seven = cpuid(7), seven_one = cpuid(7, 1);
  const std::uint64_t saved = saved_state();
  const bool ymm = (saved & 0x6) == 0x6, zmm = (saved & 0xE6) == 0xE6, tiles = (saved & 0x60000) == 0x60000;
  std::vector<std::string> found;
  const auto add = [&](bool there, const char* name) {
    if (there) found.emplace_back(name);
  };
  add(bit(one.c, 20), "sse4_2");
  add(ymm && bit(one.c, 28), "avx");
  add(ymm && bit(one.c, 12), "fma");
  add(ymm && bit(one.c, 29), "f16c");
  add(ymm && bit(seven.b, 5), "avx2");
  add(zmm && bit(seven.b, 16), "avx512f");
  add(zmm && bit(seven.b, 30), "avx512bw");
  add(zmm && bit(seven.b, 31), "avx512vl");
  add(zmm && bit(seven.b, 17), "avx512dq");
  add(zmm && bit(seven.c, 11), "avx512_vnni");
  add(zmm && bit(seven_one.a, 5), "avx512_bf16");
  add(zmm && bit(seven.d, 23), "avx512_fp16");
  add(ymm && bit(seven_one.a, 4), "avx_vnni");
  add(tiles && bit(seven.d, 24), "amx_tile");
  add(tiles && bit(seven.d, 22), "amx_bf16");
  add(tiles && bit(seven.d, 25), "amx_int8");
  add(tiles && bit(seven_one.a, 21), "amx_fp16");
  return found;
}

#elif defined(__aarch64__) && defined(__linux__)

std::string brand() { return ""; }

std::vector<std::string> features() {
  const unsigned long one = getauxval(AT_HWCAP), two = getauxval(AT_HWCAP2);
  std::vector<std::string> found{"neon"};
  if (one & (1UL << 10)) found.emplace_back("fp16");     // HWCAP_ASIMDHP
  if (one & (1UL << 20)) found.emplace_back("dotprod");  // HWCAP_ASIMDDP
  if (one & (1UL << 22)) found.emplace_back("sve");      // HWCAP_SVE
  if (two & (1UL << 13)) found.emplace_back("i8mm");     // HWCAP2_I8MM
  if (two & (1UL << 14)) found.emplace_back("bf16");     // HWCAP2_BF16
  return found;
}

#elif defined(__APPLE__)

std::string brand() { return ""; }

std::vector<std::string> features() {
  std::vector<std::string> found{"neon"};
  const auto add = [&](const char* key, const char* name) {
    int value = 0;
    std::size_t size = sizeof value;
    if (sysctlbyname(key, &value, &size, nullptr, 0) == 0 && value) found.emplace_back(name);
  };
  add("hw.optional.arm.FEAT_FP16", "fp16");
  add("hw.optional.arm.FEAT_DotProd", "dotprod");
  add("hw.optional.arm.FEAT_I8MM", "i8mm");
  add("hw.optional.arm.FEAT_BF16", "bf16");
  return found;
}

#else

std::string brand() { return ""; }
std::vector<std::string> features() { return {}; }

#endif

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// The value of a `key : value` line.
std::string field(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(':');
    if (colon != std::string::npos && trimmed(line.substr(0, colon)) == key) return trimmed(line.substr(colon + 1));
  }
  return "";
}

std::string processor_name() {
  if (auto name = trimmed(brand()); !name.empty()) return name;
#if defined(__APPLE__)
  char text[256] = {};
  std::size_t size = sizeof text - 1;
  if (sysctlbyname("machdep.cpu.brand_string", text, &size, nullptr, 0) == 0) return text;
#endif
  for (const char* key : {"model name", "Model", "Hardware"}) {
    if (auto name = field("/proc/cpuinfo", key); !name.empty()) return name;
  }
  std::ifstream model("/proc/device-tree/model");
  std::string name;
  if (std::getline(model, name, '\0') && !name.empty()) return name;
  return "unknown processor";
}

#if defined(__linux__)

// The processors this process may run on.
std::vector<int> allowed_processors() {
  std::vector<int> found;
  // Grown until it fits: machines with more than 1,024 processors exist.
  for (int size = CPU_SETSIZE; size <= CPU_SETSIZE * 64 && found.empty(); size *= 2) {
    cpu_set_t* set = CPU_ALLOC(size);
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(size);
    if (sched_getaffinity(0, bytes, set) == 0) {
      for (int i = 0; i < size; ++i) {
        if (CPU_ISSET_S(i, bytes, set)) found.push_back(i);
      }
    }
    CPU_FREE(set);
  }
  return found;
}

// The threads of one core tell the same list of siblings; a processor that tells none is a core of its own.
int cores_among(const std::vector<int>& processors) {
  std::set<std::string> cores;
  for (const int processor : processors) {
    const std::string number = std::to_string(processor);
    std::ifstream file("/sys/devices/system/cpu/cpu" + number + "/topology/thread_siblings_list");
    std::string siblings;
    cores.insert(std::getline(file, siblings) ? siblings : "cpu" + number);
  }
  return static_cast<int>(cores.size());
}

#endif

void fill_cores(CpuFacts& facts) {
  facts.cores = facts.physical_cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
#if defined(__linux__)
  if (const auto processors = allowed_processors(); !processors.empty()) {
    facts.cores = static_cast<int>(processors.size());
    facts.physical_cores = cores_among(processors);
  }
#elif defined(__APPLE__)
  int value = 0;
  std::size_t size = sizeof value;
  if (sysctlbyname("hw.physicalcpu", &value, &size, nullptr, 0) == 0 && value > 0) facts.physical_cores = value;
#endif
  // Threads beyond the quota are throttled together, so a broken core is rounded down.
  if (facts.limits.cpus) facts.cores = std::clamp(static_cast<int>(*facts.limits.cpus), 1, facts.cores);
  facts.physical_cores = std::min(facts.physical_cores, facts.cores);
}

std::uint64_t kibibytes(const char* key) {
  const std::string text = field("/proc/meminfo", key);
  return text.empty() ? 0 : std::strtoull(text.c_str(), nullptr, 10) * 1024;
}

void fill_memory(CpuFacts& facts) {
  const GroupLimits& limits = facts.limits;
#if defined(__APPLE__)
  std::size_t size = sizeof facts.total_memory;
  sysctlbyname("hw.memsize", &facts.total_memory, &size, nullptr, 0);
  vm_statistics64_data_t pages{};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  if (host_statistics64(mach_host_self(), HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&pages), &count) ==
      KERN_SUCCESS) {
    facts.free_memory = (std::uint64_t{pages.free_count} + pages.inactive_count) * vm_kernel_page_size;
  }
#else
  facts.total_memory = kibibytes("MemTotal");
  facts.free_memory = kibibytes("MemAvailable");
#endif
  if (limits.memory && *limits.memory < facts.total_memory) facts.total_memory = *limits.memory;
  if (limits.memory && limits.memory_used) {
    facts.free_memory = std::min(facts.free_memory, *limits.memory - std::min(*limits.memory, *limits.memory_used));
  }
  facts.free_memory = std::min(facts.free_memory, facts.total_memory);
}

}  // namespace

CpuFacts cpu_facts() {
  CpuFacts facts;
  facts.name = processor_name();
  facts.limits = group_limits();
  facts.features = features();
  fill_cores(facts);
  fill_memory(facts);
  return facts;
}

}  // namespace metavoice::loader
