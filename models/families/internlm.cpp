// InternLM 2: llama whose q, k and v are one matrix, grouped by KV head; InternLM 3: llama.
// Source: internlm/internlm2-chat-7b, modeling_internlm2.py; internlm/internlm3-8b-instruct.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_internlm2(Importer& m) {
  Decoder d = read_decoder(m);
  const bool bias = m.flag("bias", false);
  for (Layer& layer : d.layers) {
    layer.attention.packing = Attention::Packing::kv_heads;
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
  }
  return build(m, d);
}

static absl::StatusOr<ir::Module> import_internlm3(Importer& m) {
  Decoder d = read_decoder(m);
  const bool bias = m.flag("bias", false);
  const bool qkv_bias = m.flag("qkv_bias", false);
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = qkv_bias;
    layer.attention.output_bias = layer.mlp.bias = bias;
  }
  return build(m, d);
}

Family family_internlm2() {
  return {.model_type = "internlm2",
          .import = import_internlm2,
          .defaults = R"({
    "vocab_size": 103168, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6, "rope_theta": 1e4, "tie_word_embeddings": false})",
          .tensors = {{"model.tok_embeddings", "model.embed_tokens"},
                      {"^output", "lm_head"},
                      {"attention_norm", "input_layernorm"},
                      {"ffn_norm", "post_attention_layernorm"},
                      {"attention.wqkv", "self_attn.qkv_proj"},
                      {"attention.wo", "self_attn.o_proj"},
                      {"feed_forward.w1", "mlp.gate_proj"},
                      {"feed_forward.w3", "mlp.up_proj"},
                      {"feed_forward.w2", "mlp.down_proj"}}};
}

Family family_internlm3() {
  return {.model_type = "internlm3", .import = import_internlm3, .defaults = R"({
    "vocab_size": 128512, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_act": "silu",
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
    "tie_word_embeddings": false})"};
}

}  // namespace sinter::models
