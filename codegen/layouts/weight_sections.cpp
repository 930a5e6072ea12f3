#include "codegen/layouts/weight_sections.h"

#include <string>

namespace sinter::codegen {

namespace {

absl::Status to_absl(const runtime::Error& error) { return absl::UnavailableError(error.message); }

}  // namespace

absl::StatusOr<runtime::Section> WeightSections::write(
    const ir::Module& module, const WeightLayouts& layouts, uint64_t bytes,
    const frontends::Checkpoint& checkpoint, const std::function<void(double)>& progress) {
  for (const auto& [known, section] : written_)
    if (known == layouts && section.bytes == bytes) return section;
  if (auto begun = writer_.begin(); !begun.ok()) return to_absl(begun.error());
  uint64_t done = 0;
  const auto append = [&](absl::Span<const uint8_t> piece) -> absl::Status {
    if (auto status = writer_.append({piece.data(), piece.size()}); !status.ok())
      return to_absl(status.error());
    done += piece.size();
    progress(static_cast<double>(done) / static_cast<double>(bytes));
    return absl::OkStatus();
  };
  for (const auto& [id, layout] : layouts) {
    const ir::WeightData& data = module.weights.at(id);
    if (auto status = pack_weight(module.weight(id), data, layout, checkpoint, append);
        !status.ok())
      return status;
    for (const std::string& name : data.sources) checkpoint.release(name);
  }
  const std::vector<uint8_t> tail(static_cast<size_t>(bytes - done), 0);
  if (auto status = append(tail); !status.ok()) return status;
  auto section = writer_.end();
  if (!section.ok()) return to_absl(section.error());
  written_.emplace_back(layouts, *section);
  return *section;
}

}  // namespace sinter::codegen
