// What happens to text before the model: normalizers (text to text) and pre-tokenizers (text to
// words).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/support/result.h"
#include "runtime/text/tokenizer/charsmap.h"
#include "runtime/text/tokenizer/json.h"
#include "runtime/text/tokenizer/regex.h"

namespace sinter::runtime::tokenizer {

// A text on its way to words. Metaspace with prepend_scheme "first" asks whether a word begins
// where the original text does: `origin` bytes at the front of `text` were made of the original's
// first character, none of them if that is gone or the text is from farther behind.
struct Text {
  std::string text;
  size_t origin = 0;
};

struct NormalizerStep {
  enum class Kind {
    kNfc,
    kNfd,
    kNfkc,
    kNfkd,
    kLowercase,
    kPrepend,
    kReplace,
    kStrip,
    kNmt,
    kStripAccents,
    kBertClean,
    kBertCjk,
    kStripNonspacing,
    kPrecompiled,
    kByteLevel
  };
  Kind kind;
  std::string content = {};           // kPrepend, kReplace
  std::vector<Pattern> pattern = {};  // kReplace: exactly one
  bool strip_left = false, strip_right = false;
  std::shared_ptr<const Charsmap> charsmap = {};  // kPrecompiled
};

// Sequences are flattened; null gives no steps. Errors go to the field.
std::vector<NormalizerStep> read_normalizer(const JsonField& field);

// Fails if the text grows out of proportion, as hostile replacement chains do. `budget`: see
// Pattern::find_all.
Result<Text> normalize(const std::vector<NormalizerStep>& steps, Text text,
                       MatchBudget* budget = nullptr);

// Before which words Metaspace puts its sign for a space.
enum class Prepend { kAlways, kFirst, kNever };
Prepend read_prepend(const JsonField& metaspace);

struct PreTokenizerStep {
  enum class Kind {
    kSplit,
    kByteLevel,
    kMetaspace,
    kCharacters,   // split at characters of a class
    kWhitespace,   // runs of word characters and runs of signs
    kScripts,      // runs of one script
    kFixedLength,  // so many characters each
  };
  // In the order of their names in read_behavior.
  enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
  Kind kind;
  std::vector<Pattern> pattern = {};  // the split, if there is one (ByteLevel may have none)
  bool (*is_delimiter)(uint32_t code_point) = nullptr;  // kCharacters
  Behavior behavior = Behavior::kIsolated;
  bool invert = false;
  bool add_prefix_space = false;  // kByteLevel
  std::string replacement = {};   // kMetaspace: what stands for a space
  Prepend prepend = Prepend::kNever;
  size_t length = 0;  // kFixedLength
};

std::vector<PreTokenizerStep> read_pre_tokenizer(const JsonField& field);

struct Words {
  struct Word {
    size_t begin, end;  // in `text`, never empty
    size_t origin;      // as Text's
  };
  std::string text;
  std::vector<Word> words;

  std::string_view operator[](size_t i) const {
    return std::string_view(text).substr(words[i].begin, words[i].end - words[i].begin);
  }
};

// The words of `text` (valid UTF-8). A ByteLevel step leaves them in the byte-level alphabet.
Result<Words> pre_tokenize(const std::vector<PreTokenizerStep>& steps, Text text,
                           MatchBudget* budget = nullptr);

// GPT-2's byte-level alphabet: every byte is a printable character, of one or two UTF-8 bytes.
std::string to_byte_level(std::string_view bytes);
// The bytes that `text` stands for; `text` itself if any character is not of the alphabet.
std::string from_byte_level(std::string_view text);

}  // namespace sinter::runtime::tokenizer
