// Opens what models are in, whatever the format.
#pragma once

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "frontends/checkpoint.h"
#include "runtime/text/tokenizer/import.h"

namespace sinter::frontends {

// Opens a model folder: config.json, the tensors that open_weight_files finds, and, when present,
// generation_config.json, a tokenizer, tokenizer_config.json, chat_template.jinja. A .safetensors
// or .bin file stands for its folder and says which tensors. Or a GGUF file, known by its first
// bytes, or the folder of one without .safetensors files that are named as a model (or listed).
// GPTQ's and AWQ's tools may have written the quantization into quantize_config.json or
// quant_config.json.
// `head`: a .safetensors file with the tensors of a multi-token-prediction head, "mtp." whatever
// the rest of its tensors are, or the head's alone without that; empty: none. Error, too: a tensor
// that the model has itself.
absl::StatusOr<std::unique_ptr<Checkpoint>> open_checkpoint(const std::filesystem::path& path,
                                                            const std::filesystem::path& head = {});

// The GGUF file that open_checkpoint would read; empty when it would read something else.
absl::StatusOr<std::filesystem::path> find_gguf(const std::filesystem::path& path);

// The tokenizer of that file, whatever model it holds, or none.
absl::StatusOr<runtime::TokenizerFiles> open_gguf_tokenizer(const std::filesystem::path& path);

}  // namespace sinter::frontends
