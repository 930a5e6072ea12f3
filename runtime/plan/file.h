// Reading and writing plan files. The reader trusts nothing: every offset, length, index and
// checksum is checked before use.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "runtime/plan/checksum.h"
#include "runtime/plan/plan.h"
#include "runtime/support/result.h"

namespace sinter::runtime {

// An open, memory-mapped plan.
class PlanFile {
 public:
  // Checks magic, version, header (with its checksum), the ranges of every section and argument.
  // Checksums of sections are checked here for all but the weights; those are checked while they
  // are loaded (`verify`). `deep` also checks the weights' checksums now.
  static Result<std::shared_ptr<const PlanFile>> open(const std::string& path, bool deep);
  ~PlanFile();

  const Plan& plan() const;
  const std::string& path() const;
  std::span<const uint8_t> bytes(const Section& section) const;
  std::string_view text(const Section& section) const;
  // Where byte `offset` of a device plan's weights lies; what follows it in its section follows.
  // Null beyond their end, as where they are made at load.
  const uint8_t* weights_at(const DevicePlan& device_plan, uint64_t offset) const;
  // `progress` (may be empty) is called with the fraction done, in 0..1.
  Status verify(const Section& section,
                const std::function<void(double fraction)>& progress = {}) const;
  Status verify_weights(const DevicePlan& device_plan,
                        const std::function<void(double fraction)>& progress = {}) const;
  // What `verify` says of a section whose checksum is wrong, for them.
  Error wrong_checksum(const Section& section) const;
  // Error: the code was not compiled for this plan's schedules (code_mark). Asked before code is
  // loaded.
  Status check_code(const CodeObject& code) const;
  // Tells the kernel that mapped pages of a section are no longer needed (after they were copied).
  void drop_pages(const Section& section, uint64_t offset, uint64_t bytes) const;

 private:
  PlanFile();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Writes a plan beside `path` under a temporary name, syncs it and renames it: `path` is either the
// old file or the whole new one.
class PlanWriter {
 public:
  static Result<std::unique_ptr<PlanWriter>> create(const std::string& path);
  ~PlanWriter();  // removes the temporary file unless `finish` succeeded

  // A whole section at once; an empty one is absent: all zeros, and nothing is written.
  Result<Section> add(std::span<const uint8_t> bytes);
  Result<Section> add(std::string_view text);
  // A section piece by piece: begin, append..., end. For weights, which never lie in memory whole.
  Status begin();
  Status append(std::span<const uint8_t> bytes);
  Result<Section> end();

  // Writes the header, syncs and renames. Gives the file's size. The plan goes through the reader's
  // checks first, so what could not be opened is never written; every section added must be named
  // in it.
  Result<uint64_t> finish(const Plan& plan);

 private:
  PlanWriter();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A C name that a code object carries for everything in the plan that its kernels rely on: their
// order and parameters, phases, arguments, sizes, the layout of weights, the target. Code beside
// another schedule than its own is refused when it is loaded.
inline constexpr std::string_view code_mark_prefix = "sinter_plan_";
std::string code_mark(const Plan& plan, const CodeObject& code);

// The header as JSON text; what `inspect --json` prints. A negative indent gives one line.
std::string plan_to_json(const Plan& plan, int indent);
// Checks every field's presence, type and range; errors name the field.
Result<Plan> plan_from_json(std::string_view json);

}  // namespace sinter::runtime
