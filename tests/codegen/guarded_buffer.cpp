#include "tests/codegen/guarded_buffer.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace sinter::codegen::test {

namespace {

constexpr uint8_t kCanary = 0xff;
constexpr int64_t kPage = 4096;

}  // namespace

GuardedBuffer::GuardedBuffer(int64_t bytes, int64_t slack, uint8_t fill)
    : bytes_(bytes), end_((bytes + slack + 63) / 64 * 64) {
  const int64_t usable = (end_ + kPage - 1) / kPage * kPage;
  mapped_ = usable + kPage;
  void* mapping = ::mmap(nullptr, static_cast<size_t>(mapped_), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    ADD_FAILURE() << "cannot map " << mapped_ << " bytes";
    std::abort();
  }
  mapping_ = static_cast<uint8_t*>(mapping);
  EXPECT_EQ(::mprotect(mapping_ + usable, kPage, PROT_NONE), 0);
  data_ = mapping_ + usable - end_;
  std::memset(data_, fill, static_cast<size_t>(bytes_));
  std::memset(data_ + bytes_, kCanary, static_cast<size_t>(end_ - bytes_));
}

GuardedBuffer::GuardedBuffer(GuardedBuffer&& other) noexcept { *this = std::move(other); }

GuardedBuffer& GuardedBuffer::operator=(GuardedBuffer&& other) noexcept {
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_, other.mapped_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(end_, other.end_);
  return *this;
}

GuardedBuffer::~GuardedBuffer() {
  if (mapping_ != nullptr) ::munmap(mapping_, static_cast<size_t>(mapped_));
}

bool GuardedBuffer::intact() const {
  return std::all_of(data_ + bytes_, data_ + end_, [](uint8_t b) { return b == kCanary; });
}

void GuardedBuffer::make_read_only() {
  EXPECT_EQ(::mprotect(mapping_, static_cast<size_t>(mapped_ - kPage), PROT_READ), 0);
}

}  // namespace sinter::codegen::test
