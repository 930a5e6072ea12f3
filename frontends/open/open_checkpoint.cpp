#include "frontends/open/open_checkpoint.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "frontends/error_text.h"
#include "frontends/gguf/checkpoint.h"
#include "frontends/gguf/gguf.h"
#include "frontends/gguf/tokenizer.h"
#include "frontends/json_file.h"
#include "frontends/mapped_file.h"
#include "frontends/near_names.h"
#include "frontends/open/weight_files.h"
#include "frontends/quantized/mlx.h"
#include "frontends/quantized/modules.h"
#include "frontends/safetensors/safetensors.h"
#include "runtime/support/folder.h"

namespace sinter::frontends {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kConfigFile = "config.json";
constexpr std::string_view kGenerationFile = "generation_config.json";

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
  const std::string extension = absl::AsciiStrToLower(path.extension().string());
  if (extension == ".safetensors" || extension == ".bin") {
    return path.has_parent_path() ? path.parent_path() : fs::path(".");
  }
  if (auto file = MappedFile::open(path); !file.ok()) return file.status();
  return invalid("{}: expected a model folder, a .safetensors or .bin file in one or a GGUF file",
                 shown);
}

bool has_gguf_name(const fs::path& path) {
  return absl::AsciiStrToLower(path.extension().string()) == ".gguf";
}

absl::Status read_text_files(Checkpoint& checkpoint) {
  const fs::path& folder = checkpoint.path;
  absl::StatusOr<Json> config =
      read_json_object(folder / kConfigFile, &checkpoint.notes, &checkpoint.sources);
  if (absl::IsNotFound(config.status())) {
    return absl::NotFoundError(
        fmt::format("{}; a model folder needs it", std::string(config.status().message())));
  }
  if (!config.ok()) return config.status();
  checkpoint.config = *std::move(config);

  absl::StatusOr<Json> generation_config =
      read_json_object(folder / kGenerationFile, &checkpoint.notes, &checkpoint.sources);
  if (generation_config.ok()) {
    checkpoint.generation_config = *std::move(generation_config);
  } else if (!absl::IsNotFound(generation_config.status())) {
    return generation_config.status();
  }

  auto chat = runtime::read_chat_template(folder.string(), &checkpoint.sources);
  if (!chat.ok()) return absl::InvalidArgumentError(chat.error().message);
  checkpoint.tokenizer_config_json = std::move(chat->tokenizer_config_json);
  checkpoint.chat_template = std::move(chat->chat_template);
  auto tokenizer = runtime::read_tokenizer(folder.string(), &checkpoint.sources);
  if (!tokenizer.ok()) {
    checkpoint.notes.push_back(fmt::format("{}: {}; the model can be used with token ids only",
                                           one_line(folder.string(), 1000),
                                           tokenizer.error().message));
    return absl::OkStatus();
  }
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
  // One number, and what has more dimensions only to be broadcast.
  if (tensor.shape.empty()) matrix.type.shape = {1};
  if (tensor.shape.size() > 3) std::erase(matrix.type.shape, 1);
  matrix.codes = tensor.bytes;
  if (const auto dtype = float_type(tensor.dtype)) {
    matrix.type.format.scale_type = *dtype;
  } else {
    checkpoint.unsupported[key] = stored_as(name, tensor) + "; supported are F16, BF16 and F32";
    return absl::OkStatus();
  }
  if (matrix.type.shape.empty() || matrix.type.shape.size() > 3 || tensor.bytes.empty()) {
    checkpoint.unsupported[key] =
        stored_as(name, tensor) + "; supported are one to three dimensions, none of them 0";
    return absl::OkStatus();
  }
  checkpoint.matrices[key] = std::move(matrix);
  if (key == name) checkpoint.plain_tensors.insert(key);
  return absl::OkStatus();
}

// Tensors that follow from config.json.
constexpr std::array<std::string_view, 4> kBuffers = {
    "rotary_emb.inv_freq", "rotary_emb.original_inv_freq", "rotary_emb.cos_cached",
    "rotary_emb.sin_cached"};

