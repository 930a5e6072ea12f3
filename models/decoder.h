// The decoder-only transformer that llama and its descendants share; an architecture says where it
// differs.
#pragma once

#include "models/importer.h"

namespace sinter::models {

struct DecoderTraits {
  bool qk_norm = false;         // RMS norm of every head of q and k before RoPE
  bool attention_bias = false;  // on q, k, v and o
  bool mlp_bias = false;        // on gate, up and down
  bool sub_norms = false;       // RMS norms before o and down, where their weights are there
  bool windows = false;         // use_sliding_window asks for windows
};

// tokens -> logits [L, vocab_size]
absl::StatusOr<ir::Module> import_decoder(Importer& m, const DecoderTraits& traits);

}  // namespace sinter::models
