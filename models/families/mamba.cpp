// Mamba and Mamba-2: layers are a norm and a state space, nothing else. Sources: transformers
// models/mamba and models/mamba2.
#include "models/blocks/decoder.h"
#include "models/blocks/state_space.h"
#include "models/family.h"

namespace sinter::models {

namespace {

// Every layer has the mixer alone.
absl::StatusOr<ir::Module> build_mixers(Importer& m, Decoder d, const Block& mixer) {
  d.norms.before_mixer = "norm";
  for (Layer& layer : d.layers) {
    layer.has_feed_forward = false;
    layer.mixer = mixer;
  }
  return build(m, d);
}

absl::StatusOr<ir::Module> import_mamba(Importer& m) {
  const Decoder d = read_stack(m);
  Mamba s = read_mamba(m, d.hidden);
  s.width = m.integer("intermediate_size", kSize, s.width);
  s.bias = m.flag("use_bias");
  return build_mixers(m, d, mixer(s, d.hidden));
}

absl::StatusOr<ir::Module> import_mamba2(Importer& m) {
  const Decoder d = read_stack(m);
  Mamba2 s = read_mamba2(m, expanded(m, d.hidden));
  s.in_bias = s.out_bias = m.flag("use_bias");
  s.act = find_activation(m, "hidden_act");
  s.norm = d.norm;
  return build_mixers(m, d, mixer(s, d.hidden));
}

const std::vector<Rename> kMambaTensors = {{"^backbone", "model"},
                                           {"model.embeddings", "model.embed_tokens"},
                                           {"model.embedding", "model.embed_tokens"},
                                           {"model.norm_f", "model.norm"},
                                           {"mixer.dt.bias", "mixer.dt_bias"}};

}  // namespace

// Nothing in these models knows positions, so that their number has no limit.
Family family_mamba() {
  return {.model_type = "mamba",
          .import = import_mamba,
          .defaults = R"({
    "vocab_size": 50280, "hidden_size": 768, "num_hidden_layers": 32, "hidden_act": "silu",
    "max_position_embeddings": 1048576, "rms_norm_eps": 1e-5, "mamba_d_state": 16,
    "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": "auto", "mamba_conv_bias": true,
    "use_bias": true, "tie_word_embeddings": true})",
          .fields = {{"layer_norm_epsilon", "rms_norm_eps"},
                     {"state_size", "mamba_d_state"},
                     {"conv_kernel", "mamba_d_conv"},
                     {"expand", "mamba_expand"},
                     {"time_step_rank", "mamba_dt_rank"},
                     {"use_conv_bias", "mamba_conv_bias"}},
          .tensors = kMambaTensors};
}

Family family_mamba2() {
  return {.model_type = "mamba2",
          .import = import_mamba2,
          .defaults = R"({
    "vocab_size": 32768, "hidden_size": 4096, "num_hidden_layers": 64, "hidden_act": "silu",
    "max_position_embeddings": 1048576, "rms_norm_eps": 1e-5, "mamba_n_heads": 128,
    "mamba_d_head": 64, "mamba_n_groups": 8, "mamba_d_state": 128, "mamba_d_conv": 4,
    "mamba_expand": 2, "mamba_conv_bias": true, "use_bias": false,
    "tie_word_embeddings": false})",
          .fields = {{"layer_norm_epsilon", "rms_norm_eps"},
                     {"num_heads", "mamba_n_heads"},
                     {"head_dim", "mamba_d_head"},
                     {"n_groups", "mamba_n_groups"},
                     {"state_size", "mamba_d_state"},
                     {"conv_kernel", "mamba_d_conv"},
                     {"expand", "mamba_expand"},
                     {"use_conv_bias", "mamba_conv_bias"}},
          .tensors = kMambaTensors};
}

}  // namespace sinter::models
