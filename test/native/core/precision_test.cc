#include "core/precision.h"

#include <ATen/Context.h>
#include <doctest.h>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("core/precision") {
  TEST_CASE("nothing that is said to be float32 is rounded to TF32, whoever asks libtorch") {
    core::settle_precision();
    const at::Context& context = at::globalContext();
    CHECK_FALSE(context.allowTF32CuBLAS());
    CHECK_FALSE(context.allowTF32CuDNN(at::Float32Op::CONV));
    CHECK_FALSE(context.allowTF32CuDNN(at::Float32Op::RNN));
    CHECK_FALSE(context.userEnabledCuDNNSDP());
  }

  TEST_CASE("long sums in float32 are float32 on every device") {
    const at::Tensor a = Numbers(3).normal({64, 4096}, 1), b = Numbers(4).normal({4096, 64}, 1);
    const at::Tensor signal = Numbers(5).normal({1, 512, 300}, 1), kernel = Numbers(6).normal({32, 512, 7}, 1);
    const at::Tensor product = at::matmul(a.to(at::kDouble), b.to(at::kDouble)), sound = at::conv1d(signal.to(at::kDouble), kernel.to(at::kDouble));
    for (const at::Device& device : devices()) {
      // TF32 is off by about 1e-2 here.
      check_close(at::matmul(a.to(device), b.to(device)), product, 1e-3, "product on " + device.str());
      check_close(at::conv1d(signal.to(device), kernel.to(device)), sound, 1e-3, "convolution on " + device.str());
    }
  }

  TEST_CASE("parts of a sum beyond float16 are added before they are rounded") {
    for (const at::Device& device : devices()) {
      if (device.is_cpu()) continue;
      at::Tensor row = at::ones({1, 8192}, at::kHalf) * 16;
      row.narrow(1, 4096, 4096).neg_();
      const at::Tensor found = at::matmul(row.to(device), at::ones({8192, 16}, at::kHalf).to(device));
      check_equal(found, at::zeros({1, 16}), "sum on " + device.str());
    }
  }
}
