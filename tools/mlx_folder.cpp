#include "tools/mlx_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "frontends/json_file.h"
#include "frontends/quantize/mlx_form.h"
#include "frontends/rounding/quantizers.h"
#include "runtime/support/json_text.h"
#include "runtime/support/source_files.h"
#include "runtime/text/chat_template.h"
#include "runtime/text/tokenizer/import.h"
#include "tools/files.h"
#include "tools/model_input.h"
#include "tools/output_folder.h"
#include "tools/safetensors_writer.h"

namespace sinter::tools {

using frontends::Checkpoint;
using runtime::Done;
using runtime::Error;
using runtime::Result;
using runtime::Status;
namespace fs = std::filesystem;

namespace {

// Files beside the weights that belong to a model, whichever of them there are.
constexpr std::array<std::string_view, 15> kTextFiles = {"generation_config.json",
                                                         "tokenizer.json",
                                                         "tokenizer_config.json",
                                                         "special_tokens_map.json",
                                                         "added_tokens.json",
                                                         "vocab.json",
                                                         "merges.txt",
                                                         "vocab.txt",
                                                         "tokenizer.model",
                                                         "spiece.model",
                                                         "sentencepiece.bpe.model",
                                                         "tiktoken.model",
                                                         "tekken.json",
                                                         "chat_template.jinja",
                                                         "chat_template.json"};

// A matrix and what becomes of it.
struct Module {
  std::string key;
  const ir::Matrix* matrix = nullptr;
  const frontends::QuantizeTo* to = nullptr;  // null: as it is
  std::optional<ir::WeightFormat> packed;     // of the result; nullopt: dense
};

Result<std::vector<Module>> modules_of(const MlxFolderRequest& request) {
  std::vector<Module> modules;
  for (const auto& [name, reason] : request.checkpoint->unsupported)
    return Error{fmt::format("{}; it cannot be written", reason)};
  for (const auto& [name, matrix] : request.checkpoint->matrices) {
    Module module;
    module.key = name;
    module.matrix = &matrix;
    if (const auto to = request.choice->matrices.find(name); to != request.choice->matrices.end()) {
      module.to = &to->second;
      module.packed = to->second.format;
    } else if (!matrix.type.format.is_dense()) {
      module.packed = frontends::mlx_format(matrix);
      if (!module.packed)
        return Error{fmt::format("{}: \"{}\" is {}, which MLX's format cannot hold; {}",
                                 request.checkpoint->path.string(), name,
                                 ir::to_string(matrix.type), frontends::quantize_again(name))};
    }
    modules.push_back(std::move(module));
  }
  // Packed matrices are multiples of four bytes; before dense ones, and those by the size of their
  // elements, everything lies at a multiple of its own size.
  const auto rank = [](const Module& module) {
    return module.packed ? 0 : 8 - ir::byte_size(module.matrix->type.format.scale_type);
  };
  std::sort(modules.begin(), modules.end(), [&](const Module& a, const Module& b) {
    return std::pair(rank(a), std::string_view(a.key)) <
           std::pair(rank(b), std::string_view(b.key));
  });
  return modules;
}

std::vector<TensorInfo> tensors_of(const Checkpoint& checkpoint,
                                   const std::vector<Module>& modules) {
  std::vector<TensorInfo> tensors;
  for (const Module& module : modules) {
    const ir::WeightType& type = module.matrix->type;
    if (!module.packed) {
      const ir::DType dtype = type.format.scale_type;
      tensors.push_back({frontends::tensor_name(checkpoint, module.key),
                         frontends::safetensors_dtype(dtype), type.shape,
                         static_cast<uint64_t>(type.elements() * ir::byte_size(dtype))});
      continue;
    }
    std::vector<int64_t> words = type.shape;
    words.back() = type.cols() * module.packed->bits / 32;
    std::vector<int64_t> groups = type.shape;
    groups.back() = type.cols() / module.packed->group;
    tensors.push_back({module.key + ".weight", "U32", words,
                       static_cast<uint64_t>(type.rows() * words.back() * 4)});
    for (const char* part : {".scales", ".biases"}) {
      if (part == std::string_view(".biases") && !module.packed->has_biases()) continue;
      tensors.push_back({module.key + part, frontends::safetensors_dtype(module.packed->scale_type),
                         groups,
                         static_cast<uint64_t>(type.rows() * groups.back() *
                                               ir::byte_size(module.packed->scale_type))});
    }
  }
  return tensors;
}

// What MLX calls a format: mode, bits, group_size.
using Parameters = std::tuple<std::string_view, int, int>;

Parameters parameters_of(const ir::WeightFormat& format) {
  return {frontends::mlx_mode(format), format.bits, format.group};
}

nlohmann::json fields_of(const Parameters& parameters) {
  const auto& [mode, bits, group_size] = parameters;
  nlohmann::json fields = {{"bits", bits}, {"group_size", group_size}};
  // Readers that are older than the other modes know no such field.
  if (mode != "affine") fields["mode"] = mode;
  return fields;
}

nlohmann::json config_of(const Checkpoint& checkpoint, const std::vector<Module>& modules) {
  nlohmann::json config = checkpoint.config;
  for (const char* key : {"quantization", "quantization_config", "compression_config"}) {
    config.erase(key);
    if (config.contains("text_config") && config["text_config"].is_object())
      config["text_config"].erase(key);
  }
  std::map<Parameters, size_t> uses;
  for (const Module& module : modules)
    if (module.packed) ++uses[parameters_of(*module.packed)];
  if (uses.empty()) return config;
  const auto most = std::max_element(
      uses.begin(), uses.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  nlohmann::json quantization = fields_of(most->first);
  for (const Module& module : modules) {
    if (!module.packed) continue;
    const Parameters parameters = parameters_of(*module.packed);
    if (parameters != most->first) quantization[module.key] = fields_of(parameters);
  }
  config["quantization"] = quantization;
  config["quantization_config"] = quantization;  // where transformers looks
  return config;
}

std::string text_of(const nlohmann::json& json) {
  return json.dump(4, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// tokenizer_config.json with all templates in it, where there are several.
Result<std::string> with_templates(std::string_view config,
                                   const runtime::ChatTemplates::Texts& templates) {
  auto object = nlohmann::ordered_json::object();
  if (!config.empty()) {
    auto parsed = runtime::read_json<nlohmann::ordered_json>(config);
    if (!parsed.ok() || !parsed->is_object())
      return Error{"tokenizer_config.json: not a JSON object"};
    object = *std::move(parsed);
  }
  object["chat_template"] = nlohmann::ordered_json::array();
  for (const auto& [name, text] : templates)
    object["chat_template"].push_back({{"name", name}, {"template", text}});
  return object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Status write_text_files(const Checkpoint& checkpoint, const OutputFolder& folder,
                        runtime::SourceFiles& sources) {
  // Several templates are a list in tokenizer_config.json, whatever their files were.
  const auto templates = runtime::ChatTemplates::from_text(checkpoint.chat_template);
  const bool several = templates.size() > 1;
  std::string config = checkpoint.tokenizer_config_json;
  if (several) {
    auto with_list = with_templates(config, templates);
    if (!with_list.ok()) return with_list.error();
    config = *std::move(with_list);
  }
  std::error_code error;
  if (fs::is_directory(checkpoint.path, error)) {
    for (const std::string_view name : kTextFiles) {
      const std::string path = (checkpoint.path / name).string();
      const auto text = runtime::read_source(path, &sources);
      if (!text.ok()) return Error{fmt::format("{}: {}", path, text.error().message)};
      if (!text->has_value()) continue;
      if (several && (name == "tokenizer_config.json" || name == "chat_template.jinja")) continue;
      if (Status status = folder.write(std::string(name), **text); !status.ok()) return status;
    }
    return several ? folder.write("tokenizer_config.json", config) : Status(Done{});
  }
  // From a file that holds all of it.
  std::vector<std::pair<std::string, std::string>> files;
  if (checkpoint.generation_config.is_object())
    files.emplace_back("generation_config.json", text_of(checkpoint.generation_config));
  if (!several) files.emplace_back("chat_template.jinja", checkpoint.chat_template);
  if (checkpoint.tokenizer_json.empty()) {
    files.emplace_back("tokenizer_config.json", config);
  } else {
    const auto tokenizer =
        runtime::tokenizer::tokenizer_folder_files(checkpoint.tokenizer_json, config);
    if (!tokenizer.ok()) return tokenizer.error();
    for (const auto& [name, text] : *tokenizer) files.emplace_back(name, text);
  }
  for (const auto& [name, text] : files) {
    if (text.empty()) continue;
    if (Status status = folder.write(name, text); !status.ok()) return status;
  }
  return Done{};
}

// Rows in order, whatever their order in the file.
Status write_dense(const ir::Matrix& matrix, SafetensorsWriter& writer) {
  const ir::WeightType& type = matrix.type;
  const ir::DType dtype = type.format.scale_type;
  const int64_t element = ir::byte_size(dtype);
  if (matrix.places.in_order() && matrix.order == nullptr)
    return writer.append(
        std::span(matrix.codes.data(), static_cast<size_t>(type.elements() * element)));
  std::vector<float> values(static_cast<size_t>(type.cols()));
  std::vector<uint8_t> bytes(values.size() * static_cast<size_t>(element));
  for (int64_t row = 0; row < type.rows(); ++row) {
    ir::decode_row(matrix, row, values.data());
    for (size_t i = 0; i < values.size(); ++i)
      frontends::write_element(dtype, values[i], bytes.data(), static_cast<int64_t>(i));
    if (Status status = writer.append(bytes); !status.ok()) return status;
  }
  return Done{};
}

Status write_packed(const ir::Matrix& matrix, SafetensorsWriter& writer) {
  for (const auto bytes : {matrix.codes, matrix.scales, matrix.biases})
    if (Status status = writer.append(std::span(bytes.data(), bytes.size())); !status.ok())
      return status;
  return Done{};
}

Status write_module(const Module& module, const Checkpoint& checkpoint, SafetensorsWriter& writer,
                    MlxFolderResult& result) {
  const ir::Matrix& matrix = *module.matrix;
  if (!module.packed) return write_dense(matrix, writer);
  if (module.to != nullptr) {
    const auto quantized =
        frontends::quantize_matrix(module.key, matrix, *module.to, checkpoint.storage);
    if (!quantized.ok()) return to_error(quantized.status());
    frontends::add_error(module.key, *quantized, result.errors);
    return write_packed(quantized->view(), writer);
  }
  const bool as_stored = matrix.type.format == *module.packed && matrix.blocks == nullptr &&
                         matrix.order == nullptr && matrix.places.in_order();
  if (as_stored) return write_packed(matrix, writer);
  const auto packed = frontends::to_mlx_form(module.key, matrix);
  if (!packed.ok()) return to_error(packed.status());
  return write_packed(packed->view(), writer);
}

}  // namespace

Result<MlxFolderResult> write_mlx_folder(const MlxFolderRequest& request) {
  const Checkpoint& checkpoint = *request.checkpoint;
  const auto modules = modules_of(request);
  if (!modules.ok()) return modules.error();
  auto folder = OutputFolder::create(request.out);
  if (!folder.ok()) return folder.error();

  MlxFolderResult result;
  for (const Module& module : *modules) result.parameters += module.matrix->type.elements();
  SafetensorsWriter writer(*folder, tensors_of(checkpoint, *modules), request.max_file_bytes);
  int64_t done = 0;
  for (const Module& module : *modules) {
    if (request.progress)
      request.progress(static_cast<double>(done) / static_cast<double>(result.parameters));
    if (Status status = write_module(module, checkpoint, writer, result); !status.ok())
      return status.error();
    checkpoint.release(module.key);
    done += module.matrix->type.elements();
  }
  if (Status status = writer.finish(); !status.ok()) return status.error();
  result.weight_files = writer.files();
  result.weight_bytes = writer.total_bytes();

  const auto* scaling = frontends::find_field(checkpoint.config, "rope_scaling");
  if (scaling != nullptr && scaling->is_object() && scaling->contains("frequency_factors"))
    result.notes.emplace_back(
        "config.json has \"rope_scaling.frequency_factors\", which sinter reads and others do not");
  runtime::SourceFiles sources = checkpoint.sources;
  if (Status status = write_text_files(checkpoint, *folder, sources); !status.ok())
    return status.error();
  // The last file: a folder without it is no model.
  if (Status status = folder->write("config.json", text_of(config_of(checkpoint, *modules)));
      !status.ok())
    return status.error();
  if (Status status = check_unchanged(sources); !status.ok()) return status.error();
  if (Status status = folder->finish(); !status.ok()) return status.error();
  return result;
}

}  // namespace sinter::tools
