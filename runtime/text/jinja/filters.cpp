// Filters about sequences and dicts.
#include <algorithm>
#include <unordered_map>

#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/integer.h"
#include "runtime/text/jinja/text.h"

namespace sinter::runtime::jinja {

Value lazily(const Call& call, Next (*start)(const Call& call)) {
  struct State {
    Evaluator& evaluator;
    std::string name;
    Value value;
    Arguments arguments;
    Next next;
  };
  int depth = call.value.depth();
  for (const Value& argument : call.arguments.positional) depth = std::max(depth, argument.depth());
  for (const auto& [name, argument] : call.arguments.keywords)
    depth = std::max(depth, argument.depth());
  auto state = std::make_shared<State>(
      State{call.evaluator, std::string(call.name), call.value, call.arguments, nullptr});
  return make_generator(
      [state, start]() -> std::optional<Value> {
        if (!state->next)
          state->next = start({state->evaluator, state->name, state->value, state->arguments});
        state->evaluator.budget().charge(kNodeCost);
        return state->next();
      },
      depth, call.budget());
}

AttributePath::AttributePath(const Value& path, const Call& call) : evaluator_(call.evaluator) {
  if (path.is<None>()) return;
  const std::string* names = path.string();
  if (names == nullptr) {
    parts_.push_back(path);
    return;
  }
  for (size_t at = 0; at <= names->size();) {
    const size_t dot = std::min(names->find('.', at), names->size());
    const std::string part = names->substr(at, dot - at);
    call.budget().charge(part.size() + kValueCost);
    if (all_characters(part, is_digit, call.budget())) {
      const auto number = from_digits(part, 10, call.budget());
      if (!number) throw Failure{fmt::format("'{}' in an attribute is not an index", part)};
      parts_.push_back(*number);
    } else {
      parts_.push_back(evaluator_.string(part));
    }
    at = dot + 1;
  }
}

Value AttributePath::of(Value value, const Value* otherwise) const {
  for (const Value& part : parts_) {
    evaluator_.budget().charge(kNodeCost);
    value = evaluator_.item(value, part);
    if (otherwise != nullptr && value.is<Undefined>()) value = *otherwise;
  }
  return value;
}

namespace {

const Next kNothing = [] { return std::nullopt; };

Value lower_if_text(const Call& call, Value value) {
  if (value.string() == nullptr) return value;
  return call.result(lower(*value.string(), call.budget()));
}

// What values are sorted and told apart by: strings without their case unless it matters.
class SortKey {
 public:
  SortKey(const Call& call, const Value* attribute, const Value* case_sensitive)
      : call_(call),
        path_(attribute == nullptr ? Value(None{}) : *attribute, call),
        case_sensitive_(Call::flag(case_sensitive, false)) {}
  Value of(const Value& value, const Value* otherwise = nullptr) const {
    Value key = path_.of(value, otherwise);
    return case_sensitive_ ? key : lower_if_text(call_, std::move(key));
  }

