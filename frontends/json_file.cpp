#include "frontends/json_file.h"

#include <algorithm>
#include <array>
#include <exception>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

#include "frontends/error_text.h"
#include "frontends/mapped_file.h"
#include "runtime/support/json_text.h"

namespace sinter::frontends {
namespace {

// "3:14": both from 1, the column in bytes.
std::string line_and_column(std::string_view text, size_t offset) {
  offset = std::min(offset, text.size());
  const std::string_view before = text.substr(0, offset);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t newline = before.rfind('\n');
  const size_t column = newline == std::string_view::npos ? offset + 1 : offset - newline;
  return fmt::format("{}:{}", line, column);
}

// The numbers that Python writes and JSON lacks. The parser sees a number of the same length in
// their place, by which the builder knows where one was.
struct Literal {
  std::string_view text;
  double value;
};
constexpr std::array<Literal, 3> kLiterals = {{
    {"NaN", std::numeric_limits<double>::quiet_NaN()},
    {"Infinity", std::numeric_limits<double>::infinity()},
    {"-Infinity", -std::numeric_limits<double>::infinity()},
}};
constexpr std::string_view kStandIn = "0e0";
constexpr std::string_view kBeforeValue = " \t\r\n[:,";
constexpr std::string_view kAfterValue = " \t\r\n]},";

bool is_one_of(std::string_view characters, char c) {
  return characters.find(c) != std::string_view::npos;
}

// By offset, ascending.
using Literals = std::vector<std::pair<size_t, double>>;

// `text` with literals replaced by kStandIn and blanks; empty when there are none.
std::string without_literals(std::string_view text, Literals& found) {
  std::string out;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (in_string && text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      in_string = !in_string;
    }
    if (in_string || (text[i] != 'N' && text[i] != 'I' && text[i] != '-')) continue;
    for (const Literal& literal : kLiterals) {
      const size_t end = i + literal.text.size();
      if (!text.substr(i).starts_with(literal.text)) continue;
      // Alone, not a part of something that is an error.
      if (i > 0 && !is_one_of(kBeforeValue, text[i - 1])) continue;
      if (end < text.size() && !is_one_of(kAfterValue, text[end])) continue;
      if (out.empty()) out = text;
      found.emplace_back(i, literal.value);
      out.replace(i, literal.text.size(), literal.text.size(), ' ');
      out.replace(i, kStandIn.size(), kStandIn);
      i = end - 1;
      break;
    }
  }
  return out;
}

// Builds the value from the parser's events, so that depth and repeated keys are seen where they
// occur. The events do not carry positions; the input iterator below does.
class TreeBuilder {
 public:
  TreeBuilder(std::string_view text, std::string_view file, const char* const* position,
              const Literals& literals, bool may_repeat)
      : text_(text),
        file_(file),
        position_(position),
        literals_(literals),
        may_repeat_(may_repeat) {}

  bool null() { return put(nullptr); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(int64_t value) { return put(value); }
  bool number_unsigned(uint64_t value) { return put(value); }
  bool number_float(double value, const std::string& written) {
    if (written != kStandIn) return put(value);
    // The parser has read one character more than the number.
    const size_t begin = offset() - kStandIn.size();
    const auto literal = std::lower_bound(
        literals_.begin(), literals_.end(), begin,
        [](const std::pair<size_t, double>& entry, size_t at) { return entry.first < at; });
    const bool is_literal = literal != literals_.end() && literal->first == begin;
    return put(is_literal ? literal->second : value);
  }
  bool string(std::string& value) { return put(std::move(value)); }
  bool binary(Json::binary_t&) { return fail("binary data"); }
  bool start_object(size_t) { return open(Json::object()); }
  bool start_array(size_t) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    if (tree_.top().contains(name)) {
      if (!may_repeat_) return fail(fmt::format("the key {} occurs twice", in_quotes(name)));
      repeated.insert(name);
    }
    tree_.key = std::move(name);
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) {
    // what() is "[json.exception...] parse error at line L, column C: <the part that is wanted>".
    std::string_view what = error.what();
    if (const size_t at = what.find("] "); at != std::string_view::npos) what.remove_prefix(at + 2);
    if (what.starts_with("parse error")) {
      if (const size_t at = what.find(": "); at != std::string_view::npos) {
        what.remove_prefix(at + 2);
      }
    }
    return fail_at(position == 0 ? 0 : position - 1, what);
  }

  Json take() { return std::move(tree_.root); }

  absl::Status status;
  std::set<std::string> repeated;  // keys that occur again in one object

 private:
  template <class Value>
  bool put(Value&& value) {
    tree_.add(Json(std::forward<Value>(value)));
    return true;
  }
  bool open(Json container) {
    if (tree_.depth() >= static_cast<size_t>(kMaxJsonDepth)) {
      return fail(fmt::format("nested deeper than {} levels", kMaxJsonDepth));
    }
    tree_.open(std::move(container));
    return true;
  }
  bool close() {
    tree_.close();
    return true;
  }
  size_t offset() const { return static_cast<size_t>(*position_ - text_.data()); }
  bool fail(std::string_view what) { return fail_at(offset(), what); }
  bool fail_at(size_t offset, std::string_view what) {
    status = invalid("{}:{}: not valid JSON: {}", one_line(file_), line_and_column(text_, offset),
                     one_line(what));
    return false;
  }

  std::string_view text_;
  std::string_view file_;
  const char* const* position_;
  const Literals& literals_;
  bool may_repeat_;
  runtime::JsonTree<Json> tree_;
};

// Reads the text and leaves a trace of how far the parser got.
class TracingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TracingIterator(const char* at, const char** trace) : at_(at), trace_(trace) {}
  const char& operator*() const { return *at_; }
  TracingIterator& operator++() {
    *trace_ = at_++;
    return *this;
  }
  bool operator==(const TracingIterator& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  const char** trace_;
};

}  // namespace

absl::StatusOr<Json> parse_json(std::string_view text, std::string_view file,
                                std::vector<std::string>* notes) {
  Literals literals;
  std::string replaced = without_literals(text, literals);
  if (!replaced.empty()) {
    replaced += ' ';  // so that a number is never the last that is read
    text = replaced;
  }
  const char* position = text.data();
  TreeBuilder builder(text, file, &position, literals, notes != nullptr);
  try {
    const bool parsed =
        Json::sax_parse(TracingIterator(text.data(), &position),
                        TracingIterator(text.data() + text.size(), &position), &builder);
    if (!builder.status.ok()) return builder.status;
    if (!parsed) return invalid("{}: not valid JSON", one_line(file));
  } catch (const std::exception& error) {
    return invalid("{}: cannot be read as JSON: {}", one_line(file), one_line(error.what()));
  }
  if (!builder.repeated.empty()) {
    notes->push_back(fmt::format("{}: {} {} more than once in an object; the last one counts",
                                 one_line(file), some_quoted(builder.repeated),
                                 builder.repeated.size() == 1 ? "occurs" : "occur"));
  }
  return builder.take();
}

absl::StatusOr<Json> read_json_object(const std::filesystem::path& path,
                                      std::vector<std::string>* notes,
                                      runtime::SourceFiles* sources) {
  absl::StatusOr<MappedFile> file = MappedFile::open(path);
  if (!file.ok()) return file.status();
  if (sources != nullptr) sources->push_back(file->source());
  absl::StatusOr<Json> value = parse_json(file->text(), file_name(path), notes);
  if (!value.ok()) return value.status();
  if (!value->is_object()) {
    return invalid("{}: holds {}, expected a JSON object", file_name(path), describe(*value));
  }
  return value;
}

}  // namespace sinter::frontends
