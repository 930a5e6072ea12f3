// Methods of strings, lists and dicts. Those that would change their object are known, and refused
// as Jinja's immutable sandbox does.
#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <unordered_map>

#include "runtime/jinja_evaluator.h"
#include "runtime/tokenizer_utf8.h"

namespace sinter::runtime::jinja {
namespace {

struct Call {
  Evaluator& evaluator;
  const Value& object;
  const std::string& name;
  const Arguments& arguments;

  Budget& budget() const { return evaluator.budget(); }
  const std::string& text() const { return *object.string(); }
  const Mapping& dict() const { return *object.mapping(); }
  const std::vector<Value>& list() const { return object.sequence()->items; }
  std::vector<const Value*> bind(std::initializer_list<std::string_view> names) const {
    return arguments.bind(name, names);
  }
  const std::string& string(const Value* value, const char* what) const {
    if (value == nullptr) throw Failure{fmt::format("{}() needs {}", name, what)};
    require_defined(*value);
    if (value->string() == nullptr)
      throw Failure{fmt::format("{}() needs a str as {}, not a {}", name, what, type_name(*value))};
    return *value->string();
  }
  // Null for None and for what is not given.
  const std::string* optional_string(const Value* value, const char* what) const {
    if (value == nullptr || value->is<None>()) return nullptr;
    return &string(value, what);
  }
  int64_t integer(const Value* value, int64_t otherwise) const {
    if (value == nullptr) return otherwise;
    require_defined(*value);
    if (const auto number = value->integer()) return *number;
    throw Failure{fmt::format("{}() needs an int, not a {}", name, type_name(*value))};
  }
};

using Implementation = std::function<Value(const Call&)>;
using Table = std::unordered_map<std::string_view, Implementation>;

Value strip_method(const Call& call, bool left, bool right) {
  const auto bound = call.bind({"chars"});
  return call.evaluator.string(std::string(
      strip(call.text(), call.optional_string(bound[0], "chars"), left, right, call.budget())));
}

Value text_list(const Call& call, const std::vector<std::string_view>& parts,
                Sequence::Kind kind = Sequence::Kind::kList) {
  std::vector<Value> items;
  for (const std::string_view part : parts)
    items.push_back(call.evaluator.string(std::string(part)));
  return make_list(std::move(items), call.budget(), kind);
}

// Words between white space, `most` cuts at most.
std::vector<std::string_view> split_words(const Call& call, int64_t most, bool from_right) {
  std::vector<std::string_view> words;
  std::string_view rest = strip(call.text(), nullptr, !from_right, from_right, call.budget());
  const auto space_at = [](std::string_view text) {
    return tokenizer::is_white_space(tokenizer::next_utf8(text).code_point);
  };
  while (!rest.empty()) {
    call.budget().charge(kValueCost);
    if (most >= 0 && static_cast<int64_t>(words.size()) == most) {
      words.push_back(rest);
      break;
    }
    if (from_right) {
      size_t start = rest.size();
      while (start > 0) {
        size_t before = start - 1;
        while (before > 0 && (static_cast<uint8_t>(rest[before]) & 0xC0) == 0x80) --before;
        if (space_at(rest.substr(before))) break;
        start = before;
      }
      words.push_back(rest.substr(start));
      rest = rest.substr(0, start);
    } else {
      size_t end = 0;
      while (end < rest.size() && !space_at(rest.substr(end)))
        end += tokenizer::next_utf8(rest.substr(end)).length;
      words.push_back(rest.substr(0, end));
      rest = rest.substr(end);
    }
    // Not through strip(), which would charge for the whole rest each time.
    while (!rest.empty() && !from_right && space_at(rest))
      rest.remove_prefix(tokenizer::next_utf8(rest).length);
    while (!rest.empty() && from_right) {
      size_t before = rest.size() - 1;
      while (before > 0 && (static_cast<uint8_t>(rest[before]) & 0xC0) == 0x80) --before;
      if (!space_at(rest.substr(before))) break;
      rest = rest.substr(0, before);
    }
  }
  if (from_right) std::reverse(words.begin(), words.end());
  return words;
}

Value split_method(const Call& call, bool from_right) {
  const auto bound = call.bind({"sep", "maxsplit"});
  const int64_t most = call.integer(bound[1], -1);
  const std::string* separator = call.optional_string(bound[0], "sep");
  if (separator == nullptr) return text_list(call, split_words(call, most, from_right));
  if (separator->empty()) throw Failure{"split() has an empty separator"};
  std::vector<std::string_view> parts;
  std::string_view rest = call.text();
  call.budget().charge(rest.size() + rest.size() / 32 * (separator->size() / 32));
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    const size_t at = from_right ? rest.rfind(*separator) : rest.find(*separator);
    if (at == std::string_view::npos) break;
    call.budget().charge(kValueCost);
    const std::string_view before = rest.substr(0, at), after = rest.substr(at + separator->size());
    parts.push_back(from_right ? after : before);
    rest = from_right ? before : after;
  }
  parts.push_back(rest);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return text_list(call, parts);
}

Value partition_method(const Call& call, bool from_right) {
  const auto bound = call.bind({"sep"});
  const std::string& separator = call.string(bound[0], "sep");
  if (separator.empty()) throw Failure{"partition() has an empty separator"};
  const std::string_view text = call.text();
  call.budget().charge(text.size() + text.size() / 32 * (separator.size() / 32));
  const size_t at = from_right ? text.rfind(separator) : text.find(separator);
  std::vector<std::string_view> parts;
  if (at != std::string_view::npos)
    parts = {text.substr(0, at), separator, text.substr(at + separator.size())};
  else if (from_right)
    parts = {"", "", text};
  else
    parts = {text, "", ""};
  return text_list(call, parts, Sequence::Kind::kTuple);
}

Value affix_method(const Call& call, bool start) {
  const auto bound = call.bind({"affix"});
  if (bound[0] == nullptr) throw Failure{fmt::format("{}() needs a str", call.name)};
  const auto matches = [&](const Value& affix) {
    const std::string& text = call.string(&affix, "what to look for");
    call.budget().charge(text.size() / 16 + 1);
    return start ? call.text().starts_with(text) : call.text().ends_with(text);
  };
  const Sequence* several = bound[0]->sequence();
  if (several == nullptr || several->kind != Sequence::Kind::kTuple) return matches(*bound[0]);
  return std::any_of(several->items.begin(), several->items.end(), matches);
}

// The byte position of a character of the text.
size_t byte_at(std::string_view text, int64_t character) {
  size_t at = 0;
  for (; character > 0 && at < text.size(); --character)
    at += tokenizer::next_utf8(text.substr(at)).length;
  return at;
}

Value find_method(const Call& call, bool from_right, bool must) {
  const auto bound = call.bind({"sub", "start", "end"});
  const std::string& part = call.string(bound[0], "what to look for");
  std::string_view text = call.text();
  call.budget().charge(2 * text.size() + text.size() / 32 * (part.size() / 32));
  const auto size = static_cast<int64_t>(count_characters(text));
  const auto clamp = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + size : i, 0, size); };
  const int64_t start_given = call.integer(bound[1], 0);
  const int64_t begin = start_given > size ? size + 1 : clamp(std::max(start_given, -size));
  const int64_t end = clamp(std::max(call.integer(bound[2], size), -size));
  int64_t result = -1;
  if (begin <= end) {
    const size_t from = byte_at(text, begin);
    const std::string_view within = text.substr(from, byte_at(text, end) - from);
    const size_t at = from_right ? within.rfind(part) : within.find(part);
    if (at != std::string_view::npos)
      result = begin + static_cast<int64_t>(count_characters(within.substr(0, at)));
  }
  if (must && result < 0) throw Failure{fmt::format("{}() finds nothing", call.name)};
  return result;
}