 private:
  const Call call_;
  AttributePath path_;
  bool case_sensitive_;
};

// Equal ones keep their order, in reverse, too.
std::vector<Value> sorted(const Call& call, const std::vector<Value>& items,
                          const std::vector<Value>& keys, bool reverse) {
  const std::vector<size_t> order = sorted_order(items.size(), [&](size_t a, size_t b) {
    return reverse ? less(keys[b], keys[a], call.budget()) : less(keys[a], keys[b], call.budget());
  });
  std::vector<Value> result;
  for (const size_t i : order) result.push_back(items[i]);
  return result;
}

// What Python's sorted() takes for `reverse`.
bool reversed_order(const Call& call, const Value* argument) {
  const auto integer = argument == nullptr ? std::optional<int64_t>(0) : argument->integer();
  if (!integer || *integer != static_cast<int32_t>(*integer)) {
    require_defined(*argument);
    throw Failure{
        fmt::format("{} needs a boolean as reverse, not {}", call.name, described(*argument))};
  }
  return Call::flag(argument, false);
}

Value sort_filter(const Call& call) {
  const auto bound = call.bind({"reverse", "case_sensitive", "attribute"});
  // "a,b" sorts by a, then by b.
  std::vector<SortKey> parts;
  if (bound[2] != nullptr && bound[2]->string() != nullptr) {
    const std::string& names = *bound[2]->string();
    for (size_t at = 0; at <= names.size();) {
      const size_t comma = std::min(names.find(',', at), names.size());
      const Value name = call.result(names.substr(at, comma - at));
      parts.emplace_back(call, &name, bound[1]);
      at = comma + 1;
    }
  } else {
    parts.emplace_back(call, bound[2], bound[1]);
  }
  const std::vector<Value> items = iterate(call.value, call.budget());
  std::vector<Value> keys;
  for (const Value& item : items) {
    std::vector<Value> key;
    for (const SortKey& part : parts) key.push_back(part.of(item));
    keys.push_back(make_list(std::move(key), call.budget()));
  }
  return make_list(sorted(call, items, keys, reversed_order(call, bound[0])), call.budget());
}

Value dictsort_filter(const Call& call) {
  const auto bound = call.bind({"case_sensitive", "by", "reverse"});
  const std::string by = call.text_of(bound[1], "key");
  if (by != "key" && by != "value") throw Failure{"dictsort sorts by key or value"};
  const Mapping* dict = call.value.mapping();
  if (dict == nullptr) {
    require_defined(call.value);
    throw Failure{fmt::format("dictsort needs a dict, not {}", described(call.value))};
  }
  std::vector<Value> pairs, keys;
  for (const auto& [key, value] : dict->items()) {
    pairs.push_back(make_tuple({key, value}, call.budget()));
    const Value& part = by == "key" ? key : value;
    keys.push_back(Call::flag(bound[0], false) ? part : lower_if_text(call, part));
  }
  return make_list(sorted(call, pairs, keys, reversed_order(call, bound[2])), call.budget());
}

Value groupby_filter(const Call& call) {
  const auto bound = call.bind({"attribute", "default", "case_sensitive"}, 1);
  const Value* otherwise = Call::given(bound[1]) ? bound[1] : nullptr;
  const SortKey key(call, bound[0], bound[2]);
  const AttributePath path(*bound[0], call);
  const std::vector<Value> items = iterate(call.value, call.budget());
  std::vector<Value> keys;
  for (const Value& item : items) keys.push_back(key.of(item, otherwise));
  const std::vector<Value> ordered = sorted(call, items, keys, false);
  std::vector<Value> groups;
  for (size_t i = 0; i < ordered.size();) {
    const Value name = key.of(ordered[i], otherwise);
    std::vector<Value> members;
    size_t end = i;
    // The first one is in its group even if it is no number, which equals nothing.
    for (; end < ordered.size() &&
           (end == i || equal(key.of(ordered[end], otherwise), name, call.budget()));
         ++end)
      members.push_back(ordered[end]);
    // The group's name is as its first member spells it.
    const Value grouper = path.of(members[0], otherwise);
    Sequence group{
        Sequence::Kind::kTuple, {grouper, make_list(std::move(members), call.budget())}, 1, true};
    group.depth = std::max(group.items[0].depth(), group.items[1].depth()) + 1;
    if (group.depth > kMaxValueDepth) throw Failure{"lists nest too deep"};
    groups.emplace_back(std::make_shared<const Sequence>(std::move(group)));
    i = end;
  }
  return make_list(std::move(groups), call.budget());
}

Next start_map(const Call& call) {
  if (!is_true(call.value)) return kNothing;
  const auto& given = call.arguments;
  Next items = iterator(call.value, call.budget());
  const auto has_attribute = std::any_of(given.keywords.begin(), given.keywords.end(),
                                         [](const auto& k) { return k.first == "attribute"; });
  if (given.positional.empty() && has_attribute) {
    const auto bound = call.bind({"attribute", "default"});
    const Value* otherwise = Call::given(bound[1]) ? bound[1] : nullptr;
    return [path = AttributePath(*bound[0], call), otherwise,
            items = std::move(items)]() -> std::optional<Value> {
      std::optional<Value> item = items();
      if (item) item = path.of(*std::move(item), otherwise);
      return item;
    };
  }
  if (given.positional.empty()) throw Failure{"map needs a filter or an attribute"};
  Arguments rest{{given.positional.begin() + 1, given.positional.end()}, given.keywords};
  const std::string* name = given.positional[0].string();
  if (name == nullptr) throw Failure{"map needs the name of a filter"};
  return [call, name = *name, rest = std::move(rest),
          items = std::move(items)]() -> std::optional<Value> {
    std::optional<Value> item = items();
    if (item) item = call.evaluator.filter(name, *item, rest);
    return item;
  };
}

// select, reject, selectattr and rejectattr.
template <bool keep, bool by_attribute>
Next start_select(const Call& call) {
  if (!is_true(call.value)) return kNothing;
  const auto& given = call.arguments.positional;
  if (by_attribute && given.empty()) throw Failure{fmt::format("{} needs an attribute", call.name)};
  Next items = iterator(call.value, call.budget());
  const AttributePath path(by_attribute ? given[0] : Value(None{}), call);
  const size_t test_at = by_attribute ? 1 : 0;
  std::optional<std::string> test;
  Arguments rest;
  if (given.size() > test_at) {
    if (given[test_at].string() == nullptr)
      throw Failure{fmt::format("{} needs the name of a test", call.name)};
    test = *given[test_at].string();
    rest.positional.assign(given.begin() + static_cast<ptrdiff_t>(test_at) + 1, given.end());
    rest.keywords = call.arguments.keywords;
  }
  return [call, path, test = std::move(test), rest = std::move(rest),
          items = std::move(items)]() -> std::optional<Value> {
    while (std::optional<Value> item = items()) {
      call.budget().charge(kNodeCost);
      const Value part = path.of(*item);
      if ((test ? call.evaluator.test(*test, part, rest) : is_true(part)) == keep) return item;
    }
    return std::nullopt;
  };
}

Next start_items(const Call& call) {
  if (call.value.is<Undefined>()) return kNothing;
  if (call.value.mapping() == nullptr)
    throw Failure{fmt::format("items needs a dict, not {}", described(call.value))};
  return [call, i = size_t{0}]() mutable -> std::optional<Value> {
    const auto& items = call.value.mapping()->items();
    if (i == items.size()) return std::nullopt;
    const auto& [key, value] = items[i++];
    return make_tuple({key, value}, call.budget());
  };
}

Next start_unique(const Call& call) {
  const auto bound = call.bind({"case_sensitive", "attribute"});
  return [call, key = SortKey(call, bound[1], bound[0]), seen = Mapping(),
          items = iterator(call.value, call.budget())]() mutable -> std::optional<Value> {
    while (std::optional<Value> item = items()) {
      call.budget().charge(kNodeCost);
      const Value name = key.of(*item);
      if (seen.find(name, call.budget()) != nullptr) continue;
      seen.set(name, None{}, call.budget());
      return item;
    }
    return std::nullopt;
  };
}

Next start_batch(const Call& call) {
  const auto bound = call.bind({"linecount", "fill_with"}, 1);
  return [call, size = *bound[0], fill = bound[1] == nullptr ? Value(None{}) : *bound[1],
          items = iterator(call.value, call.budget()), batch = std::vector<Value>(),
          done = false]() mutable -> std::optional<Value> {
    while (!done) {
      std::optional<Value> item = items();
      call.budget().charge(kValueCost);
      if (!item) break;
      const bool full = equal(static_cast<int64_t>(batch.size()), size, call.budget());
      std::vector<Value> whole;
      if (full) whole = std::exchange(batch, {});
      batch.push_back(*std::move(item));
      if (full) return make_list(std::move(whole), call.budget());
    }
    if (std::exchange(done, true) || batch.empty()) return std::nullopt;
    const auto count = static_cast<int64_t>(batch.size());
    if (!fill.is<None>() && less(count, size, call.budget())) {
      const int64_t missing = call.integer(&size, 0) - count;
      call.budget().charge(kValueCost, static_cast<size_t>(missing));
      batch.insert(batch.end(), static_cast<size_t>(missing), fill);
    }
    return make_list(std::move(batch), call.budget());
  };
}

Next start_slice(const Call& call) {
  const auto bound = call.bind({"slices", "fill_with"}, 1);
  std::vector<Value> items = iterate(call.value, call.budget());
  const int64_t slices = call.integer(bound[0], 0);
  if (slices == 0) throw Failure{"slice needs slices: it is given 0"};
  return [call, slices, fill = bound[1] == nullptr ? Value(None{}) : *bound[1],
          items = std::move(items), slice = int64_t{0},
          at = size_t{0}]() mutable -> std::optional<Value> {
    if (slice >= slices) return std::nullopt;
    const auto size = static_cast<int64_t>(items.size());
    const bool longer = slice++ < size % slices;
    const size_t end = at + static_cast<size_t>(size / slices + (longer ? 1 : 0));
    std::vector<Value> part(items.begin() + static_cast<ptrdiff_t>(at),
                            items.begin() + static_cast<ptrdiff_t>(end));
    at = end;
    if (!longer && !fill.is<None>()) part.push_back(fill);
    return make_list(std::move(part), call.budget());
  };
}

Value extreme_filter(const Call& call, int sign) {
  const auto bound = call.bind({"case_sensitive", "attribute"});
  const Next next = iterator(call.value, call.budget());
  const SortKey key(call, bound[1], bound[0]);
  std::optional<Value> best = next();
  if (!best) return make_undefined(fmt::format("there is no {}: the sequence is empty", call.name));
  Value best_key = key.of(*best);
  while (std::optional<Value> item = next()) {
    call.budget().charge(kNodeCost);
    Value item_key = key.of(*item);
    const bool better = sign < 0 ? less(item_key, best_key, call.budget())
                                 : less(best_key, item_key, call.budget());
    if (!better) continue;
    best_key = std::move(item_key);
    best = std::move(item);
  }
  return *best;
}

Value sum_filter(const Call& call) {
  const auto bound = call.bind({"attribute", "start"});
  const AttributePath path(bound[0] == nullptr ? Value(None{}) : *bound[0], call);
  Value total = bound[1] != nullptr ? *bound[1] : Value(int64_t{0});
  if (total.string() != nullptr) throw Failure{"sum does not join strings; use join"};
  const Next next = iterator(call.value, call.budget());
  while (const std::optional<Value> item = next()) {
    call.budget().charge(kNodeCost);
    total = arithmetic("+", total, path.of(*item), call.budget());
  }
  return total;
}

Value join_filter(const Call& call) {
  const auto bound = call.bind({"d", "attribute"});
  const AttributePath path(bound[1] == nullptr ? Value(None{}) : *bound[1], call);
  std::vector<Value> parts = iterate(call.value, call.budget());
  for (Value& part : parts) part = path.of(std::move(part));
  const Value separator = bound[0] != nullptr ? *bound[0] : call.result("");
  // Where text is escaped, one part that is Markup makes the others so.
  const auto is_markup = [](const Value& part) { return part.is_markup(); };
  const bool markup = call.evaluator.autoescape() &&
                      (separator.is_markup() || std::any_of(parts.begin(), parts.end(), is_markup));
  const auto shown = [&](const Value& value) {
    return markup ? escaped_text(value, call.budget()) : call.evaluator.text(value);
  };
  const std::string between = shown(separator);
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i != 0) {
      call.budget().charge(between.size());
      out += between;
    }
    out += shown(parts[i]);
  }
  return make_text(std::move(out), markup, call.budget());
}

