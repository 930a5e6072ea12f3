// Methods of str, and of Markup, which escapes the strings that it is given.
#include <algorithm>
#include <unordered_map>

#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/format.h"
#include "runtime/text/jinja/integer.h"
#include "runtime/text/jinja/text.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::jinja {

std::string Call::escaped_argument(const Value& argument) const {
  return escaped_text(argument, budget());
}

namespace {

const std::string& text_of(const Call& call) { return *call.value.string(); }

Value text_list(const Call& call, const std::vector<std::string_view>& parts,
                Sequence::Kind kind = Sequence::Kind::kList) {
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(call.alike(std::string(part)));
  return make_list(std::move(items), call.budget(), kind);
}

Value strip_method(const Call& call, bool left, bool right) {
  const auto bound = call.in_order(0, 1);
  std::string which;
  const bool some = Call::given(bound[0]);
  if (some) which = call.joining(bound[0], "characters");
  return call.alike(
      std::string(strip(text_of(call), some ? &which : nullptr, left, right, call.budget())));
}

// Words between white space, cut from the right.
std::vector<std::string_view> words_from_right(const Call& call, int64_t most) {
  call.budget().charge(text_of(call).size(), 4);
  std::vector<std::string_view> words;
  std::string_view rest = text_of(call);
  // How long `rest` is without what is, or is not, white space at its end.
  const auto cut = [](std::string_view text, bool space) {
    size_t end = text.size();
    while (end > 0 && is_space(tokenizer::last_code_point(text.substr(0, end))) == space) do
        --end;
      while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80);
    return end;
  };
  for (rest = rest.substr(0, cut(rest, true)); !rest.empty();
       rest = rest.substr(0, cut(rest, true))) {
    call.budget().charge(kValueCost);
    if (most >= 0 && static_cast<int64_t>(words.size()) == most) {
      words.push_back(rest);
      break;
    }
    const size_t start = cut(rest, false);
    words.push_back(rest.substr(start));
    rest = rest.substr(0, start);
  }
  std::reverse(words.begin(), words.end());
  return words;
}

Value split_method(const Call& call, bool from_right) {
  const auto bound = call.bind({"sep", "maxsplit"});
  const int64_t most = call.integer(bound[1], -1);
  if (!Call::given(bound[0]))
    return text_list(call, from_right ? words_from_right(call, most)
                                      : words_of(text_of(call), most, call.budget()));
  const std::string& separator = call.string(bound[0], "separator");
  if (separator.empty()) throw Failure{"split() has an empty separator"};
  std::vector<std::string_view> parts;
  std::string_view rest = text_of(call);
  call.budget().charge(rest.size(), from_right ? 1 + separator.size() / 32 : 1);
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    const size_t at = from_right ? rest.rfind(separator) : position_of(separator, rest, 0);
    if (at == std::string_view::npos) break;
    call.budget().charge(kValueCost);
    const std::string_view before = rest.substr(0, at), after = rest.substr(at + separator.size());
    parts.push_back(from_right ? after : before);
    rest = from_right ? before : after;
  }
  parts.push_back(rest);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return text_list(call, parts);
}

Value partition_method(const Call& call, bool from_right) {
  const auto bound = call.in_order(1, 1);
  const std::string separator = call.joining(bound[0], "separator");
  if (separator.empty()) throw Failure{"partition() has an empty separator"};
  const std::string_view text = text_of(call);
  const size_t at = from_right ? find_last(text, separator, call.budget())
                               : find(text, separator, 0, call.budget());
  std::vector<std::string_view> parts;
  if (at != std::string_view::npos)
    parts = {text.substr(0, at), separator, text.substr(at + separator.size())};
  else if (from_right)
    parts = {"", "", text};
  else
    parts = {text, "", ""};
  return text_list(call, parts, Sequence::Kind::kTuple);
}

