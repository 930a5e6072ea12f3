// BitNet b1.58 and Falcon-E: llama with norms before the output projections of attention and MLP,
// which Falcon-E and others leave out, and squared ReLU.
// Source: transformers models/bitnet/modeling_bitnet.py.
#include "models/decoder.h"
#include "models/registry.h"

namespace sinter::models {

absl::StatusOr<ir::Module> import_bitnet(Importer& m) {
  return import_decoder(m, {.attention_bias = m.flag_or("attention_bias", false),
                            .mlp_bias = m.flag_or("mlp_bias", false),
                            .sub_norms = true,
                            .hidden_act = "relu2"});
}

}  // namespace sinter::models
