// A template as a tree.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/text/jinja/value.h"

namespace sinter::runtime::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct CallArgument {
  enum class Kind { kPositional, kKeyword, kUnpackList, kUnpackDict };
  Kind kind = Kind::kPositional;
  std::string name;  // kKeyword
  ExpressionPtr value;
};

struct Expression {
  enum class Kind {
    kConstant,
    kName,
    kList,
    kTuple,
    kDict,       // operands: key, value, key, value, ...
    kAttribute,  // operand.name
    kItem,       // operands[0][operands[1]]
    kSlice,      // operands[0][operands[1] : operands[2] : operands[3]]; absent ones are null
    kCall,       // operand(arguments)
    kFilter,     // operand | name(arguments)
    kTest,       // operand is name(arguments)
    kUnary,      // name is -, + or not
    kBinary,     // name is +, -, *, /, //, %, **
    kCompare,    // operands[0] operators[0] operands[1] operators[1] ...
    kConcatenate,
    kAnd,
    kOr,
    kConditional,  // operands[0] if operands[1] else operands[2], which may be null
    kBlockText,    // what the body of a set block or a filter block rendered to
  };
  Kind kind;
  int line = 0;
  int depth = 1;
  Value value;  // kConstant
  std::string name;
  std::vector<ExpressionPtr> operands;
  std::vector<std::string> operators;
  std::vector<CallArgument> arguments;
};

using ExpressionKind = Expression::Kind;

struct Statement;
using Body = std::vector<Statement>;

struct Statement {
  enum class Kind {
    kText,
    kOutput,       // {{ value }}
    kIf,           // branches, other
    kFor,          // target in value if condition: body, other
    kSet,          // target = value
    kSetBlock,     // target = value, which holds kBlockText for the body
    kMacro,        // name(parameters): body
    kCallBlock,    // call (parameters) value: body
    kFilterBlock,  // value, which holds kBlockText for the body
    kWith,         // assignments: body
    kAutoescape,   // value: body
    kBlock,        // body, which sees what is set outside of all blocks
    kGeneration,   // body; marks what the assistant said, which only training looks at
    kBreak,
    kContinue,
  };
  Kind kind;
  int line = 0;
  std::string text;      // kText; the name of kMacro
  ExpressionPtr target;  // a kName, kAttribute (of a namespace) or kTuple of such
  ExpressionPtr value;
  ExpressionPtr condition;
  bool recursive = false;  // kFor
  Body body, other;
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> assignments;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;  // name, default or null
  // kMacro: its body reads them.
  bool takes_varargs = false, takes_kwargs = false, takes_caller = false;
};

}  // namespace sinter::runtime::jinja
