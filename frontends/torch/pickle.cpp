#include "frontends/torch/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <utility>

#include "frontends/error_text.h"

namespace sinter::frontends {
namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kOrderedDict = "collections OrderedDict";

// Memory that values may take: a tensor's entry in a state dict is some 170 bytes of pickle and
// takes 650, and small files may be odd.
uint64_t memory_budget(uint64_t pickle_bytes) { return 6 * pickle_bytes + (uint64_t{64} << 20); }

}  // namespace

class PickleMachine {
 public:
  PickleMachine(absl::Span<const uint8_t> bytes, absl::Span<const std::string_view> allowed)
      : bytes_(bytes), allowed_(allowed), budget_(memory_budget(bytes.size())) {
    true_.kind_ = false_.kind_ = Kind::boolean;
    true_.integer_ = 1;
    no_items_.kind_ = Kind::tuple;
    no_items_.items_ = nullptr;
  }

  // Runs to STOP. Errors complete "FILE: ... at byte N: ".
  absl::StatusOr<Pickle> run() {
    for (;;) {
      if (position_ == bytes_.size()) return invalid("the pickle ends without STOP");
      start_ = position_;
      const uint8_t opcode = bytes_[position_++];
      if (opcode == '.') break;
      if (absl::Status status = step(opcode); !status.ok()) return status;
      if (memory() > budget_) {
        return invalid(
            "its values need more than {} bytes of memory, many times what a state dict of this "
            "size needs; the file is damaged or not a state dict",
            with_commas(budget_));
      }
    }
    if (stack_.size() != 1 || !marks_.empty()) {
      return invalid("STOP with {} values on the stack, expected one", stack_.size());
    }
    pickle_.root = stack_.back();
    return std::move(pickle_);
  }

  uint64_t start() const { return start_; }

 private:
  // Little-endian.
  template <class T>
  absl::StatusOr<T> read() {
    if (bytes_.size() - position_ < sizeof(T)) return truncated();
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  static absl::Status truncated() { return invalid("the pickle is truncated"); }

  absl::StatusOr<std::string_view> read_text(uint64_t length) {
    if (length > bytes_.size() - position_) return truncated();
    if (length > std::numeric_limits<uint32_t>::max()) return invalid("a text of 4 GB or more");
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + position_, length);
    position_ += length;
    return text;
  }

  absl::StatusOr<std::string_view> read_line() {
    const auto rest = bytes_.subspan(position_);
    const auto end = std::find(rest.begin(), rest.end(), '\n');
    if (end == rest.end()) return truncated();
    const auto length = static_cast<uint64_t>(end - rest.begin());
    auto line = read_text(length);
    ++position_;
    return line;
  }

  // What the values, the stack and the memo take. They are deques, which grow by blocks.
  uint64_t memory() const {
    return pickle_.values.size() * sizeof(PickleValue) + item_bytes_ +
           (stack_.size() + marks_.size() + memo_.size()) * sizeof(void*);
  }

  // Room for `count` items, from chunks that many values share.
  const PickleValue** allocate_items(size_t count) {
    constexpr size_t kChunk = 1 << 13;
    if (count > chunk_left_) {
      const size_t size = std::max(count, kChunk);
      pickle_.items.push_back(std::make_unique<const PickleValue*[]>(size));
      item_bytes_ += size * sizeof(void*);
      chunk_ = pickle_.items.back().get();
      chunk_left_ = size;
    }
    const PickleValue** items = chunk_;
    chunk_ += count;
    chunk_left_ -= count;
    return items;
  }

  PickleValue* push(Kind kind) {
    PickleValue& value = pickle_.values.emplace_back();
    value.kind_ = kind;
    stack_.push_back(&value);
    return &value;
  }
  void push_text_of(Kind kind, std::string_view text) {
    PickleValue* value = push(kind);
    value->text_ = text.data();
    value->size_ = static_cast<uint32_t>(text.size());
  }