Value first_filter(const Call& call) {
  (void)call.bind({});
  const std::optional<Value> first = iterator(call.value, call.budget())();
  return first ? *first : make_undefined("there is no first item: the sequence is empty");
}

// Whether Python's reversed() takes it.
bool is_reversible(const Value& value) {
  return is_iterable(value) && value.generator() == nullptr;
}

Value last_filter(const Call& call) {
  (void)call.bind({});
  if (!is_reversible(call.value))
    throw Failure{fmt::format("a {} cannot be read from its end", type_name(call.value))};
  const std::vector<Value> items = iterate(call.value, call.budget());
  if (items.empty()) return make_undefined("there is no last item: the sequence is empty");
  return call.value.is_markup() ? Value(Markup{*items.back().as<String>()}) : items.back();
}

Value reverse_filter(const Call& call) {
  (void)call.bind({});
  std::vector<Value> items = iterate(call.value, call.budget());
  std::reverse(items.begin(), items.end());
  if (call.value.string() != nullptr) {
    std::string text;
    for (const Value& item : items) text += *item.string();
    return call.alike(std::move(text));
  }
  const Value list = make_list(std::move(items), call.budget());
  if (!is_reversible(call.value)) return list;
  return make_generator(iterator(list, call.budget()), list.depth(), call.budget());
}

