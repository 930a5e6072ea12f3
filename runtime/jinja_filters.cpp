// Filters and tests.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
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
  const std::string_view name;
  const Value& value;
  const Arguments& arguments;

  Budget& budget() const { return evaluator.budget(); }
  std::vector<const Value*> bind(std::initializer_list<std::string_view> names) const {
    return arguments.bind(name, names);
  }
  // The value as text, as filters of text take it.
  std::string text() const { return evaluator.text(value); }
  Value result(std::string text) const { return evaluator.string(std::move(text)); }
  int64_t integer(const Value* argument, int64_t otherwise) const {
    if (argument == nullptr) return otherwise;
    require_defined(*argument);
    if (const auto number = argument->integer()) return *number;
    throw Failure{fmt::format("{} needs an int, not a {}", name, type_name(*argument))};
  }
  std::string text_of(const Value* argument, std::string otherwise) const {
    return argument == nullptr ? std::move(otherwise) : evaluator.text(*argument);
  }
};
bool flag(const Value* argument, bool otherwise) {
  return argument == nullptr ? otherwise : is_true(*argument);
}

using Filter = std::function<Value(const Call&)>;
using Test = std::function<bool(const Call&)>;

Value generator(std::vector<Value> items, const Call& call) {
  return make_list(std::move(items), call.budget(), Sequence::Kind::kGenerator);
}

// The attribute "a.b.0" of a value; undefined becomes `otherwise`, if there is one.
Value attribute_path(const Call& call, Value value, const Value& path,
                     const Value* otherwise = nullptr) {
  if (const std::string* names = path.string()) {
    size_t at = 0;
    while (true) {
      const size_t dot = std::min(names->find('.', at), names->size());
      const std::string part = names->substr(at, dot - at);
      int64_t index = 0;
      const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
      const bool number = error == std::errc() && end == part.data() + part.size();
      value = call.evaluator.item(value, number ? Value(index) : call.evaluator.string(part));
      if (dot == names->size()) break;
      at = dot + 1;
    }
  } else if (!path.is<None>()) {
    value = call.evaluator.item(value, path);
  }
  if (otherwise != nullptr && value.is<Undefined>()) return *otherwise;
  return value;
}

// What values are sorted and told apart by: strings without their case unless it matters.
Value sort_key(const Call& call, const Value& value, const Value* path, bool case_sensitive) {
  const Value part = path == nullptr ? value : attribute_path(call, value, *path);
  if (case_sensitive || part.string() == nullptr) return part;
  return call.result(lower(*part.string(), call.budget()));
}

Value sort_values(const Call& call, std::vector<Value> items, const Value* path,
                  bool case_sensitive, bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) {
    Value key = sort_key(call, item, path, case_sensitive);
    keyed.emplace_back(std::move(key), std::move(item));
  }
  // Equal ones keep their order, in reverse, too.
  const std::vector<size_t> order = sorted_order(keyed.size(), [&](size_t a, size_t b) {
    const int result = compare(keyed[a].first, keyed[b].first, call.budget());
    return reverse ? result > 0 : result < 0;
  });
  std::vector<Value> sorted;
  for (const size_t i : order) sorted.push_back(std::move(keyed[i].second));
  return make_list(std::move(sorted), call.budget());
}

Value length_filter(const Call& call) {
  (void)call.bind({});
  if (const std::string* text = call.value.string()) {
    call.budget().charge(text->size() / 8);
    return static_cast<int64_t>(count_characters(*text));
  }
  if (const Mapping* dict = call.value.mapping()) return static_cast<int64_t>(dict->items.size());
  if (const Sequence* list = call.value.sequence();
      list != nullptr && list->kind != Sequence::Kind::kGenerator)
    return static_cast<int64_t>(list->items.size());
  if (call.value.is<Undefined>()) return int64_t{0};
  throw Failure{fmt::format("a {} has no length", type_name(call.value))};
}

