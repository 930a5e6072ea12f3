// What expressions are worth.
#include "runtime/text/jinja/evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "runtime/text/jinja/integer.h"
#include "runtime/text/jinja/text.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::jinja {
namespace {

constexpr int64_t kMaxRange = 100000;  // as Jinja's sandbox
// Beyond all positions, and far from overflow.
constexpr int64_t kFar = int64_t{1} << 60;

// An index of Python: an int, cut to +-kFar.
int64_t index_of(std::string_view function, const Value& value) {
  require_defined(value);
  if (const auto integer = value.integer()) return std::clamp(*integer, -kFar, kFar);
  if (value.is_integer()) return sign(value) * kFar;
  throw Failure{fmt::format("{} needs an integer, not {}", function, described(value))};
}

Value make_range(std::string_view name, const std::vector<const Value*>& arguments) {
  std::array<int64_t, 3> numbers = {0, 0, 1};
  const bool single = arguments[1] == nullptr;
  for (size_t i = 0; i < 3 && arguments[i] != nullptr; ++i)
    numbers[single ? 1 : i] = index_of(name, *arguments[i]);
  const auto [start, stop, step] = numbers;
  if (step == 0) throw Failure{"range has a step of zero"};
  const int64_t size =
      step > 0 ? (stop - start + step - 1) / step : (start - stop - step - 1) / -step;
  if (size > kMaxRange) throw Failure{fmt::format("range has more than {} numbers", kMaxRange)};
  return std::make_shared<const Range>(Range{start, stop, step, std::max<int64_t>(size, 0)});
}

// Names that every object of Python has, or that containers have: the sandbox hides them, and an
// item of a dict does not show through them.
bool is_hidden(std::string_view name) {
  constexpr std::string_view kNames[] = {
      "__class__",     "__contains__",     "__delattr__",  "__delitem__",
      "__dir__",       "__doc__",          "__eq__",       "__format__",
      "__ge__",        "__getattribute__", "__getitem__",  "__getstate__",
      "__gt__",        "__hash__",         "__init__",     "__init_subclass__",
      "__iter__",      "__le__",           "__len__",      "__lt__",
      "__ne__",        "__new__",          "__or__",       "__reduce__",
      "__reduce_ex__", "__repr__",         "__reversed__", "__setattr__",
      "__setitem__",   "__sizeof__",       "__str__",      "__subclasshook__"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

}  // namespace

std::vector<const Value*> Arguments::bind(std::string_view function,
                                          std::initializer_list<std::string_view> names,
                                          size_t required) const {
  std::vector<const Value*> bound(names.size(), nullptr);
  if (positional.size() > names.size())
    throw Failure{fmt::format("{} takes at most {} arguments, not {}", function, names.size(),
                              positional.size())};
  for (size_t i = 0; i < positional.size(); ++i) bound[i] = &positional[i];
  for (const auto& [name, value] : keywords) {
    const auto* found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) throw Failure{fmt::format("{} has no argument '{}'", function, name)};
    const Value*& place = bound[static_cast<size_t>(found - names.begin())];
    if (place != nullptr)
      throw Failure{fmt::format("{} is given argument '{}' twice", function, name)};
    place = &value;
  }
  for (size_t i = 0; i < required; ++i)
    if (bound[i] == nullptr)
      throw Failure{fmt::format("{} needs the argument '{}'", function, names.begin()[i])};
  return bound;
}

std::vector<const Value*> Arguments::in_order(std::string_view function, size_t required,
                                              size_t most) const {
  if (!keywords.empty())
    throw Failure{fmt::format("{} takes no arguments by name, such as '{}'", function,
                              keywords.front().first)};
  if (positional.size() < required || positional.size() > most)
    throw Failure{fmt::format(
        "{} takes {} arguments, not {}", function,
        required == most ? fmt::format("{}", most) : fmt::format("{} to {}", required, most),
        positional.size())};
  std::vector<const Value*> bound(most, nullptr);
  for (size_t i = 0; i < positional.size(); ++i) bound[i] = &positional[i];
  return bound;
}

Value Evaluator::evaluate(const Expression& expression) {
  const Deeper deeper(*this);
  budget_.charge(kNodeCost);
  line_ = expression.line;
  return evaluate_node(expression);
}

Value Evaluator::evaluate_node(const Expression& expression) {
  const auto& operands = expression.operands;
  switch (expression.kind) {
    case ExpressionKind::kConstant:
      return expression.value;
    case ExpressionKind::kName:
      return evaluate_name(expression);
    case ExpressionKind::kList:
      return make_list(evaluate_all(operands), budget_);
    case ExpressionKind::kTuple:
      return make_list(evaluate_all(operands), budget_, Sequence::Kind::kTuple);
    case ExpressionKind::kDict:
      return evaluate_dict(expression);
    case ExpressionKind::kAttribute:
      return attribute(evaluate(*operands[0]), expression.name);
    case ExpressionKind::kItem: {
      const Value object = evaluate(*operands[0]);
      return item(object, evaluate(*operands[1]));
    }
    case ExpressionKind::kSlice:
      return evaluate_slice(expression);
    case ExpressionKind::kCall: {
      const Value callee = evaluate(*operands[0]);
      const Arguments arguments = evaluate_arguments(expression.arguments);
      line_ = expression.line;
      return call(callee, arguments);
    }
    case ExpressionKind::kFilter: {
      const Value value = evaluate(*operands[0]);
      const Arguments arguments = evaluate_arguments(expression.arguments);
      return filter(expression.name, value, arguments);
    }
    case ExpressionKind::kTest: {
      const Value value = evaluate(*operands[0]);
      const Arguments arguments = evaluate_arguments(expression.arguments);
      return test(expression.name, value, arguments);
    }
    case ExpressionKind::kUnary:
      return evaluate_unary(expression);
    case ExpressionKind::kBinary:
      return evaluate_binary(expression);
    case ExpressionKind::kCompare:
      return evaluate_compare(expression);
    case ExpressionKind::kConcatenate:
      return evaluate_concatenation(expression);
    case ExpressionKind::kAnd:
    case ExpressionKind::kOr: {
      Value value;
      for (const ExpressionPtr& operand : operands) {
        value = evaluate(*operand);
        if (is_true(value) == (expression.kind == ExpressionKind::kOr)) break;
      }
      return value;
    }
    case ExpressionKind::kConditional:
      if (is_true(evaluate(*operands[1]))) return evaluate(*operands[0]);
      if (operands[2]) return evaluate(*operands[2]);
      return make_undefined("the inline if-expression evaluated to false and has no else");
    case ExpressionKind::kBlockText:
      return block_text_;
  }
  return {};
}

// Text of all operands; where text is escaped, Markup keeps what it is.
Value Evaluator::evaluate_concatenation(const Expression& expression) {
  const std::vector<Value> parts = evaluate_all(expression.operands);
  const bool markup = autoescape_ && std::any_of(parts.begin(), parts.end(),
                                                 [](const Value& v) { return v.is_markup(); });
  std::string joined;
  for (const Value& part : parts) joined += markup ? escaped_text(part, budget_) : text(part);
  return make_text(std::move(joined), markup, budget_);
}

Value Evaluator::evaluate_name(const Expression& expression) {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    const auto found = scope->variables.find(expression.name);
    if (found != scope->variables.end()) return found->second;
  }
  return make_undefined(fmt::format("'{}' is undefined", expression.name));
}

