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
    const auto at = static_cast<size_t>(std::ranges::find(arguments_, buffer) - arguments_.begin());
    if (at == arguments_.size()) {
      arguments_.push_back(buffer);
      accesses_.push_back(access);
    } else if (accesses_[at] != access && !reads_its_own(buffer, at, access)) {
      accesses_[at] = Access::update;
    }
    return fmt::format("arg<{}>(launch, {})", type, at);
  }

  template <class... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    text_ += std::string(2 * static_cast<size_t>(depth_), ' ') +
             fmt::format(format, std::forward<Args>(args)...) + "\n";
  }
  void open() { ++depth_; }
  void close() { --depth_; }

  const std::string& text() const { return text_; }
  const std::vector<Buffer>& arguments() const { return arguments_; }
  const std::vector<Access>& accesses() const { return accesses_; }

 private:
  // A phase may read what it has written; only what lives from step to step is updated.
  bool reads_its_own(const Buffer& buffer, size_t at, Access access) const {
    return accesses_[at] == Access::write && access == Access::read &&
           (buffer.kind == Buffer::Kind::activation || buffer.kind == Buffer::Kind::temporary);
  }

  std::string text_;
  std::vector<Buffer> arguments_;
  std::vector<Access> accesses_;
  int depth_ = 1;
};

}  // namespace sinter::codegen
