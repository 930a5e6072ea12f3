// Which tokens end a text: the one place that decides it, for every kind of checkpoint.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "frontends/checkpoint.h"
#include "models/config.h"

namespace sinter::models {

struct EndToken {
  int32_t id = 0;
  std::string text;    // as the vocabulary spells it; empty without a tokenizer
  std::string source;  // "eos_token_id of generation_config.json"
};

// Every id of `eos_token_id`, `eot_token_id` and `eom_token_id` of the configurations (one or a
// list), the `eos_token` of tokenizer_config.json, and special tokens whose text is known to end a
// turn, each once, with where it was found first. `checkpoint` may be null: then there is no
// tokenizer. An id outside the vocabulary ends nothing and leaves a note. Error: no integer.
absl::StatusOr<std::vector<EndToken>> find_end_tokens(std::span<const Config> configs,
                                                      const frontends::Checkpoint* checkpoint,
                                                      int64_t vocab_size);

}  // namespace sinter::models