Value count_method(const Call& call) {
  const auto bound = call.bind({"sub"});
  const std::string& part = call.string(bound[0], "what to count");
  const std::string_view text = call.text();
  call.budget().charge(text.size() + text.size() / 32 * (part.size() / 32));
  if (part.empty()) return static_cast<int64_t>(count_characters(text)) + 1;
  int64_t count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size()))
    ++count;
  return count;
}

Value pad_method(const Call& call) {
  const auto bound = call.bind({"width", "fillchar"});
  const int64_t width = call.integer(bound[0], 0);
  const std::string fill =
      bound[1] == nullptr ? (call.name == "zfill" ? "0" : " ") : call.string(bound[1], "fillchar");
  if (count_characters(fill) != 1) throw Failure{"a fill character must be one character"};
  std::string text = call.text();
  const int64_t missing = width - static_cast<int64_t>(count_characters(text));
  if (missing <= 0) return call.evaluator.string(std::move(text));
  if (missing > (int64_t{1} << 24)) throw Failure{"a width is too large"};
  call.budget().charge(static_cast<size_t>(missing) * fill.size());
  int64_t left = call.name == "ljust" ? 0 : missing;
  if (call.name == "center") left = missing / 2 + (missing & width & 1);
  std::string before, after;
  for (int64_t i = 0; i < missing; ++i) (i < left ? before : after) += fill;
  if (call.name == "zfill" && (text.starts_with('-') || text.starts_with('+'))) {
    before.insert(0, 1, text[0]);
    text.erase(0, 1);
  }
  return call.evaluator.string(before + text + after);
}

