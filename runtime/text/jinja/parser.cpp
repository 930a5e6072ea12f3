#include "runtime/text/jinja/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <limits>

#include "runtime/text/jinja/integer.h"
#include "runtime/text/jinja/lexer.h"

namespace sinter::runtime::jinja {
namespace {

// Parentheses and blocks nest at most so deep: the C++ stack follows them.
constexpr int kMaxNesting = 100;
// Chains such as a + b + c are trees, too, but the parser is not in itself.
constexpr int kMaxDepth = 200;
constexpr size_t kMaxNodes = size_t{1} << 20;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Body run() {
    Body body = statements({});
    if (now().kind != Token::Kind::kEnd) fail("the template goes on after its end");
    return body;
  }

 private:
  // Counts how deep the parser is in itself.
  class Nested {
   public:
    explicit Nested(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > kMaxNesting) parser_.fail("nests too deep");
    }
    ~Nested() { --parser_.depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Parser& parser_;
  };

  [[noreturn]] void fail(std::string message) const {
    throw SyntaxFailure{now().line, std::move(message)};
  }
  const Token& now() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() { return at_ + 1 < tokens_.size() ? std::move(tokens_[at_++]) : tokens_[at_]; }
  bool is(Token::Kind kind) const { return now().kind == kind; }
  bool is_operator(std::string_view text) const {
    return now().kind == Token::Kind::kOperator && now().text == text;
  }
  bool is_name(std::string_view text) const {
    return now().kind == Token::Kind::kName && now().text == text;
  }
  bool skip_operator(std::string_view text) {
    if (!is_operator(text)) return false;
    ++at_;
    return true;
  }
  bool skip_name(std::string_view text) {
    if (!is_name(text)) return false;
    ++at_;
    return true;
  }
  std::string found() const {
    switch (now().kind) {
      case Token::Kind::kVariableEnd:
        return "}}";
      case Token::Kind::kBlockEnd:
        return "%}";
      case Token::Kind::kEnd:
        return "the end of the template";
      default:
        return fmt::format("'{}'", now().text.substr(0, 40));
    }
  }
  void expect_operator(std::string_view text) {
    if (!skip_operator(text)) fail(fmt::format("expected '{}', found {}", text, found()));
  }
  std::string expect_name() {
    if (!is(Token::Kind::kName)) fail(fmt::format("expected a name, found {}", found()));
    return take().text;
  }
  void expect_block_end() {
    if (!is(Token::Kind::kBlockEnd)) fail(fmt::format("expected %}}, found {}", found()));
    ++at_;
  }

  ExpressionPtr node(ExpressionKind kind, std::vector<ExpressionPtr> operands = {},
                     std::string name = {}) {
    auto result = std::make_unique<Expression>();
    result->kind = kind;
    result->line = now().line;
    result->name = std::move(name);
    result->operands = std::move(operands);
    return measured(std::move(result));
  }
  ExpressionPtr measured(ExpressionPtr result) {
    if (++nodes_ > kMaxNodes) fail("the template is too large");
    for (const ExpressionPtr& operand : result->operands)
      if (operand) result->depth = std::max(result->depth, operand->depth + 1);
    for (const CallArgument& argument : result->arguments)
      result->depth = std::max(result->depth, argument.value->depth + 1);
    if (result->depth > kMaxDepth) fail("an expression nests too deep");
    return result;
  }
  template <class... Parts>
  static std::vector<ExpressionPtr> list(Parts... parts) {
    std::vector<ExpressionPtr> result;
    (result.push_back(std::move(parts)), ...);
    return result;
  }
  ExpressionPtr constant(Value value) {
    ExpressionPtr result = node(ExpressionKind::kConstant);
    result->value = std::move(value);
    return result;
  }
  ExpressionPtr constant_text(std::string text) {
    return constant(String(std::make_shared<const std::string>(std::move(text))));
  }

