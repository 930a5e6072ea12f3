// What every reader yields: the configuration, the matrices with their formats, the tokenizer.
// Models are built from this alone.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "frontends/mapped_file.h"
#include "frontends/rotation.h"
#include "ir/matrix.h"
#include "nlohmann/json.hpp"
#include "runtime/support/source_files.h"

namespace sinter::frontends {

// The module of "module.weight", "module.scales", ...; nullopt when the name does not end so.
std::optional<std::string_view> module_of(std::string_view name, std::string_view suffix);

// A matrix that is a part of a stored one, its rows in another order, or of another shape.
struct MatrixView {
  std::string of;  // key of `matrices`
  std::vector<int64_t> shape;
  ir::RowPlaces places;
};

class Checkpoint : public ir::MatrixSource {
 public:
  std::filesystem::path path;               // the folder, or the GGUF file
  nlohmann::json config;                    // config.json, or what says the same in a GGUF file
  std::string config_file = "config.json";  // where `config` is from, for messages
  nlohmann::json generation_config;         // generation_config.json; null when there is none
  std::string generation_file = "generation_config.json";
  // What the source calls fields of the two, where it has other names: "rope_scaling.factor" is
  // "llama.rope.scaling.factor" in a GGUF file, "eos_token_id.1" its "tokenizer.ggml.eot_token_id".
  std::map<std::string, std::string, std::less<>> config_names, generation_names;
  // The tokenizer, whatever its files, as runtime/text/tokenizer/import.h makes it; empty when
  // there is none.
  std::string tokenizer_json;
  std::string tokenizer_config_json;  // bytes of tokenizer_config.json; empty when there is none
  // chat_template.jinja, else the (default) template of tokenizer_config.json; empty when there is
  // none.
  std::string chat_template;
  std::vector<std::string> notes;  // what the user should know: files that could not be used
  runtime::SourceFiles sources;    // all that were read

  // The name that the source has for a module or tensor of `matrices`; null where it is the same.
  std::function<std::string(std::string_view name)> stored_name;
  std::string shown_name(std::string_view name) const {
    return stored_name == nullptr ? std::string(name) : stored_name(name);
  }

  // Modules by name without the ".weight" suffix: "model.layers.0.self_attn.q_proj", "model.norm",
  // and plain tensors by full name ("model.layers.0.self_attn.q_proj.bias"). Formats are as stored.
  std::map<std::string, ir::Matrix, std::less<>> matrices;
  // Modules whose last rows may only fill whole bytes, and how many rows that are at most: what is
  // stored does not say, the configuration of the model does.
  std::map<std::string, int64_t, std::less<>> padding_rows;

  // Matrices whose columns are rotated.
  Rotation rotation;

  // Matrices by names of their own that are seen through others; nothing of them is stored.
  std::map<std::string, MatrixView, std::less<>> views;

  // Keys of `matrices` that were computed of others.
  std::set<std::string, std::less<>> computed;

  // Keys of `matrices` that are a tensor's full name.
  std::set<std::string, std::less<>> plain_tensors;

  // Names of tensors in the file where they are neither the key of `matrices` nor that and
  // ".weight".
  std::map<std::string, std::string, std::less<>> stored_names;

  // Tensors that no model can use, under the name they would have in `matrices`; the value says
  // what is stored where
  // ("model.safetensors: tensor ... is I64 [4], ..."). They count for check_all_used.
  std::map<std::string, std::string, std::less<>> unsupported;

  // Tensors that an index lists and no file holds, by full name; the value ends "tensor X is
  // missing; ...".
  std::map<std::string, std::string, std::less<>> absent;

  bool has(std::string_view name) const { return matrices.find(name) != matrices.end(); }
  // Error: names the tensor, the folder and near misses; or why the tensor is unsupported.
  absl::StatusOr<ir::Matrix> matrix(std::string_view name) const override;
  // The type that matrix(name) will have. Nothing is computed for it.
  virtual absl::StatusOr<ir::WeightType> type(std::string_view name) const;
  void release(std::string_view name) const override;
  // Whether all elements of a dense tensor are numbers (scales were checked when they were read).
  // Error: names the tensor as its file does, and the first element that is infinite or NaN.
  absl::Status check_finite(std::string_view name) const;
  // Takes padding off a module that has so many rows.
  void drop_padding(std::string_view name, int64_t rows);

  // Takes vectors "<module>.bias" away that hold zeros alone and are not in `used` although the
  // module is: tools write them beside every module, and they add nothing.
  void drop_zero_biases(const std::set<std::string>& used);

  // Error: names tensors of the checkpoint that are not in `used` (names as in `matrices`), and how
  // many they are.
  absl::Status check_all_used(const std::set<std::string>& used) const;

  // Keeps bytes that a reader had to make as long as this checkpoint and its copies live.
  absl::Span<const uint8_t> keep(std::vector<uint8_t> bytes);

  // Maps a file's memory for as long as this checkpoint and its copies live.
  void keep(std::shared_ptr<const MappedFile> file);

  // Own the memory behind the matrices, together with their copies: maps, and what was kept.
  std::vector<std::shared_ptr<const MappedFile>> storage;
  std::vector<std::shared_ptr<const std::vector<uint8_t>>> buffers;
};

}  // namespace sinter::frontends
