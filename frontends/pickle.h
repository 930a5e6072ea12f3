// Pickles as data: the opcodes that torch.save writes for a state dict build values; nothing is
// looked up, called or executed. Source: Python's Lib/pickletools.py.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace sinter::frontends {

// Values refer to one another, possibly in cycles; the Pickle owns them all.
struct PickleValue {
  enum class Kind {
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
  Kind kind = Kind::none;
  bool boolean = false;
  int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<const PickleValue*> items;
};

struct Pickle {
  std::deque<PickleValue> values;
  const PickleValue* root = nullptr;
};

// "an integer", "a call of torch._utils _rebuild_tensor_v2"
std::string describe(const PickleValue& value);

// `allowed`: the globals that may occur, as "module name". "collections OrderedDict" called without
// arguments is a dict. Errors name `file` and the position: another opcode, another global, a
// stack that does not fit.
absl::StatusOr<Pickle> read_pickle(absl::Span<const uint8_t> bytes, std::string_view file,
                                   absl::Span<const std::string_view> allowed);

}  // namespace sinter::frontends
