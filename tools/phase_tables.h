// The phases of a plan, and its kernels, as tables.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "runtime/plan/plan.h"

namespace sinter::tools {

// A kernel and how many phases call it.
struct KernelUse {
  std::string symbol;
  std::string summary;
  std::vector<size_t> phases;  // of each schedule
};
struct KernelTable {
  std::vector<std::string> schedules;  // names
  std::vector<KernelUse> kernels;
};

// A schedule by its name and the kernel of each phase, indices into `kernels`.
using ScheduleKernels = std::pair<std::string, std::vector<uint32_t>>;
KernelTable kernel_table(const std::vector<runtime::Kernel>& kernels,
                         const std::vector<ScheduleKernels>& schedules);
std::string kernels_text(const KernelTable& table);
nlohmann::ordered_json kernels_json(const KernelTable& table);

// All schedules: phases in order with kernel, arguments, bytes, multiply-adds, predicted time.
std::string schedule_text(const runtime::DevicePlan& plan);
// With the numbers of the phases that each waits for.
nlohmann::ordered_json schedule_json(const runtime::DevicePlan& plan);
// Phases as boxes, with an arrow from each to those that wait for it; for GraphViz.
std::string schedule_dot(const runtime::DevicePlan& plan);

// Checks of printed forms; empty when they hold, else what is wrong.
// The text lists every phase once and in order, and every kernel is one that the plan has.
std::string check_schedule_text(const std::string& text, const runtime::DevicePlan& plan);
// The memory tables of schedules in order, with the names of the phases of each: every buffer lies
// inside the arena, and no two that live at the same time overlap.
std::string check_memory_text(const std::string& text,
                              const std::vector<std::vector<std::string>>& schedules);

}  // namespace sinter::tools
