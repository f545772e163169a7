// Tests of the decode kernels without libtorch or Node: each kernel against its formula in double, draws against those of the
// host, bits from run to run and in other company, a graph against single launches. From the package's folder:
//   nvcc -std=c++17 -O3 -arch=sm_90 -t 0 -Inative -Itest/native/kernels native/ops/decode_*.cu native/ops/sampling.cc native/core/random.cc \
//     test/native/kernels/*.cu -o kernel_tests
//   kernel_tests [--small]
//   kernel_tests --bench [--brief] [--json FILE]
// With -DMETAVOICE_TURING the instructions are those of compute capability 7.5.
#include <algorithm>
#include <cstdio>
#include <string>

#include "bench.h"
#include "cases.h"

#ifdef METAVOICE_EMULATED
int run_bench(const char*, bool) { return 2; }  // there is nothing to time
#endif

int main(int count, char** words) {
  bool bench = false, brief = false, small = false;
  const char* json = nullptr;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--bench") bench = true;
    else if (word == "--brief") brief = true;
    else if (word == "--small") small = true;
    else if (word == "--json" && i + 1 < count) json = words[++i];
    else {
      std::fprintf(stderr, "usage: %s [--small] [--bench [--brief] [--json FILE]]\n", words[0]);
      return 2;
    }
  }
  return bench ? run_bench(json, brief) : std::max(run_cases(small), run_draw_cases(small));
}
