// Multi-token prediction: a head that drafts the token after the next from the hidden state of a
// token and the token that follows it. Source: Qwen3-Next's and Qwen3.5's `mtp.*`, DeepSeek-V3
// (arXiv 2412.19437, section 2.2).
#pragma once

#include <string>

#include "models/importer.h"

namespace sinter::models {

struct Decoder;

// Names are those of Qwen's files.
struct Mtp {
  size_t like = 0;               // the layer of the decoder that the head's is like, ..
  bool plain_attention = false;  // .. but for its mixer, which is attention
  std::string layer = "mtp.layers.0.";
  std::string projection = "mtp.fc";  // [hidden, 2 hidden]: columns of the token, of the state
  std::string token_norm = "mtp.pre_fc_norm_embedding", hidden_norm = "mtp.pre_fc_norm_hidden";
  std::string norm = "mtp.norm";
  // Where the file has none, the model's own: the head shares them.
  std::string embedding = "mtp.embed_tokens", head = "mtp.lm_head";
};

// Ends the model's entry, whose last layer gave h [T, hidden], and adds the head's, "mtp":
//   forward(tokens)      -> logits [L, vocab], the hidden state after the last norm [T, hidden]
//   mtp(tokens, hidden)  -> the same of the head
// A row of the head has the token that follows its position and the hidden state of its position,
// the model's or, to draft one more token, its own. The state is that after the norm: before it
// fewer drafts are accepted (LightLLM #1402: 1.80 instead of 2.74 tokens).
absl::StatusOr<ir::Module> build_with_mtp(Importer& m, const Decoder& d, ir::ValueId h);

}  // namespace sinter::models
