// Tells the limits of the control groups below a root, in JSON: built and asked by test/lib/device/limits.test.ts.
#include <cstdio>

#include "loader/facts.h"

int main(int, char** arguments) {
  const auto limits = metavoice::loader::group_limits(arguments[1]);
  const auto tell = [](const char* name, bool there, double value) {
    there ? std::printf("\"%s\":%.17g", name, value) : std::printf("\"%s\":null", name);
  };
  std::printf("{");
  tell("cpus", limits.cpus.has_value(), limits.cpus.value_or(0));
  std::printf(",");
  tell("memory", limits.memory.has_value(), static_cast<double>(limits.memory.value_or(0)));
  std::printf(",");
  tell("used", limits.memory_used.has_value(), static_cast<double>(limits.memory_used.value_or(0)));
  std::printf("}\n");
}
