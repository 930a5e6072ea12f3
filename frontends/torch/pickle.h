// Pickles as data: the opcodes that torch.save writes for a state dict build values; nothing is
// looked up, called or executed. Source: Python's Lib/pickletools.py.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace sinter::frontends {

// 24 bytes, because a file may hold many. Values refer to one another, possibly in cycles; the
// Pickle owns them all, and the pickle's bytes hold their texts.
class PickleValue {
 public:
  enum class Kind : uint8_t {
    none,
    boolean,
    integer,
    real,
    text,
    list,
    tuple,
    dict,        // items: key, value, key, value, ...
    global,      // text: "module name"
    call,        // items: the global, the tuple of its arguments
    persistent,  // items: the id
  };

  Kind kind() const { return kind_; }
  // False, 0 or empty for the kinds that have none.
  bool boolean() const { return kind_ == Kind::boolean && integer_ != 0; }
  int64_t integer() const { return kind_ == Kind::integer ? integer_ : 0; }
  double real() const { return kind_ == Kind::real ? real_ : 0; }
  std::string_view text() const {
    const bool has_text = kind_ == Kind::text || kind_ == Kind::global;
    return has_text ? std::string_view(text_, size_) : std::string_view();
  }
  absl::Span<const PickleValue* const> items() const {
    const bool has_items = kind_ == Kind::list || kind_ == Kind::tuple || kind_ == Kind::dict ||
                           kind_ == Kind::call || kind_ == Kind::persistent;
    return {has_items ? items_ : nullptr, has_items ? size_ : 0};
  }

 private:
  friend class PickleMachine;
  Kind kind_ = Kind::none;
  uint32_t size_ = 0;      // of the text or the items
  uint32_t capacity_ = 0;  // of the items
  union {
    int64_t integer_ = 0;
    double real_;
    const char* text_;
    const PickleValue** items_;
  };
};

struct Pickle {
  std::deque<PickleValue> values;
  std::vector<std::unique_ptr<const PickleValue*[]>> items;  // of all values
  const PickleValue* root = nullptr;
};

// "an integer", "a call of torch._utils _rebuild_tensor_v2"
std::string describe(const PickleValue& value);

// `allowed`: the globals that may occur, as "module name"; they and `bytes` must outlive the
// result. "collections OrderedDict" called without arguments is a dict. Errors name `file` and the
// position: another opcode, another global, a stack that does not fit, values that take many times
// the memory of those that state dicts of this size hold.
absl::StatusOr<Pickle> read_pickle(absl::Span<const uint8_t> bytes, std::string_view file,
                                   absl::Span<const std::string_view> allowed);

}  // namespace sinter::frontends
