#include "runtime/jinja_evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace sinter::runtime::jinja {
namespace {

using Kind = Expression::Kind;

constexpr int64_t kMaxRange = 100000;  // as Jinja's sandbox

constexpr std::array<std::string_view, 5> kFunctions = {"range", "namespace", "dict",
                                                        "raise_exception", "strftime_now"};

int64_t require_integer(std::string_view function, const Value& value) {
  require_defined(value);
  if (const auto integer = value.integer()) return *integer;
  throw Failure{fmt::format("{} needs an integer, not a {}", function, type_name(value))};
}

}  // namespace

std::vector<const Value*> Arguments::bind(std::string_view function,
                                          std::initializer_list<std::string_view> names) const {
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
  return bound;
}

std::string Evaluator::render(const Body& body, const Mapping& variables) {
  scope_ = std::make_shared<Scope>();
  for (const std::string_view name : kFunctions) scope_->variables.emplace(name, Function{name});
  scope_ = inner(scope_);
  for (const auto& [name, value] : variables.items)
    scope_->variables.insert_or_assign(*name.string(), value);
  std::string out;
  out_ = &out;
  (void)execute(body);
  return out;
}

void Evaluator::write(std::string_view text) {
  budget_.charge(text.size());
  *out_ += text;
}

std::shared_ptr<Scope> Evaluator::inner(std::shared_ptr<Scope> parent) {
  budget_.charge(kNodeCost);
  auto scope = std::make_shared<Scope>();
  scope->parent = std::move(parent);
  return scope;
}

std::string Evaluator::capture(const Body& body, std::shared_ptr<Scope> scope) {
  std::string text;
  // Restored when a Failure passes, too: nothing may point at a string that is gone.
  struct Restore {
    Evaluator& evaluator;
    std::string* out;
    std::shared_ptr<Scope> scope;
    ~Restore() {
      evaluator.out_ = out;
      evaluator.scope_ = std::move(scope);
    }
  };
  const Restore restore{*this, std::exchange(out_, &text), std::exchange(scope_, std::move(scope))};
  (void)execute(body);
  return text;
}

