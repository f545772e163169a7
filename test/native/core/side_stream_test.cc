#include "core/side_stream.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <doctest.h>

#include "support/settings.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("core/side_stream") {
  TEST_CASE("a thread's work goes to a stream of its own and comes back, and on the CPU to where it was") {
    for (const at::Device& device : devices()) {
      CAPTURE(device.str());
      const c10::impl::VirtualGuardImpl impl(device.type());
      const c10::Stream before = impl.getStream(device);
      const at::Tensor numbers = at::ones({64, 64}, device);
      {
        core::SideStream side;
        side.enter(device);
        CHECK((impl.getStream(device) == before) == device.is_cpu());
        const c10::Stream inside = impl.getStream(device);
        side.enter(device);  // once is enough
        CHECK(impl.getStream(device) == inside);
        CHECK(numbers.matmul(numbers).sum().item<float>() == 64.0F * 64 * 64);
      }
      CHECK(impl.getStream(device) == before);
    }
  }

  TEST_CASE("what was made in another stream is there after a synchronize") {
    for (const at::Device& device : devices()) {
      CAPTURE(device.str());
      at::Tensor numbers = at::eye(1024, device);
      for (int i = 0; i < (device.is_cpu() ? 1 : 200); ++i) numbers = numbers.matmul(numbers);
      core::synchronize(device);
      core::SideStream side;
      side.enter(device);
      CHECK(numbers.sum().item<float>() == 1024.0F);
    }
  }
}
