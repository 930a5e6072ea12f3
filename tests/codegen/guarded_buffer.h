// Memory for kernels under test in which a step too far is noticed.
#pragma once

#include <cstdint>

namespace sinter::codegen::test {

// Memory that ends at a page which faults when touched. It is given filled with `fill`; the `slack`
// bytes after the first `bytes` may be read and must keep the value 0xff: NaN in every float
// format.
class GuardedBuffer {
 public:
  GuardedBuffer() = default;
  GuardedBuffer(int64_t bytes, int64_t slack, uint8_t fill);
  GuardedBuffer(GuardedBuffer&& other) noexcept;
  GuardedBuffer& operator=(GuardedBuffer&& other) noexcept;
  ~GuardedBuffer();

  uint8_t* data() const { return data_; }  // 64-byte aligned
  int64_t bytes() const { return bytes_; }
  bool intact() const;
  void make_read_only();

 private:
  uint8_t* mapping_ = nullptr;
  int64_t mapped_ = 0;
  uint8_t* data_ = nullptr;
  int64_t bytes_ = 0;
  int64_t end_ = 0;  // of the slack
};

}  // namespace sinter::codegen::test