Evaluator::Flow Evaluator::execute(const Body& body) {
  const Deeper deeper(*this);
  for (const Statement& statement : body) {
    const Flow flow = execute(statement);
    if (flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

Evaluator::Flow Evaluator::execute(const Statement& statement) {
  using Block = Statement::Kind;
  budget_.charge(kNodeCost);
  line_ = statement.line;
  switch (statement.kind) {
    case Block::kText:
      write(statement.text);
      break;
    case Block::kOutput:
      write(text(evaluate(*statement.value)));
      break;
    case Block::kIf:
      return execute_if(statement);
    case Block::kFor:
      return execute_for(statement);
    case Block::kSet:
      assign(*statement.target, evaluate(*statement.value));
      break;
    case Block::kSetBlock: {
      block_text_ = string(capture(statement.body, inner(scope_)));
      const Value value = evaluate(*statement.value);
      assign(*statement.target, value);
      break;
    }
    case Block::kFilterBlock:
      block_text_ = string(capture(statement.body, inner(scope_)));
      write(text(evaluate(*statement.value)));
      break;
    case Block::kMacro:
      scope_->variables.insert_or_assign(statement.text, Value(make_macro(statement)));
      break;
    case Block::kCallBlock: {
      const Expression& call_expression = *statement.value;
      const Value callee = evaluate(*call_expression.operands[0]);
      Arguments arguments = evaluate_arguments(call_expression.arguments);
      arguments.keywords.emplace_back("caller", Value(make_macro(statement)));
      write(text(call(callee, arguments)));
      break;
    }
    case Block::kWith: {
      std::vector<Value> values;
      for (const auto& [target, value] : statement.assignments) values.push_back(evaluate(*value));
      const auto outer = scope_;
      scope_ = inner(outer);
      for (size_t i = 0; i < values.size(); ++i) assign(*statement.assignments[i].first, values[i]);
      const Flow flow = execute(statement.body);
      scope_ = outer;
      return flow;
    }
    case Block::kGeneration:
      write(capture(statement.body, inner(scope_)));
      break;
    case Block::kBreak:
      return Flow::kBreak;
    case Block::kContinue:
      return Flow::kContinue;
  }
  return Flow::kOn;
}

Evaluator::Flow Evaluator::execute_if(const Statement& statement) {
  for (const auto& [condition, body] : statement.branches)
    if (is_true(evaluate(*condition))) return execute(body);
  return execute(statement.other);
}

Evaluator::Flow Evaluator::execute_for(const Statement& statement) {
  return run_loop(statement, evaluate(*statement.value), 1);
}

Evaluator::Flow Evaluator::run_loop(const Statement& statement, const Value& iterable, int depth) {
  const auto outer = scope_;
  std::vector<Value> items = iterate(iterable, budget_);
  if (statement.condition) {
    std::vector<Value> kept;
    for (Value& element : items) {
      scope_ = inner(outer);
      assign(*statement.target, element);
      if (is_true(evaluate(*statement.condition))) kept.push_back(std::move(element));
    }
    scope_ = outer;
    items = std::move(kept);
  }
  if (items.empty()) {
    scope_ = inner(outer);
    const Flow flow = execute(statement.other);
    scope_ = outer;
    return flow;
  }
  budget_.charge(sizeof(Loop));
  Loop& loop = loops_.emplace_back();
  loop.items = std::move(items);
  loop.depth = depth;
  if (statement.recursive) {
    loop.statement = &statement;
    loop.scope = outer;
  }
  for (loop.index = 0; loop.index < loop.items.size(); ++loop.index) {
    scope_ = inner(outer);
    scope_->variables.emplace("loop", Value(&loop));
    assign(*statement.target, loop.items[loop.index]);
    if (execute(statement.body) == Flow::kBreak) break;
  }
  scope_ = outer;
  // A namespace may have kept `loop`; its items are not needed any more.
  loop.items = {};
  loop.index = 0;
  return Flow::kOn;
}

Macro* Evaluator::make_macro(const Statement& statement) {
  budget_.charge(sizeof(Macro));
  return &macros_.emplace_back(Macro{&statement, scope_});
}

void Evaluator::assign(const Expression& target, const Value& value) {
  if (target.kind == Kind::kName) {
    budget_.charge(kValueCost);
    scope_->variables.insert_or_assign(target.name, value);
  } else if (target.kind == Kind::kAttribute) {
    const Value object = evaluate(*target.operands[0]);
    const auto* space = object.as<Namespace*>();
    if (space == nullptr) {
      require_defined(object);
      throw Failure{
          fmt::format("only attributes of a namespace can be set, not of a {}", type_name(object))};
    }
    (*space)->attributes.set(string(target.name), value, budget_);
  } else {
    const std::vector<Value> parts = iterate(value, budget_);
    if (parts.size() != target.operands.size())
      throw Failure{fmt::format("{} values cannot be unpacked into {} names", parts.size(),
                                target.operands.size())};
    for (size_t i = 0; i < parts.size(); ++i) assign(*target.operands[i], parts[i]);
  }
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
    case Kind::kConstant:
      return expression.value;
    case Kind::kName:
      return evaluate_name(expression);
    case Kind::kList:
      return make_list(evaluate_all(operands), budget_);
    case Kind::kTuple:
      return make_list(evaluate_all(operands), budget_, Sequence::Kind::kTuple);
    case Kind::kDict:
      return evaluate_dict(expression);
    case Kind::kAttribute:
      return attribute(evaluate(*operands[0]), expression.name);
    case Kind::kItem: {
      const Value object = evaluate(*operands[0]);
      return item(object, evaluate(*operands[1]));
    }
    case Kind::kSlice:
      return evaluate_slice(expression);
    case Kind::kCall: {
      const Value callee = evaluate(*operands[0]);
      const Arguments arguments = evaluate_arguments(expression.arguments);
      line_ = expression.line;
      return call(callee, arguments);
    }
    case Kind::kFilter: {
      const Value value = evaluate(*operands[0]);
      const Arguments arguments = evaluate_arguments(expression.arguments);
      return filter(expression.name, value, arguments);
    }
    case Kind::kTest: {
      const Value value = evaluate(*operands[0]);
      const Arguments arguments = evaluate_arguments(expression.arguments);
      return test(expression.name, value, arguments);
    }
    case Kind::kUnary:
      return evaluate_unary(expression);
    case Kind::kBinary:
      return evaluate_binary(expression);
    case Kind::kCompare:
      return evaluate_compare(expression);
    case Kind::kConcatenate: {
      std::string joined;
      for (const ExpressionPtr& operand : operands) joined += text(evaluate(*operand));
      return string(std::move(joined));
    }
    case Kind::kAnd:
    case Kind::kOr: {
      Value value;
      for (const ExpressionPtr& operand : operands) {
        value = evaluate(*operand);
        if (is_true(value) == (expression.kind == Kind::kOr)) break;
      }
      return value;
    }
    case Kind::kConditional:
      if (is_true(evaluate(*operands[1]))) return evaluate(*operands[0]);
      if (operands[2]) return evaluate(*operands[2]);
      return make_undefined("the inline if-expression evaluated to false and has no else");
    case Kind::kBlockText:
      return block_text_;
  }
  return {};
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
        require_defined(value);
        for (Value& element : iterate(value, budget_))
          result.positional.push_back(std::move(element));
        break;
      case CallArgument::Kind::kUnpackDict: {
        require_defined(value);
        const Mapping* mapping = value.mapping();
        if (mapping == nullptr)
          throw Failure{fmt::format("** needs a dict, not a {}", type_name(value))};
        for (const auto& [key, element] : mapping->items) {
          if (key.string() == nullptr) throw Failure{"** needs a dict whose keys are strings"};
          budget_.charge(kValueCost + key.string()->size());
          result.keywords.emplace_back(*key.string(), element);
        }
        break;
      }
    }
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
      holds = name == "<"    ? order < 0
              : name == "<=" ? order <= 0
              : name == ">"  ? order > 0
                             : order >= 0;
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
    return std::any_of(list->items.begin(), list->items.end(),
                       [&](const Value& element) { return equal(element, value, budget_); });
  }
  if (container.is<Undefined>()) return false;
  throw Failure{fmt::format("'in' cannot look into a {}", type_name(container))};
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
  if (const auto integer = value.integer()) {
    if (expression.name == "+") return *integer;
    if (*integer == INT64_MIN) throw Failure{"an integer has more than 64 bits"};
    return -*integer;
  }
  if (const auto number = value.number()) return expression.name == "+" ? *number : -*number;
  throw Failure{fmt::format("a {} has no sign", type_name(value))};
}

