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

#include "runtime/support/result.h"
#include "runtime/text/tokenizer/added.h"
#include "runtime/text/tokenizer/regex.h"
#include "runtime/text/tokenizer/vocabulary.h"

namespace sinter::runtime::tokenizer {

// How deep stages may be Sequences in Sequences.
inline constexpr int kMaxSequenceDepth = 8;

using Json = nlohmann::json;

// The merges of a BPE model: left and right parts of all of them, one after the other.
struct MergeList {
  std::string text;            // 4 GiB at most: the reader sees to it
  std::vector<uint32_t> ends;  // in `text`: of left, right, left, ...

  size_t size() const { return ends.size() / 2; }
  // `part` counts left and right parts alike.
  std::string_view part(size_t part) const {
    const size_t begin = part == 0 ? 0 : ends[part - 1];
    return std::string_view(text).substr(begin, ends[part] - begin);
  }
  void add(std::string_view left, std::string_view right) {
    for (const std::string_view side : {left, right}) {
      text += side;
      ends.push_back(static_cast<uint32_t>(text.size()));
    }
  }
};

// The pieces of a Unigram model: the place in the table is the id.
struct PieceList {
  TokenTable pieces;
  std::vector<double> scores;
};

// A parsed file. The large parts of a tokenizer.json are kept apart from the rest, of which only
// what a tokenizer reads is kept: as Json values they would take twenty times their text.
struct Document {
  Json root;
  // These are null in root when they are here.
  std::optional<TokenTable> vocab;               // root.model.vocab, if it is an object
  std::optional<PieceList> pieces;               // root.model.vocab, if it is an array
  std::optional<MergeList> merges;               // root.model.merges, if it is an array
  std::optional<std::vector<AddedToken>> added;  // root.added_tokens, if it is an array
  std::optional<std::string> proto;              // root.model.proto, if it is a string
  std::optional<TokenTable> aliases;             // root.aliases, if it is an array
};

// `file` names the text in messages; a syntax error has its byte position. With `has_model` it is a
// tokenizer.json: malformed entries of the large parts are errors.
Result<Document> parse_json(std::string_view text, std::string_view file, bool has_model);

// {token: id, ...}. Error: it is something else, or lists a token twice.
Result<TokenTable> parse_vocabulary(std::string_view text, std::string_view file);

// The class that a tokenizer_config.json names, without "Fast" at its end; empty when it names
// none.
std::string class_of(const Json& config);

class JsonField;
// One entry of added_tokens or, without an id, of added_tokens_decoder.
AddedToken read_added_token(const JsonField& field);

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
  std::string* error() const { return error_; }
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
  double number() const;
  // An integer in [low, high].
  int64_t integer(int64_t low, int64_t high) const;
  // The place of a string in `names`; 0 and an error if it is none of them.
  size_t one_of(std::initializer_list<std::string_view> names) const;
  // {"Regex": "..."} or {"String": "..."}
  Result<Pattern> pattern() const;

 private:
  std::string_view kind() const;  // of the value, for messages

  const Json* value_;
  std::string path_;  // "tokenizer.json: pre_tokenizer.pattern"
  std::string* error_;
};

}  // namespace sinter::runtime::tokenizer
