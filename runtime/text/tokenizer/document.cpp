// JSON text to Document.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "runtime/support/json_text.h"
#include "runtime/text/tokenizer/json.h"

namespace sinter::runtime::tokenizer {
namespace {

constexpr size_t kMaxNesting = 64;  // tokenizer files nest less than ten deep
constexpr size_t kMaxVocabularyBytes = UINT32_MAX;
// Json values that are kept, some hundred bytes each.
constexpr size_t kMaxValues = size_t{1} << 20;

// The members of a tokenizer.json that are read. `truncation` and `padding` are not: lengths are
// the caller's to manage, as they are in transformers unless a call asks for them.
constexpr std::array<std::string_view, 8> kMembers = {
    "version",        "added_tokens", "normalizer", "pre_tokenizer",
    "post_processor", "decoder",      "model",      "aliases"};

// Receives nlohmann's parse events. Every event answers whether to go on.
class Builder {
 public:
  using number_integer_t = Json::number_integer_t;
  using number_unsigned_t = Json::number_unsigned_t;
  using number_float_t = Json::number_float_t;
  using string_t = Json::string_t;
  using binary_t = Json::binary_t;

  Builder(std::string_view file, size_t size, bool has_model)
      : file_(file), size_(size), has_model_(has_model) {}
  // Of a file that is a vocabulary.
  Builder(std::string_view file, size_t size)
      : file_(file), size_(size), has_model_(false), is_vocabulary_(true) {}

  bool null() { return scalar(nullptr, "null"); }
  bool boolean(bool value) { return scalar(value, "a boolean"); }
  bool number_integer(number_integer_t value) {
    if (mode_ == Mode::kVocab) return refuse_id(fmt::format("{}", value));  // negative
    return number(value);
  }
  bool number_unsigned(number_unsigned_t value) {
    if (mode_ == Mode::kAlias) {
      if (alias_id_ || value > number_unsigned_t{kMaxTokenId}) return refuse_alias();
      alias_id_ = static_cast<int32_t>(value);
      return true;
    }
    if (mode_ != Mode::kVocab) return number(value);
    if (value > number_unsigned_t{kMaxTokenId}) return refuse_id(fmt::format("{}", value));
    if (!add_to_vocabulary(&*document_.vocab, tree_.key, static_cast<int32_t>(value)))
      return refuse_vocab(fmt::format("lists token '{}' twice", tree_.key));
    return error_.empty();
  }
  bool number_float(number_float_t value, const string_t& text) {
    if (mode_ == Mode::kVocab) return refuse_id(text);
    return number(value);
  }
  bool string(string_t& value) {
    switch (mode_) {
      case Mode::kMerges:
        return merge_line(value);
      case Mode::kMergePair:
        pair_.push_back(std::move(value));
        return true;
      case Mode::kPiece:
      case Mode::kAlias:
        if (piece_) return refuse(kString);
        piece_ = std::move(value);
        return true;
      default:
        break;
    }
    if (mode_ == Mode::kDocument && at_model_member("proto")) {
      document_.proto = std::move(value);
      return add(nullptr);
    }
    return scalar(std::move(value), kString);
  }
  bool binary(binary_t&) { return false; }  // not in JSON text

