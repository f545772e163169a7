// Which vector instructions our own loops on the CPU use: the best ones that it has, or fewer, for tests.
#pragma once

#include <vector>

namespace metavoice::ops {

enum class InstructionSet { baseline, avx2, avx512 };

// Those that this processor runs, the best one last.
inline std::vector<InstructionSet> instruction_sets() {
  std::vector<InstructionSet> result = {InstructionSet::baseline};
#if defined(__x86_64__) && defined(__GNUC__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return result;
  result.push_back(InstructionSet::avx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    result.push_back(InstructionSet::avx512);
#endif
  return result;
}

}  // namespace metavoice::ops
