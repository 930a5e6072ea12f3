#include "runtime/text/tokenizer/vocabulary.h"

#include <fmt/format.h>

namespace sinter::runtime::tokenizer {
namespace {

constexpr size_t kFirstSlots = 64;

size_t next_slot(size_t slot, size_t slots) { return (slot + 1) & (slots - 1); }

}  // namespace

uint32_t* TokenTable::slot_of(std::string_view token) {
  size_t slot = StringHash{}(token) & (slots_.size() - 1);
  while (slots_[slot] != 0 && this->token(slots_[slot] - 1) != token)
    slot = next_slot(slot, slots_.size());
  return &slots_[slot];
}

void TokenTable::grow() {
  slots_.assign(slots_.empty() ? kFirstSlots : 2 * slots_.size(), 0);
  for (size_t i = 0; i < ids_.size(); ++i) *slot_of(token(i)) = static_cast<uint32_t>(i + 1);
}

bool TokenTable::add(std::string_view token, int32_t id) {
  if (3 * (ids_.size() + 1) > 2 * slots_.size()) grow();
  bytes_.insert(bytes_.end(), token.begin(), token.end());
  ends_.push_back(static_cast<uint32_t>(bytes_.size()));
  ids_.push_back(id);
  uint32_t* slot = slot_of(this->token(ids_.size() - 1));
  const bool is_new = *slot == 0;
  *slot = static_cast<uint32_t>(ids_.size());
  return is_new;
}

std::optional<int32_t> TokenTable::find(std::string_view token) const {
  if (slots_.empty()) return std::nullopt;
  size_t slot = StringHash{}(token) & (slots_.size() - 1);
  for (; slots_[slot] != 0; slot = next_slot(slot, slots_.size())) {
    const size_t index = slots_[slot] - 1;
    if (this->token(index) == token) return ids_[index];
  }
  return std::nullopt;
}

std::vector<int32_t> byte_token_ids(const TokenTable& vocabulary) {
  std::vector<int32_t> ids;
  for (int byte = 0; byte < 256; ++byte)
    ids.push_back(vocabulary.find(fmt::format("<0x{:02X}>", byte)).value_or(-1));
  return ids;
}

}  // namespace sinter::runtime::tokenizer