// The part of the text between two positions, as find() and its like take them.
struct Window {
  int64_t begin;  // in characters
  std::string_view text;
};
std::optional<Window> window(const Call& call, const Value* start, const Value* stop) {
  const std::string_view text = text_of(call);
  if (!Call::given(start) && !Call::given(stop)) return Window{0, text};
  call.budget().charge(2 * text.size());
  const auto size = static_cast<int64_t>(count_characters(text));
  const auto position = [&](const Value* value, int64_t otherwise) {
    if (!Call::given(value)) return otherwise;
    const int64_t i =
        value->big_integer() != nullptr ? sign(*value) * INT32_MAX : call.integer(value, otherwise);
    return i < 0 ? std::max<int64_t>(i + size, 0) : i;
  };
  const int64_t begin = position(start, 0), end = std::min(position(stop, size), size);
  if (begin > end) return std::nullopt;
  const size_t from = byte_at(text, begin);
  return Window{begin, text.substr(from, byte_at(text.substr(from), end - begin))};
}

Value affix_method(const Call& call, bool start) {
  const auto bound = call.in_order(1, 3);
  const auto within = window(call, bound[1], bound[2]);
  const auto matches = [&](const Value& affix) {
    const std::string& text = call.string(&affix, "what to look for");
    call.budget().charge(text.size() / 8 + 1);
    return within && (start ? within->text.starts_with(text) : within->text.ends_with(text));
  };
  if (!bound[0]->is_tuple()) return matches(*bound[0]);
  const std::vector<Value>& several = *bound[0]->items();
  return std::any_of(several.begin(), several.end(), matches);
}

Value find_method(const Call& call, bool from_right, bool must) {
  const auto bound = call.in_order(1, 3);
  const std::string& part = call.string(bound[0], "what to look for");
  int64_t result = -1;
  if (const auto within = window(call, bound[1], bound[2])) {
    const size_t at = from_right ? find_last(within->text, part, call.budget())
                                 : find(within->text, part, 0, call.budget());
    if (at != std::string_view::npos) {
      call.budget().charge(at / 8);
      result = within->begin + static_cast<int64_t>(count_characters(within->text.substr(0, at)));
    }
  }
  if (must && result < 0) throw Failure{fmt::format("{}() finds nothing", call.name)};
  return result;
}

Value count_method(const Call& call) {
  const auto bound = call.in_order(1, 3);
  const std::string& part = call.string(bound[0], "what to count");
  const auto within = window(call, bound[1], bound[2]);
  if (!within) return int64_t{0};
  const std::string_view text = within->text;
  call.budget().charge(text.size());
  if (part.empty()) return static_cast<int64_t>(count_characters(text)) + 1;
  int64_t count = 0;
  for (size_t at = position_of(part, text, 0); at != text.npos;
       at = position_of(part, text, at + part.size()))
    ++count;
  return count;
}

Value pad_method(const Call& call) {
  const auto bound = call.in_order(1, 2);
  const int64_t width = call.integer(bound[0], 0);
  const std::string fill = bound[1] == nullptr ? " " : call.joining(bound[1], "fill character");
  if (count_characters(fill) != 1) throw Failure{"a fill character must be one character"};
  if (call.name == "center") return call.alike(centered(text_of(call), width, fill, call.budget()));
  return call.alike(
      padded(text_of(call), width, fill, call.name == "ljust" ? '<' : '>', call.budget()));
}

Value zfill_method(const Call& call) {
  const auto bound = call.in_order(1, 1);
  const int64_t width = call.integer(bound[0], 0);
  std::string_view text = text_of(call);
  const bool has_sign = text.starts_with('-') || text.starts_with('+');
  const std::string head(text.substr(0, has_sign ? 1 : 0));
  text.remove_prefix(head.size());
  return call.alike(
      head + padded(text, width - static_cast<int64_t>(head.size()), "0", '>', call.budget()));
}

Value expandtabs_method(const Call& call) {
  const auto bound = call.bind({"tabsize"});
  const int64_t size = call.integer(bound[0], 8);
  std::string out;
  int64_t column = 0;
  const std::string& text = text_of(call);
  call.budget().charge(text.size(), 4);
  for (const char c : text) {
    if (c == '\t') {
      call.budget().charge(32);
      const int64_t blanks = size > 0 ? size - column % size : 0;
      out += repeated(" ", blanks, call.budget());
      column += blanks;
    } else {
      out += c;
      if (c == '\n' || c == '\r')
        column = 0;
      else if ((static_cast<uint8_t>(c) & 0xC0) != 0x80)
        ++column;
    }
  }
  return call.alike(std::move(out));
}

