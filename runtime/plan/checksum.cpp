#include "runtime/plan/checksum.h"

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>
#include <memory>
#include <new>
#include <type_traits>

namespace sinter::runtime {
namespace {

static_assert(std::endian::native == std::endian::little,
              "plan files are read in place: little-endian only");

template <class Bytes>
auto* state_in(Bytes& bytes) {
  using State = XXH3_state_t;
  static_assert(sizeof(State) <= sizeof(Bytes) && alignof(State) <= 64 &&
                std::is_trivially_copyable_v<State> && std::is_trivially_destructible_v<State>);
  if constexpr (std::is_const_v<Bytes>) {
    return std::launder(reinterpret_cast<const State*>(bytes.data()));
  } else {
    return std::launder(reinterpret_cast<State*>(bytes.data()));
  }
}

}  // namespace

Checksum::Checksum() : state_() {
  auto* const state = std::construct_at(reinterpret_cast<XXH3_state_t*>(state_.data()));
  XXH3_64bits_reset(state);  // the 128 bits have the same state
}

void Checksum::update(std::span<const uint8_t> bytes) {
  if (!bytes.empty()) XXH3_64bits_update(state_in(state_), bytes.data(), bytes.size());
}

void Checksum::update(std::string_view text) {
  update(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

uint64_t Checksum::value() const { return XXH3_64bits_digest(state_in(state_)); }

std::string Checksum::key() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_in(state_));
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

uint64_t checksum_of(std::span<const uint8_t> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string key_of(std::string_view text) {
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace sinter::runtime
