#include "frontends/json_file.h"

#include <algorithm>
#include <array>
#include <cmath>
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

absl::Status wrong(std::string_view file, std::string_view key, const Json& found,
                   std::string_view expected) {
  return invalid("{}: {} is {}, expected {}", one_line(file), in_quotes(key), describe(found),
                 expected);
}

absl::StatusOr<const Json*> require(const Json& object, std::string_view key, std::string_view file,
                                    std::string_view expected) {
  if (!object.is_object()) {
    return invalid("{}: holds {}, expected an object with the field {}", one_line(file),
                   describe(object), in_quotes(key));
  }
  const auto field = object.find(key);
  if (field == object.end()) {
    return invalid("{}: {} is missing, expected {}", one_line(file), in_quotes(key), expected);
  }
  return &*field;
}

std::string expected_integer(IntRange range) {
  const bool open_end = range.max == std::numeric_limits<int64_t>::max();
  if (open_end && range.min == 1) return "a positive integer";
  if (open_end && range.min == 0) return "an integer of 0 or more";
  if (open_end && range.min == std::numeric_limits<int64_t>::min()) return "an integer";
  if (open_end) return fmt::format("an integer of {} or more", range.min);
  return fmt::format("an integer from {} to {}", range.min, range.max);
}

std::string expected_number(double min, double max) {
  const bool open_start = min == std::numeric_limits<double>::lowest();
  const bool open_end = max == std::numeric_limits<double>::max();
  if (open_start && open_end) return "a number";
  if (open_end) return fmt::format("a number of {} or more", min);
  if (open_start) return fmt::format("a number of {} or less", max);
  return fmt::format("a number from {} to {}", min, max);
}

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

const Json* find_field(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto field = object.find(key);
  return field == object.end() || field->is_null() ? nullptr : &*field;
}

std::string describe(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_binary()) return "a long array";
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  if (value.is_string()) return '"' + one_line(value.get_ref<const std::string&>(), 60) + '"';
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    const auto number = value.get<double>();
    return std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
  }
  return one_line(runtime::to_line(value), 60);
}

absl::StatusOr<int64_t> get_int(const Json& object, std::string_view key, std::string_view file,
                                IntRange range) {
  const std::string expected = expected_integer(range);
  absl::StatusOr<const Json*> field = require(object, key, file, expected);
  if (!field.ok()) return field.status();
  const Json& value = **field;
  // Unsigned is how the parser stores integers that are not negative, those above INT64_MAX
  // included.
  const bool fits =
      value.is_number_unsigned()
          ? value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
          : value.is_number_integer();
  if (!fits) return wrong(file, key, value, expected);
  const auto number = value.get<int64_t>();
  if (number < range.min || number > range.max) return wrong(file, key, value, expected);
  return number;
}

absl::StatusOr<double> get_double(const Json& object, std::string_view key, std::string_view file,
                                  double min, double max) {
  const std::string expected = expected_number(min, max);
  absl::StatusOr<const Json*> field = require(object, key, file, expected);
  if (!field.ok()) return field.status();
  if (!(*field)->is_number()) return wrong(file, key, **field, expected);
  const auto number = (*field)->get<double>();
  if (!std::isfinite(number) || number < min || number > max) {
    return wrong(file, key, **field, expected);
  }
  return number;
}

absl::StatusOr<bool> get_bool(const Json& object, std::string_view key, std::string_view file) {
  absl::StatusOr<const Json*> field = require(object, key, file, "true or false");
  if (!field.ok()) return field.status();
  if (!(*field)->is_boolean()) return wrong(file, key, **field, "true or false");
  return (*field)->get<bool>();
}

absl::StatusOr<std::string> get_string(const Json& object, std::string_view key,
                                       std::string_view file) {
  absl::StatusOr<const Json*> field = require(object, key, file, "a string");
  if (!field.ok()) return field.status();
  if (!(*field)->is_string()) return wrong(file, key, **field, "a string");
  return (*field)->get<std::string>();
}

absl::StatusOr<const Json*> get_object(const Json& object, std::string_view key,
                                       std::string_view file) {
  absl::StatusOr<const Json*> field = require(object, key, file, "an object");
  if (!field.ok()) return field.status();
  if (!(*field)->is_object()) return wrong(file, key, **field, "an object");
  return *field;
}

absl::StatusOr<const Json*> get_array(const Json& object, std::string_view key,
                                      std::string_view file) {
  absl::StatusOr<const Json*> field = require(object, key, file, "an array");
  if (!field.ok()) return field.status();
  if (!(*field)->is_array()) return wrong(file, key, **field, "an array");
  return *field;
}

absl::StatusOr<int64_t> get_int_or(const Json& object, std::string_view key, std::string_view file,
                                   int64_t fallback, IntRange range) {
  if (find_field(object, key) == nullptr) return fallback;
  return get_int(object, key, file, range);
}

absl::StatusOr<double> get_double_or(const Json& object, std::string_view key,
                                     std::string_view file, double fallback, double min,
                                     double max) {
  if (find_field(object, key) == nullptr) return fallback;
  return get_double(object, key, file, min, max);
}

absl::StatusOr<bool> get_bool_or(const Json& object, std::string_view key, std::string_view file,
                                 bool fallback) {
  if (find_field(object, key) == nullptr) return fallback;
  return get_bool(object, key, file);
}

absl::StatusOr<std::string> get_string_or(const Json& object, std::string_view key,
                                          std::string_view file, std::string_view fallback) {
  if (find_field(object, key) == nullptr) return std::string(fallback);
  return get_string(object, key, file);
}

}  // namespace sinter::frontends
