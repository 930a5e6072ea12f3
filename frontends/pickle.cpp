#include "frontends/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <utility>

#include "frontends/error_text.h"

namespace sinter::frontends {
namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kOrderedDict = "collections OrderedDict";

class Machine {
 public:
  Machine(absl::Span<const uint8_t> bytes, absl::Span<const std::string_view> allowed)
      : bytes_(bytes), allowed_(allowed) {}

  uint64_t position() const { return position_; }

  // Runs to STOP. Errors complete "FILE: ... at byte N: ".
  absl::StatusOr<Pickle> run() {
    for (;;) {
      if (position_ == bytes_.size()) return invalid("the pickle ends without STOP");
      start_ = position_;
      const uint8_t opcode = bytes_[position_++];
      if (opcode == '.') break;
      if (absl::Status status = step(opcode); !status.ok()) return status;
    }
    if (stack_.size() != 1 || !marks_.empty()) {
      return invalid("STOP with {} values on the stack, expected one", stack_.size());
    }
    pickle_.root = stack_.back();
    return std::move(pickle_);
  }

 private:
  // Little-endian.
  template <class T>
  absl::StatusOr<T> read() {
    if (bytes_.size() - position_ < sizeof(T)) return invalid("the pickle is truncated");
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  absl::StatusOr<std::string> read_text(uint64_t length) {
    if (length > bytes_.size() - position_) return invalid("the pickle is truncated");
    const auto text = bytes_.subspan(position_, length);
    position_ += length;
    return std::string(text.begin(), text.end());
  }

  absl::StatusOr<std::string> read_line() {
    const auto rest = bytes_.subspan(position_);
    const auto end = std::find(rest.begin(), rest.end(), '\n');
    if (end == rest.end()) return invalid("the pickle is truncated");
    position_ += static_cast<uint64_t>(end - rest.begin()) + 1;
    return std::string(rest.begin(), end);
  }

  PickleValue* make(Kind kind) {
    PickleValue& value = pickle_.values.emplace_back();
    value.kind = kind;
    return &value;
  }
  PickleValue* push(Kind kind) {
    stack_.push_back(make(kind));
    return stack_.back();
  }

  // Values above the last MARK stay on the stack in place until they are taken.
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  absl::StatusOr<PickleValue*> pop() {
    if (stack_.size() <= floor()) return invalid("the stack is empty");
    PickleValue* value = stack_.back();
    stack_.pop_back();
    return value;
  }
  absl::StatusOr<PickleValue*> top() {
    if (stack_.size() <= floor()) return invalid("the stack is empty");
    return stack_.back();
  }
  absl::StatusOr<std::vector<const PickleValue*>> pop_mark() {
    if (marks_.empty()) return invalid("there is no MARK");
    const std::vector<const PickleValue*> items(
        stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }

  absl::Status push_text(absl::StatusOr<std::string> text) {
    if (!text.ok()) return text.status();
    push(Kind::text)->text = *std::move(text);
    return absl::OkStatus();
  }
  template <class T>
  absl::Status push_sized_text() {
    const auto length = read<T>();
    if (!length.ok()) return length.status();
    return push_text(read_text(*length));
  }
  template <class T>
  absl::Status push_integer() {
    const auto value = read<T>();
    if (!value.ok()) return value.status();
    push(Kind::integer)->integer = static_cast<int64_t>(*value);
    return absl::OkStatus();
  }
  absl::Status push_long() {
    const auto length = read<uint8_t>();
    if (!length.ok()) return length.status();
    if (*length > 8) return invalid("an integer of {} bytes, at most 8 are accepted", *length);
    const auto digits = read_text(*length);
    if (!digits.ok()) return digits.status();
    uint64_t value = !digits->empty() && (digits->back() & 0x80) != 0 ? ~uint64_t{0} : 0;
    for (size_t i = digits->size(); i-- > 0;)
      value = value << 8 | static_cast<uint8_t>((*digits)[i]);
    push(Kind::integer)->integer = static_cast<int64_t>(value);
    return absl::OkStatus();
  }
  absl::Status push_boolean(bool value) {
    push(Kind::boolean)->boolean = value;
    return absl::OkStatus();
  }
  absl::Status push_empty(Kind kind) {
    push(kind);
    return absl::OkStatus();
  }

  absl::Status push_tuple(size_t count) {
    if (stack_.size() < floor() + count) return invalid("the stack is empty");
    std::vector<const PickleValue*> items(stack_.end() - static_cast<std::ptrdiff_t>(count),
                                          stack_.end());
    stack_.resize(stack_.size() - count);
    push(Kind::tuple)->items = std::move(items);
    return absl::OkStatus();
  }

  absl::Status push_global(const std::string& module, const std::string& name) {
    const std::string global = module + " " + name;
    if (std::find(allowed_.begin(), allowed_.end(), global) == allowed_.end()) {
      return invalid(
          "the global {} is not one that a state dict needs; nothing of it was run, but "
          "do not load this file elsewhere",
          in_quotes(module + "." + name));
    }
    push(Kind::global)->text = global;
    return absl::OkStatus();
  }

  absl::Status push_stack_global() {
    const auto name = pop();
    if (!name.ok()) return name.status();
    const auto module = pop();
    if (!module.ok()) return module.status();
    if ((*name)->kind != Kind::text || (*module)->kind != Kind::text)
      return invalid("a global is named by {} and {}", describe(**module), describe(**name));
    return push_global((*module)->text, (*name)->text);
  }

  absl::Status reduce() {
    const auto arguments = pop();
    if (!arguments.ok()) return arguments.status();
    const auto callee = pop();
    if (!callee.ok()) return callee.status();
    if ((*callee)->kind != Kind::global || (*arguments)->kind != Kind::tuple)
      return invalid("a call of {} with {}", describe(**callee), describe(**arguments));
    if ((*callee)->text == kOrderedDict && (*arguments)->items.empty())
      return push_empty(Kind::dict);
    push(Kind::call)->items = {*callee, *arguments};
    return absl::OkStatus();
  }

  // Attributes of an OrderedDict, such as PyTorch's "_metadata", say nothing about tensors.
  absl::Status build() {
    const auto state = pop();
    if (!state.ok()) return state.status();
    const auto target = top();
    if (!target.ok()) return target.status();
    if ((*target)->kind == Kind::dict) return absl::OkStatus();
    return invalid("attributes for {}", describe(**target));
  }

  absl::Status add_items(Kind kind, const std::vector<const PickleValue*>& items) {
    const auto target = top();
    if (!target.ok()) return target.status();
    if ((*target)->kind != kind) return invalid("items for {}", describe(**target));
    if (kind == Kind::dict && items.size() % 2 != 0) return invalid("a key without a value");
    (*target)->items.insert((*target)->items.end(), items.begin(), items.end());
    return absl::OkStatus();
  }
  absl::Status add_marked_items(Kind kind) {
    const auto items = pop_mark();
    if (!items.ok()) return items.status();
    return add_items(kind, *items);
  }
  absl::Status add_last_items(Kind kind, size_t count) {
    if (absl::Status status = push_tuple(count); !status.ok()) return status;
    const PickleValue* items = stack_.back();
    stack_.pop_back();
    return add_items(kind, items->items);
  }

  absl::Status remember(uint64_t slot) {
    const auto value = top();
    if (!value.ok()) return value.status();
    memo_[slot] = *value;
    return absl::OkStatus();
  }
  template <class T>
  absl::Status put() {
    const auto slot = read<T>();
    return slot.ok() ? remember(*slot) : slot.status();
  }
  template <class T>
  absl::Status get() {
    const auto slot = read<T>();
    if (!slot.ok()) return slot.status();
    const auto found = memo_.find(*slot);
    if (found == memo_.end()) return invalid("the memo has no value {}", *slot);
    stack_.push_back(found->second);
    return absl::OkStatus();
  }

  absl::Status step(uint8_t opcode) {
    switch (opcode) {
      case 0x80: {  // PROTO
        const auto version = read<uint8_t>();
        if (!version.ok()) return version.status();
        if (*version < 2 || *version > 5)
          return invalid("pickle protocol {}, supported are 2 to 5", *version);
        return absl::OkStatus();
      }
      case 0x95:  // FRAME: a length for buffering
        return read<uint64_t>().status();
      case '(':  // MARK
        marks_.push_back(stack_.size());
        return absl::OkStatus();
      case 'N':
        return push_empty(Kind::none);
      case 0x88:  // NEWTRUE
        return push_boolean(true);
      case 0x89:  // NEWFALSE
        return push_boolean(false);
      case 'J':  // BININT
        return push_integer<int32_t>();
      case 'K':  // BININT1
        return push_integer<uint8_t>();
      case 'M':  // BININT2
        return push_integer<uint16_t>();
      case 0x8A:  // LONG1
        return push_long();
      case 'G': {  // BINFLOAT: big-endian
        const auto bits = read<uint64_t>();
        if (!bits.ok()) return bits.status();
        push(Kind::real)->real = std::bit_cast<double>(__builtin_bswap64(*bits));
        return absl::OkStatus();
      }
      case 'X':  // BINUNICODE
        return push_sized_text<uint32_t>();
      case 0x8C:  // SHORT_BINUNICODE
        return push_sized_text<uint8_t>();
      case ']':
        return push_empty(Kind::list);
      case '}':
        return push_empty(Kind::dict);
      case ')':
        return push_empty(Kind::tuple);
      case 0x85:  // TUPLE1
        return push_tuple(1);
      case 0x86:  // TUPLE2
        return push_tuple(2);
      case 0x87:  // TUPLE3
        return push_tuple(3);
      case 't': {  // TUPLE
        auto items = pop_mark();
        if (!items.ok()) return items.status();
        push(Kind::tuple)->items = *std::move(items);
        return absl::OkStatus();
      }
      case 'a':  // APPEND
        return add_last_items(Kind::list, 1);
      case 'e':  // APPENDS
        return add_marked_items(Kind::list);
      case 's':  // SETITEM
        return add_last_items(Kind::dict, 2);
      case 'u':  // SETITEMS
        return add_marked_items(Kind::dict);
      case 'q':  // BINPUT
        return put<uint8_t>();
      case 'r':  // LONG_BINPUT
        return put<uint32_t>();
      case 0x94:  // MEMOIZE
        return remember(memo_.size());
      case 'h':  // BINGET
        return get<uint8_t>();
      case 'j':  // LONG_BINGET
        return get<uint32_t>();
      case 'c': {  // GLOBAL
        const auto module = read_line();
        if (!module.ok()) return module.status();
        const auto name = read_line();
        if (!name.ok()) return name.status();
        return push_global(*module, *name);
      }
      case 0x93:  // STACK_GLOBAL
        return push_stack_global();
      case 'R':  // REDUCE
        return reduce();
      case 'b':  // BUILD
        return build();
      case 'Q': {  // BINPERSID
        const auto id = pop();
        if (!id.ok()) return id.status();
        push(Kind::persistent)->items = {*id};
        return absl::OkStatus();
      }
      default:
        return invalid("the opcode 0x{:02x} is not one that a state dict needs", opcode);
    }
  }

 public:
  uint64_t start() const { return start_; }

 private:
  absl::Span<const uint8_t> bytes_;
  absl::Span<const std::string_view> allowed_;
  uint64_t position_ = 0;
  uint64_t start_ = 0;  // of the current opcode
  Pickle pickle_;
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  std::map<uint64_t, PickleValue*> memo_;
};

}  // namespace

std::string describe(const PickleValue& value) {
  switch (value.kind) {
    case Kind::none:
      return "None";
    case Kind::boolean:
      return value.boolean ? "True" : "False";
    case Kind::integer:
      return fmt::format("{}", value.integer);
    case Kind::real:
      return fmt::format("{}", value.real);
    case Kind::text:
      return in_quotes(value.text);
    case Kind::list:
      return fmt::format("a list of {}", value.items.size());
    case Kind::tuple:
      return fmt::format("a tuple of {}", value.items.size());
    case Kind::dict:
      return fmt::format("a dict of {}", value.items.size() / 2);
    case Kind::global:
      return one_line(value.text);
    case Kind::call:
      return "a call of " + one_line(value.items[0]->text);
    case Kind::persistent:
      return "a storage";
  }
  return "?";
}

absl::StatusOr<Pickle> read_pickle(absl::Span<const uint8_t> bytes, std::string_view file,
                                   absl::Span<const std::string_view> allowed) {
  Machine machine(bytes, allowed);
  auto pickle = machine.run();
  if (!pickle.ok()) {
    return invalid("{}: byte {} of the pickle: {}", file, machine.start(),
                   std::string(pickle.status().message()));
  }
  return pickle;
}

}  // namespace sinter::frontends