Value Evaluator::evaluate_slice(const Expression& expression) {
  const Value object = evaluate(*expression.operands[0]);
  const auto part = [&](size_t i) -> std::optional<int64_t> {
    if (!expression.operands[i]) return std::nullopt;
    const Value value = evaluate(*expression.operands[i]);
    if (value.is<None>()) return std::nullopt;
    return require_integer("a slice", value);
  };
  const auto begin = part(1), end = part(2), step_given = part(3);
  const int64_t step = step_given.value_or(1);
  if (step == 0) throw Failure{"a slice's step is zero"};

  std::vector<std::string_view> parts;
  const std::string* text_of = object.string();
  const Sequence* list = object.sequence();
  if (text_of != nullptr) {
    parts = characters(*text_of, budget_);
  } else if (list == nullptr ||
             (list->kind != Sequence::Kind::kList && list->kind != Sequence::Kind::kTuple)) {
    // Jinja gives undefined for what has no slices, and fails when that is used.
    require_defined(object);
    return make_undefined(fmt::format("a {} has no slices", type_name(object)));
  }
  const auto size = static_cast<int64_t>(text_of != nullptr ? parts.size() : list->items.size());
  const auto clamp = [&](int64_t index) {
    if (index < 0) index = index < -size ? -1 : index + size;
    if (step < 0) return std::clamp<int64_t>(index, -1, size - 1);
    return std::clamp<int64_t>(index, 0, size);
  };
  int64_t i = begin ? clamp(*begin) : step > 0 ? 0 : size - 1;
  const int64_t stop = end ? clamp(*end) : step > 0 ? size : -1;
  std::string text_part;
  std::vector<Value> items;
  while (step > 0 ? i < stop : i > stop) {
    budget_.charge(1);
    if (text_of != nullptr)
      text_part += parts[static_cast<size_t>(i)];
    else
      items.push_back(list->items[static_cast<size_t>(i)]);
    if (step > size || step < -size) break;  // nor may the sum overflow
    i += step;
  }
  if (text_of != nullptr) return string(std::move(text_part));
  return make_list(std::move(items), budget_, list->kind);
}

Value Evaluator::attribute(const Value& object, const std::string& name) {
  require_defined(object);
  if (const auto* space = object.as<Namespace*>()) {
    const Value* found = (*space)->attributes.find(string(name), budget_);
    return found != nullptr ? *found
                            : make_undefined(fmt::format("the namespace has no '{}'", name));
  }
  if (const auto* loop = object.as<Loop*>()) return loop_attribute(*loop, name);
  if (is_method(object, name)) {
    if (object.depth() >= kMaxValueDepth) throw Failure{"methods nest too deep"};
    budget_.charge(kValueCost + name.size());
    return std::make_shared<const Method>(Method{object, name});
  }
  if (const Mapping* dict = object.mapping())
    if (const Value* found = dict->find(string(name), budget_)) return *found;
  return make_undefined(fmt::format("'{} object' has no attribute '{}'", type_name(object), name));
}

