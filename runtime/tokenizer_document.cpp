// JSON text to Document.
#include <fmt/format.h>

#include <limits>

#include "runtime/tokenizer_json.h"

namespace sinter::runtime::tokenizer {
namespace {

constexpr size_t kMaxDepth = 64;  // tokenizer files nest less than ten deep
constexpr int32_t kMaxId = std::numeric_limits<int32_t>::max() - 1;

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

  bool null() { return scalar(nullptr, "null"); }
  bool boolean(bool value) { return scalar(value, "boolean"); }
  bool number_integer(number_integer_t value) {
    if (mode_ == Mode::kVocab) return refuse_id(fmt::format("{}", value));  // negative
    return scalar(value, "number");
  }
  bool number_unsigned(number_unsigned_t value) {
    if (mode_ != Mode::kVocab) return scalar(value, "number");
    if (value > number_unsigned_t{kMaxId}) return refuse_id(fmt::format("{}", value));
    document_.vocab->emplace_back(std::move(key_), static_cast<int32_t>(value));
    return true;
  }
  bool number_float(number_float_t value, const string_t& text) {
    if (mode_ == Mode::kVocab) return refuse_id(text);
    return scalar(value, "number");
  }
  bool string(string_t& value) {
    if (mode_ == Mode::kMerges) return merge_line(value);
    if (mode_ == Mode::kMergePair) {
      pair_.push_back(std::move(value));
      return true;
    }
    return scalar(std::move(value), "string");
  }
  bool binary(binary_t&) { return false; }  // not in JSON text

  bool start_object(size_t) {
    if (mode_ == Mode::kDocument && at_model_member("vocab")) {
      mode_ = Mode::kVocab;
      document_.vocab.emplace();
      return add(nullptr) != nullptr;
    }
    if (mode_ != Mode::kDocument) return refuse("object");
    return open(Json::object());
  }
  bool key(string_t& value) {
    key_ = std::move(value);
    if (open_.size() == 1) root_key_ = key_;
    return true;
  }
  bool end_object() {
    if (mode_ == Mode::kVocab) {
      mode_ = Mode::kDocument;
    } else {
      open_.pop_back();
    }
    return true;
  }
  bool start_array(size_t) {
    if (mode_ == Mode::kDocument && at_model_member("merges")) {
      mode_ = Mode::kMerges;
      document_.merges.emplace();
      return add(nullptr) != nullptr;
    }
    if (mode_ == Mode::kMerges) {
      mode_ = Mode::kMergePair;
      pair_.clear();
      return true;
    }
    if (mode_ != Mode::kDocument) return refuse("array");
    return open(Json::array());
  }
  bool end_array() {
    if (mode_ == Mode::kMergePair) {
      mode_ = Mode::kMerges;
      if (pair_.size() != 2) return refuse_merge(fmt::format("an array of {}", pair_.size()));
      document_.merges->emplace_back(std::move(pair_[0]), std::move(pair_[1]));
    } else if (mode_ == Mode::kMerges) {
      mode_ = Mode::kDocument;
    } else {
      open_.pop_back();
    }
    return true;
  }
  bool parse_error(size_t position, const std::string&, const Json::exception& e) {
    constexpr int kNumberOverflow = 406;
    error_ = e.id == kNumberOverflow
                 ? fmt::format("{}: a number before byte {} is out of range", file_, position)
                 : fmt::format("{}: broken JSON at byte {} of {}; download the file again", file_,
                               position, size_);
    return false;
  }

  const std::string& error() const { return error_; }
  Document& document() { return document_; }

 private:
  enum class Mode { kDocument, kVocab, kMerges, kMergePair };

  bool at_model_member(std::string_view name) const {
    return has_model_ && open_.size() == 2 && root_key_ == "model" && open_.back()->is_object() &&
           key_ == name;
  }

  Json* add(Json value) {
    if (open_.empty()) {
      document_.root = std::move(value);
      return &document_.root;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    Json& member = parent[key_];
    member = std::move(value);
    return &member;
  }

  bool open(Json container) {
    if (open_.size() == kMaxDepth) {
      error_ = fmt::format("{}: nests more than {} levels deep", file_, kMaxDepth);
      return false;
    }
    open_.push_back(add(std::move(container)));
    return true;
  }

  bool scalar(Json value, const char* type) {
    if (mode_ != Mode::kDocument) return refuse(type);
    add(std::move(value));
    return true;
  }

  // A value where the vocabulary or the merges cannot have one.
  bool refuse(const char* type) {
    return mode_ == Mode::kVocab ? refuse_id(type) : refuse_merge(type);
  }
  bool refuse_id(std::string_view value) {
    error_ =
        fmt::format("{}: model.vocab gives token '{}' the id {}; expected an integer from 0 to {}",
                    file_, key_, value, kMaxId);
    return false;
  }
  bool refuse_merge(std::string_view what) {
    error_ =
        fmt::format("{}: model.merges[{}] is {}; expected \"left right\" or [\"left\", \"right\"]",
                    file_, document_.merges->size(), what);
    return false;
  }

  bool merge_line(const std::string& line) {
    // A merges.txt carried over keeps its header line.
    if (line.starts_with("#version")) return true;
    const size_t space = line.find(' ');
    if (space == line.npos || line.find(' ', space + 1) != line.npos) {
      return refuse_merge(fmt::format("'{}'", line));
    }
    document_.merges->emplace_back(line.substr(0, space), line.substr(space + 1));
    return true;
  }

  std::string_view file_;
  size_t size_;
  bool has_model_;
  Document document_;
  Mode mode_ = Mode::kDocument;
  std::vector<Json*> open_;  // the containers that are not closed yet
  std::string root_key_, key_;
  std::vector<std::string> pair_;
  std::string error_;
};

}  // namespace

Result<Document> parse_json(std::string_view text, std::string_view file, bool has_model) {
  Builder builder(file, text.size(), has_model);
  if (!Json::sax_parse(text.data(), text.data() + text.size(), &builder)) {
    return Error{builder.error()};
  }
  return std::move(builder.document());
}

}  // namespace sinter::runtime::tokenizer
