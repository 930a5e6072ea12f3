// A split pattern and a text that it splits.
#include "nlohmann/json.hpp"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/use_tokenizer.h"

namespace sinter::fuzz {

void use(std::string_view input) {
  const auto texts = parts(input, 2);
  using nlohmann::json;
  const json tokenizer = {
      {"model", {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}}}, {"merges", json::array()}}},
      {"pre_tokenizer",
       {{"type", "Split"},
        {"pattern", {{"Regex", texts[0]}}},
        {"behavior", "Isolated"},
        {"invert", false}}}};
  use_tokenizer(
      runtime::Tokenizer::from_json(tokenizer.dump(-1, ' ', false, json::error_handler_t::replace)),
      texts[1].empty() ? kAnyText : texts[1]);
}

}  // namespace sinter::fuzz