  // Statements up to a block whose name is one of `ends`; that name is the token to come.
  Body statements(std::initializer_list<std::string_view> ends) {
    const Nested nested(*this);
    Body body;
    while (true) {
      if (is(Token::Kind::kEnd)) {
        if (ends.size() != 0)
          fail(fmt::format("the template ends before {{% {} %}}", *std::prev(ends.end())));
        return body;
      }
      if (++nodes_ > kMaxNodes) fail("the template is too large");
      Statement statement{};
      statement.line = now().line;
      if (is(Token::Kind::kText)) {
        statement.kind = Statement::Kind::kText;
        statement.text = take().text;
      } else if (is(Token::Kind::kVariableBegin)) {
        ++at_;
        statement.kind = Statement::Kind::kOutput;
        statement.value = tuple(true);
        if (!is(Token::Kind::kVariableEnd)) fail(fmt::format("expected }}}}, found {}", found()));
        ++at_;
      } else {
        ++at_;  // {%
        if (is(Token::Kind::kName) && std::find(ends.begin(), ends.end(), now().text) != ends.end())
          return body;
        read_block(statement);
      }
      body.push_back(std::move(statement));
    }
  }
  // The body of a block that only {% `end` %} closes.
  Body block(std::string_view end) {
    expect_block_end();
    Body body = statements({end});
    ++at_;
    expect_block_end();
    return body;
  }

  void read_block(Statement& statement) {
    using Block = Statement::Kind;
    const std::string name = expect_name();
    if (name == "if") {
      read_if(statement);
    } else if (name == "for") {
      read_for(statement);
    } else if (name == "set") {
      read_set(statement);
    } else if (name == "macro") {
      statement.kind = Block::kMacro;
      statement.text = expect_target_name();
      read_parameters(statement);
      read_macro_body(statement, "endmacro");
    } else if (name == "call") {
      statement.kind = Block::kCallBlock;
      if (is_operator("(")) read_parameters(statement);
      statement.value = expression();
      if (statement.value->kind != ExpressionKind::kCall) fail("expected a call after 'call'");
      read_macro_body(statement, "endcall");
    } else if (name == "filter") {
      statement.kind = Block::kFilterBlock;
      statement.value = filter(node(ExpressionKind::kBlockText));
      while (skip_operator("|")) statement.value = filter(std::move(statement.value));
      statement.body = block("endfilter");
    } else if (name == "with") {
      statement.kind = Block::kWith;
      while (!is(Token::Kind::kBlockEnd)) {
        if (!statement.assignments.empty()) expect_operator(",");
        ExpressionPtr name_of = target(false);
        expect_operator("=");
        statement.assignments.emplace_back(std::move(name_of), expression());
      }
      statement.body = block("endwith");
    } else if (name == "autoescape") {
      statement.kind = Block::kAutoescape;
      statement.value = expression();
      statement.body = block("endautoescape");
    } else if (name == "block") {
      read_named_block(statement);
    } else if (name == "generation") {
      statement.kind = Block::kGeneration;
      statement.body = function_body("endgeneration");
    } else if (name == "extends" || name == "include" || name == "import" || name == "from") {
      fail(fmt::format("'{}' needs another template, and a chat template is alone", name));
    } else if (name == "break" || name == "continue") {
      if (loops_ == 0) fail(fmt::format("'{}' stands outside of a loop", name));
      statement.kind = name == "break" ? Block::kBreak : Block::kContinue;
      expect_block_end();
    } else {
      fail(fmt::format("'{}' is not a statement of chat templates", name));
    }
  }

  void read_if(Statement& statement) {
    statement.kind = Statement::Kind::kIf;
    while (true) {
      ExpressionPtr condition = tuple(false);
      expect_block_end();
      statement.branches.emplace_back(std::move(condition), statements({"elif", "else", "endif"}));
      const std::string end = take().text;
      if (end == "elif") continue;
      if (end == "else") {
        statement.other = block("endif");
      } else {
        expect_block_end();
      }
      return;
    }
  }

  void read_for(Statement& statement) {
    statement.kind = Statement::Kind::kFor;
    ++for_depth_;
    statement.target = target(false);
    if (!skip_name("in")) fail(fmt::format("expected 'in', found {}", found()));
    statement.value = tuple(false);
    if (skip_name("if")) statement.condition = expression();
    statement.recursive = skip_name("recursive");
    expect_block_end();
    ++loops_;
    statement.body = statements({"else", "endfor"});
    --loops_;
    if (take().text == "else") {
      statement.other = block("endfor");
    } else {
      expect_block_end();
    }
    --for_depth_;
  }

