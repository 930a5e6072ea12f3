// The architectures of GGUF files: what their keys and tensors are called in configurations and
// checkpoints of Hugging Face, or rather in model definitions, whose names are those of llama
// there.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "frontends/json_fields.h"

namespace sinter::frontends {

struct GgufTensorName {
  std::string_view gguf;
  std::string_view name;
};

struct GgufField {
  // A count may be 0.
  enum class Kind { integer, number, flag, window, count };
  std::string_view key;  // below the architecture's prefix
  std::string_view field;
  Kind kind = Kind::integer;
  bool required = true;
};

struct GgufFixed {
  std::string_view key;
  int64_t value;
};

struct GgufArchitecture {
  std::string_view name;        // general.architecture, the prefix of its keys
  std::string_view model_type;  // of config.json
  // Where the file has experts; of latent attention, whose routers are softmax, where they are
  // sigmoids.
  std::string_view other_model_type = {};
  // The converter reordered the rows of q and k for RoPE on adjacent pairs.
  bool interleaved_heads = false;
  bool partial_rope = false;  // rope.dimension_count may be less than a head
  bool layer_norms = false;   // attention.layer_norm_epsilon instead of ..._rms_epsilon
  bool windows = false;       // attention.sliding_window has a meaning
  // Gated delta nets, whose value heads go round the key heads or lie grouped by them.
  enum class Hybrid { no, tiled, grouped };
  Hybrid hybrid = Hybrid::no;
  bool convolutions = false;  // layers without KV heads are short convolutions
  bool latent = false;        // latent attention and DeepSeek's experts
  bool state_space = false;   // Mamba-2 beside attention, all of whose factors are in its matrices
  std::vector<GgufField> fields = {};
  // Keys that change numbers, with the only value that the family has.
  std::vector<GgufFixed> fixed = {};
  // Below "blk.N.", before those that all have.
  std::vector<GgufTensorName> tensors = {};
  // Fields of the configuration that no key says: JSON.
  std::string_view constants = R"({"hidden_act": "silu"})";
};

const std::vector<GgufArchitecture>& gguf_architectures();

// What a file of an architecture is that is no text model of its own, for messages: "a draft model,
// ..."; empty where that is not known.
std::string_view not_a_text_model(std::string_view architecture);

// A module's name without ".weight", a bias's with ".bias"; names that are not known stay as they
// are, and nobody will use them. And back.
std::string hugging_face_name(const GgufArchitecture& architecture, std::string_view name);
std::string gguf_name(const GgufArchitecture& architecture, std::string_view name);

}  // namespace sinter::frontends