  bool start_object(size_t) {
    const bool begins_vocabulary = is_vocabulary_ && tree_.depth() == 0;
    if (mode_ == Mode::kDocument && (begins_vocabulary || at_model_member("vocab"))) {
      mode_ = Mode::kVocab;
      document_.vocab.emplace();
      return add(nullptr);
    }
    if (mode_ == Mode::kSkip || skips()) return skip_into();
    if (mode_ != Mode::kDocument) return refuse("an object");
    return open(Json::object());
  }
  bool key(string_t& value) {
    if (mode_ == Mode::kSkip) return true;
    tree_.key = std::move(value);
    if (tree_.depth() == 1) root_key_ = tree_.key;
    return true;
  }
  bool end_object() {
    if (mode_ == Mode::kVocab) {
      mode_ = Mode::kDocument;
      return true;
    }
    return end_container();
  }
  bool start_array(size_t) {
    if (mode_ == Mode::kDocument && at_model_member("merges")) {
      mode_ = Mode::kMerges;
      document_.merges.emplace();
      return add(nullptr);
    }
    if (mode_ == Mode::kDocument && at_model_member("vocab")) {
      mode_ = Mode::kPieces;
      document_.pieces.emplace();
      return add(nullptr);
    }
    if (mode_ == Mode::kMerges) {
      mode_ = Mode::kMergePair;
      pair_.clear();
      return true;
    }
    if (mode_ == Mode::kDocument && has_model_ && tree_.depth() == 1 && root_key_ == "aliases") {
      mode_ = Mode::kAliases;
      document_.aliases.emplace();
      return add(nullptr);
    }
    if (mode_ == Mode::kPieces || mode_ == Mode::kAliases) {
      mode_ = mode_ == Mode::kPieces ? Mode::kPiece : Mode::kAlias;
      piece_.reset();
      score_.reset();
      alias_id_.reset();
      return true;
    }
    if (mode_ == Mode::kSkip || skips()) return skip_into();
    if (mode_ != Mode::kDocument) return refuse("an array");
    if (has_model_ && tree_.depth() == 1 && root_key_ == "added_tokens") {
      document_.added.emplace();
      values_without_added_ = values_ + 1;
    }
    return open(Json::array());
  }
  bool end_array() {
    switch (mode_) {
      case Mode::kMergePair:
        mode_ = Mode::kMerges;
        if (pair_.size() != 2) return refuse_merge(fmt::format("an array of {}", pair_.size()));
        return add_merge(pair_[0], pair_[1]);
      case Mode::kPiece:
        mode_ = Mode::kPieces;
        return end_piece();
      case Mode::kAlias:
        mode_ = Mode::kAliases;
        if (!piece_ || !alias_id_) return refuse_alias();
        (void)add_to_vocabulary(&*document_.aliases, *piece_, *alias_id_);
        return error_.empty();
      case Mode::kMerges:
      case Mode::kPieces:
      case Mode::kAliases:
        mode_ = Mode::kDocument;
        return true;
      default:
        return end_container();
    }
  }
  bool parse_error(size_t position, const std::string&, const Json::exception& e) {
    constexpr int kNumberOverflow = 406;
    error_ = e.id == kNumberOverflow
                 ? fmt::format("{}: a number before byte {} is out of range", file_, position)
             : position > size_
                 ? fmt::format("{}: ends within its JSON, after {} bytes; download the file again",
                               file_, size_)
                 : fmt::format("{}: broken JSON at byte {} of {}; download the file again", file_,
                               position, size_);
    return false;
  }

  const std::string& error() const { return error_; }
  Document take() {
    document_.root = std::move(tree_.root);
    return std::move(document_);
  }

 private:
  enum class Mode {
    kDocument,
    kSkip,
    kVocab,
    kPieces,
    kPiece,
    kMerges,
    kMergePair,
    kAliases,
    kAlias
  };
  static constexpr const char* kString = "a string";

  bool at_model_member(std::string_view name) const {
    return has_model_ && tree_.depth() == 2 && root_key_ == "model" && tree_.top().is_object() &&
           tree_.key == name;
  }
  // Whether the value that comes next belongs to a member of the file that nobody reads.
  bool skips() const {
    return has_model_ && mode_ == Mode::kDocument && tree_.depth() == 1 &&
           tree_.top().is_object() &&
           std::find(kMembers.begin(), kMembers.end(), root_key_) == kMembers.end();
  }
  bool skip_into() {
    mode_ = Mode::kSkip;
    return ++skipped_depth_ + tree_.depth() <= kMaxNesting || too_deep();
  }
  bool too_deep() {
    error_ = fmt::format("{}: nests more than {} levels deep", file_, kMaxNesting);
    return false;
  }

  // For one more value.
  bool has_room() {
    if (++values_ <= kMaxValues) return true;
    error_ = fmt::format("{}: has more than {} values beside its vocabulary", file_, kMaxValues);
    return false;
  }

  bool add(Json value) {
    if (!has_room()) return false;
    tree_.add(std::move(value));
    return true;
  }

  bool open(Json container) {
    if (tree_.depth() == kMaxNesting) return too_deep();
    if (!has_room()) return false;
    tree_.open(std::move(container));
    return true;
  }

  bool end_container() {
    if (mode_ == Mode::kSkip) {
      if (--skipped_depth_ == 0) mode_ = Mode::kDocument;
      return true;
    }
    tree_.close();
    return take_added_token();
  }

  bool scalar(Json value, const char* type) {
    if (mode_ == Mode::kSkip || skips()) return true;
    if (mode_ != Mode::kDocument) return refuse(type);
    return add(std::move(value)) && take_added_token();
  }
  template <class Number>
  bool number(Number value) {
    if (mode_ != Mode::kPiece) return scalar(value, "a number");
    if (score_ || !piece_) return refuse_piece();
    score_ = static_cast<double>(value);
    return true;
  }

  // If an entry of added_tokens has just ended, reads it and lets its Json go.
  bool take_added_token() {
    if (!document_.added || tree_.depth() != 2 || root_key_ != "added_tokens" ||
        !tree_.top().is_array() || tree_.top().empty())
      return true;
    Json& list = tree_.top();
    const JsonField field(
        &list.back(), fmt::format("{}: added_tokens[{}]", file_, document_.added->size()), &error_);
    AddedToken token = read_added_token(field);
    token.id = static_cast<int32_t>(field.member("id").integer(0, kMaxTokenId));
    document_.added->push_back(std::move(token));
    list.clear();
    values_ = values_without_added_;
    return error_.empty();
  }