  void read_set(Statement& statement) {
    statement.target = target(true);
    if (skip_operator("=")) {
      statement.kind = Statement::Kind::kSet;
      statement.value = tuple(true);
      expect_block_end();
      return;
    }
    statement.kind = Statement::Kind::kSetBlock;
    statement.value = node(ExpressionKind::kBlockText);
    while (skip_operator("|")) statement.value = filter(std::move(statement.value));
    statement.body = block("endset");
  }

  // {% block name scoped required %}: nothing can extend a chat template, so it stands where it is.
  void read_named_block(Statement& statement) {
    statement.kind = Statement::Kind::kBlock;
    statement.text = expect_name();
    if (std::find(blocks_.begin(), blocks_.end(), statement.text) != blocks_.end())
      fail(fmt::format("block '{}' is defined twice", statement.text));
    blocks_.push_back(statement.text);
    if (skip_name("scoped")) fail("scoped blocks are not supported in chat templates");
    if (is_name("required")) fail("a required block has nothing to fill it in a chat template");
    statement.body = function_body("endblock", statement.text);
  }

  void read_parameters(Statement& statement) {
    expect_operator("(");
    while (!skip_operator(")")) {
      if (!statement.parameters.empty()) expect_operator(",");
      std::string name = expect_target_name();
      for (const auto& [other, value] : statement.parameters)
        if (other == name) fail(fmt::format("parameter '{}' is there twice", name));
      ExpressionPtr value;
      if (skip_operator("="))
        value = expression();
      else if (!statement.parameters.empty() && statement.parameters.back().second)
        fail("a parameter without a default follows one that has a default");
      statement.parameters.emplace_back(std::move(name), std::move(value));
    }
  }

  // The body of what is a function in Python: loops around it cannot be left from within.
  Body function_body(std::string_view end, std::string_view name = {}) {
    const int outer_loops = std::exchange(loops_, 0);
    expect_block_end();
    Body body = statements({end});
    ++at_;
    if (!name.empty()) (void)skip_name(name);
    expect_block_end();
    loops_ = outer_loops;
    return body;
  }

  void read_macro_body(Statement& statement, std::string_view end) {
    const Reads outer = std::exchange(reads_, {});
    statement.body = function_body(end);
    statement.takes_varargs = reads_.varargs;
    statement.takes_kwargs = reads_.kwargs;
    for (const auto& [name, value] : statement.parameters) {
      if (name != "caller") continue;
      if (reads_.caller && !value) fail("a parameter 'caller' needs a default");
      reads_.caller = false;
    }
    statement.takes_caller = reads_.caller;
    // What a macro within it reads, it reads.
    reads_.varargs |= outer.varargs;
    reads_.kwargs |= outer.kwargs;
    reads_.caller |= outer.caller;
  }

  // A name that can be assigned to.
  std::string expect_target_name() {
    std::string name = expect_name();
    if (name == "true" || name == "false" || name == "none" || name == "True" || name == "False" ||
        name == "None")
      fail(fmt::format("'{}' cannot be assigned to", name));
    if (name == "loop" && for_depth_ > 0) fail("'loop' cannot be assigned to within a loop");
    return name;
  }

  // What can be assigned to: a name, an attribute of a namespace where `attributes`, or several in
  // a tuple.
  ExpressionPtr target(bool attributes) {
    const auto single = [&]() -> ExpressionPtr {
      if (skip_operator("(")) {
        const Nested nested(*this);
        ExpressionPtr inner = target(attributes);
        expect_operator(")");
        return inner;
      }
      ExpressionPtr result = node(ExpressionKind::kName, {}, expect_target_name());
      if (attributes && skip_operator("."))
        result = node(ExpressionKind::kAttribute, list(std::move(result)), expect_name());
      return result;
    };
    ExpressionPtr first = single();
    if (!is_operator(",")) return first;
    std::vector<ExpressionPtr> parts = list(std::move(first));
    while (skip_operator(",")) {
      if (!is(Token::Kind::kName) && !is_operator("(")) break;
      if (is_name("in")) break;
      parts.push_back(single());
    }
    return node(ExpressionKind::kTuple, std::move(parts));
  }