// Scales of a KV cache in 8 bits. This one is of 16-bit floats and needs none.
constexpr std::array<std::string_view, 10> kCacheScales = {
    ".self_attn.k_scale",      ".self_attn.v_scale",
    ".self_attn.q_scale",      ".self_attn.kv_scale",
    ".self_attn.prob_scale",   ".self_attn.k_zero_point",
    ".self_attn.v_zero_point", ".self_attn.q_proj.output_scale",
    ".k_proj.output_scale",    ".v_proj.output_scale"};

template <size_t n>
bool ends_with_any(std::string_view name, const std::array<std::string_view, n>& suffixes) {
  return std::any_of(suffixes.begin(), suffixes.end(),
                     [&](std::string_view suffix) { return name.ends_with(suffix); });
}

// A quantization block and the file that holds it.
struct FoundBlock {
  Json value = Json::object();
  std::string name;  // of the field; empty: the whole file
  std::string file{kConfigFile};
};

// Files of their own that GPTQ's and AWQ's tools wrote before config.json had a block.
constexpr std::array<const char*, 2> kBlockFiles = {"quantize_config.json", "quant_config.json"};

absl::StatusOr<FoundBlock> find_block(const StoredTensors& tensors, Checkpoint& checkpoint) {
  FoundBlock found;
  const absl::StatusOr<QuantizationBlock> block =
      find_quantization(checkpoint.config, kConfigFile, &tensors, &checkpoint.notes);
  if (!block.ok()) return block.status();
  if (block->value != nullptr) {
    found.value = *block->value;
    found.name = block->name;
    return found;
  }
  const auto words = std::find_if(tensors.begin(), tensors.end(), [](const auto& tensor) {
    return tensor.first.ends_with(".qweight");
  });
  if (words == tensors.end()) return found;
  for (const char* file : kBlockFiles) {
    absl::StatusOr<Json> value =
        read_json_object(checkpoint.path / file, nullptr, &checkpoint.sources);
    if (absl::IsNotFound(value.status())) continue;
    if (!value.ok()) return value.status();
    auto method = method_of(*value, file);
    if (!method.ok()) return method.status();
    // GPTQ alone has an index of groups.
    const std::string index = words->first.substr(0, words->first.size() - 7) + "g_idx";
    if (method->empty()) *method = tensors.contains(index) ? "gptq" : "awq";
    found = {*std::move(value), "", file};
    found.value["quant_method"] = *method;
    return found;
  }
  return invalid(
      "{}, but {} has no \"quantization_config\", and neither {} is there; one of them must say "
      "how "
      "many bits and columns per group it has",
      stored_as(words->first, words->second), kConfigFile, fmt::join(kBlockFiles, " nor "));
}

