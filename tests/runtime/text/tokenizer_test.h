// What the tests of tokenizers share: tokenizers to load, and what became of them.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/text/tokenizer/tokenizer.h"
#include "tests/runtime/toy_plan.h"

namespace sinter::runtime {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

inline std::string golden(const std::string& name, const std::string& file) {
  return toy::read_file(std::string(SINTER_TEST_GOLDENS) + "/" + name + "/" + file);
}

inline Tokenizer must_load(const std::string& tokenizer_json, const std::string& config = {}) {
  auto tokenizer = Tokenizer::from_json(tokenizer_json, config);
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.error().message;
    std::abort();
  }
  return *tokenizer;
}

inline Tokenizer load_golden(const std::string& name) {
  return must_load(golden(name, "tokenizer.json"), golden(name, "tokenizer_config.json"));
}

inline std::string load_error(const std::string& tokenizer_json, const std::string& config = {}) {
  const auto tokenizer = Tokenizer::from_json(tokenizer_json, config);
  return tokenizer.ok() ? "no error" : tokenizer.error().message;
}

inline std::string json_error(const Json& json) { return load_error(json.dump()); }

#define EXPECT_CONTAINS(text, part) \
  EXPECT_NE(std::string(text).find(part), std::string::npos) << (text)

inline std::string stream(const Tokenizer& tokenizer, const Ids& ids, bool skip_special) {
  StreamingDecoder decoder(tokenizer, skip_special);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.flush();
}

// Letters, digits and a few signs as tokens, no merges: ids are code points, so that what the
// stages did to a text can be read off the words' characters.
inline Json letter_tokenizer() {
  Json vocab = Json::object();
  for (char c = ' '; c <= '~'; ++c) vocab[std::string(1, c)] = static_cast<int>(c);
  return {{"version", "1.0"},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}};
}

inline Json added(const std::string& content, int id, Json flags = Json::object()) {
  Json token = {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", false}};
  token.update(flags);
  return token;
}

}  // namespace sinter::runtime
