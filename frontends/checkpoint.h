// What every reader yields: the configuration, the matrices with their formats, the tokenizer.
// Models are built from this alone.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "frontends/mapped_file.h"
#include "ir/matrix.h"
#include "nlohmann/json.hpp"

namespace sinter::frontends {

class Checkpoint : public ir::MatrixSource {
 public:
  std::filesystem::path path;               // the folder, or the GGUF file
  nlohmann::json config;                    // config.json, or what says the same in a GGUF file
  std::string config_file = "config.json";  // where `config` is from, for messages
  nlohmann::json generation_config;         // generation_config.json; null when there is none
  // The tokenizer, whatever its files, as runtime/tokenizer_import.h makes it; empty when there is
  // none.
  std::string tokenizer_json;
  std::string tokenizer_config_json;  // bytes of tokenizer_config.json; empty when there is none
  // chat_template.jinja, else the (default) template of tokenizer_config.json; empty when there is
  // none.
  std::string chat_template;
  std::vector<std::string> notes;  // what the user should know: files that could not be used

  // Modules by name without the ".weight" suffix: "model.layers.0.self_attn.q_proj", "model.norm",
  // and plain tensors by full name ("model.layers.0.self_attn.q_proj.bias"). Formats are as stored.
  std::map<std::string, ir::Matrix, std::less<>> matrices;
  // Modules whose last rows may only fill whole bytes, and how many rows that are at most: what is
  // stored does not say, the configuration of the model does.
  std::map<std::string, int64_t, std::less<>> padding_rows;

  // Keys of `matrices` that are a tensor's full name.
  std::set<std::string, std::less<>> plain_tensors;

  // Tensors that no model can use, under the name they would have in `matrices`; the value says
  // what is stored where
  // ("model.safetensors: tensor ... is I64 [4], ..."). They count for check_all_used.
  std::map<std::string, std::string, std::less<>> unsupported;

  bool has(std::string_view name) const { return matrices.find(name) != matrices.end(); }
  // Error: names the tensor, the folder and near misses; or why the tensor is unsupported.
  absl::StatusOr<ir::Matrix> matrix(std::string_view name) const override;
  // The type that matrix(name) will have. Nothing is computed for it.
  virtual absl::StatusOr<ir::WeightType> type(std::string_view name) const;
  void release(std::string_view name) const override;
  // Takes padding off a module that has so many rows.
  void drop_padding(std::string_view name, int64_t rows);

  // Error: names tensors of the checkpoint that are not in `used` (names as in `matrices`), and how
  // many they are.
  absl::Status check_all_used(const std::set<std::string>& used) const;

  // Error: a file behind the matrices changed since it was opened. Asked before what was made of
  // them gets its name.
  absl::Status check_unchanged() const;

  // Own the memory behind the matrices: maps, and what readers had to make.
  std::vector<std::shared_ptr<const MappedFile>> storage;
  std::vector<std::vector<uint8_t>> buffers;
};

// Opens a model folder, or the folder of a .safetensors or .bin file that belongs to it:
// config.json, model.safetensors or model.safetensors.index.json with its shards, else
// pytorch_model.bin or pytorch_model.bin.index.json with its shards, and, when present,
// generation_config.json, a tokenizer, tokenizer_config.json, chat_template.jinja. Or a .gguf file,
// or the folder of one when no safetensors are there.
absl::StatusOr<std::unique_ptr<Checkpoint>> open_checkpoint(const std::filesystem::path& path);

// The .gguf file that open_checkpoint would read; empty when it would read something else.
absl::StatusOr<std::filesystem::path> find_gguf(const std::filesystem::path& path);

}  // namespace sinter::frontends