absl::Status add_matrices(const StoredTensors& tensors, Checkpoint& checkpoint) {
  const absl::StatusOr<FoundBlock> block = find_block(tensors, checkpoint);
  if (!block.ok()) return block.status();
  QuantizedModules modules{.config = checkpoint.config,
                           .block = block->value,
                           .block_name = block->name,
                           .file = block->file,
                           .tensors = tensors,
                           .checkpoint = checkpoint};
  if (absl::Status status = read_quantized_modules(modules); !status.ok()) return status;
  bool has_cache_scales = false;
  for (const auto& [name, tensor] : tensors) {
    if (modules.taken.contains(name) || ends_with_any(name, kBuffers)) continue;
    if (ends_with_any(name, kCacheScales)) {
      has_cache_scales = true;
      continue;
    }
    if (absl::Status status = add_dense(name, tensor, checkpoint); !status.ok()) return status;
  }
  if (has_cache_scales) {
    checkpoint.notes.push_back(
        fmt::format("{}: scales of a KV cache in 8 bits are not used; the cache has 16-bit floats",
                    one_line(checkpoint.path.string(), 1000)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<fs::path> find_gguf(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    return has_gguf_name(path) || begins_as_gguf(path) ? path : fs::path();
  }
  if (has_safetensors(path)) return fs::path();
  std::vector<fs::path> found;
  for (const std::string& name : runtime::names_in_folder(path.string())) {
    // The first part of a split file stands for the others; projectors of images and importance
    // matrices are no models.
    const bool other_part =
        name.find("-of-") != std::string::npos && name.find("-00001-of-") == std::string::npos;
    const bool no_model =
        name.find("mmproj") != std::string::npos || name.find("imatrix") != std::string::npos;
    if (other_part || no_model) continue;
    const fs::path file = path / name;
    if (has_gguf_name(file) || begins_as_gguf(file)) found.push_back(file);
  }
  if (found.size() < 2) return found.empty() ? fs::path() : found[0];
  return invalid("{}: holds {} GGUF files; name one of them, such as {}",
                 one_line(path.string(), 1000), found.size(), file_name(found[0]));
}

// config.json's list of modules says the same as the contract: {"path": below the namespace of the
// text model, "block": 0 where nothing is rotated, "embedding"}.
static absl::Status check_modules(const Json& config, const std::string& file,
                                  const Rotation& rotation) {
  constexpr const char* kField = "modules";
  const Json* modules = find_field(config, kField);
  if (modules == nullptr) return absl::OkStatus();
  if (!modules->is_array())
    return invalid("{}: \"{}\" is {}, expected a list", kConfigFile, kField, describe(*modules));
  // By the ends of names: what is before them is the namespace.
  std::map<std::string_view, bool, std::less<>> rotated;  // whether it is a table
  for (const std::string& key : rotation.matrices) rotated.emplace(key, false);
  for (const std::string& key : rotation.tables) rotated.emplace(key, true);
  std::set<std::string_view> listed;
  for (size_t i = 0; i < modules->size(); ++i) {
    const Json& module = (*modules)[i];
    const std::string where = fmt::format("{}: \"{}.{}\"", kConfigFile, kField, i);
    const Json* path = module.is_object() ? find_field(module, "path") : nullptr;
    const Json* block = module.is_object() ? find_field(module, "block") : nullptr;
    if (path == nullptr || !path->is_string() || block == nullptr || !block->is_number_unsigned())
      return invalid(
          "{} is {}, expected an object with \"path\", a text, and \"block\", an integer", where,
          describe(module));
    const auto& name = path->get_ref<const std::string&>();
    const auto found = std::ranges::find_if(rotated, [&](const auto& entry) {
      const std::string_view key = entry.first;
      return key == name || (key.ends_with(name) && key[key.size() - name.size() - 1] == '.');
    });
    const int64_t expected = found == rotated.end() ? 0 : rotation.block;
    if (*block != expected)
      return invalid("{} has blocks of {} columns for {}, but {} has {}", where, describe(*block),
                     in_quotes(name), file,
                     expected == 0 ? "none" : fmt::format("blocks of {}", expected));
    if (found == rotated.end()) continue;
    const Json* table = find_field(module, "embedding");
    if (table != nullptr && *table != found->second)
      return invalid("{} is {} for {}, but {} lists it as a matrix that is {}", where,
                     *table == true ? "an embedding" : "no embedding", in_quotes(name), file,
                     found->second ? "looked up" : "multiplied");
    listed.insert(found->first);
  }
  for (const auto& [key, is_table] : rotated)
    if (!listed.contains(key))
      return invalid("{}: \"{}\" does not list {}, which {} says is rotated", kConfigFile, kField,
                     in_quotes(key), file);
  return absl::OkStatus();
}

// Rotated matrices: config.json names the file with the contract, and every module that it lists
// has its signs beside it.
static absl::Status read_rotation_file(Checkpoint& checkpoint) {
  constexpr const char* kField = "hadamard_config";
  const Json* name = find_field(checkpoint.config, kField);
  if (name == nullptr) return absl::OkStatus();
  if (!name->is_string() || name->get<std::string>().find('/') != std::string::npos)
    return invalid("{}: \"{}\" is {}, expected the name of a file beside it", kConfigFile, kField,
                   describe(*name));
  const auto file = name->get<std::string>();
  const auto contract =
      read_json_object(checkpoint.path / file, &checkpoint.notes, &checkpoint.sources);
  if (!contract.ok()) return contract.status();
  auto rotation = read_rotation(*contract, file, [&](std::string_view tensor) {
    const std::string key(module_of(tensor, ".weight").value_or(tensor));
    return checkpoint.has(key) ? key : std::string();
  });
  if (!rotation.ok()) return rotation.status();
  for (const auto* keys : {&rotation->matrices, &rotation->tables}) {
    for (const std::string& key : *keys) {
      const auto stored = checkpoint.matrix(key + ".signs");
      if (!stored.ok()) return stored.status();
      std::vector<float> signs(static_cast<size_t>(stored->type.elements()));
      if (stored->type.shape.size() == 1 && stored->type.format.is_dense())
        ir::decode_row(*stored, 0, signs.data());
      const auto known = rotation->signs.find(static_cast<int64_t>(signs.size()));
      if (known == rotation->signs.end() || known->second != signs)
        return invalid("{}: the signs of {} are not those that {} has for {} features",
                       one_line(checkpoint.path.string(), 1000), in_quotes(key), file,
                       signs.size());
    }
  }
  if (absl::Status status = check_modules(checkpoint.config, file, *rotation); !status.ok())
    return status;
  checkpoint.rotation = *std::move(rotation);
  return absl::OkStatus();
}

// The tensors of a head in a file of its own, as "mtp.".
static absl::StatusOr<TensorFiles> open_head(const fs::path& file) {
  constexpr std::string_view kPrefix = "mtp.";
  auto opened = open_safetensors(file);
  if (!opened.ok()) return opened.status();
  StoredTensors named;
  for (const auto& [name, tensor] : opened->tensors) {
    const size_t at = name.starts_with(kPrefix) ? 0 : name.find(fmt::format(".{}", kPrefix));
    if (at != std::string::npos) named.emplace(name.substr(at == 0 ? 0 : at + 1), tensor);
  }
  if (named.empty())
    for (const auto& [name, tensor] : opened->tensors)
      named.emplace(fmt::format("{}{}", kPrefix, name), tensor);
  opened->tensors = std::move(named);
  return opened;
}

// Adds them to a checkpoint whose own matrices are read; they are dense.
static absl::Status add_head(const fs::path& file, Checkpoint& checkpoint) {
  auto head = open_head(file);
  if (!head.ok()) return head.status();
  for (const auto& [name, tensor] : head->tensors)
    if (absl::Status status = add_dense(name, tensor, checkpoint); !status.ok()) return status;
  for (auto& mapped : head->files) checkpoint.keep(std::move(mapped));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Checkpoint>> open_checkpoint(const fs::path& path,
                                                            const fs::path& head) {
  absl::StatusOr<fs::path> gguf = find_gguf(path);
  if (!gguf.ok()) return gguf.status();
  if (!gguf->empty()) {
    auto checkpoint = open_gguf_checkpoint(*gguf);
    if (!checkpoint.ok() || head.empty()) return checkpoint;
    if (absl::Status status = add_head(head, **checkpoint); !status.ok()) return status;
    return checkpoint;
  }
  absl::StatusOr<fs::path> folder = model_folder(path);
  if (!folder.ok()) return folder.status();
  auto checkpoint = std::make_unique<Checkpoint>();
  checkpoint->path = *std::move(folder);
  if (absl::Status status = read_text_files(*checkpoint); !status.ok()) return status;

  absl::StatusOr<WeightFiles> weights =
      open_weight_files(checkpoint->path, path, &checkpoint->sources);
  if (!weights.ok()) return weights.status();
  checkpoint->absent = std::move(weights->absent);
  for (std::string& note : weights->notes) checkpoint->notes.push_back(std::move(note));
  if (!head.empty()) {
    auto added = open_head(head);
    if (!added.ok()) return added.status();
    for (auto& [name, tensor] : added->tensors)
      if (const auto [known, inserted] = weights->files.tensors.emplace(name, tensor); !inserted)
        return invalid("{}: tensor {} is in {} already", file_name(head), in_quotes(name),
                       known->second.file);
    for (auto& file : added->files) weights->files.files.push_back(std::move(file));
  }
  absl::Status status = add_matrices(weights->files.tensors, *checkpoint);
  if (!status.ok()) return status;
  if (status = read_rotation_file(*checkpoint); !status.ok()) return status;
  for (auto& file : weights->files.files) {
    // Codes and scales were looked at, which brought their pages in.
    file->release(file->bytes());
    checkpoint->keep(std::move(file));
  }
  return checkpoint;
}

absl::StatusOr<runtime::TokenizerFiles> open_gguf_tokenizer(const std::filesystem::path& path) {
  const auto file = find_gguf(path);
  if (!file.ok()) return file.status();
  if (file->empty()) return runtime::TokenizerFiles();
  const auto gguf = open_gguf_metadata(*file);
  if (!gguf.ok()) return gguf.status();
  return gguf_tokenizer(*gguf);
}

}  // namespace sinter::frontends