Value Evaluator::item(const Value& object, const Value& key) {
  require_defined(object);
  if (const Mapping* dict = object.mapping()) {
    if (const Value* found = dict->find(key, budget_)) return *found;
  } else if (const auto index = key.integer()) {
    const auto at = [&](size_t size) -> std::optional<size_t> {
      const int64_t i = *index < 0 ? *index + static_cast<int64_t>(size) : *index;
      if (i < 0 || i >= static_cast<int64_t>(size)) return std::nullopt;
      return static_cast<size_t>(i);
    };
    if (const Sequence* list = object.sequence()) {
      if (list->kind == Sequence::Kind::kList || list->kind == Sequence::Kind::kTuple)
        if (const auto i = at(list->items.size())) return list->items[*i];
    } else if (const std::string* text_of = object.string()) {
      const auto parts = characters(*text_of, budget_);
      if (const auto i = at(parts.size())) return string(std::string(parts[*i]));
    }
  }
  if (const std::string* name = key.string()) return attribute(object, *name);
  return make_undefined(
      fmt::format("'{} object' has no element {}", type_name(object), to_repr(key, budget_)));
}

Value Evaluator::loop_attribute(Loop* loop, const std::string& name) {
  const auto index = static_cast<int64_t>(loop->index);
  const auto size = static_cast<int64_t>(loop->items.size());
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return size - index;
  if (name == "revindex0") return size - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == size;
  if (name == "length") return size;
  if (name == "depth") return int64_t{loop->depth};
  if (name == "depth0") return int64_t{loop->depth} - 1;
  if (name == "previtem")
    return index > 0 ? loop->items[loop->index - 1] : make_undefined("there is no previous item");
  if (name == "nextitem")
    return index + 1 < size ? loop->items[loop->index + 1]
                            : make_undefined("there is no next item");
  if (name == "cycle" || name == "changed") {
    budget_.charge(kValueCost);
    return std::make_shared<const Method>(Method{Value(loop), name});
  }
  return make_undefined(fmt::format("'loop' has no attribute '{}'", name));
}

Value Evaluator::call(const Value& callee, const Arguments& arguments) {
  const Deeper deeper(*this);
  require_defined(callee);
  if (const auto* function = callee.as<Function>()) return call_function(function->name, arguments);
  if (const auto* macro = callee.as<Macro*>()) return call_macro(**macro, arguments);
  if (const auto* loop = callee.as<Loop*>()) {
    const Loop& recursive = **loop;
    if (recursive.statement == nullptr)
      throw Failure{"'loop' can be called in loops that are marked 'recursive' only"};
    const auto bound = arguments.bind("loop", {"iterable"});
    if (bound[0] == nullptr) throw Failure{"loop() needs something to iterate over"};
    std::string out;
    std::string* outer_out = std::exchange(out_, &out);
    const auto outer_scope = std::exchange(scope_, recursive.scope);
    try {
      (void)run_loop(*recursive.statement, *bound[0], recursive.depth + 1);
    } catch (...) {
      out_ = outer_out;
      throw;
    }
    out_ = outer_out;
    scope_ = outer_scope;
    return string(std::move(out));
  }
  if (const auto* method = callee.as<std::shared_ptr<const Method>>()) {
    const Value& object = (*method)->object;
    const auto* loop = object.as<Loop*>();
    if (loop == nullptr) return call_method(*this, object, (*method)->name, arguments);
    if ((*method)->name == "cycle") {
      if (arguments.positional.empty()) throw Failure{"loop.cycle() needs values"};
      return arguments.positional[(*loop)->index % arguments.positional.size()];
    }
    Loop& state = **loop;
    const bool same =
        state.has_changed && state.last_changed.size() == arguments.positional.size() &&
        std::equal(state.last_changed.begin(), state.last_changed.end(),
                   arguments.positional.begin(),
                   [&](const Value& a, const Value& b) { return equal(a, b, budget_); });
    state.has_changed = true;
    state.last_changed = arguments.positional;
    return !same;
  }
  throw Failure{fmt::format("a {} cannot be called", type_name(callee))};
}

