// Names of filters and tests, checked before a template runs.
#include <fmt/format.h>

#include "runtime/text/jinja/evaluator.h"
#include "runtime/text/jinja/lexer.h"
#include "runtime/text/jinja/parser.h"

namespace sinter::runtime::jinja {
namespace {

// `soft`: what is unknown there is no error yet.
void check(const Expression* expression, bool soft) {
  if (expression == nullptr) return;
  using Kind = Expression::Kind;
  soft |= expression->kind == Kind::kConditional;
  if (!soft) {
    if (expression->kind == Kind::kFilter && !is_filter(expression->name))
      throw SyntaxFailure{expression->line,
                          fmt::format("no filter is named '{}'", expression->name)};
    if (expression->kind == Kind::kTest && !is_test(expression->name))
      throw SyntaxFailure{expression->line, fmt::format("no test is named '{}'", expression->name)};
  }
  for (const ExpressionPtr& operand : expression->operands) check(operand.get(), soft);
  for (const CallArgument& argument : expression->arguments) check(argument.value.get(), soft);
}

void check(const Body& body, bool soft) {
  for (const Statement& statement : body) {
    const bool loop = statement.kind == Statement::Kind::kFor;
    check(statement.target.get(), soft);
    check(statement.value.get(), soft && statement.kind != Statement::Kind::kFilterBlock &&
                                     statement.kind != Statement::Kind::kAutoescape);
    check(statement.condition.get(), false);
    for (const auto& [condition, branch] : statement.branches) {
      check(condition.get(), true);
      check(branch, true);
    }
    check(statement.body, false);
    check(statement.other, !loop);
    for (const auto& [target, value] : statement.assignments) check(value.get(), false);
    for (const auto& [name, value] : statement.parameters) check(value.get(), false);
  }
}

}  // namespace

void check_names(const Body& body) { check(body, false); }

}  // namespace sinter::runtime::jinja