Value splitlines_method(const Call& call) {
  const auto bound = call.bind({"keepends"});
  const bool keep = bound[0] != nullptr && is_true(*bound[0]);
  std::vector<std::string_view> lines;
  std::string_view rest = call.text();
  call.budget().charge(rest.size());
  while (!rest.empty()) {
    call.budget().charge(kValueCost);
    size_t end = 0, length = 0;
    while (end < rest.size()) {
      const tokenizer::Utf8Unit unit = tokenizer::next_utf8(rest.substr(end));
      const uint32_t c = unit.code_point;
      if ((c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
          c == 0x2029) {
        length = c == '\r' && rest.substr(end + 1).starts_with('\n') ? 2 : unit.length;
        break;
      }
      end += unit.length;
    }
    lines.push_back(rest.substr(0, keep ? end + length : end));
    rest.remove_prefix(end + length);
  }
  return text_list(call, lines);
}

Value title_method(const Call& call) {
  std::string out;
  std::string_view rest = call.text();
  call.budget().charge(4 * rest.size());
  bool within = false;  // a word
  while (!rest.empty()) {
    const tokenizer::Utf8Unit unit = tokenizer::next_utf8(rest);
    const auto c = static_cast<utf8proc_int32_t>(unit.code_point);
    const auto category = utf8proc_category(c);
    tokenizer::append_utf8(
        static_cast<uint32_t>(within ? utf8proc_tolower(c) : utf8proc_totitle(c)), &out);
    within = category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
             category == UTF8PROC_CATEGORY_LT;
    rest.remove_prefix(unit.length);
  }
  return call.evaluator.string(std::move(out));
}

// str.format with {}, {0} and {name}, without attributes and format specifications.
Value format_method(const Call& call) {
  std::string out;
  const std::string& text = call.text();
  size_t automatic = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    call.budget().charge(1);
    const char c = text[i];
    if ((c == '{' || c == '}') && i + 1 < text.size() && text[i + 1] == c) {
      out += c;
      ++i;
    } else if (c == '{') {
      const size_t end = text.find('}', i);
      if (end == std::string::npos) throw Failure{"format() finds a { without a }"};
      const std::string field = text.substr(i + 1, end - i - 1);
      const bool numbered = field.find_first_not_of("0123456789") == std::string::npos;
      const Value* value = nullptr;
      if (numbered) {
        if (field.size() > 9) throw Failure{"format() has too large an index"};
        const size_t index = field.empty() ? automatic++ : static_cast<size_t>(std::stoul(field));
        if (index < call.arguments.positional.size()) value = &call.arguments.positional[index];
      } else {
        for (const auto& [key, given] : call.arguments.keywords)
          if (key == field) value = &given;
      }
      if (value == nullptr)
        throw Failure{fmt::format("format() has no value for '{{{}}}'", field.substr(0, 40))};
      out += call.evaluator.text(*value);
      i = end;
    } else if (c == '}') {
      throw Failure{"format() finds a } without a {"};
    } else {
      out += c;
    }
  }
  return call.evaluator.string(std::move(out));
}