  using Items = std::deque<PickleValue*>::const_iterator;
  // The caller has checked that the sum fits in 32 bits.
  void append_items(PickleValue& value, const Items& first, const Items& last) {
    const auto count = static_cast<uint32_t>(last - first);
    if (count == 0) return;
    if (value.size_ + count > value.capacity_) {
      const bool grows = value.kind_ == Kind::list || value.kind_ == Kind::dict;
      const uint32_t capacity =
          std::max(value.size_ + count, grows ? value.size_ * 2 : value.size_);
      const PickleValue** items = allocate_items(capacity);
      std::copy_n(value.items_, value.size_, items);
      value.items_ = items;
      value.capacity_ = capacity;
    }
    std::copy(first, last, value.items_ + value.size_);
    value.size_ += count;
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
  // How many values are above the last MARK, which goes.
  absl::StatusOr<size_t> pop_mark() {
    if (marks_.empty()) return invalid("there is no MARK");
    const size_t count = stack_.size() - marks_.back();
    marks_.pop_back();
    return count;
  }
  Items from_top(size_t count) const { return stack_.end() - static_cast<std::ptrdiff_t>(count); }
  void drop(size_t count) {
    for (; count > 0; --count) stack_.pop_back();
  }

  absl::Status push_text(const absl::StatusOr<std::string_view>& text) {
    if (!text.ok()) return text.status();
    push_text_of(Kind::text, *text);
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
    push(Kind::integer)->integer_ = static_cast<int64_t>(*value);
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
    push(Kind::integer)->integer_ = static_cast<int64_t>(value);
    return absl::OkStatus();
  }
  // One value for all of them, because nothing changes it.
  absl::Status push_constant(PickleValue& value) {
    stack_.push_back(&value);
    return absl::OkStatus();
  }
  absl::Status push_empty(Kind kind) {
    push(kind)->items_ = nullptr;
    return absl::OkStatus();
  }
  absl::Status push_of(Kind kind, std::initializer_list<PickleValue*> items) {
    PickleValue& value = *push(kind);
    value.items_ = allocate_items(items.size());
    value.size_ = value.capacity_ = static_cast<uint32_t>(items.size());
    std::copy(items.begin(), items.end(), value.items_);
    return absl::OkStatus();
  }

  absl::Status push_tuple(size_t count) {
    if (stack_.size() < floor() + count) return invalid("the stack is empty");
    if (count == 0) return push_constant(no_items_);
    if (count > std::numeric_limits<uint32_t>::max()) return invalid("a tuple of {}", count);
    PickleValue& value = pickle_.values.emplace_back();
    value.kind_ = Kind::tuple;
    value.items_ = nullptr;
    append_items(value, from_top(count), stack_.end());
    drop(count);
    stack_.push_back(&value);
    return absl::OkStatus();
  }

  absl::Status push_global(std::string_view module, std::string_view name) {
    const auto known = std::find_if(allowed_.begin(), allowed_.end(), [&](std::string_view global) {
      return global.size() == module.size() + 1 + name.size() && global.starts_with(module) &&
             global[module.size()] == ' ' && global.ends_with(name);
    });
    if (known == allowed_.end() || module.find(' ') != std::string_view::npos) {
      return invalid(
          "the global {} is not one that a state dict needs; nothing of it was run, but "
          "do not load this file elsewhere",
          in_quotes(fmt::format("{}.{}", module, name)));
    }
    push_text_of(Kind::global, *known);
    return absl::OkStatus();
  }

  absl::Status push_stack_global() {
    const auto name = pop();
    if (!name.ok()) return name.status();
    const auto module = pop();
    if (!module.ok()) return module.status();
    if ((*name)->kind() != Kind::text || (*module)->kind() != Kind::text)
      return invalid("a global is named by {} and {}", describe(**module), describe(**name));
    return push_global((*module)->text(), (*name)->text());
  }

  absl::Status reduce() {
    const auto arguments = pop();
    if (!arguments.ok()) return arguments.status();
    const auto callee = pop();
    if (!callee.ok()) return callee.status();
    if ((*callee)->kind() != Kind::global || (*arguments)->kind() != Kind::tuple)
      return invalid("a call of {} with {}", describe(**callee), describe(**arguments));
    if ((*callee)->text() == kOrderedDict && (*arguments)->items().empty())
      return push_empty(Kind::dict);
    return push_of(Kind::call, {*callee, *arguments});
  }

  // Attributes of an OrderedDict, such as PyTorch's "_metadata", say nothing about tensors.
  absl::Status build() {
    const auto state = pop();
    if (!state.ok()) return state.status();
    const auto target = top();
    if (!target.ok()) return target.status();
    if ((*target)->kind() == Kind::dict) return absl::OkStatus();
    return invalid("attributes for {}", describe(**target));
  }

  // Moves the last `count` values of the stack into the container below them.
  absl::Status add_items(Kind kind, size_t count) {
    if (stack_.size() < floor() + count + 1) return invalid("the stack is empty");
    PickleValue& target = *stack_[stack_.size() - count - 1];
    if (target.kind() != kind) return invalid("items for {}", describe(target));
    if (kind == Kind::dict && count % 2 != 0) return invalid("a key without a value");
    if (count > std::numeric_limits<uint32_t>::max() / 2 - target.size_)
      return invalid("a container of {} items", target.size_ + count);
    append_items(target, from_top(count), stack_.end());
    drop(count);
    return absl::OkStatus();
  }
  absl::Status add_marked_items(Kind kind) {
    const auto count = pop_mark();
    if (!count.ok()) return count.status();
    return add_items(kind, *count);
  }

  absl::Status remember(uint64_t slot) {
    const auto value = top();
    if (!value.ok()) return value.status();
    // Every slot takes an opcode to fill, and writers number them from 0.
    if (slot >= bytes_.size()) return invalid("the memo has no room for the slot {}", slot);
    if (slot >= memo_.size()) memo_.resize(slot + 1);
    if (memo_[slot] == nullptr) ++remembered_;
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
    if (*slot >= memo_.size() || memo_[*slot] == nullptr)
      return invalid("the memo has no value {}", *slot);
    stack_.push_back(memo_[*slot]);
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
        return push_constant(none_);
      case 0x88:  // NEWTRUE
        return push_constant(true_);
      case 0x89:  // NEWFALSE
        return push_constant(false_);
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
        push(Kind::real)->real_ = std::bit_cast<double>(__builtin_bswap64(*bits));
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
        return push_constant(no_items_);
      case 0x85:  // TUPLE1
        return push_tuple(1);
      case 0x86:  // TUPLE2
        return push_tuple(2);
      case 0x87:  // TUPLE3
        return push_tuple(3);
      case 't': {  // TUPLE
        const auto count = pop_mark();
        if (!count.ok()) return count.status();
        return push_tuple(*count);
      }
      case 'a':  // APPEND
        return add_items(Kind::list, 1);
      case 'e':  // APPENDS
        return add_marked_items(Kind::list);
      case 's':  // SETITEM
        return add_items(Kind::dict, 2);
      case 'u':  // SETITEMS
        return add_marked_items(Kind::dict);
      case 'q':  // BINPUT
        return put<uint8_t>();
      case 'r':  // LONG_BINPUT
        return put<uint32_t>();
      case 0x94:  // MEMOIZE
        return remember(remembered_);
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
        return push_of(Kind::persistent, {*id});
      }
      default:
        return invalid("the opcode 0x{:02x} is not one that a state dict needs", opcode);
    }
  }

  absl::Span<const uint8_t> bytes_;
  absl::Span<const std::string_view> allowed_;
  uint64_t position_ = 0;
  uint64_t start_ = 0;  // of the current opcode
  uint64_t budget_;     // bytes
  uint64_t item_bytes_ = 0;
  const PickleValue** chunk_ = nullptr;  // where the next items go
  size_t chunk_left_ = 0;
  Pickle pickle_;
  PickleValue& none_ = pickle_.values.emplace_back();
  PickleValue& true_ = pickle_.values.emplace_back();
  PickleValue& false_ = pickle_.values.emplace_back();
  PickleValue& no_items_ = pickle_.values.emplace_back();  // the empty tuple
  std::deque<PickleValue*> stack_;
  std::deque<size_t> marks_;
  std::deque<PickleValue*> memo_;  // by slot; null: not filled
  uint64_t remembered_ = 0;        // slots that are filled
};

