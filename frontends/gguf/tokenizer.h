// The tokenizer in a GGUF file's metadata ("tokenizer.ggml.*"), as plans carry it.
#pragma once

#include "absl/status/statusor.h"
#include "frontends/gguf/gguf.h"
#include "runtime/text/tokenizer/import.h"

namespace sinter::frontends {

// Empty texts when the file has none. Kinds: "gpt2" (byte-level BPE), "gemma4" and "whitespace"
// (BPE of characters), "llama" and "t5" (SentencePiece). One that cannot be used (another kind, a
// split pattern that is not known by its name, damaged lists) is a note, for the model runs on
// token ids without.
absl::StatusOr<runtime::TokenizerFiles> gguf_tokenizer(const Gguf& gguf);

}  // namespace sinter::frontends