Value tojson_filter(const Call& call) {
  const auto bound = call.bind({"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = flag(bound[0], false);
  style.sort_keys = flag(bound[3], false);
  if (bound[1] != nullptr && !bound[1]->is<None>()) {
    if (const std::string* text = bound[1]->string())
      style.indent = *text;
    else
      style.indent = std::string(
          static_cast<size_t>(std::clamp<int64_t>(call.integer(bound[1], 0), 0, 100)), ' ');
    style.item_separator = ",";
  }
  if (bound[2] != nullptr && !bound[2]->is<None>()) {
    const std::vector<Value> separators = iterate(*bound[2], call.budget());
    if (separators.size() != 2 || separators[0].string() == nullptr ||
        separators[1].string() == nullptr)
      throw Failure{"tojson: separators must be two strings"};
    style.item_separator = *separators[0].string();
    style.key_separator = *separators[1].string();
  }
  return call.result(to_json(call.value, style, call.budget()));
}

Value join_filter(const Call& call) {
  const auto bound = call.bind({"d", "attribute"});
  const std::string separator = call.text_of(bound[0], "");
  std::string out;
  bool first = true;
  for (const Value& item : iterate(call.value, call.budget())) {
    if (!std::exchange(first, false)) out += separator;
    out += call.evaluator.text(bound[1] == nullptr ? item : attribute_path(call, item, *bound[1]));
    call.budget().charge(separator.size());
  }
  return call.result(std::move(out));
}

Value map_filter(const Call& call) {
  std::vector<Value> items;
  const auto& named = call.arguments.keywords;
  const Value* path = nullptr;
  const Value* otherwise = nullptr;
  if (call.arguments.positional.empty()) {
    const auto bound = call.bind({"attribute", "default"});
    path = bound[0];
    otherwise = bound[1];
    if (path == nullptr) throw Failure{"map needs a filter or an attribute"};
  }
  Arguments rest;
  if (path == nullptr) {
    if (call.arguments.positional[0].string() == nullptr)
      throw Failure{"map needs the name of a filter"};
    rest.positional.assign(call.arguments.positional.begin() + 1, call.arguments.positional.end());
    rest.keywords = named;
  }
  for (const Value& item : iterate(call.value, call.budget())) {
    call.budget().charge(kNodeCost);
    items.push_back(path != nullptr ? attribute_path(call, item, *path, otherwise)
                                    : call.evaluator.filter(*call.arguments.positional[0].string(),
                                                            item, rest));
  }
  return generator(std::move(items), call);
}

// select, reject, selectattr and rejectattr.
Value select_filter(const Call& call, bool keep, bool by_attribute) {
  const auto& given = call.arguments.positional;
  const size_t test_at = by_attribute ? 1 : 0;
  if (by_attribute && given.empty()) throw Failure{fmt::format("{} needs an attribute", call.name)};
  Arguments rest;
  std::string test;
  if (given.size() > test_at) {
    if (given[test_at].string() == nullptr)
      throw Failure{fmt::format("{} needs the name of a test", call.name)};
    test = *given[test_at].string();
    rest.positional.assign(given.begin() + static_cast<ptrdiff_t>(test_at) + 1, given.end());
    rest.keywords = call.arguments.keywords;
  }
  std::vector<Value> items;
  for (const Value& item : iterate(call.value, call.budget())) {
    call.budget().charge(kNodeCost);
    const Value part = by_attribute ? attribute_path(call, item, given[0]) : item;
    const bool holds = test.empty() ? is_true(part) : call.evaluator.test(test, part, rest);
    if (holds == keep) items.push_back(item);
  }
  return generator(std::move(items), call);
}

Value first_or_last(const Call& call, bool first) {
  (void)call.bind({});
  const std::vector<Value> items = iterate(call.value, call.budget());
  if (items.empty())
    return make_undefined(fmt::format("there is no {} item: the sequence is empty", call.name));
  return first ? items.front() : items.back();
}

std::optional<int64_t> parse_integer(std::string_view text, int base, Budget& budget) {
  std::string digits(strip(text, nullptr, true, true, budget));
  std::erase(digits, '_');
  std::string_view rest = digits;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  const std::string prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : "";
  if (!prefix.empty() && lower(rest.substr(0, 2), budget) == prefix) rest.remove_prefix(2);
  if (rest.empty() || rest[0] == '-') return std::nullopt;
  const std::string number = (negative ? "-" : "") + std::string(rest);
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), value, base);
  if (error == std::errc::result_out_of_range) throw Failure{"an integer has more than 64 bits"};
  if (error != std::errc() || end != number.data() + number.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_float(std::string_view text, Budget& budget) {
  std::string number(strip(text, nullptr, true, true, budget));
  std::erase(number, '_');
  if (number.starts_with('+')) number.erase(0, 1);
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc() || end != number.data() + number.size() || number.empty())
    return std::nullopt;
  return value;
}

Value int_filter(const Call& call) {
  const auto bound = call.bind({"default", "base"});
  const Value otherwise = bound[0] != nullptr ? *bound[0] : Value(int64_t{0});
  const int64_t base = call.integer(bound[1], 10);
  if (base < 2 || base > 36) throw Failure{"int needs a base from 2 to 36"};
  require_defined(call.value);
  std::optional<double> number = call.value.number();
  if (const auto integer = call.value.integer()) return *integer;
  if (const std::string* text = call.value.string()) {
    if (const auto integer = parse_integer(*text, static_cast<int>(base), call.budget()))
      return *integer;
    number = parse_float(*text, call.budget());
  }
  if (!number || !std::isfinite(*number)) return otherwise;
  if (std::fabs(*number) >= 9.2e18) throw Failure{"an integer has more than 64 bits"};
  return static_cast<int64_t>(*number);
}

Value float_filter(const Call& call) {
  const auto bound = call.bind({"default"});
  require_defined(call.value);
  if (const auto number = call.value.number()) return *number;
  if (const std::string* text = call.value.string())
    if (const auto number = parse_float(*text, call.budget())) return *number;
  return bound[0] != nullptr ? *bound[0] : Value(0.0);
}

Value round_filter(const Call& call) {
  const auto bound = call.bind({"precision", "method"});
  const int64_t precision = call.integer(bound[0], 0);
  const std::string method = call.text_of(bound[1], "common");
  const auto number = call.value.number();
  if (!number) {
    require_defined(call.value);
    throw Failure{fmt::format("a {} cannot be rounded", type_name(call.value))};
  }
  if (precision < -300 || precision > 300) throw Failure{"round has a precision that is too large"};
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return std::ceil(*number * scale) / scale;
  if (method == "floor") return std::floor(*number * scale) / scale;
  if (method != "common") throw Failure{"round knows the methods common, ceil and floor"};
  if (precision < 0) return std::nearbyint(*number * scale) / scale;
  // The nearest decimal of that many digits, as Python rounds.
  const std::string text = fmt::format("{:.{}f}", *number, precision);
  double value = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

Value title_filter(const Call& call) {
  (void)call.bind({});
  const std::string text = call.text();
  std::string out, word;
  const auto finish = [&] {
    out += capitalize(word, call.budget());
    word.clear();
  };
  for (const char c : text) {
    if (std::string_view("-([{<").find(c) != std::string_view::npos || c == ' ' ||
        (c >= '\t' && c <= '\r')) {
      finish();
      out += c;
    } else {
      word += c;
    }
  }
  finish();
  return call.result(std::move(out));
}

Value indent_filter(const Call& call) {
  const auto bound = call.bind({"width", "first", "blank"});
  std::string indent;
  if (bound[0] != nullptr && bound[0]->string() != nullptr)
    indent = *bound[0]->string();
  else
    indent = std::string(
        static_cast<size_t>(std::clamp<int64_t>(call.integer(bound[0], 4), 0, 1000)), ' ');
  const bool first = flag(bound[1], false), blank = flag(bound[2], false);
  const std::string text = call.text();
  std::string out = first ? indent : "";
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (at != 0) {
      out += '\n';
      if (blank || end != at) {
        call.budget().charge(indent.size());
        out += indent;
      }
    }
    out += text.substr(at, end - at);
    at = end + 1;
  }
  return call.result(std::move(out));
}

Value truncate_filter(const Call& call) {
  const auto bound = call.bind({"length", "killwords", "end", "leeway"});
  const int64_t length = call.integer(bound[0], 255);
  const std::string end = call.text_of(bound[2], "...");
  const auto end_size = static_cast<int64_t>(count_characters(end));
  const int64_t leeway = call.integer(bound[3], 5);
  const std::string text = call.text();
  const auto parts = characters(text, call.budget());
  if (length < end_size) throw Failure{"truncate has a length that is too small"};
  if (static_cast<int64_t>(parts.size()) <= length + std::clamp<int64_t>(leeway, 0, 1 << 20))
    return call.value;
  std::string out;
  for (int64_t i = 0; i < length - end_size; ++i) out += parts[static_cast<size_t>(i)];
  if (!flag(bound[1], false)) out = out.substr(0, out.rfind(' '));
  return call.result(out + end);
}

Value dictsort_filter(const Call& call) {
  const auto bound = call.bind({"case_sensitive", "by", "reverse"});
  const std::string by = call.text_of(bound[1], "key");
  if (by != "key" && by != "value") throw Failure{"dictsort sorts by key or value"};
  const Mapping* dict = call.value.mapping();
  if (dict == nullptr) {
    require_defined(call.value);
    throw Failure{fmt::format("dictsort needs a dict, not a {}", type_name(call.value))};
  }
  std::vector<Value> pairs;
  for (const auto& [key, value] : dict->items)
    pairs.push_back(make_list({key, value}, call.budget(), Sequence::Kind::kTuple));
  const Value at = int64_t{by == "key" ? 0 : 1};
  return sort_values(call, std::move(pairs), &at, flag(bound[0], false), flag(bound[2], false));
}

Value items_filter(const Call& call) {
  (void)call.bind({});
  if (call.value.is<Undefined>()) return generator({}, call);
  const Mapping* dict = call.value.mapping();
  if (dict == nullptr)
    throw Failure{fmt::format("items needs a dict, not a {}", type_name(call.value))};
  std::vector<Value> pairs;
  for (const auto& [key, value] : dict->items)
    pairs.push_back(make_list({key, value}, call.budget(), Sequence::Kind::kTuple));
  return generator(std::move(pairs), call);
}

Value unique_filter(const Call& call) {
  const auto bound = call.bind({"case_sensitive", "attribute"});
  std::vector<Value> seen, items;
  for (const Value& item : iterate(call.value, call.budget())) {
    Value key = sort_key(call, item, bound[1], flag(bound[0], false));
    if (std::any_of(seen.begin(), seen.end(),
                    [&](const Value& other) { return equal(other, key, call.budget()); }))
      continue;
    seen.push_back(std::move(key));
    items.push_back(item);
  }
  return generator(std::move(items), call);
}

Value extreme_filter(const Call& call, int sign) {
  const auto bound = call.bind({"case_sensitive", "attribute"});
  std::optional<Value> best_key;
  Value best = make_undefined(fmt::format("there is no {}: the sequence is empty", call.name));
  for (const Value& item : iterate(call.value, call.budget())) {
    Value key = sort_key(call, item, bound[1], flag(bound[0], false));
    if (best_key && compare(key, *best_key, call.budget()) * sign <= 0) continue;
    best_key = std::move(key);
    best = item;
  }
  return best;
}

Value groupby_filter(const Call& call) {
  const auto bound = call.bind({"attribute", "default", "case_sensitive"});
  if (bound[0] == nullptr) throw Failure{"groupby needs an attribute"};
  const bool case_sensitive = flag(bound[2], false);
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : iterate(call.value, call.budget())) {
    Value key = attribute_path(call, item, *bound[0], bound[1]);
    if (!case_sensitive && key.string() != nullptr)
      key = call.result(lower(*key.string(), call.budget()));
    keyed.emplace_back(std::move(key), item);
  }
  const std::vector<size_t> order = sorted_order(keyed.size(), [&](size_t a, size_t b) {
    return compare(keyed[a].first, keyed[b].first, call.budget()) < 0;
  });
  std::vector<Value> groups;
  for (size_t i = 0; i < order.size();) {
    const auto& [key, first] = keyed[order[i]];
    std::vector<Value> members;
    size_t end = i;
    // The first one is in its group even if it is no number, which equals nothing.
    for (; end < order.size() && (end == i || equal(keyed[order[end]].first, key, call.budget()));
         ++end)
      members.push_back(keyed[order[end]].second);
    // The group's name is as its first member spells it.
    const Value grouper = attribute_path(call, first, *bound[0], bound[1]);
    groups.push_back(make_list({grouper, make_list(std::move(members), call.budget())},
                               call.budget(), Sequence::Kind::kTuple));
    i = end;
  }
  return make_list(std::move(groups), call.budget());
}

