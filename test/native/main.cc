// The native tests: one executable, no Node. Filters, repeats and reports are doctest's (`--help`); besides,
//   --model=DIR or METAVOICE_TEST_MODEL           the converted test model (scripts/native-model.mjs); beside the executable
//                                                 in `test-model` by default
//   METAVOICE_TEST_FIXTURES                       test/fixtures, where it has moved since the build
//   --device=cpu|cuda or METAVOICE_TEST_DEVICE    devices, separated by commas; the CPU, and CUDA where it is, by default
//   METAVOICE_TEST_PATIENCE                       seconds that one case may take (120)
//   METAVOICE_TEST_REPORT=1                       prints the largest error of every comparison
#define DOCTEST_CONFIG_IMPLEMENT
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <doctest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <string_view>

#include "core/precision.h"
#include "support/settings.h"
#include "support/watchdog.h"

namespace {

using metavoice::testing::Settings;
using metavoice::testing::Watchdog;

Watchdog* watchdog = nullptr;

struct Watch : doctest::IReporter {
  explicit Watch(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_start(const doctest::TestCaseData& data) override { watchdog->watch(data.m_name); }
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override { watchdog->watch(""); }
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};

REGISTER_LISTENER("watchdog", 1, Watch);

std::string option(int count, char** values, const std::string& flag, const char* variable, const std::string& otherwise) {
  for (int i = 1; i < count; ++i) {
    const std::string_view value(values[i]);
    if (value.starts_with(flag + "=")) return std::string(value.substr(flag.size() + 1));
  }
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

std::vector<at::Device> parse_devices(const std::string& list) {
  std::vector<at::Device> result;
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ',');) {
    result.emplace_back(part);
    if (result.back().is_cuda() && !at::hasCUDA()) throw std::runtime_error("this libtorch sees no CUDA device");
  }
  if (result.empty()) throw std::runtime_error("expected a device");
  return result;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int metavoice_tests_main(int count, char** values) {
  Settings& settings = metavoice::testing::settings();
  long patience = 120;
  try {
    const std::filesystem::path self = std::filesystem::absolute(values[0]);
    settings.model = option(count, values, "--model", "METAVOICE_TEST_MODEL", (self.parent_path() / "test-model").string());
    settings.fixtures = option(count, values, "--fixtures", "METAVOICE_TEST_FIXTURES", METAVOICE_FIXTURES);
    settings.devices = parse_devices(option(count, values, "--device", "METAVOICE_TEST_DEVICE", at::hasCUDA() ? "cpu,cuda" : "cpu"));
    settings.report = !option(count, values, "--report", "METAVOICE_TEST_REPORT", "").empty();
    patience = std::stol(option(count, values, "--patience", "METAVOICE_TEST_PATIENCE", "120"));
  } catch (const std::exception& error) {
    std::cerr << "metavoice_tests: " << error.what() << '\n';
    return 2;
  }

  // oneDNN prints its errors, which the tests provoke, to standard output.
  setenv("ONEDNN_VERBOSE", "none", 0);
  // One thread: the networks are tiny, and threads that wait by spinning would make a busy machine wait, too.
  at::set_num_threads(1);
  Watchdog guard{std::chrono::seconds(patience)};
  watchdog = &guard;
  // As for every model, and on the engine thread.
  metavoice::core::settle_precision();
  const c10::InferenceMode inference;
  doctest::Context context;
  context.applyCommandLine(count, values);
  return context.run();
}