Value length_filter(const Call& call) {
  (void)call.bind({});
  if (const auto* loop = call.value.as<Loop*>()) return (*loop)->count(call.budget());
  if (const auto count = length(call.value, call.budget())) return *count;
  throw Failure{fmt::format("a {} has no length", type_name(call.value))};
}

Value attr_filter(const Call& call) {
  const auto bound = call.bind({"name"}, 1);
  const std::string& name = call.string(bound[0], "name");
  require_defined(call.value);
  // Not the items of a dict, which `.` finds, too.
  if (call.value.mapping() != nullptr) {
    const auto found = type_attribute(call.value, name, call.budget());
    return found ? *found : make_undefined(fmt::format("a dict has no attribute '{}'", name));
  }
  return call.evaluator.attribute(call.value, name);
}

Value default_filter(const Call& call) {
  const auto bound = call.bind({"default_value", "boolean"});
  const bool absent =
      call.value.is<Undefined>() || (Call::flag(bound[1], false) && !is_true(call.value));
  if (!absent) return call.value;
  return bound[0] != nullptr ? *bound[0] : call.result("");
}

Value tojson_filter(const Call& call) {
  const auto bound = call.bind({"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = Call::flag(bound[0], false);
  style.sort_keys = Call::flag(bound[3], false);
  if (Call::given(bound[1])) {
    if (const std::string* text = bound[1]->string()) {
      style.indent = *text;
    } else {
      const int64_t width = call.integer(bound[1], 0);
      if (width > 1000) throw Failure{"tojson: an indent of more than 1000 is not supported"};
      style.indent = std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
    style.item_separator = ",";
  }
  if (Call::given(bound[2])) {
    const std::vector<Value> separators = iterate(*bound[2], call.budget());
    if (separators.size() != 2) throw Failure{"tojson: separators must be two strings"};
    style.item_separator = call.string(&separators[0], "separator");
    style.key_separator = call.string(&separators[1], "separator");
  }
  return call.result(to_json(call.value, style, call.budget()));
}

}  // namespace

const ImplementationTable& sequence_filters() {
  static const ImplementationTable table = {
      {"attr", attr_filter},
      {"batch",
       [](const Call& call) {
         (void)call.bind({"linecount", "fill_with"}, 1);
         return lazily(call, start_batch);
       }},
      {"count", length_filter},
      {"d", default_filter},
      {"default", default_filter},
      {"dictsort", dictsort_filter},
      {"first", first_filter},
      {"groupby", groupby_filter},
      {"items",
       [](const Call& call) {
         (void)call.bind({});
         return lazily(call, start_items);
       }},
      {"join", join_filter},
      {"last", last_filter},
      {"length", length_filter},
      {"list",
       [](const Call& call) {
         (void)call.bind({});
         return make_list(iterate(call.value, call.budget()), call.budget());
       }},
      {"map", [](const Call& call) { return lazily(call, start_map); }},
      {"max", [](const Call& call) { return extreme_filter(call, 1); }},
      {"min", [](const Call& call) { return extreme_filter(call, -1); }},
      {"random",
       [](const Call&) -> Value {
         throw Failure{"random draws at random, which is not supported in chat templates"};
       }},
      {"reject", [](const Call& call) { return lazily(call, start_select<false, false>); }},
      {"rejectattr", [](const Call& call) { return lazily(call, start_select<false, true>); }},
      {"reverse", reverse_filter},
      {"select", [](const Call& call) { return lazily(call, start_select<true, false>); }},
      {"selectattr", [](const Call& call) { return lazily(call, start_select<true, true>); }},
      {"slice",
       [](const Call& call) {
         (void)call.bind({"slices", "fill_with"}, 1);
         return lazily(call, start_slice);
       }},
      {"sort", sort_filter},
      {"sum", sum_filter},
      {"tojson", tojson_filter},
      {"unique",
       [](const Call& call) {
         (void)call.bind({"case_sensitive", "attribute"});
         return lazily(call, start_unique);
       }},
  };
  return table;
}

namespace {

Implementation find_filter(std::string_view name) {
  for (const auto* table :
       {&sequence_filters(), &text_filters(), &layout_filters(), &number_filters()})
    if (const auto found = table->find(name); found != table->end()) return found->second;
  return nullptr;
}

}  // namespace

bool is_filter(std::string_view name) { return find_filter(name) != nullptr; }

Value Evaluator::filter(std::string_view name, const Value& value, const Arguments& arguments) {
  const Implementation filter = find_filter(name);
  if (filter == nullptr) throw Failure{fmt::format("no filter is named '{}'", name)};
  // `x | map('map', 'map', ...)` is as deep as it is long.
  const Deeper deeper(*this);
  return filter({*this, name, value, arguments});
}

}  // namespace sinter::runtime::jinja
