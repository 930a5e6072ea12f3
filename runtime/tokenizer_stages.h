// What happens to text before BPE: normalizers (text to text) and pre-tokenizers (text to words).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/result.h"
#include "runtime/tokenizer_json.h"
#include "runtime/tokenizer_regex.h"

namespace sinter::runtime::tokenizer {

struct NormalizerStep {
  enum class Kind { kNfc, kNfd, kNfkc, kNfkd, kLowercase, kPrepend, kReplace, kStrip };
  Kind kind;
  std::string content = {};           // kPrepend, kReplace
  std::vector<Pattern> pattern = {};  // kReplace: exactly one
  bool strip_left = false, strip_right = false;
};

// Sequences are flattened; null gives no steps. Errors go to the field.
std::vector<NormalizerStep> read_normalizer(const JsonField& field);

// Fails if the text grows out of proportion, as hostile replacement chains do. `budget`: see
// Pattern::find_all.
Result<std::string> normalize(const std::vector<NormalizerStep>& steps, std::string text,
                              MatchBudget* budget = nullptr);

// Before which words Metaspace puts its sign for a space.
enum class Prepend { kAlways, kFirst, kNever };
Prepend read_prepend(const JsonField& metaspace);

struct PreTokenizerStep {
  enum class Kind { kSplit, kByteLevel, kDigits, kMetaspace };
  // In the order of their names in read_split.
  enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
  Kind kind;
  std::vector<Pattern> pattern = {};  // the split, if there is one (ByteLevel may have none)
  Behavior behavior = Behavior::kIsolated;
  bool invert = false;
  bool add_prefix_space = false;  // kByteLevel
  std::string replacement = {};   // kMetaspace: what stands for a space
  Prepend prepend = Prepend::kNever;
};

std::vector<PreTokenizerStep> read_pre_tokenizer(const JsonField& field);

// The words of `text` (valid UTF-8), none of them empty. A ByteLevel step leaves them in the
// byte-level alphabet. `at_start`: nothing comes before `text`.
Result<std::vector<std::string>> pre_tokenize(const std::vector<PreTokenizerStep>& steps,
                                              std::string text, bool at_start,
                                              MatchBudget* budget = nullptr);

// GPT-2's byte-level alphabet: every byte is a printable character, of one or two UTF-8 bytes.
std::string to_byte_level(std::string_view bytes);
// The bytes that `text` stands for; `text` itself if any character is not of the alphabet.
std::string from_byte_level(std::string_view text);

}  // namespace sinter::runtime::tokenizer
