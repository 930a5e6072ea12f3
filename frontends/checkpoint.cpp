#include "frontends/checkpoint.h"

#include <array>
#include <optional>
#include <system_error>
#include <utility>

#include "frontends/error_text.h"
#include "frontends/gguf_checkpoint.h"
#include "frontends/json_file.h"
#include "frontends/mapped_file.h"
#include "frontends/near_names.h"
#include "frontends/quantization.h"
#include "frontends/quantized_modules.h"
#include "frontends/safetensors.h"
#include "frontends/torch_file.h"
#include "runtime/tokenizer_import.h"

namespace sinter::frontends {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kConfigFile = "config.json";

bool file_exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// The folder to open. A path to a file stands for its folder.
absl::StatusOr<fs::path> model_folder(const fs::path& path) {
  const std::string shown = one_line(path.string(), 1000);
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    return absl::NotFoundError(fmt::format("{}: no such file or folder", shown));
  }
  if (error) return invalid("{}: cannot be opened: {}", shown, error.message());
  if (status.type() == fs::file_type::directory) return path;
  if (path.extension() == ".safetensors" || path.extension() == ".bin") {
    return path.has_parent_path() ? path.parent_path() : fs::path(".");
  }
  return invalid("{}: expected a model folder, a .safetensors or .bin file in one or a .gguf file",
                 shown);
}

// The GGUF file that `path` is or that its folder holds instead of safetensors; empty when there is
// none.
absl::StatusOr<fs::path> gguf_file(const fs::path& path) {
  std::error_code error;
  if (path.extension() == ".gguf" && !fs::is_directory(path, error)) return path;
  if (!fs::is_directory(path, error) || file_exists(path / "model.safetensors") ||
      file_exists(path / "model.safetensors.index.json")) {
    return fs::path();
  }
  std::vector<fs::path> found;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    // The first part of a split file stands for the others.
    const bool other_part =
        name.find("-of-") != std::string::npos && name.find("-00001-of-") == std::string::npos;
    if (it->path().extension() == ".gguf" && !other_part) found.push_back(it->path());
  }
  if (found.size() < 2) return found.empty() ? fs::path() : found[0];
  return invalid("{}: holds {} GGUF files; name one of them", one_line(path.string(), 1000),
                 found.size());
}

// Weights as one file or as shards with an index.
struct WeightFiles {
  const char* single;
  const char* index;
  absl::StatusOr<TensorFiles> (*open)(const fs::path& file);
  absl::StatusOr<TensorFiles> (*open_index)(const fs::path& index_file);
};
constexpr std::array<WeightFiles, 2> kWeightFiles = {{
    {"model.safetensors", "model.safetensors.index.json", open_safetensors, open_safetensors_index},
    {"pytorch_model.bin", "pytorch_model.bin.index.json", open_torch_file, open_torch_index},
}};

absl::StatusOr<TensorFiles> open_weights(const fs::path& folder, const WeightFiles& files) {
  const fs::path single = folder / files.single;
  const fs::path index = folder / files.index;
  if (!file_exists(index)) return files.open(single);
  absl::StatusOr<TensorFiles> set = files.open_index(index);
  if (!set.ok() || !file_exists(single)) return set;
  for (const auto& [name, tensor] : set->tensors) {
    if (tensor.file == files.single) return set;
  }
  return invalid("{}: does not list {}, which is there too; remove the one that is out of date",
                 file_name(index), files.single);
}

// The weights in a folder, or those that `path`, a file in it, is of.
absl::StatusOr<TensorFiles> open_weights(const fs::path& folder, const fs::path& path) {
  for (const WeightFiles& files : kWeightFiles) {
    if (!file_exists(folder / files.single) && !file_exists(folder / files.index)) continue;
    const fs::path extension = fs::path(files.single).extension();
    if (path != folder && path.extension() != extension) continue;
    return open_weights(folder, files);
  }
  return absl::NotFoundError(
      fmt::format("{}: neither model.safetensors, model.safetensors.index.json, a .gguf file nor "
                  "pytorch_model.bin is there",
                  one_line(folder.string(), 1000)));
}

