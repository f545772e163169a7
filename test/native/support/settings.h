// What a run of the native tests is told: where the model is, and which devices to use. main.cc fills it.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

namespace metavoice::testing {

struct Settings {
  std::string model;               // folder of the converted test model
  std::string fixtures;            // test/fixtures
  std::vector<at::Device> devices;  // each case that takes a device runs on each of them
  bool report = false;             // print the largest errors, also of what passes
};

inline Settings& settings() {
  static Settings value;
  return value;
}

inline const std::vector<at::Device>& devices() { return settings().devices; }

}  // namespace metavoice::testing
