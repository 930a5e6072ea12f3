// Text to token ids and back, from a Hugging Face tokenizer.json. Other kinds of files are brought
// into that form first: see runtime/text/tokenizer/import.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/support/result.h"

namespace sinter::runtime {

namespace tokenizer {
class DecoderRun;
struct Model;
}  // namespace tokenizer

// Immutable once loaded: cheap to copy, and safe to use from several threads at once.
class Tokenizer {
 public:
  // `tokenizer_json` and `tokenizer_config_json` are file contents; the second may be empty. Of the
  // second `added_tokens_decoder` is read (tokens that tokenizer.json lacks or describes otherwise)
  // and, for the tokenizer_class of Llama, Gemma and a few others, whether BOS and EOS are added. A
  // kind of normalizer, pre-tokenizer, model, post-processor or decoder that is not known is an
  // error that names it. `truncation` and `padding` are ignored: lengths are the caller's to
  // manage.
  static Result<Tokenizer> from_json(std::string_view tokenizer_json,
                                     std::string_view tokenizer_config_json = {});

  // Invalid UTF-8 in `text` is read as U+FFFD. `add_special_tokens` applies the post-processor's
  // template (BOS and the like); tokens written out in the text are recognised either way, control
  // pieces of a SentencePiece model only with `control_pieces`: a chat template writes them, a text
  // does not mean them. Fails if a pattern or the vocabulary takes too long for the text, if the
  // text outgrows memory bounds, and if it needs an unknown token that the vocabulary lacks.
  Result<std::vector<int32_t>> encode(std::string_view text, bool add_special_tokens,
                                      bool control_pieces = false) const;

  // Always valid UTF-8: bytes that are not become U+FFFD, one for each maximal invalid part. Ids
  // without a token contribute nothing. Fails where StreamingDecoder::status() would.
  Result<std::string> decode(std::span<const int32_t> ids, bool skip_special_tokens) const;

  // The id of exactly this token (not of a text), added tokens included.
  std::optional<int32_t> find(std::string_view token) const;
  std::optional<int32_t> token_to_id(std::string_view token) const { return find(token); }
  // The token as the vocabulary spells it (byte-level alphabet, not decoded).
  std::optional<std::string_view> id_to_token(int32_t id) const;
  // Highest id + 1. A few ids below it may be unused.
  int32_t vocab_size() const;
  // True for added tokens marked special: those that decoding can skip.
  bool is_special(int32_t id) const;

 private:
  friend class StreamingDecoder;
  explicit Tokenizer(std::shared_ptr<const tokenizer::Model> model) : model_(std::move(model)) {}
  std::shared_ptr<const tokenizer::Model> model_;
};

// Decodes one id at a time. The concatenation of all results, flush() included, equals decode() of
// the same ids. Holds back an incomplete UTF-8 sequence; with a ByteFallback decoder, the current
// run of byte tokens, because one bad byte changes how the whole run decodes; and where a decoder
// works on the whole text after joining it (other than by cutting its start), all of it.
class StreamingDecoder {
 public:
  StreamingDecoder(const Tokenizer& tokenizer, bool skip_special_tokens);
  StreamingDecoder(StreamingDecoder&&) noexcept;
  StreamingDecoder& operator=(StreamingDecoder&&) noexcept;
  ~StreamingDecoder();

  // The text that is certain after `id`: valid UTF-8, possibly empty.
  std::string push(int32_t id);
  // The rest; the decoder is then ready for a new text.
  std::string flush();
  // Fails when the text, or the one that flush() has just ended, needed too much work, or is far
  // longer than texts of so many tokens are: not all of it came then.
  Status status() const;

 private:
  std::string push_piece(int32_t id);
  std::string take_bytes(bool all);
  bool take_room(size_t bytes);
  void begin();

  std::shared_ptr<const tokenizer::Model> model_;
  bool skip_special_tokens_;
  std::unique_ptr<tokenizer::DecoderRun> run_;
  // Of a SentencePiece model, in place of run_.
  std::string pending_;
  bool first_ = true;  // nothing came before
  bool ended_ = false;
  size_t ids_ = 0;  // since the text began
  size_t room_;     // how many bytes may still come
  std::optional<Error> error_;
};

}  // namespace sinter::runtime