absl::Status read_text_files(Checkpoint& checkpoint) {
  const fs::path& folder = checkpoint.path;
  absl::StatusOr<Json> config = read_json_object(folder / kConfigFile);
  if (absl::IsNotFound(config.status())) {
    return absl::NotFoundError(
        fmt::format("{}; a model folder needs it", std::string(config.status().message())));
  }
  if (!config.ok()) return config.status();
  checkpoint.config = *std::move(config);

  absl::StatusOr<Json> generation_config = read_json_object(folder / "generation_config.json");
  if (generation_config.ok()) {
    checkpoint.generation_config = *std::move(generation_config);
  } else if (!absl::IsNotFound(generation_config.status())) {
    return generation_config.status();
  }

  auto chat = runtime::read_chat_template(folder.string());
  if (!chat.ok()) return absl::InvalidArgumentError(chat.error().message);
  checkpoint.tokenizer_config_json = std::move(chat->tokenizer_config_json);
  checkpoint.chat_template = std::move(chat->chat_template);
  auto tokenizer = runtime::read_tokenizer(folder.string());
  if (!tokenizer.ok())
    return invalid("{}: {}", one_line(folder.string(), 1000), tokenizer.error().message);
  checkpoint.tokenizer_json = std::move(tokenizer->tokenizer_json);
  for (const std::string& note : tokenizer->notes)
    checkpoint.notes.push_back(fmt::format("{}: {}", one_line(folder.string(), 1000), note));
  return absl::OkStatus();
}

// Files the tensor as a dense matrix, or as unsupported with the reason.
absl::Status add_dense(const std::string& name, const StoredTensor& tensor,
                       Checkpoint& checkpoint) {
  const std::string key(module_of(name, ".weight").value_or(name));
  if (checkpoint.has(key) || checkpoint.unsupported.contains(key)) {
    return invalid("{}: tensors {} and {} have the same module name", tensor.file, in_quotes(key),
                   in_quotes(key + ".weight"));
  }
  ir::Matrix matrix;
  matrix.type.shape = tensor.shape;
  matrix.codes = tensor.bytes;
  if (const auto dtype = float_type(tensor.dtype)) {
    matrix.type.format.scale_type = *dtype;
  } else {
    checkpoint.unsupported[key] = stored_as(name, tensor) + "; supported are F16, BF16 and F32";
    return absl::OkStatus();
  }
  if (tensor.shape.empty() || tensor.shape.size() > 3 || tensor.bytes.empty()) {
    checkpoint.unsupported[key] =
        stored_as(name, tensor) + "; supported are one to three dimensions, none of them 0";
    return absl::OkStatus();
  }
  checkpoint.matrices[key] = std::move(matrix);
  if (key == name) checkpoint.plain_tensors.insert(key);
  return absl::OkStatus();
}