Value batch_filter(const Call& call) {
  const auto bound = call.bind({"linecount", "fill_with"});
  const int64_t size = call.integer(bound[0], 0);
  if (size < 1 || size > (1 << 20)) throw Failure{"batch needs a size of at least one"};
  std::vector<Value> batches, batch;
  for (const Value& item : iterate(call.value, call.budget())) {
    if (static_cast<int64_t>(batch.size()) == size)
      batches.push_back(make_list(std::exchange(batch, {}), call.budget()));
    batch.push_back(item);
  }
  if (!batch.empty()) {
    while (bound[1] != nullptr && static_cast<int64_t>(batch.size()) < size)
      batch.push_back(*bound[1]);
    batches.push_back(make_list(std::move(batch), call.budget()));
  }
  return generator(std::move(batches), call);
}

Value sum_filter(const Call& call) {
  const auto bound = call.bind({"attribute", "start"});
  Value total = bound[1] != nullptr ? *bound[1] : Value(int64_t{0});
  for (const Value& item : iterate(call.value, call.budget()))
    total = arithmetic(
        "+", total,
        bound[0] == nullptr || bound[0]->is<None>() ? item : attribute_path(call, item, *bound[0]),
        call.budget());
  return total;
}

Value reverse_filter(const Call& call) {
  (void)call.bind({});
  std::vector<Value> items = iterate(call.value, call.budget());
  std::reverse(items.begin(), items.end());
  if (call.value.string() == nullptr) return generator(std::move(items), call);
  std::string text;
  for (const Value& item : items) text += *item.string();
  return call.result(std::move(text));
}

