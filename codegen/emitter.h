// Writes the body of one phase: arguments are numbered as they are asked for, lines collect in
// order.
#pragma once

#include <fmt/format.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "codegen/lower.h"
#include "ir/type.h"

namespace sinter::codegen {

// The C++ name of an element type in codegen/device.
std::string_view c_type(ir::DType dtype);

class Emitter {
 public:
  // A C++ expression for the address of a buffer, as `const T*` or `T*`. The same buffer gives the
  // same argument.
  std::string pointer(const Buffer& buffer, std::string_view type) {
    for (size_t i = 0; i < arguments_.size(); ++i)
      if (arguments_[i] == buffer) return fmt::format("arg<{}>(launch, {})", type, i);
    arguments_.push_back(buffer);
    return fmt::format("arg<{}>(launch, {})", type, arguments_.size() - 1);
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

 private:
  std::string text_;
  std::vector<Buffer> arguments_;
  int depth_ = 1;
};

}  // namespace sinter::codegen