std::string describe(const PickleValue& value) {
  switch (value.kind()) {
    case Kind::none:
      return "None";
    case Kind::boolean:
      return value.boolean() ? "True" : "False";
    case Kind::integer:
      return fmt::format("{}", value.integer());
    case Kind::real:
      return fmt::format("{}", value.real());
    case Kind::text:
      return in_quotes(value.text());
    case Kind::list:
      return fmt::format("a list of {}", value.items().size());
    case Kind::tuple:
      return fmt::format("a tuple of {}", value.items().size());
    case Kind::dict:
      return fmt::format("a dict of {}", value.items().size() / 2);
    case Kind::global:
      return one_line(value.text());
    case Kind::call:
      return "a call of " + one_line(value.items()[0]->text());
    case Kind::persistent:
      return "a storage";
  }
  return "?";
}

absl::StatusOr<Pickle> read_pickle(absl::Span<const uint8_t> bytes, std::string_view file,
                                   absl::Span<const std::string_view> allowed) {
  PickleMachine machine(bytes, allowed);
  auto pickle = machine.run();
  if (!pickle.ok()) {
    return invalid("{}: byte {} of the pickle: {}", file, machine.start(),
                   std::string(pickle.status().message()));
  }
  return pickle;
}

}  // namespace sinter::frontends