Value Evaluator::call_function(std::string_view name, const Arguments& arguments) {
  if (name == "raise_exception") {
    const auto bound = arguments.bind(name, {"message"});
    throw Failure{bound[0] != nullptr ? text(*bound[0]) : "the template refuses the conversation"};
  }
  if (name == "strftime_now") {
    const auto bound = arguments.bind(name, {"format"});
    if (bound[0] == nullptr || bound[0]->string() == nullptr)
      throw Failure{"strftime_now needs a format"};
    const std::string& format = *bound[0]->string();
    if (format.empty()) return string("");
    if (format.size() > 1000) throw Failure{"the format of strftime_now is too long"};
    // A byte more tells an empty result from one that does not fit.
    std::string result(16384, '\0');
    const size_t size = std::strftime(result.data(), result.size(), (format + " ").c_str(), &now_);
    if (size == 0) throw Failure{"the result of strftime_now is too long"};
    result.resize(size - 1);
    return string(std::move(result));
  }
  if (name == "range") {
    if (!arguments.keywords.empty()) throw Failure{"range takes no named arguments"};
    const size_t count = arguments.positional.size();
    if (count < 1 || count > 3) throw Failure{"range takes one to three arguments"};
    std::array<int64_t, 3> numbers = {0, 0, 1};
    for (size_t i = 0; i < count; ++i)
      numbers[count == 1 ? 1 : i] = require_integer(name, arguments.positional[i]);
    const auto [begin, end, step] = numbers;
    if (step == 0) throw Failure{"range has a step of zero"};
    std::vector<Value> items;
    for (int64_t i = begin; step > 0 ? i < end : i > end;) {
      if (static_cast<int64_t>(items.size()) >= kMaxRange)
        throw Failure{fmt::format("range has more than {} numbers", kMaxRange)};
      items.emplace_back(i);
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    return make_list(std::move(items), budget_);
  }
  // namespace and dict
  Mapping mapping;
  if (arguments.positional.size() > 1)
    throw Failure{fmt::format("{} takes one dict and named values", name)};
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    require_defined(source);
    if (const Mapping* other = source.mapping()) {
      for (const auto& [key, value] : other->items) mapping.set(key, value, budget_);
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
  return Value(&namespaces_.emplace_back(Namespace{std::move(mapping)}));
}

Value Evaluator::call_macro(const Macro& macro, const Arguments& arguments) {
  const Statement& statement = *macro.statement;
  const std::string name =
      statement.kind == Statement::Kind::kMacro ? statement.text : std::string("caller");
  auto scope = inner(macro.scope);
  const auto& parameters = statement.parameters;
  std::vector<Value> more;
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    if (i < parameters.size()) {
      scope->variables.insert_or_assign(parameters[i].first, arguments.positional[i]);
    } else if (statement.takes_varargs) {
      more.push_back(arguments.positional[i]);
    } else {
      throw Failure{fmt::format("macro '{}' takes at most {} arguments", name, parameters.size())};
    }
  }
  if (statement.takes_varargs)
    scope->variables.insert_or_assign("varargs",
                                      make_list(std::move(more), budget_, Sequence::Kind::kTuple));
  Mapping named;
  for (const auto& [key, value] : arguments.keywords) {
    const auto found = std::find_if(parameters.begin(), parameters.end(),
                                    [&](const auto& parameter) { return parameter.first == key; });
    if (found != parameters.end()) {
      if (static_cast<size_t>(found - parameters.begin()) < arguments.positional.size())
        throw Failure{fmt::format("macro '{}' is given argument '{}' twice", name, key)};
      scope->variables.insert_or_assign(key, value);
    } else if (key == "caller") {
      scope->variables.insert_or_assign(key, value);
    } else if (statement.takes_kwargs) {
      named.set(string(key), value, budget_);
    } else {
      throw Failure{fmt::format("macro '{}' has no argument '{}'", name, key)};
    }
  }
  if (statement.takes_kwargs)
    scope->variables.insert_or_assign("kwargs", make_dict(std::move(named), budget_));

  // Defaults are evaluated in the macro's scope, from left to right.
  const auto outer = std::exchange(scope_, scope);
  for (const auto& [parameter, value] : parameters) {
    if (scope->variables.contains(parameter)) continue;
    Value given = value ? evaluate(*value)
                        : make_undefined(fmt::format("parameter '{}' was not provided", parameter));
    scope->variables.insert_or_assign(parameter, std::move(given));
  }
  scope_ = outer;
  return string(capture(statement.body, std::move(scope)));
}

}  // namespace sinter::runtime::jinja
