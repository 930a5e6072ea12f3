#include "codegen/layouts/weight_sections.h"

#include <algorithm>
#include <string>
#include <utility>

namespace sinter::codegen {

namespace {

constexpr int64_t kSlack = 64;  // kernels read whole vectors

absl::Status to_absl(const runtime::Error& error) { return absl::UnavailableError(error.message); }

}  // namespace

std::vector<WeightSection> weight_sections(const std::vector<WeightLayouts>& device_plans) {
  std::map<std::vector<size_t>, WeightLayouts> by_readers;
  for (const WeightLayouts& mine : device_plans) {
    for (const auto& [id, layout] : mine) {
      std::vector<size_t> readers;
      for (size_t i = 0; i < device_plans.size(); ++i)
        if (const auto at = device_plans[i].find(id);
            at != device_plans[i].end() && at->second == layout)
          readers.push_back(i);
      by_readers[readers].emplace(id, layout);
    }
  }
  std::vector<WeightSection> sections;
  for (auto& [readers, weights] : by_readers) {
    int64_t bytes = kSlack;
    for (const auto& [id, layout] : weights) bytes += layout.bytes;
    sections.push_back({readers, std::move(weights), bytes});
  }
  return sections;
}

WeightPlaces weight_places(const std::vector<WeightSection>& sections, size_t device_plan) {
  WeightPlaces places;
  for (const WeightSection& section : sections) {
    if (std::ranges::find(section.readers, device_plan) == section.readers.end()) continue;
    int64_t at = places.bytes;
    for (const auto& [id, layout] : section.weights) {
      places.offsets[id] = at;
      at += layout.bytes;
    }
    places.bytes += section.bytes;
  }
  return places;
}

absl::StatusOr<runtime::Section> write_section(runtime::PlanWriter& writer,
                                               const ir::Module& module,
                                               const WeightSection& section,
                                               const frontends::Checkpoint& checkpoint,
                                               const std::function<void(double)>& progress) {
  if (auto begun = writer.begin(); !begun.ok()) return to_absl(begun.error());
  int64_t done = 0;
  const auto append = [&](absl::Span<const uint8_t> piece) -> absl::Status {
    if (auto status = writer.append({piece.data(), piece.size()}); !status.ok())
      return to_absl(status.error());
    done += static_cast<int64_t>(piece.size());
    progress(static_cast<double>(done) / static_cast<double>(section.bytes));
    return absl::OkStatus();
  };
  for (const auto& [id, layout] : section.weights) {
    const ir::WeightData& data = module.weights.at(id);
    if (auto status = pack_weight(module.weight(id), data, layout, checkpoint, append);
        !status.ok())
      return status;
    for (const std::string& name : data.sources) checkpoint.release(name);
  }
  const std::vector<uint8_t> tail(static_cast<size_t>(section.bytes - done), 0);
  if (auto status = append(tail); !status.ok()) return status;
  auto written = writer.end();
  if (!written.ok()) return to_absl(written.error());
  return *written;
}

}  // namespace sinter::codegen
