// Which layers have experts and which dense MLPs, as configurations say it.
#pragma once

#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"

namespace sinter::models {

// Qwen's: every decoder_sparse_step-th layer but those that mlp_only_layers lists.
void read_sparse_layers(Importer& m, Decoder& d, const Experts& e);

// DeepSeek's: mlp_layer_types, or else of the layers from first_k_dense_replace on those whose
// number is a multiple of moe_layer_freq.
void read_late_experts(Importer& m, Decoder& d, const Experts& e);

}  // namespace sinter::models