Value Evaluator::evaluate_dict(const Expression& expression) {
  Mapping mapping;
  for (size_t i = 0; i < expression.operands.size(); i += 2) {
    Value key = evaluate(*expression.operands[i]);
    mapping.set(std::move(key), evaluate(*expression.operands[i + 1]), budget_);
  }
  return make_dict(std::move(mapping), budget_);
}

std::vector<Value> Evaluator::evaluate_all(const std::vector<ExpressionPtr>& expressions) {
  std::vector<Value> values;
  for (const ExpressionPtr& expression : expressions) values.push_back(evaluate(*expression));
  return values;
}

Arguments Evaluator::evaluate_arguments(const std::vector<CallArgument>& arguments) {
  Arguments result;
  for (const CallArgument& argument : arguments) {
    Value value = evaluate(*argument.value);
    switch (argument.kind) {
      case CallArgument::Kind::kPositional:
        result.positional.push_back(std::move(value));
        break;
      case CallArgument::Kind::kKeyword:
        result.keywords.emplace_back(argument.name, std::move(value));
        break;
      case CallArgument::Kind::kUnpackList:
        for (Value& element : iterate(value, budget_))
          result.positional.push_back(std::move(element));
        break;
      case CallArgument::Kind::kUnpackDict: {
        require_defined(value);
        const Mapping* mapping = value.mapping();
        if (mapping == nullptr)
          throw Failure{fmt::format("** needs a dict, not {}", described(value))};
        for (const auto& [key, element] : mapping->items()) {
          if (key.string() == nullptr) throw Failure{"** needs a dict whose keys are strings"};
          budget_.charge(kValueCost + key.string()->size());
          result.keywords.emplace_back(*key.string(), element);
        }
        break;
      }
    }
  }
  for (size_t i = 1; i < result.keywords.size(); ++i) {
    budget_.charge(i);
    for (size_t j = 0; j < i; ++j)
      if (result.keywords[i].first == result.keywords[j].first)
        throw Failure{fmt::format("argument '{}' is given twice", result.keywords[i].first)};
  }
  return result;
}

