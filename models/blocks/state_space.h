// State spaces whose steps depend on the input, in the place of attention: Mamba, which has a step
// and decays for each channel, and Mamba-2, which has a step and a decay for each head.
// Sources: arXiv:2312.00752, arXiv:2405.21060; transformers models/mamba and models/mamba2.
#pragma once

#include <array>
#include <limits>
#include <optional>
#include <string>

#include "models/blocks/mlp.h"
#include "models/blocks/norm.h"
#include "models/importer.h"

namespace sinter::models {

struct Mamba {
  int64_t width = 0;         // channels
  int64_t columns = 0;       // of the state of a channel
  int64_t rank = 0;          // of what steps are projected from
  int64_t taps = 0;          // of the convolution
  bool conv_bias = false;    // of the convolution
  bool bias = false;         // of in_proj and out_proj
  Activation act = {};       // behind the convolution, and of the gate
  std::optional<Norm> norm;  // of what steps are projected from, of b and of c: Jamba's

  // Below the layer.
  std::string module = "mixer.";
};

struct Mamba2 {
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t groups = 0;   // of heads that share b and c
  int64_t columns = 0;  // of the state of a head
  int64_t taps = 0;
  bool conv_bias = false;
  bool in_bias = false, out_bias = false;  // of in_proj and out_proj
  Activation act = {};                     // behind the convolution; the gate has SiLU
  double least_step = 0, largest_step = std::numeric_limits<double>::infinity();

  // Of what leaves the heads: over each of so many parts of a row, behind the gate or before it.
  std::optional<Norm> norm;
  int64_t norm_groups = 1;
  bool norm_before_gate = false;

  double input_scale = 1;
  std::array<double, 5> scales = {1, 1, 1, 1, 1};  // of the gate, x, b, c and steps, as projected

  // Below the layer.
  std::string module = "mixer.";

  int64_t width() const { return heads * head_dim; }
};

// x [T,hidden] -> [T,hidden]. `layer`: "model.layers.3.", the beginning of its names.
ir::ValueId mamba(Importer& m, const Mamba& s, ir::ValueId x, const std::string& layer,
                  int64_t hidden);
ir::ValueId mamba2(Importer& m, const Mamba2& s, ir::ValueId x, const std::string& layer,
                   int64_t hidden);

// The same as blocks of a layer.
Block mixer(const Mamba& s, int64_t hidden);
Block mixer(const Mamba2& s, int64_t hidden);

// The fields that most configurations have: mamba_d_state, mamba_d_conv, mamba_conv_bias,
// hidden_act; of Mamba mamba_expand and mamba_dt_rank, of Mamba-2 mamba_n_heads, mamba_d_head,
// mamba_n_groups and time_step_limit. A Mamba-2 of `width` channels; 0: as many as its heads have.
Mamba read_mamba(Importer& m, int64_t hidden);
Mamba2 read_mamba2(Importer& m, int64_t width);
// Channels as mamba_expand says, times `hidden`, rounded down.
int64_t expanded(Importer& m, int64_t hidden);

}  // namespace sinter::models