Value join_method(const Call& call) {
  const auto bound = call.in_order(1, 1);
  const bool markup = call.value.is_markup();
  std::string out;
  bool first = true;
  const Next next = iterator(*bound[0], call.budget());
  while (const std::optional<Value> part = next()) {
    if (!std::exchange(first, false)) {
      call.budget().charge(text_of(call).size());
      out += text_of(call);
    }
    const std::string text =
        markup ? escaped_text(*part, call.budget()) : call.string(&*part, "every part");
    call.budget().charge(text.size() + 8);
    out += text;
  }
  return call.alike(std::move(out));
}

Value splitlines_method(const Call& call) {
  const auto bound = call.bind({"keepends"});
  return text_list(call, lines_of(text_of(call), Call::flag(bound[0], false), call.budget()));
}

Value replace_method(const Call& call) {
  const auto bound = call.in_order(2, 3);
  return call.alike(replace(text_of(call), call.joining(bound[0], "what to replace"),
                            call.joining(bound[1], "what to replace it by"),
                            call.integer(bound[2], -1), call.budget()));
}

Value remove_affix_method(const Call& call, bool prefix) {
  const std::string& affix = call.string(call.in_order(1, 1)[0], "what to remove");
  std::string_view text = text_of(call);
  call.budget().charge(text.size() / 8);
  if (prefix && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (!prefix && text.ends_with(affix)) text.remove_suffix(affix.size());
  return call.result(std::string(text));
}

// The key of a character in the tables of translate().
Value character_number(std::string_view character) {
  return static_cast<int64_t>(tokenizer::next_utf8(character).code_point);
}

Value maketrans_method(const Call& call) {
  const auto bound = call.in_order(1, 3);
  Mapping table;
  if (bound[1] == nullptr) {
    const Mapping* source = bound[0]->mapping();
    if (source == nullptr) throw Failure{"maketrans() with one argument needs a dict"};
    for (const auto& [key, value] : source->items()) {
      const std::string* text = key.string();
      if (text == nullptr && !key.is_integer())
        throw Failure{"maketrans() needs keys that are characters or their numbers"};
      if (text != nullptr && count_characters(*text) != 1)
        throw Failure{"maketrans() needs keys of one character"};
      table.set(text == nullptr ? key : character_number(*text), value, call.budget());
    }
    return make_dict(std::move(table), call.budget());
  }
  const auto from = characters(call.string(bound[0], "what to replace"), call.budget());
  const auto to = characters(call.string(bound[1], "what to replace it by"), call.budget());
  if (from.size() != to.size()) throw Failure{"maketrans() needs two texts of one length"};
  for (size_t i = 0; i < from.size(); ++i)
    table.set(character_number(from[i]), character_number(to[i]), call.budget());
  if (bound[2] != nullptr)
    for (const std::string_view gone :
         characters(call.string(bound[2], "what to remove"), call.budget()))
      table.set(character_number(gone), None{}, call.budget());
  return make_dict(std::move(table), call.budget());
}

Value translate_method(const Call& call) {
  const Value& table = *call.in_order(1, 1)[0];
  if (table.mapping() == nullptr)
    throw Failure{fmt::format("translate() needs a dict, not {}", described(table))};
  std::string out;
  for (const std::string_view character : characters(text_of(call), call.budget())) {
    call.budget().charge(32);
    const Value* found = table.mapping()->find(character_number(character), call.budget());
    if (found == nullptr) {
      out += character;
    } else if (const std::string* text = found->string()) {
      call.budget().charge(text->size());
      out += *text;
    } else if (const auto code = found->integer()) {
      if (*code < 0 || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000))
        throw Failure{"translate() finds a number that is not a character"};
      tokenizer::append_utf8(static_cast<uint32_t>(*code), &out);
    } else if (!found->is<None>()) {
      throw Failure{"translate() needs characters, texts or None as values"};
    }
  }
  return call.alike(std::move(out));
}

