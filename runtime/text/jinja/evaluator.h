// Runs a template.
#pragma once

#include <ctime>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/text/jinja/ast.h"

namespace sinter::runtime::jinja {

// What a call is given.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keywords;

  // The arguments in the order of the parameters' `names`; null where one is not given. Fails when
  // there are more, others, one twice, or one of the first `required` is missing.
  std::vector<const Value*> bind(std::string_view function,
                                 std::initializer_list<std::string_view> names,
                                 size_t required = 0) const;
  // The same for functions that take no arguments by name.
  std::vector<const Value*> in_order(std::string_view function, size_t required, size_t most) const;
};

// The variables of a block; a name that is not here is looked up in the parent.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::unordered_map<std::string, Value> variables;
};

struct Macro {
  const Statement* statement;
  std::shared_ptr<Scope> scope;  // where it was defined
  bool autoescape;

  bool is_named() const { return statement->kind == Statement::Kind::kMacro; }
  std::string repr() const {
    return is_named() ? "<Macro " + quoted(statement->text, false) + ">" : "<Macro anonymous>";
  }
};

struct Loop {
  Value iterable = None{};  // what the items are all of
  Next next;
  std::optional<int64_t> length;  // once it is known
  int64_t index = -1;             // of the current item
  std::optional<Value> previous, current, after;
  int depth = 1;                         // of recursion
  const Statement* statement = nullptr;  // of a recursive loop
  std::shared_ptr<Scope> scope;          // around it
  std::optional<std::vector<Value>> last_changed;

  // Makes the next item the current one; false at the end.
  bool advance();
  // The next item before its turn; null at the end.
  const Value* peek();
  int64_t count(Budget& budget);
};

class Evaluator {
 public:
  explicit Evaluator(const std::tm& now) : now_(now) {}
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  // Throws Failure.
  std::string render(const Body& body, const Mapping& variables);

  // Where it was last: 0 before it began.
  int line() const { return line_; }
  Budget& budget() { return budget_; }
  bool autoescape() const { return autoescape_; }

  // For filters, tests and methods, which need each other.
  Value call(const Value& callee, const Arguments& arguments);
  Value filter(std::string_view name, const Value& value, const Arguments& arguments);
  bool test(std::string_view name, const Value& value, const Arguments& arguments);
  // value.name and value[key].
  Value attribute(const Value& object, const std::string& name);
  Value item(const Value& object, const Value& key);
  bool contains(const Value& container, const Value& value);
  Value string(std::string text) { return make_string(std::move(text), budget_); }
  std::string text(const Value& value) { return to_text(value, budget_); }

 private:
  enum class Flow { kOn, kBreak, kContinue };

  // Counts how deep the evaluator is in itself.
  class Deeper {
   public:
    explicit Deeper(Evaluator& evaluator) : depth_(evaluator.depth_) {
      // How deep expressions, blocks and macros may be in each other while they run.
      constexpr int kMaxRecursion = 600;
      if (depth_ >= kMaxRecursion) throw Failure{"the template recurses too deeply"};
      ++depth_;
    }
    ~Deeper() { --depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    int& depth_;
  };
  // Sets a member for a while, also when a Failure passes: nothing may point at what is gone.
  template <class T>
  class Within {
   public:
    Within(T& place, T value) : place_(place), outer_(std::exchange(place, std::move(value))) {}
    ~Within() { place_ = std::move(outer_); }
    Within(const Within&) = delete;
    Within& operator=(const Within&) = delete;

   private:
    T& place_;
    T outer_;
  };

  Flow execute(const Body& body);
  Flow execute(const Statement& statement);
  Flow execute_if(const Statement& statement);
  Flow run_loop(const Statement& statement, const Value& iterable, int depth);
  Next filtered(const Statement& statement, Next items);
  // What the body writes, executed in that scope.
  std::string capture(const Body& body, std::shared_ptr<Scope> scope);
  // The same as a value: Markup where it is escaped already.
  Value captured(const Body& body, std::shared_ptr<Scope> scope);
  void assign(const Expression& target, const Value& value);
  void write(std::string_view text);
  void write_value(const Value& value);
  std::shared_ptr<Scope> inner(std::shared_ptr<Scope> parent);
  Value make_macro(const Statement& statement);

  Value evaluate(const Expression& expression);
  Value evaluate_node(const Expression& expression);
  Value evaluate_name(const Expression& expression);
  Value evaluate_concatenation(const Expression& expression);
  Value evaluate_compare(const Expression& expression);
  Value evaluate_binary(const Expression& expression);
  Value evaluate_unary(const Expression& expression);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_dict(const Expression& expression);
  std::vector<Value> evaluate_all(const std::vector<ExpressionPtr>& expressions);
  Arguments evaluate_arguments(const std::vector<CallArgument>& arguments);
  Value call_function(std::string_view name, const Arguments& arguments);
  Value call_macro(const Macro& macro, const Arguments& arguments);
  Value call_loop(Loop& loop, const Arguments& arguments);
  Value call_loop_method(Loop& loop, const std::string& name, const Arguments& arguments);
  Value loop_attribute(Loop* loop, const std::string& name);
  Value make_mapping(std::string_view name, const Arguments& arguments);
  Value now_as(const Arguments& arguments);

  Budget budget_;
  std::tm now_;
  int line_ = 0;
  int depth_ = 0;
  bool autoescape_ = false;
  std::string* out_ = nullptr;
  std::shared_ptr<Scope> scope_, global_;
  Value block_text_;  // see Expression::Kind::kBlockText
  std::deque<Macro> macros_;
  std::deque<Loop> loops_;
  std::deque<Namespace> namespaces_;
  std::deque<Cycler> cyclers_;
  std::deque<Joiner> joiners_;
};

// a OP b for +, -, *, /, //, %, **.
Value arithmetic(std::string_view operation, const Value& a, const Value& b, Budget& budget);

// What `object.name` is by the type of the object: a method or a number; none if it has no such
// attribute. Methods that would change their object are not there, as in Jinja's immutable sandbox.
std::optional<Value> type_attribute(const Value& object, const std::string& name, Budget& budget);
Value call_method(Evaluator& evaluator, const Method& method, const Arguments& arguments);

bool is_filter(std::string_view name);
bool is_test(std::string_view name);

}  // namespace sinter::runtime::jinja
