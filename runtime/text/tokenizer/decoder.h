// What ids decode to: a chain of steps from tokens to text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/text/tokenizer/json.h"
#include "runtime/text/tokenizer/regex.h"

namespace sinter::runtime::tokenizer {

struct DecoderStep {
  enum class Kind {
    kSpaced,        // a space between tokens
    kReplace,       // `pattern` becomes `content`
    kStrip,         // `content` goes, up to `start` times at the start, `stop` times at the end
    kMetaspace,     // `content` is a space; in the first token nothing, if drop_first
    kWordPiece,     // a space before all tokens but the first and those that begin with `content`
    kBpe,           // `content` is a space; in the last token nothing
    kCtc,           // repeated tokens count once; `content` goes; `delimiter` is a space
    kByteFallback,  // runs of "<0xHH>" are characters
    kByteLevel,     // all tokens are one text, in the byte-level alphabet
    kFuse           // all tokens are one
  };
  Kind kind;
  std::string content = {};
  std::string delimiter = {};         // kCtc
  std::vector<Pattern> pattern = {};  // kReplace: exactly one
  int64_t start = 0, stop = 0;
  bool drop_first = false;
  bool cleanup = false;  // kWordPiece, kCtc: no space before punctuation and the like
  // kFuse, kByteLevel: what follows can work on the text as it comes, without seeing all of it.
  bool rest_streams = false;
};

struct Decoder {
  std::vector<DecoderStep> steps;
  // A SentencePiece model's own decoder, in place of the steps.
  bool pieces = false;
  bool strip_all_spaces = false;  // pieces: not just the dummy prefix, all spaces at the start go
  // How many times longer than the tokens their text may be, but for spaces between tokens.
  size_t growth = 1;
};

Decoder read_decoder(const JsonField& field);

// The steps at work on one text.
class DecoderRun {
 public:
  explicit DecoderRun(const std::vector<DecoderStep>& steps);
  // Appends the text that is certain after `token`: valid UTF-8.
  void push(std::string token, std::string* out);
  // Appends the rest.
  void flush(std::string* out);
  // Begins a new text.
  void reset();
  // The text needed too much work: from there on nothing was appended.
  bool gave_up() const { return gave_up_; }

 private:
  struct State {
    size_t tokens = 0;   // that came before
    int64_t left = 0;    // kStrip behind a text that streams: how often it may still cut
    bool holds = false;  // whether `held` is a token
    std::string held;
  };
  void pass(size_t step, std::string token, std::string* out);
  void pass_part(size_t step, std::string_view part, std::string* out);
  void end(size_t step, std::string* out);
  void pass_bytes(size_t step, std::string* out);
  void pass_characters(size_t step, bool all, std::string* out);
  // Takes the work of a step on a text off the budget; false when it is spent.
  bool can_work(const DecoderStep& step, size_t bytes);
  std::string replace_pattern(const DecoderStep& step, std::string text);

  const std::vector<DecoderStep>& steps_;
  std::vector<State> states_;
  MatchBudget budget_{0};
  bool gave_up_ = false;
};

// The byte that "<0xHH>" stands for, or -1.
int fallback_byte(std::string_view token_text);

}  // namespace sinter::runtime::tokenizer
