#include "core/host_memory.h"

#include <doctest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

TEST_SUITE_BEGIN("core/host_memory");

#ifdef __GLIBC__
namespace {

int64_t resident_bytes() {
  int64_t size = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * 4096;
}

}  // namespace

TEST_CASE("what a thread freed below what it keeps goes back to the system") {
  constexpr int64_t kBlock = 64 << 10, kBlocks = 1024;
  std::unique_ptr<char[]> kept;  // the last, so that the arena cannot shrink from its end
  std::thread([&kept] {
    std::vector<std::unique_ptr<char[]>> blocks;
    for (int64_t i = 0; i < kBlocks; ++i) {
      blocks.push_back(std::make_unique<char[]>(kBlock));
      std::memset(blocks.back().get(), 1, kBlock);
    }
    kept = std::move(blocks.back());
  }).join();
  const int64_t before = resident_bytes();
  metavoice::core::release_host_memory();
  CHECK(resident_bytes() < before - kBlock * kBlocks / 2);
}
#endif

TEST_SUITE_END();
