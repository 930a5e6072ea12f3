#include "frontends/gguf/checkpoint.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "frontends/error_text.h"
#include "frontends/gguf/architectures.h"
#include "frontends/gguf/config.h"
#include "frontends/gguf/gguf.h"
#include "frontends/gguf/tokenizer.h"
#include "frontends/json_file.h"

namespace sinter::frontends {
namespace {

constexpr std::array<GgufTensorName, 6> kDraftingTensors = {{
    {"nextn.eh_proj", "fc"},
    {"nextn.enorm", "pre_fc_norm_embedding"},
    {"nextn.hnorm", "pre_fc_norm_hidden"},
    {"nextn.shared_head_norm", "norm"},
    {"nextn.shared_head_head", "lm_head"},
    {"nextn.embed_tokens", "embed_tokens"},
}};

constexpr std::string_view kScaleSuffix = ".scale";

// What generation_config.json would say. Whether the ids are tokens is for the model to judge.
void read_generation_config(const Gguf& gguf, Checkpoint& checkpoint) {
  Json config = Json::object();
  Json ends = Json::array();
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    const Json* id = find_field(gguf.metadata, key);
    if (id == nullptr || std::find(ends.begin(), ends.end(), *id) != ends.end()) continue;
    checkpoint.generation_names[fmt::format("eos_token_id.{}", ends.size())] = key;
    ends.push_back(*id);
  }
  if (!ends.empty()) config["eos_token_id"] = std::move(ends);
  constexpr const char* kBos = "tokenizer.ggml.bos_token_id";
  if (const Json* id = find_field(gguf.metadata, kBos); id != nullptr) {
    checkpoint.generation_names["bos_token_id"] = kBos;
    config["bos_token_id"] = *id;
  }
  checkpoint.generation_config = std::move(config);
}

std::string supported_types() {
  std::vector<std::string_view> names;
  for (const GgmlType& type : ggml_types())
    if (type.has_format) names.push_back(type.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

// Layers behind those of the model draft tokens: their tensors are "mtp." as in Hugging Face's
// files of hybrids, or those of layers like others.
std::string drafting_name(std::string name, const Json& config) {
  constexpr std::string_view kLayers = "model.layers.";
  const bool is_inner = name.starts_with("blk.");
  if (!name.starts_with(kLayers) && !is_inner) return name;
  const size_t begin = is_inner ? 4 : kLayers.size();
  const size_t dot = name.find('.', begin);
  const auto layers = config["num_hidden_layers"].get<int64_t>();
  int64_t layer = 0;
  if (dot == std::string::npos || !absl::SimpleAtoi(name.substr(begin, dot - begin), &layer) ||
      layer < layers)
    return name;
  const std::string inner = name.substr(dot + 1);
  if (!config.contains("mtp_num_hidden_layers"))
    return fmt::format("{}{}.{}", kLayers, layer, inner);
  for (const GgufTensorName& tensor : kDraftingTensors)
    if (inner == fmt::format("{}.weight", tensor.gguf)) return fmt::format("mtp.{}", tensor.name);
  return fmt::format("mtp.layers.{}.{}", layer - layers, inner);
}

// Where rows of value heads that go round are when they lie grouped by key head.
ir::RowPlaces grouped_heads(const Json& config, std::string_view key) {
  const auto keys = config["linear_num_key_heads"].get<int64_t>();
  const auto values = config["linear_num_value_heads"].get<int64_t>();
  const auto key_dim = config["linear_key_head_dim"].get<int64_t>();
  const auto value_dim = config["linear_value_head_dim"].get<int64_t>();
  ir::RowPlaces places{.outer = keys, .inner = values / keys};
  const auto is = [&](std::string_view name) { return key.ends_with(name); };
  if (is(".in_proj_qkv") || is(".conv1d")) {
    places.kept = 2 * keys * key_dim;
    places.unit = value_dim;
  } else if (is(".in_proj_z")) {
    places.unit = value_dim;
  } else if (!is(".in_proj_a") && !is(".in_proj_b") && !is("linear_attn.A") && !is(".dt.bias")) {
    return {};
  }
  return places;
}

// Files the tensor as a matrix, or as unsupported with the reason.
absl::Status add_tensor(const std::string& name, const GgufTensor& tensor, int64_t head_dim,
                        const GgufArchitecture& architecture, Checkpoint& checkpoint) {
  const GgmlType& type = *tensor.type;
  const std::string key = drafting_name(hugging_face_name(architecture, name), checkpoint.config);
  const std::string what = fmt::format("{}: tensor {} is {} {}", tensor.file, in_quotes(name),
                                       type.name, shape_text(tensor.shape));
  if (checkpoint.has(key) || checkpoint.unsupported.contains(key)) {
    return invalid("{}: tensors {} and {} belong to the same module", tensor.file, in_quotes(name),
                   in_quotes(key));
  }
  if (!type.has_format) {
    checkpoint.unsupported[key] =
        fmt::format("{} ({} bytes for {} elements); supported are {}", what, type.block_bytes,
                    type.block_elements, supported_types());
    return absl::OkStatus();
  }
  const bool packed = !type.format.is_dense();
  if (tensor.shape.size() > 3 || (packed && tensor.shape.size() < 2)) {
    checkpoint.unsupported[key] =
        fmt::format("{}; supported are {} to three dimensions", what, packed ? "two" : "one");
    return absl::OkStatus();
  }
  if (type.scales_are_finite != nullptr) {
    const size_t blocks = tensor.bytes.size() / type.block_bytes;
    for (size_t i = 0; i < blocks; ++i) {
      if (type.scales_are_finite(tensor.bytes.data() + i * type.block_bytes)) continue;
      return invalid("{}, and a scale of its block {} is infinite or NaN; the file is damaged",
                     what, with_commas(i));
    }
  }
  ir::Matrix matrix;
  matrix.type.shape = tensor.shape;
  // A row of its own, which some write as a vector.
  if (key.ends_with(".shared_expert_gate") && tensor.shape.size() == 1)
    matrix.type.shape = {1, tensor.shape[0]};
  // Vectors that some write as tables of groups or of single numbers.
  if (architecture.state_space && !packed &&
      (key.ends_with(".A") || key.ends_with(".D") || key.ends_with("mamba.norm")))
    matrix.type.shape = {matrix.type.elements()};
  matrix.type.format = type.format;
  // Kernels read codes in base 3 by 256 columns.
  if (type.format.base3 && tensor.shape.back() % 256 != 0) matrix.type.format.base3 = false;
  matrix.codes = tensor.bytes;
  if (packed) {
    matrix.blocks = &type.blocks;
    matrix.order = type.order;
  }
  const bool rotated = key.find(".self_attn.q_proj") != std::string::npos ||
                       key.find(".self_attn.k_proj") != std::string::npos;
  if (architecture.interleaved_heads && rotated) {
    if (tensor.shape.front() % head_dim != 0) {
      return invalid(
          "{}; expected a number of rows that is a multiple of the {} dimensions of a head", what,
          head_dim);
    }
    matrix.places = ir::RowPlaces::interleaved(head_dim);
  }
  if (checkpoint.rotation.grouped_heads && architecture.hybrid == GgufArchitecture::Hybrid::tiled)
    matrix.places = grouped_heads(checkpoint.config, key);
  if (!name.ends_with(".weight")) checkpoint.plain_tensors.insert(key);
  checkpoint.stored_names[key] = name;
  checkpoint.matrices[key] = std::move(matrix);
  return absl::OkStatus();
}

// GGUF leaves biases out one by one, a configuration has them for all projections of a kind: those
// that are not there are zeros.
template <size_t n>
void fill_biases(const GgufArchitecture& architecture,
                 const std::array<std::string_view, n>& projections, Checkpoint& checkpoint) {
  const auto layers = checkpoint.config["num_hidden_layers"].get<int64_t>();
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (const std::string_view projection : projections) {
      const std::string module =
          hugging_face_name(architecture, fmt::format("blk.{}.{}.weight", layer, projection));
      const auto weight = checkpoint.matrices.find(module);
      if (weight == checkpoint.matrices.end()) break;  // the importer will say so
      const std::string bias = module + ".bias";
      if (checkpoint.has(bias) || checkpoint.unsupported.contains(bias)) continue;
      ir::Matrix zeros;
      zeros.type.shape = {weight->second.type.rows()};
      zeros.codes = checkpoint.keep(std::vector<uint8_t>(
          static_cast<size_t>(zeros.type.cols() * ir::byte_size(zeros.type.format.scale_type))));
      checkpoint.matrices[bias] = zeros;
      checkpoint.plain_tensors.insert(bias);
    }
  }
}

// Tensors that models here compute without: activations are not in 4 bits, angles follow from the
// configuration.
bool is_unneeded(std::string_view name) {
  return name.ends_with(".input_scale") || name.ends_with(".attn_rot_embd.weight");
}

// NVFP4 has one more scale for the whole matrix, "<module>.scale".
absl::Status apply_scale(const std::string& name, const GgufTensor& tensor,
                         const GgufArchitecture& architecture, Checkpoint& checkpoint) {
  const std::string weight = name.substr(0, name.size() - kScaleSuffix.size()) + ".weight";
  const auto matrix = checkpoint.matrices.find(hugging_face_name(architecture, weight));
  const std::string what = fmt::format("{}: tensor {} is {} {}", tensor.file, in_quotes(name),
                                       tensor.type->name, shape_text(tensor.shape));
  if (matrix == checkpoint.matrices.end())
    return invalid("{}, but tensor {} is missing", what, in_quotes(weight));
  if (tensor.type->name != "F32" || tensor.bytes.size() != sizeof(float))
    return invalid("{}, expected F32 [1]", what);
  const float scale = ir::read_element(ir::DType::f32, tensor.bytes.data(), 0);
  if (!std::isfinite(scale) || scale == 0)
    return invalid("{}: tensor {} is {}; a scale must be finite and not 0", tensor.file,
                   in_quotes(name), scale);
  if (scale == 1) return absl::OkStatus();
  ir::WeightFormat& format = matrix->second.type.format;
  if (format.is_dense()) {
    return invalid("{}, but {} is {}; a scale of the whole matrix is supported for packed types",
                   what, in_quotes(weight), ir::to_string(format));
  }
  format.tensor_scale = true;
  matrix->second.tensor_scale = scale;
  return absl::OkStatus();
}

// The contract of rotated matrices, where the file has one.
absl::Status read_rotation_keys(const Gguf& gguf, const GgufArchitecture& architecture,
                                Checkpoint& checkpoint) {
  Json contract = Json::object();
  for (const auto& field : gguf.metadata.items()) {
    if (!field.key().starts_with(kRotationKeys)) continue;
    contract[field.key()] = field.value();
    // Long lists are not among the values.
    const auto array = gguf.arrays.find(field.key());
    if (array == gguf.arrays.end()) continue;
    Json list = Json::array();
    if (array->second.is_text()) {
      for (const std::string_view text : array->second.texts()) list.push_back(text);
    } else if (array->second.is_number()) {
      for (uint64_t i = 0; i < array->second.count; ++i) list.push_back(array->second.number(i));
    }
    if (array->second.is_integer())
      for (Json& number : list)
        if (std::abs(number.get<double>()) < 0x1p53)
          number = static_cast<int64_t>(number.get<double>());
    contract[field.key()] = std::move(list);
  }
  if (contract.empty()) return absl::OkStatus();
  auto rotation = read_rotation(contract, gguf.file, [&](std::string_view tensor) {
    return gguf.tensors.contains(tensor) ? hugging_face_name(architecture, tensor) : std::string();
  });
  if (!rotation.ok()) return rotation.status();
  checkpoint.rotation = *std::move(rotation);
  if (architecture.hybrid == GgufArchitecture::Hybrid::no) return absl::OkStatus();
  if (!checkpoint.rotation.grouped_heads)
    return invalid("{}: \"{}gdn_v_grouped\" is false or missing; supported is true", gguf.file,
                   kRotationKeys);
  // What goes into delta nets is brought into the order of what comes out.
  checkpoint.config["linear_heads_tiled"] = false;
  return absl::OkStatus();
}

absl::StatusOr<const GgufArchitecture*> find_architecture(const Gguf& gguf) {
  const auto name = get_string(gguf.metadata, "general.architecture", gguf.file);
  if (!name.ok()) return name.status();
  std::vector<std::string_view> names;
  for (const GgufArchitecture& architecture : gguf_architectures()) {
    if (architecture.name == *name) return &architecture;
    names.push_back(architecture.name);
  }
  if (const std::string_view what = not_a_text_model(*name); !what.empty())
    return invalid("{}: \"general.architecture\" is {}: {}", gguf.file, in_quotes(*name), what);
  return invalid("{}: \"general.architecture\" is {}, which is not supported; known: {}", gguf.file,
                 in_quotes(*name), fmt::join(names, ", "));
}

// Keys outside the architecture's own that change what the model computes.
absl::Status check_manifest(const Gguf& gguf) {
  const auto type = get_string_or(gguf.metadata, "general.type", gguf.file, "model");
  if (!type.ok()) return type.status();
  if (*type != "model")
    return invalid("{}: \"general.type\" is {}, expected \"model\"", gguf.file, in_quotes(*type));
  for (const auto& field : gguf.metadata.items()) {
    for (const std::string_view prefix : {"prism.", "adapter."}) {
      if (field.key().starts_with(kRotationKeys)) continue;
      if (field.key().starts_with(prefix)) {
        return invalid("{}: the key {} asks for a transform of activations that is not supported",
                       gguf.file, in_quotes(field.key()));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> open_gguf_checkpoint(
    const std::filesystem::path& path) {
  absl::StatusOr<Gguf> gguf = open_gguf(path);
  if (!gguf.ok()) return gguf.status();
  const auto architecture = find_architecture(*gguf);
  if (!architecture.ok()) return architecture.status();
  if (absl::Status status = check_manifest(*gguf); !status.ok()) return status;

  auto checkpoint = std::make_unique<Checkpoint>();
  checkpoint->path = path;
  checkpoint->config_file = gguf->file;
  checkpoint->generation_file = gguf->file;
  checkpoint->stored_name = [known = *architecture](std::string_view name) {
    return gguf_name(*known, name);
  };
  auto config = read_gguf_config(*gguf, **architecture);
  if (!config.ok()) return config.status();
  checkpoint->config = std::move(config->fields);
  checkpoint->config_names = std::move(config->names);
  checkpoint->notes = std::move(config->notes);
  if (absl::Status status = read_rotation_keys(*gguf, **architecture, *checkpoint); !status.ok())
    return status;
  read_generation_config(*gguf, *checkpoint);
  auto tokenizer = gguf_tokenizer(*gguf);
  if (!tokenizer.ok()) return tokenizer.status();
  checkpoint->tokenizer_json = std::move(tokenizer->tokenizer_json);
  checkpoint->tokenizer_config_json = std::move(tokenizer->tokenizer_config_json);
  checkpoint->chat_template = std::move(tokenizer->chat_template);
  for (const std::string& note : tokenizer->notes)
    checkpoint->notes.push_back(fmt::format("{}: {}", gguf->file, note));

  for (auto& file : gguf->files) checkpoint->keep(std::move(file));
  const auto head_dim = checkpoint->config["head_dim"].get<int64_t>();
  for (const auto& [name, tensor] : gguf->tensors) {
    // Factors are in the configuration.
    if (name == kRopeFactors || is_unneeded(name) || name.ends_with(kScaleSuffix)) continue;
    absl::Status status = add_tensor(name, tensor, head_dim, **architecture, *checkpoint);
    if (!status.ok()) return status;
    // The scales were looked at, which brought every page of the tensor in.
    for (const auto& file : checkpoint->storage) file->release(tensor.bytes);
  }
  for (const auto& [name, tensor] : gguf->tensors) {
    if (!name.ends_with(kScaleSuffix)) continue;
    absl::Status status = apply_scale(name, tensor, **architecture, *checkpoint);
    if (!status.ok()) return status;
  }
  if (checkpoint->config["attention_bias"] == true)
    fill_biases(**architecture, kAttention, *checkpoint);
  if (checkpoint->config["mlp_bias"] == true) fill_biases(**architecture, kMlp, *checkpoint);
  return checkpoint;
}

}  // namespace sinter::frontends
