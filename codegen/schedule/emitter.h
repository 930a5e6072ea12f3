// Writes the body of one phase: arguments are numbered as they are asked for, lines collect in
// order.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "codegen/schedule/phase.h"
#include "ir/type.h"

namespace sinter::codegen {

// The C++ name of an element type in codegen/device.
std::string_view c_type(ir::DType dtype);

// A C++ literal of type float.
std::string float_literal(double value);

class Emitter {
 public:
  // A C++ expression for the address of a buffer, as `const T*` or `T*`, which is read or written
  // unless something else is said. The same buffer gives the same argument.
  std::string pointer(const Buffer& buffer, std::string_view type) {
    return pointer(buffer, type, type.starts_with("const ") ? Access::read : Access::write);
  }
  std::string pointer(const Buffer& buffer, std::string_view type, Access access) {
    const size_t at = argument(buffer, access);
    if (reads_its_own(buffer, at, access)) {
      uses_[at].read_back = true;
    } else if (uses_[at].access != access) {
      uses_[at].access = Access::update;
    }
    return fmt::format("arg<{}>(launch, {})", type, at);
  }

  // The kernel reads an argument before it awaits the phase before it. Weights need not be said:
  // nobody writes them.
  void read_ahead(const Buffer& buffer) { uses_[argument(buffer, Access::read)].read_ahead = true; }

  template <class... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    text_ += std::string(2 * static_cast<size_t>(depth_), ' ') +
             fmt::format(format, std::forward<Args>(args)...) + "\n";
  }
  void open() { ++depth_; }
  void close() { --depth_; }

  const std::string& text() const { return text_; }
  const std::vector<Buffer>& arguments() const { return arguments_; }
  const std::vector<Use>& uses() const { return uses_; }

 private:
  // The number of an argument; of a new one, with that access, where there is none.
  size_t argument(const Buffer& buffer, Access access) {
    const auto at = static_cast<size_t>(std::ranges::find(arguments_, buffer) - arguments_.begin());
    if (at == arguments_.size()) {
      arguments_.push_back(buffer);
      uses_.push_back({.access = access});
    }
    return at;
  }

  // A phase may read what it has written; only what lives from step to step is updated.
  bool reads_its_own(const Buffer& buffer, size_t at, Access access) const {
    return uses_[at].access == Access::write && access == Access::read &&
           (buffer.kind == Buffer::Kind::activation || buffer.kind == Buffer::Kind::temporary);
  }

  std::string text_;
  std::vector<Buffer> arguments_;
  std::vector<Use> uses_;
  int depth_ = 1;
};

}  // namespace sinter::codegen