  bool ends_tuple() const {
    return is(Token::Kind::kVariableEnd) || is(Token::Kind::kBlockEnd) || is_operator(")");
  }
  // An expression, or several with commas between them. `conditional`: with inline ifs.
  ExpressionPtr tuple(bool conditional) {
    ExpressionPtr first = conditional ? expression() : or_expression();
    if (!is_operator(",")) return first;
    std::vector<ExpressionPtr> parts = list(std::move(first));
    while (skip_operator(",")) {
      if (ends_tuple() || is_name("recursive")) break;
      parts.push_back(conditional ? expression() : or_expression());
    }
    return node(ExpressionKind::kTuple, std::move(parts));
  }

  ExpressionPtr expression() {
    const Nested nested(*this);
    ExpressionPtr value = or_expression();
    while (skip_name("if")) {
      ExpressionPtr condition = or_expression();
      ExpressionPtr other;
      if (skip_name("else")) other = expression();
      value = node(ExpressionKind::kConditional,
                   list(std::move(value), std::move(condition), std::move(other)));
    }
    return value;
  }

  ExpressionPtr or_expression() {
    ExpressionPtr left = and_expression();
    if (!is_name("or")) return left;
    std::vector<ExpressionPtr> parts = list(std::move(left));
    while (skip_name("or")) parts.push_back(and_expression());
    return node(ExpressionKind::kOr, std::move(parts));
  }

  ExpressionPtr and_expression() {
    ExpressionPtr left = not_expression();
    if (!is_name("and")) return left;
    std::vector<ExpressionPtr> parts = list(std::move(left));
    while (skip_name("and")) parts.push_back(not_expression());
    return node(ExpressionKind::kAnd, std::move(parts));
  }

  ExpressionPtr not_expression() {
    if (!skip_name("not")) return comparison();
    const Nested nested(*this);
    return node(ExpressionKind::kUnary, list(not_expression()), "not");
  }

  ExpressionPtr comparison() {
    ExpressionPtr left = sum();
    std::vector<std::string> operators;
    std::vector<ExpressionPtr> operands = list(std::move(left));
    while (true) {
      if (is(Token::Kind::kOperator) &&
          (is_operator("==") || is_operator("!=") || is_operator("<") || is_operator("<=") ||
           is_operator(">") || is_operator(">="))) {
        operators.push_back(take().text);
      } else if (skip_name("in")) {
        operators.emplace_back("in");
      } else if (is_name("not") && next().kind == Token::Kind::kName && next().text == "in") {
        at_ += 2;
        operators.emplace_back("not in");
      } else {
        break;
      }
      operands.push_back(sum());
    }
    if (operators.empty()) return std::move(operands[0]);
    ExpressionPtr result = node(ExpressionKind::kCompare, std::move(operands));
    result->operators = std::move(operators);
    return result;
  }

  ExpressionPtr sum() {
    ExpressionPtr left = concatenation();
    while (is_operator("+") || is_operator("-")) {
      std::string name = take().text;
      ExpressionPtr right = concatenation();
      left =
          node(ExpressionKind::kBinary, list(std::move(left), std::move(right)), std::move(name));
    }
    return left;
  }

  ExpressionPtr concatenation() {
    ExpressionPtr left = product();
    if (!is_operator("~")) return left;
    std::vector<ExpressionPtr> parts = list(std::move(left));
    while (skip_operator("~")) parts.push_back(product());
    return node(ExpressionKind::kConcatenate, std::move(parts));
  }

  ExpressionPtr product() {
    ExpressionPtr left = power();
    while (is_operator("*") || is_operator("/") || is_operator("//") || is_operator("%")) {
      std::string name = take().text;
      ExpressionPtr right = power();
      left =
          node(ExpressionKind::kBinary, list(std::move(left), std::move(right)), std::move(name));
    }
    return left;
  }

  ExpressionPtr power() {
    ExpressionPtr left = unary(true);
    while (skip_operator("**")) {
      ExpressionPtr right = unary(true);
      left = node(ExpressionKind::kBinary, list(std::move(left), std::move(right)), "**");
    }
    return left;
  }

