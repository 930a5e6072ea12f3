// A family of models: what its files call things, what they leave out, and the graph.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/entry.h"
#include "models/importer.h"
#include "models/renames.h"

namespace sinter::models {

struct Family {
  std::string model_type;  // of config.json
  absl::StatusOr<ir::Module> (*import)(Importer& m) = nullptr;
  // What fields of config.json are that a file does not mention, as transformers has them: JSON.
  std::string defaults = "{}";
  // What the files call fields and tensors, where llama's have other names.
  std::vector<Rename> fields = {};
  std::vector<Rename> tensors = {};
  // Tensors that are left out, as the left sides of such rules: other modalities, buffers.
  std::vector<std::string> skipped = {};
  // Tensors of a head that drafts tokens, likewise left out where it is not wanted.
  std::vector<std::string> drafting = {};
  // Columns of models/registry.def: a case with known logits, and phases of layers.
  std::string_view golden = {}, phases = {};
  // Of a family that a user describes.
  std::optional<Entry> entry = {};
};

}  // namespace sinter::models
