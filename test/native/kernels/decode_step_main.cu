// Tests of the decode kernels without libtorch or Node: each kernel against its formula in double, bits from run to run
// and in other company, a graph against single launches.
//   decode_step_main [--bench [--brief] [--json FILE]]
#include <cstdio>
#include <string>

#include "bench.h"
#include "cases.h"

int main(int count, char** words) {
  bool bench = false, brief = false;
  const char* json = nullptr;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--bench") bench = true;
    else if (word == "--brief") brief = true;
    else if (word == "--json" && i + 1 < count) json = words[++i];
    else {
      std::fprintf(stderr, "usage: %s [--bench [--brief] [--json FILE]]\n", words[0]);
      return 2;
    }
  }
  return bench ? run_bench(json, brief) : run_cases();
}