  ExpressionPtr unary(bool with_filters) {
    const Nested nested(*this);
    ExpressionPtr value;
    if (is_operator("-") || is_operator("+")) {
      std::string name = take().text;
      value = node(ExpressionKind::kUnary, list(unary(false)), std::move(name));
    } else {
      value = postfix(primary());
    }
    while (with_filters) {
      if (skip_operator("|")) {
        value = filter(std::move(value));
      } else if (skip_name("is")) {
        value = test(std::move(value));
      } else if (is_operator("(")) {
        value = call(std::move(value));
      } else {
        break;
      }
    }
    return value;
  }

  ExpressionPtr primary() {
    switch (now().kind) {
      case Token::Kind::kName:
        return name_or_word();
      case Token::Kind::kString: {
        std::string text = take().text;
        while (is(Token::Kind::kString)) text += take().text;
        return constant_text(std::move(text));
      }
      case Token::Kind::kInteger:
        return integer();
      case Token::Kind::kFloat: {
        std::string text = take().text;
        std::erase(text, '_');
        double value = 0;
        (void)std::from_chars(text.data(), text.data() + text.size(), value);
        return constant(value);
      }
      default:
        break;
    }
    if (skip_operator("(")) {
      if (skip_operator(")")) return node(ExpressionKind::kTuple);
      ExpressionPtr inner = tuple(true);
      expect_operator(")");
      return inner;
    }
    if (skip_operator("[")) {
      std::vector<ExpressionPtr> items;
      while (!skip_operator("]")) {
        if (!items.empty()) {
          expect_operator(",");
          if (skip_operator("]")) break;
        }
        items.push_back(expression());
      }
      return node(ExpressionKind::kList, std::move(items));
    }
    if (skip_operator("{")) {
      std::vector<ExpressionPtr> items;
      while (!skip_operator("}")) {
        if (!items.empty()) {
          expect_operator(",");
          if (skip_operator("}")) break;
        }
        items.push_back(expression());
        expect_operator(":");
        items.push_back(expression());
      }
      return node(ExpressionKind::kDict, std::move(items));
    }
    fail(fmt::format("expected a value, found {}", found()));
  }

  ExpressionPtr name_or_word() {
    std::string name = take().text;
    if (name == "true" || name == "True") return constant(true);
    if (name == "false" || name == "False") return constant(false);
    if (name == "none" || name == "None") return constant(None{});
    reads_.varargs |= name == "varargs";
    reads_.kwargs |= name == "kwargs";
    reads_.caller |= name == "caller";
    return node(ExpressionKind::kName, {}, std::move(name));
  }

  ExpressionPtr integer() {
    std::string text = take().text;
    std::erase(text, '_');
    int base = 10;
    std::string_view digits = text;
    if (text.size() > 2 && text[0] == '0' && text[1] > '9') {
      base = text[1] == 'x' || text[1] == 'X' ? 16 : text[1] == 'o' || text[1] == 'O' ? 8 : 2;
      digits.remove_prefix(2);
    }
    Budget budget;
    try {
      if (const std::optional<Value> value = from_digits(digits, base, budget))
        return constant(*value);
    } catch (const Failure& failure) {
      fail(failure.message);
    }
    fail(fmt::format("{} is not an integer", text.substr(0, 40)));
  }

  ExpressionPtr postfix(ExpressionPtr value) {
    while (true) {
      if (skip_operator(".")) {
        if (is(Token::Kind::kInteger)) {
          ExpressionPtr index = integer();
          value = node(ExpressionKind::kItem, list(std::move(value), std::move(index)));
        } else {
          value = node(ExpressionKind::kAttribute, list(std::move(value)), expect_name());
        }
      } else if (skip_operator("[")) {
        value = subscript(std::move(value));
      } else if (is_operator("(")) {
        value = call(std::move(value));
      } else {
        return value;
      }
    }
  }