absl::Status add_matrices(const StoredTensors& tensors, Checkpoint& checkpoint) {
  const absl::StatusOr<QuantizationBlock> block = find_quantization(checkpoint.config, kConfigFile);
  if (!block.ok()) return block.status();
  const Json none = Json::object();
  QuantizedModules modules{.config = checkpoint.config,
                           .block = block->value == nullptr ? none : *block->value,
                           .block_name = block->name,
                           .file = kConfigFile,
                           .tensors = tensors,
                           .checkpoint = checkpoint};
  if (absl::Status status = read_quantized_modules(modules); !status.ok()) return status;
  for (const auto& [name, tensor] : tensors) {
    if (modules.taken.contains(name)) continue;
    if (name.ends_with("rotary_emb.inv_freq")) continue;  // a buffer that follows from config.json
    if (absl::Status status = add_dense(name, tensor, checkpoint); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

void Checkpoint::release(std::string_view name) const {
  const auto found = matrices.find(name);
  if (found == matrices.end()) return;
  for (const auto& file : storage) {
    for (const auto bytes : {found->second.codes, found->second.scales, found->second.biases}) {
      file->release(bytes);
    }
  }
}

absl::Status Checkpoint::check_unchanged() const {
  for (const auto& file : storage)
    if (absl::Status status = file->check_unchanged(); !status.ok()) return status;
  return absl::OkStatus();
}

absl::StatusOr<ir::Matrix> Checkpoint::matrix(std::string_view name) const {
  if (const auto found = matrices.find(name); found != matrices.end()) return found->second;
  if (const auto found = unsupported.find(name); found != unsupported.end()) {
    return absl::UnimplementedError(found->second);
  }
  std::vector<std::string_view> names;
  for (const auto& [other, matrix] : matrices) names.push_back(other);
  for (const auto& [other, reason] : unsupported) names.push_back(other);
  std::string hint;
  for (const std::string_view near : near_names(name, names)) {
    hint += (hint.empty() ? "; did you mean " : ", ") + in_quotes(near);
  }
  return absl::NotFoundError(fmt::format("{}: tensor {} is missing{}",
                                         one_line(path.string(), 1000), in_quotes(name), hint));
}

void Checkpoint::drop_padding(std::string_view name, int64_t rows) {
  const auto padding = padding_rows.find(name);
  const auto found = matrices.find(name);
  if (padding == padding_rows.end() || found == matrices.end()) return;
  int64_t& stored = found->second.type.shape.front();
  if (rows < stored && stored - rows <= padding->second) stored = rows;
}

absl::StatusOr<ir::WeightType> Checkpoint::type(std::string_view name) const {
  absl::StatusOr<ir::Matrix> stored = Checkpoint::matrix(name);
  if (!stored.ok()) return stored.status();
  return stored->type;
}

absl::Status Checkpoint::check_all_used(const std::set<std::string>& used) const {
  constexpr size_t kShown = 5;
  std::string shown;
  size_t count = 0;
  const auto look_at = [&](const std::string& name) {
    if (used.contains(name)) return;
    if (++count <= kShown) shown += (count == 1 ? "" : ", ") + in_quotes(name);
  };
  for (const auto& [name, matrix] : matrices) look_at(name);
  for (const auto& [name, reason] : unsupported) look_at(name);
  if (count == 0) return absl::OkStatus();
  return invalid("{}: {} {} not used by this architecture: {}{}; {} names another one",
                 one_line(path.string(), 1000), count, count == 1 ? "tensor is" : "tensors are",
                 shown, count > kShown ? ", ..." : "", config_file);
}

absl::StatusOr<fs::path> find_gguf(const fs::path& path) { return gguf_file(path); }

absl::StatusOr<std::unique_ptr<Checkpoint>> open_checkpoint(const fs::path& path) {
  absl::StatusOr<fs::path> gguf = gguf_file(path);
  if (!gguf.ok()) return gguf.status();
  if (!gguf->empty()) return open_gguf_checkpoint(*gguf);
  absl::StatusOr<fs::path> folder = model_folder(path);
  if (!folder.ok()) return folder.status();
  auto checkpoint = std::make_unique<Checkpoint>();
  checkpoint->path = *std::move(folder);
  if (absl::Status status = read_text_files(*checkpoint); !status.ok()) return status;

  absl::StatusOr<TensorFiles> weights = open_weights(checkpoint->path, path);
  if (!weights.ok()) return weights.status();
  if (checkpoint->path != path) {
    bool belongs = false;
    for (const auto& [name, tensor] : weights->tensors) belongs |= tensor.file == file_name(path);
    if (!belongs) {
      return invalid("{}: is not part of the model in its folder; give the folder instead",
                     one_line(path.string(), 1000));
    }
  }
  if (absl::Status status = add_matrices(weights->tensors, *checkpoint); !status.ok()) {
    return status;
  }
  for (auto& file : weights->files) {
    // Codes and scales were looked at, which brought their pages in.
    file->release(file->bytes());
    checkpoint->storage.push_back(std::move(file));
  }
  return checkpoint;
}

}  // namespace sinter::frontends
