// Typed access to a JSON value that may be anything, with the path of each value for messages.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/result.h"
#include "runtime/tokenizer_regex.h"

namespace sinter::runtime::tokenizer {

using Json = nlohmann::json;

// A parsed file. The two large parts of a tokenizer.json are kept apart from the rest: as vectors
// they load much faster than as Json values.
struct Document {
  Json root;
  // root.model.vocab and root.model.merges, if they are an object and an array; null in root then.
  std::optional<std::vector<std::pair<std::string, int32_t>>> vocab;
  std::optional<std::vector<std::pair<std::string, std::string>>> merges;
};

// `file` names the text in messages; a syntax error has its byte position. With `has_model` the
// vocabulary and the merges are read into their vectors, and malformed entries of them are errors.
Result<Document> parse_json(std::string_view text, std::string_view file, bool has_model);

// A value and where it stands. Reading the wrong type records an error and yields a default, so
// that a reader checks once at its end; the first error is kept. A missing member reads as null.
class JsonField {
 public:
  // `value` and `error` must outlive the field.
  JsonField(const Json* value, std::string path, std::string* error)
      : value_(value), path_(std::move(path)), error_(error) {}

  bool is_null() const { return value_ == nullptr || value_->is_null(); }
  bool is_string() const { return value_ != nullptr && value_->is_string(); }
  const std::string& path() const { return path_; }
  bool failed() const { return !error_->empty(); }
  // "<file>: <path> <what>", unless there is an earlier error.
  void fail(std::string_view what) const;

  JsonField member(std::string_view key) const;  // of an object
  std::vector<JsonField> items() const;          // of an array
  JsonField item(size_t index) const;            // of an array that has it
  const Json* value() const { return value_; }   // nullptr if missing
  const Json* object() const;                    // nullptr and an error if it is not an object
  const Json* array() const;                     // likewise
  std::string string() const;
  std::string character() const;  // a string of exactly one
  bool boolean(bool if_null) const;
  // An integer in [low, high].
  int64_t integer(int64_t low, int64_t high) const;
  // The place of a string in `names`; 0 and an error if it is none of them.
  size_t one_of(std::initializer_list<std::string_view> names) const;
  // {"Regex": "..."} or {"String": "..."}
  Result<Pattern> pattern() const;

 private:
  const Json* value_;
  std::string path_;  // "tokenizer.json: pre_tokenizer.pattern"
  std::string* error_;
};

}  // namespace sinter::runtime::tokenizer