template <bool (*is)(uint32_t)>
Value is_method_of_text(const Call& call) {
  (void)call.bind({});
  call.budget().charge(call.text().size());
  return all_characters(call.text(), is);
}

utf8proc_category_t category_of(uint32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}
bool is_letter(uint32_t c) {
  const auto category = category_of(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(uint32_t c) { return category_of(c) == UTF8PROC_CATEGORY_ND; }
bool is_number(uint32_t c) {
  const auto category = category_of(c);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}
bool is_letter_or_number(uint32_t c) { return is_letter(c) || is_number(c); }
bool is_blank(uint32_t c) { return tokenizer::is_white_space(c) || (c >= 0x1c && c <= 0x1f); }

Value join_method(const Call& call) {
  const auto bound = call.bind({"iterable"});
  if (bound[0] == nullptr) throw Failure{"join() needs something to join"};
  require_defined(*bound[0]);
  std::string out;
  bool first = true;
  for (const Value& part : iterate(*bound[0], call.budget())) {
    const std::string& text = call.string(&part, "every part");
    if (!std::exchange(first, false)) out += call.text();
    out += text;
    call.budget().charge(call.text().size() + text.size());
  }
  return call.evaluator.string(std::move(out));
}

const Table& text_methods() {
  static const Table table = {
      {"strip", [](const Call& call) { return strip_method(call, true, true); }},
      {"lstrip", [](const Call& call) { return strip_method(call, true, false); }},
      {"rstrip", [](const Call& call) { return strip_method(call, false, true); }},
      {"split", [](const Call& call) { return split_method(call, false); }},
      {"rsplit", [](const Call& call) { return split_method(call, true); }},
      {"splitlines", splitlines_method},
      {"partition", [](const Call& call) { return partition_method(call, false); }},
      {"rpartition", [](const Call& call) { return partition_method(call, true); }},
      {"startswith", [](const Call& call) { return affix_method(call, true); }},
      {"endswith", [](const Call& call) { return affix_method(call, false); }},
      {"find", [](const Call& call) { return find_method(call, false, false); }},
      {"rfind", [](const Call& call) { return find_method(call, true, false); }},
      {"index", [](const Call& call) { return find_method(call, false, true); }},
      {"rindex", [](const Call& call) { return find_method(call, true, true); }},
      {"count", count_method},
      {"title", title_method},
      {"join", join_method},
      {"format", format_method},
      {"ljust", pad_method},
      {"rjust", pad_method},
      {"center", pad_method},
      {"zfill", pad_method},
      {"isalpha", is_method_of_text<is_letter>},
      {"isdigit", is_method_of_text<is_decimal>},
      {"isdecimal", is_method_of_text<is_decimal>},
      {"isnumeric", is_method_of_text<is_number>},
      {"isalnum", is_method_of_text<is_letter_or_number>},
      {"isspace", is_method_of_text<is_blank>},
      {"isupper", [](const Call& call) { return Value(is_upper(call.text())); }},
      {"islower", [](const Call& call) { return Value(is_lower(call.text())); }},
      {"upper",
       [](const Call& call) { return call.evaluator.string(upper(call.text(), call.budget())); }},
      {"lower",
       [](const Call& call) { return call.evaluator.string(lower(call.text(), call.budget())); }},
      {"swapcase",
       [](const Call& call) {
         return call.evaluator.string(swap_case(call.text(), call.budget()));
       }},
      {"capitalize",
       [](const Call& call) {
         return call.evaluator.string(capitalize(call.text(), call.budget()));
       }},
      {"replace",
       [](const Call& call) {
         const auto bound = call.bind({"old", "new", "count"});
         return call.evaluator.string(replace(call.text(), call.string(bound[0], "old"),
                                              call.string(bound[1], "new"),
                                              call.integer(bound[2], -1), call.budget()));
       }},
      {"removeprefix",
       [](const Call& call) {
         const auto bound = call.bind({"prefix"});
         const std::string& prefix = call.string(bound[0], "prefix");
         return call.evaluator.string(
             call.text().substr(call.text().starts_with(prefix) ? prefix.size() : 0));
       }},
      {"removesuffix",
       [](const Call& call) {
         const auto bound = call.bind({"suffix"});
         const std::string& suffix = call.string(bound[0], "suffix");
         const size_t cut = call.text().ends_with(suffix) ? suffix.size() : 0;
         return call.evaluator.string(call.text().substr(0, call.text().size() - cut));
       }},
  };
  return table;
}

Value pair_list(const Call& call, Sequence::Kind kind) {
  (void)call.bind({});
  std::vector<Value> items;
  for (const auto& [key, value] : call.dict().items) {
    call.budget().charge(kValueCost);
    if (kind == Sequence::Kind::kKeys)
      items.push_back(key);
    else if (kind == Sequence::Kind::kValues)
      items.push_back(value);
    else
      items.push_back(make_list({key, value}, call.budget(), Sequence::Kind::kTuple));
  }
  return make_list(std::move(items), call.budget(), kind);
}

const Table& dict_methods() {
  static const Table table = {
      {"items", [](const Call& call) { return pair_list(call, Sequence::Kind::kItems); }},
      {"keys", [](const Call& call) { return pair_list(call, Sequence::Kind::kKeys); }},
      {"values", [](const Call& call) { return pair_list(call, Sequence::Kind::kValues); }},
      {"copy", [](const Call& call) { return call.object; }},
      {"get",
       [](const Call& call) {
         const auto bound = call.bind({"key", "default"});
         if (bound[0] == nullptr) throw Failure{"get() needs a key"};
         const Value* found = call.dict().find(*bound[0], call.budget());
         if (found != nullptr) return *found;
         return bound[1] != nullptr ? *bound[1] : Value(None{});
       }},
  };
  return table;
}

const Table& list_methods() {
  static const Table table = {
      {"copy", [](const Call& call) { return call.object; }},
      {"count",
       [](const Call& call) {
         const auto bound = call.bind({"value"});
         if (bound[0] == nullptr) throw Failure{"count() needs a value"};
         return Value(static_cast<int64_t>(std::count_if(
             call.list().begin(), call.list().end(),
             [&](const Value& item) { return equal(item, *bound[0], call.budget()); })));
       }},
      {"index",
       [](const Call& call) {
         const auto bound = call.bind({"value"});
         if (bound[0] == nullptr) throw Failure{"index() needs a value"};
         for (size_t i = 0; i < call.list().size(); ++i)
           if (equal(call.list()[i], *bound[0], call.budget()))
             return Value(static_cast<int64_t>(i));
         throw Failure{"index() does not find the value"};
       }},
  };
  return table;
}

constexpr std::string_view kListChanges[] = {"append", "clear",  "extend",  "insert",
                                             "pop",    "remove", "reverse", "sort"};
constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};

bool is_change(const Value& object, std::string_view name) {
  const auto has = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  if (object.mapping() != nullptr) return has(kDictChanges);
  const Sequence* list = object.sequence();
  return list != nullptr && list->kind == Sequence::Kind::kList && has(kListChanges);
}

const Implementation* method_of(const Value& object, std::string_view name) {
  const Table* table = nullptr;
  if (object.string() != nullptr) table = &text_methods();
  if (object.mapping() != nullptr) table = &dict_methods();
  const Sequence* list = object.sequence();
  if (list != nullptr &&
      (list->kind == Sequence::Kind::kList || list->kind == Sequence::Kind::kTuple))
    table = &list_methods();
  if (table == nullptr) return nullptr;
  const auto found = table->find(name);
  return found == table->end() ? nullptr : &found->second;
}

}  // namespace

bool is_method(const Value& object, std::string_view name) {
  return method_of(object, name) != nullptr || is_change(object, name);
}

Value call_method(Evaluator& evaluator, const Value& object, const std::string& name,
                  const Arguments& arguments) {
  const Implementation* method = method_of(object, name);
  if (method == nullptr)
    throw Failure{
        fmt::format("'{}' would change a {}, which templates may not", name, type_name(object))};
  return (*method)({evaluator, object, name, arguments});
}

}  // namespace sinter::runtime::jinja
