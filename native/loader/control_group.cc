// Limits that a container or a service manager sets. A group is bound by the tightest of itself and its parents.
#include "loader/facts.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace metavoice::loader {
namespace {

std::optional<std::string> first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<std::uint64_t> number_in(const std::string& path) {
  const auto line = first_line(path);
  if (!line || line->empty() || line->find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
  try {
    return std::stoull(*line);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

// Page cache that nobody reads counts as used, but goes when memory is asked for.
std::uint64_t droppable(const std::string& folder, const std::string& key) {
  std::ifstream file(folder + "/memory.stat");
  for (std::string name; file >> name;) {
    std::uint64_t bytes = 0;
    file >> bytes;
    if (name == key) return bytes;
  }
  return 0;
}

void tighten_cpus(GroupLimits& limits, double quota, double period) {
  if (quota <= 0 || period <= 0) return;
  limits.cpus = std::min(limits.cpus.value_or(quota / period), quota / period);
}

void tighten_memory(GroupLimits& limits, const std::string& folder, const char* maximum, const char* current,
                    const char* inactive) {
  const auto bytes = number_in(folder + "/" + maximum);
  // Version 1 writes a number near 2^63 for "no limit".
  if (!bytes || *bytes >= (std::uint64_t{1} << 60) || (limits.memory && *limits.memory <= *bytes)) return;
  limits.memory = bytes;
  limits.memory_used.reset();
  if (const auto used = number_in(folder + "/" + current)) {
    limits.memory_used = *used - std::min(*used, droppable(folder, inactive));
  }
}

// Calls `visit` for the group's folder and each parent up to the mount point.
template <typename Visit>
void climb(const std::string& mount, std::string group, Visit visit) {
  while (true) {
    visit(group == "/" ? mount : mount + group);
    if (group.empty() || group == "/") return;
    group.erase(group.rfind('/'));
  }
}

}  // namespace

GroupLimits group_limits(const std::string& root) {
  GroupLimits limits;
  std::ifstream groups(root + "/proc/self/cgroup");
  const std::string mount = root + "/sys/fs/cgroup";
  for (std::string line; std::getline(groups, line);) {  // hierarchy:controllers:path
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (controllers == ",,") {
      climb(mount, path, [&](const std::string& folder) {
        if (const auto text = first_line(folder + "/cpu.max")) {
          std::istringstream words(*text);
          double quota = 0, period = 0;
          if (words >> quota >> period) tighten_cpus(limits, quota, period);
        }
        tighten_memory(limits, folder, "memory.max", "memory.current", "inactive_file");
      });
    }
    if (controllers.find(",cpu,") != std::string::npos) {
      climb(mount + "/cpu", path, [&](const std::string& folder) {
        const auto quota = number_in(folder + "/cpu.cfs_quota_us");
        const auto period = number_in(folder + "/cpu.cfs_period_us");
        if (quota && period) tighten_cpus(limits, static_cast<double>(*quota), static_cast<double>(*period));
      });
    }
    if (controllers.find(",memory,") != std::string::npos) {
      climb(mount + "/memory", path, [&](const std::string& folder) {
        tighten_memory(limits, folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file");
      });
    }
  }
  return limits;
}

}  // namespace metavoice::loader
