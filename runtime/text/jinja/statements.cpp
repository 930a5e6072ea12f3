// What statements do: blocks, loops, assignments and macros.
#include <fmt/format.h>

#include <algorithm>

#include "runtime/text/jinja/evaluator.h"
#include "runtime/text/jinja/text.h"

namespace sinter::runtime::jinja {

bool Loop::advance() {
  std::optional<Value> item = after ? std::exchange(after, std::nullopt) : next();
  if (!item) return false;
  ++index;
  previous = std::move(current);
  current = std::move(item);
  return true;
}

const Value* Loop::peek() {
  if (!after) after = next();
  return after ? &*after : nullptr;
}

int64_t Loop::count(Budget& budget) {
  if (!length) length = jinja::length(iterable, budget);
  if (!length) {
    std::vector<Value> rest;
    while (std::optional<Value> item = next()) {
      budget.charge(kValueCost);
      rest.push_back(*std::move(item));
    }
    length = index + 1 + (after ? 1 : 0) + static_cast<int64_t>(rest.size());
    next = iterator(make_list(std::move(rest), budget), budget);
  }
  return *length;
}

std::string Evaluator::render(const Body& body, const Mapping& variables) {
  scope_ = std::make_shared<Scope>();
  for (const std::string_view name : {"range", "namespace", "dict", "cycler", "joiner", "lipsum",
                                      "raise_exception", "strftime_now"})
    scope_->variables.emplace(name, Function{name});
  global_ = scope_ = inner(scope_);
  for (const auto& [name, value] : variables.items())
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

void Evaluator::write_value(const Value& value) {
  if (autoescape_)
    write(escaped_text(value, budget_));
  else if (const std::string* string = value.string())
    write(*string);
  else
    write(text(value));
}

std::shared_ptr<Scope> Evaluator::inner(std::shared_ptr<Scope> parent) {
  budget_.charge(kNodeCost);
  auto scope = std::make_shared<Scope>();
  scope->parent = std::move(parent);
  return scope;
}

std::string Evaluator::capture(const Body& body, std::shared_ptr<Scope> scope) {
  std::string text;
  const Within out(out_, &text);
  const Within within(scope_, std::move(scope));
  (void)execute(body);
  return text;
}

Value Evaluator::captured(const Body& body, std::shared_ptr<Scope> scope) {
  return make_text(capture(body, std::move(scope)), autoescape_, budget_);
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
      write_value(evaluate(*statement.value));
      break;
    case Block::kIf:
      return execute_if(statement);
    case Block::kFor:
      return run_loop(statement, evaluate(*statement.value), 1);
    case Block::kSet:
      assign(*statement.target, evaluate(*statement.value));
      break;
    case Block::kSetBlock: {
      block_text_ = captured(statement.body, inner(scope_));
      const Value value = evaluate(*statement.value);
      assign(*statement.target, value);
      break;
    }
    case Block::kFilterBlock:
      block_text_ = captured(statement.body, inner(scope_));
      write_value(evaluate(*statement.value));
      break;
    case Block::kMacro:
      scope_->variables.insert_or_assign(statement.text, make_macro(statement));
      break;
    case Block::kCallBlock: {
      const Expression& call_expression = *statement.value;
      const Value callee = evaluate(*call_expression.operands[0]);
      Arguments arguments = evaluate_arguments(call_expression.arguments);
      arguments.keywords.emplace_back("caller", make_macro(statement));
      write_value(call(callee, arguments));
      break;
    }
    case Block::kWith: {
      std::vector<Value> values;
      for (const auto& [target, value] : statement.assignments) values.push_back(evaluate(*value));
      const Within within(scope_, inner(scope_));
      for (size_t i = 0; i < values.size(); ++i) assign(*statement.assignments[i].first, values[i]);
      return execute(statement.body);
    }
    case Block::kAutoescape: {
      const Within escaping(autoescape_, is_true(evaluate(*statement.value)));
      const Within within(scope_, inner(scope_));
      return execute(statement.body);
    }
    case Block::kBlock:
      write(capture(statement.body, inner(global_)));
      break;
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

// The items for which the loop's condition holds, which is asked as the loop comes to them.
Next Evaluator::filtered(const Statement& statement, Next items) {
  return [this, &statement, outer = scope_, items = std::move(items)]() -> std::optional<Value> {
    while (std::optional<Value> item = items()) {
      const Within within(scope_, inner(outer));
      assign(*statement.target, *item);
      if (is_true(evaluate(*statement.condition))) return item;
    }
    return std::nullopt;
  };
}

Evaluator::Flow Evaluator::run_loop(const Statement& statement, const Value& iterable, int depth) {
  const std::shared_ptr<Scope> outer = scope_;
  budget_.charge(sizeof(Loop));
  Loop& loop = loops_.emplace_back();
  loop.next = iterator(iterable, budget_);
  if (statement.condition)
    loop.next = filtered(statement, std::move(loop.next));
  else
    loop.iterable = iterable;
  loop.depth = depth;
  if (statement.recursive) {
    loop.statement = &statement;
    loop.scope = outer;
  }
  // Jinja takes `else` for a loop that never came to the end of its body.
  bool completed = false;
  while (loop.advance()) {
    budget_.charge(kNodeCost);
    const Within within(scope_, inner(outer));
    scope_->variables.emplace("loop", Value(&loop));
    assign(*statement.target, *loop.current);
    const Flow flow = execute(statement.body);
    if (flow == Flow::kBreak) break;
    completed |= flow == Flow::kOn;
  }
  // A namespace may have kept `loop`; its items are not needed any more.
  loop.next = [] { return std::nullopt; };
  loop.iterable = None{};
  loop.after = loop.previous = std::nullopt;
  if (completed || statement.other.empty()) return Flow::kOn;
  const Within within(scope_, inner(outer));
  return execute(statement.other);
}

Value Evaluator::make_macro(const Statement& statement) {
  budget_.charge(sizeof(Macro));
  return &macros_.emplace_back(Macro{&statement, scope_, autoescape_});
}

void Evaluator::assign(const Expression& target, const Value& value) {
  if (target.kind == ExpressionKind::kName) {
    budget_.charge(kValueCost);
    scope_->variables.insert_or_assign(target.name, value);
  } else if (target.kind == ExpressionKind::kAttribute) {
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

Value Evaluator::call_macro(const Macro& macro, const Arguments& arguments) {
  const Statement& statement = *macro.statement;
  const std::string name = macro.is_named() ? statement.text : std::string("caller");
  auto scope = inner(macro.scope);
  auto& variables = scope->variables;
  const auto& parameters = statement.parameters;
  std::vector<Value> more;
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    if (i < parameters.size()) {
      variables.insert_or_assign(parameters[i].first, arguments.positional[i]);
    } else if (statement.takes_varargs) {
      more.push_back(arguments.positional[i]);
    } else {
      throw Failure{fmt::format("macro '{}' takes at most {} arguments", name, parameters.size())};
    }
  }
  if (statement.takes_varargs)
    variables.insert_or_assign("varargs", make_tuple(std::move(more), budget_));
  Mapping named;
  for (const auto& [key, value] : arguments.keywords) {
    const auto found = std::find_if(parameters.begin(), parameters.end(),
                                    [&](const auto& parameter) { return parameter.first == key; });
    const bool is_parameter =
        found != parameters.end() &&
        static_cast<size_t>(found - parameters.begin()) >= arguments.positional.size();
    const bool is_caller = key == "caller" && statement.takes_caller && found == parameters.end();
    if (is_parameter || is_caller) {
      variables.insert_or_assign(key, value);
    } else if (statement.takes_kwargs) {
      named.set(string(key), value, budget_);
    } else if (found != parameters.end()) {
      throw Failure{fmt::format("macro '{}' is given argument '{}' twice", name, key)};
    } else {
      throw Failure{fmt::format("macro '{}' has no argument '{}'", name, key)};
    }
  }
  if (statement.takes_caller && !variables.contains("caller"))
    variables.insert_or_assign("caller", make_undefined("the macro was not called by {% call %}"));
  if (statement.takes_kwargs)
    variables.insert_or_assign("kwargs", make_dict(std::move(named), budget_));

  Value text;
  {
    const Within escaping(autoescape_, macro.autoescape);
    // Defaults are evaluated in the macro's scope, from left to right.
    {
      const Within within(scope_, scope);
      for (const auto& [parameter, value] : parameters) {
        if (variables.contains(parameter)) continue;
        Value given =
            value ? evaluate(*value)
                  : make_undefined(fmt::format("parameter '{}' was not provided", parameter));
        variables.insert_or_assign(parameter, std::move(given));
      }
    }
    text = captured(statement.body, std::move(scope));
  }
  return autoescape_ && !text.is_markup() ? Value(Markup{*text.as<String>()}) : text;
}

Value Evaluator::call_loop(Loop& loop, const Arguments& arguments) {
  if (loop.statement == nullptr)
    throw Failure{"'loop' can be called in loops that are marked 'recursive' only"};
  const auto bound = arguments.bind("loop", {"iterable"}, 1);
  std::string out;
  {
    const Within within(scope_, loop.scope);
    const Within writing(out_, &out);
    (void)run_loop(*loop.statement, *bound[0], loop.depth + 1);
  }
  return make_text(std::move(out), autoescape_, budget_);
}

Value Evaluator::call_loop_method(Loop& loop, const std::string& name, const Arguments& arguments) {
  const std::vector<Value>& values = arguments.positional;
  if (!arguments.keywords.empty())
    throw Failure{fmt::format("loop.{}() takes no arguments by name", name)};
  if (name == "cycle") {
    if (values.empty()) throw Failure{"loop.cycle() needs values"};
    return values[static_cast<size_t>(loop.index) % values.size()];
  }
  const bool same =
      loop.last_changed && loop.last_changed->size() == values.size() &&
      std::equal(values.begin(), values.end(), loop.last_changed->begin(),
                 [&](const Value& a, const Value& b) { return equal(a, b, budget_); });
  loop.last_changed = values;
  return !same;
}

Value Evaluator::loop_attribute(Loop* loop, const std::string& name) {
  if (name == "index") return loop->index + 1;
  if (name == "index0") return loop->index;
  if (name == "revindex") return loop->count(budget_) - loop->index;
  if (name == "revindex0") return loop->count(budget_) - loop->index - 1;
  if (name == "first") return loop->index == 0;
  if (name == "last") return loop->peek() == nullptr;
  if (name == "length") return loop->count(budget_);
  if (name == "depth") return int64_t{loop->depth};
  if (name == "depth0") return int64_t{loop->depth} - 1;
  if (name == "previtem")
    return loop->previous ? *loop->previous : make_undefined("there is no previous item");
  if (name == "nextitem") {
    const Value* next = loop->peek();
    return next != nullptr ? *next : make_undefined("there is no next item");
  }
  if (name == "cycle" || name == "changed") {
    budget_.charge(kValueCost);
    return std::make_shared<const Method>(Method{Value(loop), name});
  }
  return make_undefined(fmt::format("'loop' has no attribute '{}'", name));
}

}  // namespace sinter::runtime::jinja