Value Evaluator::evaluate_compare(const Expression& expression) {
  Value left = evaluate(*expression.operands[0]);
  for (size_t i = 0; i < expression.operators.size(); ++i) {
    Value right = evaluate(*expression.operands[i + 1]);
    const std::string& name = expression.operators[i];
    bool holds = false;
    if (name == "==") {
      holds = equal(left, right, budget_);
    } else if (name == "!=") {
      holds = !equal(left, right, budget_);
    } else if (name == "in") {
      holds = contains(right, left);
    } else if (name == "not in") {
      holds = !contains(right, left);
    } else {
      const int order = compare(left, right, budget_);
      holds = order != 2 && (name == "<"    ? order < 0
                             : name == "<=" ? order <= 0
                             : name == ">"  ? order > 0
                                            : order >= 0);
    }
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

bool Evaluator::contains(const Value& container, const Value& value) {
  if (const std::string* text_of = container.string()) {
    const std::string* part = value.string();
    if (part == nullptr) {
      require_defined(value);
      throw Failure{fmt::format("'in' looks for a str in a str, not for a {}", type_name(value))};
    }
    return find(*text_of, *part, 0, budget_) != std::string::npos;
  }
  if (const Mapping* dict = container.mapping()) return dict->find(value, budget_) != nullptr;
  if (const Sequence* list = container.sequence()) {
    if (list->kind == Sequence::Kind::kKeys && !is_hashable(value, budget_))
      throw Failure{fmt::format("a {} cannot be a key", type_name(value))};
    return std::any_of(list->items.begin(), list->items.end(),
                       [&](const Value& element) { return equal(element, value, budget_); });
  }
  if (!is_iterable(container))
    throw Failure{fmt::format("'in' cannot look into a {}", type_name(container))};
  const Next next = iterator(container, budget_);
  while (const std::optional<Value> element = next())
    if (equal(*element, value, budget_)) return true;
  return false;
}

Value Evaluator::evaluate_binary(const Expression& expression) {
  const Value left = evaluate(*expression.operands[0]);
  const Value right = evaluate(*expression.operands[1]);
  line_ = expression.line;
  return arithmetic(expression.name, left, right, budget_);
}

Value Evaluator::evaluate_unary(const Expression& expression) {
  const Value value = evaluate(*expression.operands[0]);
  if (expression.name == "not") return !is_true(value);
  require_defined(value);
  const bool minus = expression.name == "-";
  if (const bool* truth = value.as<bool>()) return int64_t{minus ? -*truth : *truth};
  if (value.is_integer()) return minus ? negative(value, budget_) : value;
  if (const double* number = value.as<double>()) return minus ? -*number : *number;
  throw Failure{fmt::format("a {} has no sign", type_name(value))};
}

Value Evaluator::evaluate_slice(const Expression& expression) {
  const Value object = evaluate(*expression.operands[0]);
  const auto part = [&](size_t i) -> std::optional<int64_t> {
    if (!expression.operands[i]) return std::nullopt;
    const Value value = evaluate(*expression.operands[i]);
    if (value.is<None>()) return std::nullopt;
    return index_of("a slice", value);
  };
  const auto begin = part(1), end = part(2), step_given = part(3);
  int64_t step = step_given.value_or(1);
  if (step == 0) throw Failure{"a slice's step is zero"};

  const std::string* text_of = object.string();
  const std::vector<Value>* list = object.items();
  const Range* range = object.range();
  if (text_of == nullptr && list == nullptr && range == nullptr) {
    require_defined(object);
    throw Failure{fmt::format("a {} has no slices", type_name(object))};
  }
  std::vector<std::string_view> parts;
  if (text_of != nullptr) parts = characters(*text_of, budget_);
  const auto size = text_of != nullptr ? static_cast<int64_t>(parts.size())
                    : list != nullptr  ? static_cast<int64_t>(list->size())
                                       : range->size;
  const auto clamp = [&](int64_t index) {
    if (index < 0) index = index < -size ? -1 : index + size;
    if (step < 0) return std::clamp<int64_t>(index, -1, size - 1);
    return std::clamp<int64_t>(index, 0, size);
  };
  const int64_t start = begin ? clamp(*begin) : step > 0 ? 0 : size - 1;
  const int64_t stop = end ? clamp(*end) : step > 0 ? size : -1;
  if (range != nullptr) {
    const auto at = [&](int64_t i) { return range->start + i * range->step; };
    const Value first = at(start), last = at(stop), by = step * range->step;
    return make_range("a slice", {&first, &last, &by});
  }
  // One step beyond the end is as good as many, and its sum cannot overflow.
  step = std::clamp<int64_t>(step, -size - 1, size + 1);
  std::string text_part;
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
    budget_.charge(4);
    if (text_of != nullptr)
      text_part += parts[static_cast<size_t>(i)];
    else
      items.push_back((*list)[static_cast<size_t>(i)]);
  }
  if (text_of != nullptr) return make_text(std::move(text_part), object.is_markup(), budget_);
  return make_list(std::move(items), budget_, object.sequence()->kind);
}

Value Evaluator::attribute(const Value& object, const std::string& name) {
  require_defined(object);
  budget_.charge(name.size());
  const auto unknown = [&] {
    return make_undefined(
        fmt::format("'{} object' has no attribute '{}'", type_name(object), name));
  };
  if (is_hidden(name)) return unknown();
  if (const auto* space = object.as<Namespace*>()) {
    if (name.starts_with('_')) return unknown();
    const Value* found = (*space)->attributes.find(string(name), budget_);
    return found != nullptr ? *found : unknown();
  }
  if (const auto* loop = object.as<Loop*>()) return loop_attribute(*loop, name);
  if (std::optional<Value> found = type_attribute(object, name, budget_)) return *std::move(found);
  if (const Mapping* dict = object.mapping())
    if (const Value* found = dict->find(string(name), budget_)) return *found;
  return unknown();
}

Value Evaluator::item(const Value& object, const Value& key) {
  require_defined(object);
  if (const Mapping* dict = object.mapping()) {
    const Value* found = is_hashable(key, budget_) ? dict->find(key, budget_) : nullptr;
    if (found != nullptr) return *found;
  } else if (const auto index = key.integer()) {
    const auto at = [&](int64_t size) -> std::optional<int64_t> {
      const int64_t i = *index < 0 ? *index + size : *index;
      return i < 0 || i >= size ? std::nullopt : std::optional(i);
    };
    if (const std::vector<Value>* list = object.items()) {
      if (const auto i = at(static_cast<int64_t>(list->size())))
        return (*list)[static_cast<size_t>(*i)];
    } else if (const Range* range = object.range()) {
      if (const auto i = at(range->size)) return range->at(*i);
    } else if (const std::string* text_of = object.string()) {
      budget_.charge(text_of->size() / 8);
      const auto size = static_cast<int64_t>(count_characters(*text_of));
      if (const auto i = at(size)) {
        const bool ascii = size == static_cast<int64_t>(text_of->size());
        if (!ascii) budget_.charge(text_of->size());
        const std::string_view rest = std::string_view(*text_of).substr(
            ascii ? static_cast<size_t>(*i) : byte_at(*text_of, *i));
        const size_t bytes = tokenizer::next_utf8(rest).length;
        return make_text(std::string(rest.substr(0, bytes)), object.is_markup(), budget_);
      }
    }
  }
  if (const std::string* name = key.string()) {
    // What an object has as an item was asked for above.
    if (object.mapping() == nullptr || type_attribute(object, *name, budget_))
      return attribute(object, *name);
    return make_undefined(fmt::format("'dict object' has no attribute '{}'", name->substr(0, 100)));
  }
  budget_.charge(kNodeCost);
  return make_undefined(
      fmt::format("'{} object' has no element of that {}", type_name(object), type_name(key)));
}

Value Evaluator::call(const Value& callee, const Arguments& arguments) {
  const Deeper deeper(*this);
  require_defined(callee);
  if (const auto* function = callee.as<Function>()) return call_function(function->name, arguments);
  if (const auto* macro = callee.as<Macro*>()) return call_macro(**macro, arguments);
  if (const auto* loop = callee.as<Loop*>()) return call_loop(**loop, arguments);
  if (const auto* joiner = callee.as<Joiner*>()) {
    (void)arguments.in_order("a joiner", 0, 0);
    return std::exchange((*joiner)->used, true) ? (*joiner)->separator : Value(string(""));
  }
  if (const Method* method = callee.method()) {
    const auto* loop = method->object.as<Loop*>();
    if (loop != nullptr) return call_loop_method(**loop, method->name, arguments);
    return call_method(*this, *method, arguments);
  }
  throw Failure{fmt::format("a {} cannot be called", type_name(callee))};
}

Value Evaluator::call_function(std::string_view name, const Arguments& arguments) {
  if (name == "raise_exception") {
    const auto bound = arguments.bind(name, {"message"}, 1);
    throw Failure{text(*bound[0])};
  }
  if (name == "strftime_now") return now_as(arguments);
  if (name == "range") return make_range(name, arguments.in_order(name, 1, 3));
  if (name == "cycler") {
    if (arguments.positional.empty() || !arguments.keywords.empty())
      throw Failure{"cycler needs items, without names"};
    budget_.charge(kValueCost * arguments.positional.size());
    return &cyclers_.emplace_back(Cycler{arguments.positional, 0});
  }
  if (name == "joiner") {
    const auto bound = arguments.bind(name, {"sep"});
    budget_.charge(kValueCost);
    return &joiners_.emplace_back(Joiner{bound[0] != nullptr ? *bound[0] : string(", "), false});
  }
  if (name == "lipsum")
    throw Failure{"lipsum makes random text, which is not supported in chat templates"};
  return make_mapping(name, arguments);
}

Value Evaluator::now_as(const Arguments& arguments) {
  const auto bound = arguments.bind("strftime_now", {"format"}, 1);
  if (bound[0]->string() == nullptr) throw Failure{"strftime_now needs a str as format"};
  const std::string& format = *bound[0]->string();
  if (format.empty()) return string("");
  if (format.size() > 1000) throw Failure{"the format of strftime_now is too long"};
  // A byte more tells an empty result from one that does not fit.
  std::string result(16384, '\0');
  budget_.charge(result.size());
  const size_t size = std::strftime(result.data(), result.size(), (format + " ").c_str(), &now_);
  if (size == 0) throw Failure{"the result of strftime_now is too long"};
  result.resize(size - 1);
  return string(std::move(result));
}

// namespace(...) and dict(...).
Value Evaluator::make_mapping(std::string_view name, const Arguments& arguments) {
  Mapping mapping;
  if (arguments.positional.size() > 1)
    throw Failure{fmt::format("{} takes one dict and named values", name)};
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    require_defined(source);
    if (const Mapping* other = source.mapping()) {
      for (const auto& [key, value] : other->items()) mapping.set(key, value, budget_);
    } else {
      for (const Value& pair : iterate(source, budget_)) {
        const std::vector<Value> parts = iterate(pair, budget_);
        if (parts.size() != 2) throw Failure{fmt::format("{} needs pairs", name)};
        mapping.set(parts[0], parts[1], budget_);
      }
    }
  }
  for (const auto& [key, value] : arguments.keywords) mapping.set(string(key), value, budget_);
  if (name == "dict") return make_dict(std::move(mapping), budget_);
  budget_.charge(sizeof(Namespace));
  return &namespaces_.emplace_back(Namespace{std::move(mapping)});
}

}  // namespace sinter::runtime::jinja
