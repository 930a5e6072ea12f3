// Models compiled and loaded within a test.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "codegen/plan_builder.h"
#include "runtime/host/device.h"
#include "runtime/session/session.h"
#include "tests/runtime/session/run_alone.h"

namespace sinter {

struct CompiledModel {
  std::string target;
  std::shared_ptr<runtime::Model> model;  // null, and a failure, when none was made
};

// For the first target of this machine's kind that it can run, counted from number `first` on.
inline CompiledModel compile_and_load(const models::ImportedModel& model,
                                      const frontends::Checkpoint* checkpoint,
                                      const std::string& name, codegen::CompileOptions options,
                                      int first = 0, const runtime::LoadOptions& load = {}) {
  const auto cpu = runtime::detect_host_cpu();
  std::vector<codegen::Target> targets;
  for (const codegen::Target& target : codegen::targets())
    if (target.family == cpu.family) targets.push_back(target);
  std::rotate(targets.begin(), targets.begin() + first % static_cast<int>(targets.size()),
              targets.end());
  for (const codegen::Target& target : targets) {
    const std::string path = fmt::format("{}{}_{}.plan", testing::TempDir(), name, ::getpid());
    options.targets = {target};
    const auto plan = codegen::compile_plan(model, checkpoint, name, options, path);
    EXPECT_TRUE(plan.ok()) << plan.status();
    if (!plan.ok()) return {};
    auto file = runtime::PlanFile::open(path, true);
    EXPECT_TRUE(file.ok()) << file.error().message;
    std::filesystem::remove(path);
    if (!file.ok()) return {};
    auto loaded = runtime::Model::load(*file, load);
    if (loaded.ok()) return {std::string(target.name), *loaded};
  }
  ADD_FAILURE() << "this machine runs no target of its kind";
  return {};
}

inline CompiledModel compile_and_load(const models::ImportedModel& model,
                                      const frontends::Checkpoint* checkpoint,
                                      const std::string& name, codegen::Activations activations,
                                      int first = 0) {
  codegen::CompileOptions options;
  options.activations = activations;
  return compile_and_load(model, checkpoint, name, options, first);
}

}  // namespace sinter
