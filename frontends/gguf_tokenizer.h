// The tokenizer in a GGUF file's metadata ("tokenizer.ggml.*"), as plans carry it.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "frontends/gguf.h"
#include "runtime/tokenizer_import.h"

namespace sinter::frontends {

// Empty texts when the file has none. Kinds: "gpt2" (byte-level BPE), "llama" and "t5"
// (SentencePiece). Error: another kind, a split pattern that is not known by its name, damaged
// lists.
absl::StatusOr<runtime::TokenizerFiles> gguf_tokenizer(const Gguf& gguf);

// The same of a .gguf file, whatever model it holds.
absl::StatusOr<runtime::TokenizerFiles> open_gguf_tokenizer(const std::filesystem::path& path);

}  // namespace sinter::frontends