  bool add_to_vocabulary(TokenTable* table, std::string_view token, int32_t id) {
    vocabulary_bytes_ += token.size();
    if (vocabulary_bytes_ > kMaxVocabularyBytes) {
      (void)refuse_vocab("has more than 4 GiB of text");
      return true;
    }
    return table->add(token, id);
  }

  bool end_piece() {
    if (!piece_ || !score_ || std::isnan(*score_)) return refuse_piece();
    const size_t id = document_.pieces->scores.size();
    if (id > size_t{kMaxTokenId}) return refuse_vocab("has too many pieces");
    // Of pieces that stand there twice the last counts.
    (void)add_to_vocabulary(&document_.pieces->pieces, *piece_, static_cast<int32_t>(id));
    document_.pieces->scores.push_back(*score_);
    return error_.empty();
  }

  // A value where the vocabulary or the merges cannot have one.
  bool refuse(const char* type) {
    if (mode_ == Mode::kVocab) return refuse_id(type);
    if (mode_ == Mode::kPieces || mode_ == Mode::kPiece) return refuse_piece();
    if (mode_ == Mode::kAliases || mode_ == Mode::kAlias) return refuse_alias();
    return refuse_merge(type);
  }
  bool refuse_vocab(std::string_view what) {
    if (error_.empty())
      error_ = fmt::format("{}: {}{}", file_, is_vocabulary_ ? "" : "model.vocab ", what);
    return false;
  }
  bool refuse_id(std::string_view value) {
    return refuse_vocab(
        fmt::format("gives token '{}' {} as its id; expected an integer from 0 to {}", tree_.key,
                    value, kMaxTokenId));
  }
  bool refuse_piece() {
    error_ = fmt::format("{}: model.vocab[{}] is not [\"token\", score]", file_,
                         document_.pieces->scores.size());
    return false;
  }
  bool refuse_alias() {
    error_ =
        fmt::format("{}: aliases[{}] is not [id, \"token\"]", file_, document_.aliases->size());
    return false;
  }
  bool refuse_merge(std::string_view what) {
    error_ =
        fmt::format("{}: model.merges[{}] is {}; expected \"left right\" or [\"left\", \"right\"]",
                    file_, document_.merges->size(), what);
    return false;
  }

  bool merge_line(std::string_view line) {
    // A merges.txt carried over keeps its header line.
    if (line.starts_with("#version")) return true;
    const size_t space = line.find(' ');
    if (space == line.npos || line.find(' ', space + 1) != line.npos) {
      return refuse_merge(fmt::format("'{}'", line));
    }
    return add_merge(line.substr(0, space), line.substr(space + 1));
  }
  bool add_merge(std::string_view left, std::string_view right) {
    if (document_.merges->text.size() + left.size() + right.size() > kMaxVocabularyBytes) {
      error_ = fmt::format("{}: model.merges has more than 4 GiB of text", file_);
      return false;
    }
    document_.merges->add(left, right);
    return true;
  }

  std::string_view file_;
  size_t size_;
  bool has_model_;
  bool is_vocabulary_ = false;
  Document document_;
  Mode mode_ = Mode::kDocument;
  JsonTree<Json> tree_;
  size_t skipped_depth_ = 0;  // of those that are not kept
  size_t values_ = 0;
  size_t values_without_added_ = 0;  // what values_ was before the entry of added_tokens
  size_t vocabulary_bytes_ = 0;
  std::string root_key_;
  std::vector<std::string> pair_;
  std::optional<std::string> piece_;
  std::optional<double> score_;
  std::optional<int32_t> alias_id_;
  std::string error_;
};

}  // namespace

Result<Document> parse_json(std::string_view text, std::string_view file, bool has_model) {
  Builder builder(file, text.size(), has_model);
  if (!Json::sax_parse(text.data(), text.data() + text.size(), &builder)) {
    return Error{builder.error()};
  }
  return builder.take();
}

Result<TokenTable> parse_vocabulary(std::string_view text, std::string_view file) {
  Builder builder(file, text.size());
  if (!Json::sax_parse(text.data(), text.data() + text.size(), &builder))
    return Error{builder.error()};
  Document document = builder.take();
  if (!document.vocab) return Error{fmt::format("{}: is not a JSON object", file)};
  return *std::move(document.vocab);
}

AddedToken read_added_token(const JsonField& field) {
  AddedToken token;
  token.content = field.member("content").string();
  token.special = field.member("special").boolean(false);
  token.normalized = field.member("normalized").boolean(!token.special);
  token.lstrip = field.member("lstrip").boolean(false);
  token.rstrip = field.member("rstrip").boolean(false);
  token.single_word = field.member("single_word").boolean(false);
  return token;
}

}  // namespace sinter::runtime::tokenizer
