#include "core/device_memory.h"

#include <doctest.h>

#include "support/compare.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("core/device_memory") {
  TEST_CASE("knows the peak of a GPU, gives back what nobody uses, and nothing of the CPU") {
    CHECK_FALSE(core::peak_device_bytes(at::kCPU));
    CHECK_NOTHROW(core::release_device_cache(at::kCPU));
    for (const at::Device& device : devices()) {
      if (device.is_cpu()) continue;
      constexpr int64_t kBytes = int64_t{256} << 20;
      {
        const at::Tensor large = at::zeros({kBytes}, at::TensorOptions().device(device).dtype(at::kByte));
        CHECK(*core::peak_device_bytes(large.device()) >= kBytes);
      }
      CHECK_NOTHROW(core::release_device_cache(at::zeros({1}, device).device()));
    }
  }
}