template <std::string (*change)(std::string_view, Budget&)>
Value changed_text(const Call& call) {
  (void)call.in_order(0, 0);
  return call.alike(change(text_of(call), call.budget()));
}
template <bool (*holds)(std::string_view, Budget&)>
Value tested(const Call& call) {
  (void)call.in_order(0, 0);
  return holds(text_of(call), call.budget());
}
template <bool (*is)(uint32_t)>
bool all(std::string_view text, Budget& budget) {
  return all_characters(text, is, budget);
}
bool is_ascii_character(uint32_t c) { return c < 0x80; }
bool is_name_character(uint32_t c) { return c == '_' || tokenizer::is_word(c); }
bool is_identifier(std::string_view text, Budget& budget) {
  if (text.empty()) return false;
  const uint32_t first = tokenizer::next_utf8(text).code_point;
  return (first == '_' || is_letter(first)) && all_characters(text, is_name_character, budget);
}
bool or_empty(bool holds, const Call& call) { return holds || text_of(call).empty(); }

Value no_bytes(const Call& call) {
  throw Failure{fmt::format("{}() makes bytes, which are not supported", call.name)};
}

}  // namespace

Implementation find_text_method(std::string_view name) {
  static const std::unordered_map<std::string_view, Implementation> table = {
      {"capitalize", changed_text<capitalize>},
      {"casefold",
       [](const Call& call) {
         (void)call.in_order(0, 0);
         return call.result(case_fold(text_of(call), call.budget()));
       }},
      {"center", pad_method},
      {"count", count_method},
      {"encode", no_bytes},
      {"endswith", [](const Call& call) { return affix_method(call, false); }},
      {"expandtabs", expandtabs_method},
      {"find", [](const Call& call) { return find_method(call, false, false); }},
      {"format",
       [](const Call& call) {
         return format_fields(call.evaluator, call.value, call.arguments, nullptr);
       }},
      {"format_map",
       [](const Call& call) {
         return format_fields(call.evaluator, call.value, call.arguments, call.in_order(1, 1)[0]);
       }},
      {"index", [](const Call& call) { return find_method(call, false, true); }},
      {"isalnum", tested<all<is_letter_or_number>>},
      {"isalpha", tested<all<is_letter>>},
      {"isascii",
       [](const Call& call) {
         return Value(or_empty(is_true(tested<all<is_ascii_character>>(call)), call));
       }},
      {"isdecimal", tested<all<is_decimal>>},
      {"isdigit", tested<all<is_digit>>},
      {"isidentifier", tested<is_identifier>},
      {"islower", tested<is_lower>},
      {"isnumeric", tested<all<is_numeric>>},
      {"isprintable",
       [](const Call& call) {
         return Value(or_empty(is_true(tested<all<is_printable>>(call)), call));
       }},
      {"isspace", tested<all<is_space>>},
      {"istitle", tested<is_title>},
      {"isupper", tested<is_upper>},
      {"join", join_method},
      {"ljust", pad_method},
      {"lower", changed_text<lower>},
      {"lstrip", [](const Call& call) { return strip_method(call, true, false); }},
      {"maketrans", maketrans_method},
      {"partition", [](const Call& call) { return partition_method(call, false); }},
      {"removeprefix", [](const Call& call) { return remove_affix_method(call, true); }},
      {"removesuffix", [](const Call& call) { return remove_affix_method(call, false); }},
      {"replace", replace_method},
      {"rfind", [](const Call& call) { return find_method(call, true, false); }},
      {"rindex", [](const Call& call) { return find_method(call, true, true); }},
      {"rjust", pad_method},
      {"rpartition", [](const Call& call) { return partition_method(call, true); }},
      {"rsplit", [](const Call& call) { return split_method(call, true); }},
      {"rstrip", [](const Call& call) { return strip_method(call, false, true); }},
      {"split", [](const Call& call) { return split_method(call, false); }},
      {"splitlines", splitlines_method},
      {"startswith", [](const Call& call) { return affix_method(call, true); }},
      {"strip", [](const Call& call) { return strip_method(call, true, true); }},
      {"swapcase", changed_text<swap_case>},
      {"title", changed_text<title_case>},
      {"translate", translate_method},
      {"upper", changed_text<upper>},
      {"zfill", zfill_method},
  };
  const auto found = table.find(name);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace sinter::runtime::jinja