Value escape_filter(const Call& call) {
  (void)call.bind({});
  std::string out;
  for (const char c : call.text()) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&#34;";
    else if (c == '\'')
      out += "&#39;";
    else
      out += c;
  }
  return call.result(std::move(out));
}

Value default_filter(const Call& call) {
  const auto bound = call.bind({"default_value", "boolean"});
  const bool absent = call.value.is<Undefined>() || (flag(bound[1], false) && !is_true(call.value));
  if (!absent) return call.value;
  return bound[0] != nullptr ? *bound[0] : call.result("");
}

Value abs_filter(const Call& call) {
  (void)call.bind({});
  if (const auto integer = call.value.integer())
    return *integer < 0 ? arithmetic("-", int64_t{0}, *integer, call.budget()) : Value(*integer);
  if (const auto number = call.value.number()) return std::fabs(*number);
  require_defined(call.value);
  throw Failure{fmt::format("a {} has no absolute value", type_name(call.value))};
}

Value wordcount_filter(const Call& call) {
  (void)call.bind({});
  int64_t count = 0;
  bool within = false;
  std::string_view rest;
  const std::string text = call.text();
  for (rest = text; !rest.empty();) {
    const tokenizer::Utf8Unit unit = tokenizer::next_utf8(rest);
    const bool word = tokenizer::is_word(unit.code_point);
    count += word && !within ? 1 : 0;
    within = word;
    rest.remove_prefix(unit.length);
  }
  return count;
}

