#include "frontends/finite.h"

#include <cstring>

namespace sinter::frontends {
namespace {

// Whether any element has all exponent bits set, which is how each of these types writes NaN and
// infinity. Branch-free inside, because every scale of the checkpoint passes through.
template <class Word>
bool any_not_finite(const uint8_t* bytes, size_t count, Word mask) {
  bool found = false;
  for (size_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, bytes + i * sizeof(Word), sizeof(Word));
    found |= (word & mask) == mask;
  }
  return found;
}

bool any_not_finite(ir::DType dtype, const uint8_t* bytes, size_t count) {
  switch (dtype) {
    case ir::DType::f16:
      return any_not_finite<uint16_t>(bytes, count, 0x7C00);
    case ir::DType::bf16:
      return any_not_finite<uint16_t>(bytes, count, 0x7F80);
    case ir::DType::f32:
      return any_not_finite<uint32_t>(bytes, count, 0x7F800000);
    case ir::DType::e8m0:
      return any_not_finite<uint8_t>(bytes, count, 0xFF);
    case ir::DType::e4m3:
      return any_not_finite<uint8_t>(bytes, count, 0x7F);
    case ir::DType::i32:
    case ir::DType::q8:
    case ir::DType::q4:
      break;
  }
  return false;
}

}  // namespace

std::optional<size_t> first_not_finite(ir::DType dtype, absl::Span<const uint8_t> bytes) {
  const auto size = static_cast<size_t>(ir::byte_size(dtype));
  const size_t count = bytes.size() / size;
  if (!any_not_finite(dtype, bytes.data(), count)) return std::nullopt;
  size_t first = 0;
  while (!any_not_finite(dtype, bytes.data() + first * size, 1)) ++first;
  return first;
}

}  // namespace sinter::frontends
