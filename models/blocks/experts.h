// A mixture of experts: a router chooses a few of many MLPs for each token, whose results are
// summed.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "models/blocks/mlp.h"
#include "models/importer.h"

namespace sinter::models {

struct Experts {
  int64_t count = 0;
  int64_t chosen = 0;  // for each token
  int64_t width = 0;   // of an expert's hidden layer
  Activation act;
  bool gated = true;  // as in an MLP
  bool bias = false;  // of all three products
  // What becomes of gate and up, where that is not act(gate) * up.
  std::function<ir::ValueId(Importer&, ir::ValueId gate, ir::ValueId up)> glu = {};

  // What the router's products become: shares of all experts, of those chosen, or each by itself;
  // SparseMixer's shares of those not far below the one that is chosen.
  enum class Scores { softmax, softmax_of_chosen, sigmoid, sigmoid_of_chosen, sparsemixer };
  Scores scores = Scores::softmax;
  double jitter = 0;  // SparseMixer's: twice this, of the product's size, is far
  bool router_bias = false;
  // A vector that is added to scores for the choice alone; empty: there is none.
  std::string correction;
  // Experts are so many groups, and a token chooses among those of `groups_kept` groups: the ones
  // whose `group_best` best experts have the largest sum.
  int64_t groups = 1, groups_kept = 1, group_best = 1;
  // A vector with a factor of the scores of every expert; empty: there is none.
  std::string expert_scale;
  bool normalized = false;  // the scores of the chosen are divided by their sum, plus `sum_eps`
  double sum_eps = 0;
  double scale = 1;  // of the sum

  // Experts read and give rows of so many features, which two projections make of the others'; 0:
  // those that the block has.
  int64_t latent = 0;
  bool latent_bias = false;
  std::string to_latent = {}, from_latent = {};

  // An MLP that every token goes through; with a gate, times the sigmoid of a product of one row.
  std::optional<Mlp> shared;
  std::string shared_gate;

  bool transposed = false;  // matrices are stored so
  // The input of an expert is scaled, not its result; then one is chosen for each token.
  bool scores_of_input = false;

  // Modules, below that of the layer.
  std::string router = "mlp.gate", experts = "mlp.experts";
  std::string gate = "gate_proj", up = "up_proj", down = "down_proj";
};

// x [T,hidden] -> [T,hidden]. `layer`: "model.layers.3.", the beginning of its names. The router's
// product is with `routed` [T,hidden], where that is not x.
ir::ValueId experts(Importer& m, const Experts& e, ir::ValueId x, const std::string& layer,
                    int64_t hidden, std::optional<ir::ValueId> routed = {});

// The same as a block of a layer.
Block feed_forward(const Experts& e, int64_t hidden);

// The fields that most configurations of mixtures have: num_experts, num_experts_per_tok,
// moe_intermediate_size, hidden_act.
Experts read_experts(Importer& m);
// Those of Qwen2-MoE and of hybrids: norm_topk_prob, and a shared expert with a gate of its own.
Experts read_qwen_experts(Importer& m);
// Those of DeepSeek-V3's: sigmoids with a correction, n_group, topk_group, n_shared_experts,
// routed_scaling_factor, norm_topk_prob.
Experts read_deepseek_experts(Importer& m);
// Those of DeepSeek-V2's: softmax, topk_method, mlp_bias and the same.
Experts read_deepseek_v2_experts(Importer& m);

}  // namespace sinter::models