const std::unordered_map<std::string_view, Filter>& filters() {
  static const std::unordered_map<std::string_view, Filter> table = {
      {"abs", abs_filter},
      {"attr",
       [](const Call& call) {
         const auto bound = call.bind({"name"});
         const std::string name = call.text_of(bound[0], "");
         // Not the items of a dict, which `.` finds, too.
         if (call.value.mapping() != nullptr && !is_method(call.value, name))
           return make_undefined(fmt::format("a dict has no attribute '{}'", name));
         return call.evaluator.attribute(call.value, name);
       }},
      {"batch", batch_filter},
      {"capitalize",
       [](const Call& call) { return call.result(capitalize(call.text(), call.budget())); }},
      {"count", length_filter},
      {"d", default_filter},
      {"default", default_filter},
      {"dictsort", dictsort_filter},
      {"e", escape_filter},
      {"escape", escape_filter},
      {"first", [](const Call& call) { return first_or_last(call, true); }},
      {"float", float_filter},
      {"format",
       [](const Call& call) {
         if (!call.arguments.keywords.empty())
           throw Failure{"format takes values without names only"};
         return call.result(format_percent(call.text(), call.arguments.positional, call.budget()));
       }},
      {"groupby", groupby_filter},
      {"indent", indent_filter},
      {"int", int_filter},
      {"items", items_filter},
      {"join", join_filter},
      {"last", [](const Call& call) { return first_or_last(call, false); }},
      {"length", length_filter},
      {"list",
       [](const Call& call) {
         (void)call.bind({});
         return make_list(iterate(call.value, call.budget()), call.budget());
       }},
      {"lower", [](const Call& call) { return call.result(lower(call.text(), call.budget())); }},
      {"map", map_filter},
      {"max", [](const Call& call) { return extreme_filter(call, 1); }},
      {"min", [](const Call& call) { return extreme_filter(call, -1); }},
      {"reject", [](const Call& call) { return select_filter(call, false, false); }},
      {"rejectattr", [](const Call& call) { return select_filter(call, false, true); }},
      {"replace",
       [](const Call& call) {
         const auto bound = call.bind({"old", "new", "count"});
         if (bound[0] == nullptr || bound[1] == nullptr)
           throw Failure{"replace needs what to replace and what by"};
         const bool all = bound[2] == nullptr || bound[2]->is<None>();
         return call.result(replace(call.text(), call.text_of(bound[0], ""),
                                    call.text_of(bound[1], ""),
                                    all ? -1 : call.integer(bound[2], -1), call.budget()));
       }},
      {"reverse", reverse_filter},
      {"round", round_filter},
      {"safe", [](const Call& call) { return call.result(call.text()); }},
      {"select", [](const Call& call) { return select_filter(call, true, false); }},
      {"selectattr", [](const Call& call) { return select_filter(call, true, true); }},
      {"sort",
       [](const Call& call) {
         const auto bound = call.bind({"reverse", "case_sensitive", "attribute"});
         return sort_values(call, iterate(call.value, call.budget()), bound[2],
                            flag(bound[1], false), flag(bound[0], false));
       }},
      {"string", [](const Call& call) { return call.result(call.text()); }},
      {"sum", sum_filter},
      {"title", title_filter},
      {"tojson", tojson_filter},
      {"trim",
       [](const Call& call) {
         const auto bound = call.bind({"chars"});
         const std::string text = call.text();
         const std::string* which =
             bound[0] == nullptr || bound[0]->is<None>() ? nullptr : bound[0]->string();
         return call.result(std::string(strip(text, which, true, true, call.budget())));
       }},
      {"truncate", truncate_filter},
      {"unique", unique_filter},
      {"upper", [](const Call& call) { return call.result(upper(call.text(), call.budget())); }},
      {"wordcount", wordcount_filter},
  };
  return table;
}

