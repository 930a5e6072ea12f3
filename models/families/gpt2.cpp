// GPT-2, and BigCode's models, which share keys and values among heads: layer norms, learned
// positions, an MLP of two matrices. GPT-2 stores its matrices transposed. Source: transformers
// models/gpt2 and models/gpt_bigcode.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static Decoder read_gpt2(Importer& m) {
  m.derive("intermediate_size", 4 * m.integer("hidden_size"));
  Decoder d = read_decoder(m);
  d.norm.kind = Norm::Kind::layer;
  d.norm.has_bias = true;
  d.learned_positions = true;
  m.expect("scale_attn_weights", true);
  for (Layer& layer : d.layers) {
    Attention& a = layer.attention;
    a.rope.reset();
    a.packing = Attention::Packing::blocks;
    a.qkv_bias = a.output_bias = true;
    layer.mlp.gated = false;
    layer.mlp.bias = true;
  }
  return d;
}

static absl::StatusOr<ir::Module> import_gpt2(Importer& m) {
  Decoder d = read_gpt2(m);
  const bool by_layer = m.flag("scale_attn_by_inverse_layer_idx", false);
  d.for_each_attention([&](Attention& a, int64_t i) {
    a.transposed = true;
    if (by_layer) a.scale /= static_cast<double>(i + 1);
  });
  d.for_each_mlp([](Mlp& p) { p.transposed = true; });
  return build(m, d);
}

static absl::StatusOr<ir::Module> import_gpt_bigcode(Importer& m) {
  Decoder d = read_gpt2(m);
  const bool shared = m.flag("multi_query");
  d.for_each_attention([&](Attention& a, int64_t) {
    if (shared) a.kv_heads = 1;
    // Else query, key and value of a head are stored together.
    if (!shared) a.packing = Attention::Packing::heads;
  });
  return build(m, d);
}

Family family_gpt2() {
  return {.model_type = "gpt2",
          .import = import_gpt2,
          .defaults = R"({
    "vocab_size": 50257, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "hidden_act": "gelu_new", "max_position_embeddings": 1024, "rms_norm_eps": 1e-5,
    "scale_attn_weights": true, "tie_word_embeddings": true})",
          .fields = {{"n_embd", "hidden_size"},
                     {"n_inner", "intermediate_size"},
                     {"n_layer", "num_hidden_layers"},
                     {"n_head", "num_attention_heads"},
                     {"n_positions", "max_position_embeddings"},
                     {"activation_function", "hidden_act"},
                     {"layer_norm_epsilon", "rms_norm_eps"}},
          .tensors = {{"^transformer", ""},
                      {"^h", "model.layers"},
                      {"^wte", "model.embed_tokens"},
                      {"^wpe", "model.embed_positions"},
                      {"^ln_f", "model.norm"},
                      {"ln_1", "input_layernorm"},
                      {"ln_2", "post_attention_layernorm"},
                      {"attn.c_attn", "self_attn.qkv_proj"},
                      {"attn.c_proj", "self_attn.o_proj"},
                      {"mlp.c_fc", "mlp.up_proj"},
                      {"mlp.c_proj", "mlp.down_proj"}},
          .skipped = {"h.*.attn.bias", "h.*.attn.masked_bias"}};
}

Family family_gpt_bigcode() {
  Family family = family_gpt2();
  family.model_type = "gpt_bigcode";
  family.import = import_gpt_bigcode;
  family.defaults = R"({
    "vocab_size": 50257, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "hidden_act": "gelu_pytorch_tanh", "max_position_embeddings": 1024, "rms_norm_eps": 1e-5,
    "scale_attn_weights": true, "multi_query": true, "tie_word_embeddings": true})";
  return family;
}

}  // namespace sinter::models
