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

#include "runtime/jinja_ast.h"

namespace sinter::runtime::jinja {

// What a call is given.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keywords;

  // The arguments in the order of the parameters' `names`; null where one is not given. Fails when
  // there are more, others, or one twice.
  std::vector<const Value*> bind(std::string_view function,
                                 std::initializer_list<std::string_view> names) const;
};

// The variables of a block; a name that is not here is looked up in the parent.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::unordered_map<std::string, Value> variables;
};

struct Macro {
  const Statement* statement;
  std::shared_ptr<Scope> scope;  // where it was defined
};

struct Loop {
  std::vector<Value> items;
  size_t index = 0;
  int depth = 1;                         // of recursion
  const Statement* statement = nullptr;  // of a recursive loop
  std::shared_ptr<Scope> scope;          // around it
  std::vector<Value> last_changed;
  bool has_changed = false;
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

  // For filters, tests and methods, which need each other.
  Value call(const Value& callee, const Arguments& arguments);
  Value filter(std::string_view name, const Value& value, const Arguments& arguments);
  bool test(std::string_view name, const Value& value, const Arguments& arguments);
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
      constexpr int kMaxDepth = 600;
      if (depth_ >= kMaxDepth) throw Failure{"the template is too deep in itself"};
      ++depth_;
    }
    ~Deeper() { --depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    int& depth_;
  };

  Flow execute(const Body& body);
  Flow execute(const Statement& statement);
  Flow execute_if(const Statement& statement);
  Flow execute_for(const Statement& statement);
  Flow run_loop(const Statement& statement, const Value& iterable, int depth);
  // Executes in a scope within `parent`; `out` collects what is written.
  std::string capture(const Body& body, std::shared_ptr<Scope> scope);
  void assign(const Expression& target, const Value& value);
  void write(std::string_view text);
  std::shared_ptr<Scope> inner(std::shared_ptr<Scope> parent);
  Macro* make_macro(const Statement& statement);

  Value evaluate(const Expression& expression);
  Value evaluate_node(const Expression& expression);
  Value evaluate_name(const Expression& expression);
  Value evaluate_compare(const Expression& expression);
  Value evaluate_binary(const Expression& expression);
  Value evaluate_unary(const Expression& expression);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_dict(const Expression& expression);
  std::vector<Value> evaluate_all(const std::vector<ExpressionPtr>& expressions);
  Arguments evaluate_arguments(const std::vector<CallArgument>& arguments);
  Value call_function(std::string_view name, const Arguments& arguments);
  Value call_macro(const Macro& macro, const Arguments& arguments);
  Value loop_attribute(Loop* loop, const std::string& name);

  Budget budget_;
  std::tm now_;
  int line_ = 0;
  int depth_ = 0;
  std::string* out_ = nullptr;
  std::shared_ptr<Scope> scope_;
  Value block_text_;  // see Expression::Kind::kBlockText
  std::deque<Macro> macros_;
  std::deque<Loop> loops_;
  std::deque<Namespace> namespaces_;
};

// a OP b for +, -, *, /, //, %, **.
Value arithmetic(std::string_view operation, const Value& a, const Value& b, Budget& budget);

bool is_method(const Value& object, std::string_view name);
Value call_method(Evaluator& evaluator, const Value& object, const std::string& name,
                  const Arguments& arguments);

// Text functions that methods and filters share.
std::string upper(std::string_view text, Budget& budget);
std::string lower(std::string_view text, Budget& budget);
std::string capitalize(std::string_view text, Budget& budget);
std::string swap_case(std::string_view text, Budget& budget);
// Without the characters of `which` (white space when null) at the chosen ends.
std::string_view strip(std::string_view text, const std::string* which, bool left, bool right,
                       Budget& budget);
std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t count, Budget& budget);
// The position of `part` at or after `from`; npos when it is not there.
size_t find(std::string_view text, std::string_view part, size_t from, Budget& budget);
// "%s" and the like of Python's % operator.
std::string format_percent(std::string_view pattern, const std::vector<Value>& values,
                           Budget& budget);
bool all_characters(std::string_view text, bool (*is)(uint32_t));
bool is_upper(std::string_view text);
bool is_lower(std::string_view text);

}  // namespace sinter::runtime::jinja