const Value& other(const Call& call) {
  const auto bound = call.bind({"other"});
  if (bound[0] == nullptr) throw Failure{fmt::format("test '{}' needs a value", call.name)};
  return *bound[0];
}

int64_t integer_value(const Call& call) {
  require_defined(call.value);
  if (const auto integer = call.value.integer()) return *integer;
  throw Failure{fmt::format("test '{}' needs an int, not a {}", call.name, type_name(call.value))};
}

// Whether `is` makes them one object, as far as that can be told of values.
bool same(const Call& call, const Value& b) {
  const Value& a = call.value;
  if (a.sequence() != nullptr || b.sequence() != nullptr) return a.sequence() == b.sequence();
  if (a.mapping() != nullptr || b.mapping() != nullptr) return a.mapping() == b.mapping();
  return type_name(a) == type_name(b) && equal(a, b, call.budget());
}

const std::unordered_map<std::string_view, Test>& tests() {
  static const Test is_equal = [](const Call& call) {
    return equal(call.value, other(call), call.budget());
  };
  static const Test is_not_equal = [](const Call& call) {
    return !equal(call.value, other(call), call.budget());
  };
  static const Test is_less = [](const Call& call) {
    return compare(call.value, other(call), call.budget()) < 0;
  };
  static const Test is_at_most = [](const Call& call) {
    return compare(call.value, other(call), call.budget()) <= 0;
  };
  static const Test is_greater = [](const Call& call) {
    return compare(call.value, other(call), call.budget()) > 0;
  };
  static const Test is_at_least = [](const Call& call) {
    return compare(call.value, other(call), call.budget()) >= 0;
  };
  static const std::unordered_map<std::string_view, Test> table = {
      {"boolean", [](const Call& call) { return call.value.is<bool>(); }},
      {"callable",
       [](const Call& call) {
         return call.value.is<Function>() || call.value.is<Macro*>() ||
                call.value.is<std::shared_ptr<const Method>>() || call.value.is<Loop*>() ||
                call.value.is<Undefined>();
       }},
      {"defined", [](const Call& call) { return !call.value.is<Undefined>(); }},
      {"divisibleby",
       [](const Call& call) {
         return !is_true(arithmetic("%", integer_value(call), other(call), call.budget()));
       }},
      {"eq", is_equal},
      {"equalto", is_equal},
      {"==", is_equal},
      {"ne", is_not_equal},
      {"!=", is_not_equal},
      {"lt", is_less},
      {"lessthan", is_less},
      {"<", is_less},
      {"le", is_at_most},
      {"<=", is_at_most},
      {"gt", is_greater},
      {"greaterthan", is_greater},
      {">", is_greater},
      {"ge", is_at_least},
      {">=", is_at_least},
      {"even", [](const Call& call) { return integer_value(call) % 2 == 0; }},
      {"odd", [](const Call& call) { return integer_value(call) % 2 != 0; }},
      {"false",
       [](const Call& call) {
         const bool* truth = call.value.as<bool>();
         return truth != nullptr && !*truth;
       }},
      {"true",
       [](const Call& call) {
         const bool* truth = call.value.as<bool>();
         return truth != nullptr && *truth;
       }},
      {"filter",
       [](const Call& call) {
         return call.value.string() != nullptr && filters().contains(*call.value.string());
       }},
      {"float", [](const Call& call) { return call.value.is<double>(); }},
      {"in", [](const Call& call) { return call.evaluator.contains(other(call), call.value); }},
      {"integer", [](const Call& call) { return call.value.is<int64_t>(); }},
      {"iterable",
       [](const Call& call) {
         return call.value.string() != nullptr || call.value.sequence() != nullptr ||
                call.value.mapping() != nullptr || call.value.is<Undefined>();
       }},
      {"lower", [](const Call& call) { return is_lower(call.text()); }},
      {"mapping", [](const Call& call) { return call.value.mapping() != nullptr; }},
      {"none", [](const Call& call) { return call.value.is<None>(); }},
      {"number", [](const Call& call) { return call.value.number().has_value(); }},
      {"sameas", [](const Call& call) { return same(call, other(call)); }},
      {"sequence",
       [](const Call& call) {
         const Sequence* list = call.value.sequence();
         return call.value.string() != nullptr || call.value.mapping() != nullptr ||
                call.value.is<Undefined>() ||
                (list != nullptr &&
                 (list->kind == Sequence::Kind::kList || list->kind == Sequence::Kind::kTuple));
       }},
      {"string", [](const Call& call) { return call.value.string() != nullptr; }},
      {"test",
       [](const Call& call) {
         return call.value.string() != nullptr && tests().contains(*call.value.string());
       }},
      {"undefined", [](const Call& call) { return call.value.is<Undefined>(); }},
      {"upper", [](const Call& call) { return is_upper(call.text()); }},
  };
  return table;
}

}  // namespace

Value Evaluator::filter(std::string_view name, const Value& value, const Arguments& arguments) {
  const auto found = filters().find(name);
  if (found == filters().end()) throw Failure{fmt::format("no filter is named '{}'", name)};
  // `x | map('map', 'map', ...)` is as deep as it is long.
  const Deeper deeper(*this);
  return found->second({*this, name, value, arguments});
}

bool Evaluator::test(std::string_view name, const Value& value, const Arguments& arguments) {
  const auto found = tests().find(name);
  if (found == tests().end()) throw Failure{fmt::format("no test is named '{}'", name)};
  return found->second({*this, name, value, arguments});
}

}  // namespace sinter::runtime::jinja
