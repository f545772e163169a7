// Which vector instructions our own loops on the CPU use: the best ones that it has, or fewer, for tests.
#pragma once

#include <vector>

namespace metavoice::ops {

// Each with those before it: avx2 with fma and f16c, avx512 with f, bw, vl and dq.
enum class InstructionSet { baseline, avx2, avx512, avx512_vnni, avx512_bf16 };

// Those that this processor runs, the best one last.
inline const std::vector<InstructionSet>& instruction_sets() {
  static const std::vector<InstructionSet> all = [] {
    std::vector<InstructionSet> found = {InstructionSet::baseline};
#if defined(__x86_64__) && defined(__GNUC__)
    const auto goes_on = [&](InstructionSet next, bool has) {
      if (has && static_cast<int>(found.back()) + 1 == static_cast<int>(next)) found.push_back(next);
    };
    goes_on(InstructionSet::avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"));
    goes_on(InstructionSet::avx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"));
    goes_on(InstructionSet::avx512_vnni, __builtin_cpu_supports("avx512vnni"));
    goes_on(InstructionSet::avx512_bf16, __builtin_cpu_supports("avx512bf16"));
#endif
    return found;
  }();
  return all;
}

}  // namespace metavoice::ops