  // value[index], value[begin:end:step], or value[index, ...], whose key is a tuple.
  ExpressionPtr subscript(ExpressionPtr value) {
    std::vector<ExpressionPtr> keys;
    bool comma = false;
    while (!skip_operator("]")) {
      if (!keys.empty()) {
        expect_operator(",");
        comma = true;
      }
      ExpressionPtr begin, end, step;
      if (!is_operator(":")) {
        begin = expression();
        if (!is_operator(":")) {
          keys.push_back(std::move(begin));
          continue;
        }
      }
      ++at_;  // :
      const auto ends = [&] { return is_operator("]") || is_operator(",") || is_operator(":"); };
      if (!ends()) end = expression();
      if (skip_operator(":") && !is_operator("]") && !is_operator(",")) step = expression();
      if (!is_operator("]") || comma) fail("a slice stands alone between [ and ]");
      ++at_;
      return node(ExpressionKind::kSlice,
                  list(std::move(value), std::move(begin), std::move(end), std::move(step)));
    }
    ExpressionPtr key =
        keys.size() == 1 ? std::move(keys[0]) : node(ExpressionKind::kTuple, std::move(keys));
    return node(ExpressionKind::kItem, list(std::move(value), std::move(key)));
  }

  std::vector<CallArgument> arguments() {
    using Form = CallArgument::Kind;
    expect_operator("(");
    std::vector<CallArgument> result;
    const auto has = [&](Form kind) {
      return std::any_of(result.begin(), result.end(),
                         [&](const CallArgument& argument) { return argument.kind == kind; });
    };
    while (!skip_operator(")")) {
      if (!result.empty()) {
        expect_operator(",");
        if (skip_operator(")")) break;
      }
      CallArgument argument;
      if (skip_operator("*")) {
        argument.kind = Form::kUnpackList;
        if (has(Form::kUnpackList) || has(Form::kUnpackDict))
          fail("a call has one argument with * at most, before the one with **");
      } else if (skip_operator("**")) {
        argument.kind = Form::kUnpackDict;
        if (has(Form::kUnpackDict)) fail("a call has one argument with ** at most");
      } else if (is(Token::Kind::kName) && next().kind == Token::Kind::kOperator &&
                 next().text == "=") {
        argument.kind = Form::kKeyword;
        argument.name = take().text;
        ++at_;
        if (has(Form::kUnpackDict)) fail("an argument follows the one with **");
        for (const CallArgument& other : result)
          if (other.kind == Form::kKeyword && other.name == argument.name)
            fail(fmt::format("argument '{}' is given twice", argument.name));
      } else if (has(Form::kKeyword) || has(Form::kUnpackList) || has(Form::kUnpackDict)) {
        fail("an argument without a name follows one with a name or a *");
      }
      argument.value = expression();
      result.push_back(std::move(argument));
    }
    return result;
  }

  ExpressionPtr call(ExpressionPtr callee) {
    ExpressionPtr result = node(ExpressionKind::kCall, list(std::move(callee)));
    result->arguments = arguments();
    return measured(std::move(result));
  }

  std::string dotted_name() {
    std::string name = expect_name();
    while (skip_operator(".")) name += "." + expect_name();
    return name;
  }

  ExpressionPtr filter(ExpressionPtr value) {
    ExpressionPtr result = node(ExpressionKind::kFilter, list(std::move(value)), dotted_name());
    if (is_operator("(")) result->arguments = arguments();
    return measured(std::move(result));
  }

  ExpressionPtr test(ExpressionPtr value) {
    const bool negated = skip_name("not");
    ExpressionPtr result = node(ExpressionKind::kTest, list(std::move(value)), dotted_name());
    using Part = Token::Kind;
    if (is_operator("(")) {
      result->arguments = arguments();
    } else if ((is(Part::kName) && !is_name("else") && !is_name("or") && !is_name("and")) ||
               is(Part::kString) || is(Part::kInteger) || is(Part::kFloat) || is_operator("[") ||
               is_operator("{")) {
      if (is_name("is")) fail("tests cannot be chained with 'is'");
      CallArgument argument;
      argument.value = postfix(primary());
      result->arguments.push_back(std::move(argument));
    }
    result = measured(std::move(result));
    return negated ? node(ExpressionKind::kUnary, list(std::move(result)), "not")
                   : std::move(result);
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  size_t nodes_ = 0;
  int depth_ = 0;
  int loops_ = 0;      // around the statement, within the macro
  int for_depth_ = 0;  // the same, macros or not
  struct Reads {
    bool varargs = false, kwargs = false, caller = false;
  };
  Reads reads_;  // what the macro around it reads
  std::vector<std::string> blocks_;
};

}  // namespace

Body parse(std::string_view source) {
  Body body = Parser(tokenize(source)).run();
  check_names(body);
  return body;
}

}  // namespace sinter::runtime::jinja
