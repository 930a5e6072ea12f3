// What damage checksums see, and that those of older plans are what they were.
#include "runtime/plan/checksum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <random>
#include <vector>

namespace sinter::runtime {
namespace {

std::vector<uint8_t> random_bytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

// Counts changes of a buffer that the checksum does not see.
class Damage {
 public:
  explicit Damage(std::vector<uint8_t> bytes)
      : original_(std::move(bytes)), bytes_(original_), checksum_(checksum_of(original_)) {}

  void with(const std::function<void(std::vector<uint8_t>&)>& change) {
    change(bytes_);
    if (bytes_ != original_) {
      ++patterns_;
      undetected_ += checksum_of(bytes_) == checksum_;
    }
    bytes_ = original_;
  }
  size_t size() const { return original_.size(); }
  int64_t patterns() const { return patterns_; }
  int64_t undetected() const { return undetected_; }

 private:
  std::vector<uint8_t> original_, bytes_;
  uint64_t checksum_;
  int64_t patterns_ = 0, undetected_ = 0;
};

TEST(Checksum, DoesNotDependOnHowTheBytesAreCut) {
  std::vector<uint8_t> bytes(1000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * i);
  Checksum at_once;
  at_once.update(bytes);
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    Checksum checksum;
    for (size_t done = 0; done < bytes.size();) {
      const size_t piece = std::min<size_t>(random() % 150, bytes.size() - done);
      checksum.update(std::span(bytes).subspan(done, piece));
      done += piece;
    }
    ASSERT_EQ(checksum.value(), at_once.value());
    ASSERT_EQ(checksum.key(), at_once.key());
  }
  EXPECT_EQ(checksum_of(bytes), [&] {
    Checksum checksum;
    checksum.update(bytes);
    return checksum.value();
  }());
  // Zeros at the end count.
  EXPECT_NE(checksum_of(std::span(bytes).first(0)), checksum_of(std::vector<uint8_t>(1)));
  EXPECT_NE(checksum_of(std::vector<uint8_t>(64)), checksum_of(std::vector<uint8_t>(128)));
}

// xxHash's specification gives these for the empty input.
TEST(Checksum, IsXxh3) {
  EXPECT_EQ(checksum_of({}), 0x2d06800538d394c2u);
  EXPECT_EQ(key_of(""), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(Checksum().value(), 0x2d06800538d394c2u);
  EXPECT_EQ(Checksum().key(), key_of(""));
}

TEST(Checksum, SeesAMillionRandomChanges) {
  Damage damage(random_bytes(2048, 1));
  std::mt19937_64 random(2);
  while (damage.patterns() < 1'000'000) {
    damage.with([&](std::vector<uint8_t>& bytes) {
      const auto below = [&](uint64_t n) { return static_cast<size_t>(random() % n); };
      switch (below(4)) {
        case 0:  // bits
          for (size_t i = 0, n = 1 + below(8); i < n; ++i)
            bytes[below(bytes.size())] ^= static_cast<uint8_t>(1 << below(8));
          break;
        case 1:  // the same bits at equal distances
          for (size_t i = 0, at = below(64), step = size_t{1} << below(9), bit = below(8),
                      n = 2 + below(6);
               i < n && at < bytes.size(); ++i, at += step)
            bytes[at] ^= static_cast<uint8_t>(1 << bit);
          break;
        case 2:  // a run of other bytes
          for (size_t at = below(bytes.size()), end = std::min(bytes.size(), at + 1 + below(100));
               at < end; ++at)
            bytes[at] = static_cast<uint8_t>(random());
          break;
        default:  // a run moved
          std::rotate(bytes.begin() + static_cast<std::ptrdiff_t>(below(512)),
                      bytes.begin() + static_cast<std::ptrdiff_t>(512 + below(512)),
                      bytes.begin() + static_cast<std::ptrdiff_t>(1024 + below(512)));
          break;
      }
    });
  }
  EXPECT_EQ(damage.undetected(), 0);
}

// A line of a bus that is always 0 or 1: in words of every width, in all of the buffer and in every
// run of whole kilobytes.
TEST(Checksum, SeesEveryStuckBit) {
  for (const uint64_t seed : {1, 2}) {
    Damage damage(random_bytes(4096, seed));
    for (size_t width = 1; width <= 128; width *= 2)
      for (size_t bit = 0; bit < 8 * width; ++bit)
        for (const bool one : {false, true})
          for (size_t begin = 0; begin < damage.size(); begin += 1024)
            for (size_t end = begin + 1024; end <= damage.size(); end += 1024)
              damage.with([&](std::vector<uint8_t>& bytes) {
                const auto mask = static_cast<uint8_t>(1 << bit % 8);
                for (size_t at = begin + bit / 8; at < end; at += width)
                  bytes[at] = static_cast<uint8_t>(one ? bytes[at] | mask : bytes[at] & ~mask);
              });
    EXPECT_GT(damage.patterns(), 30'000);
    EXPECT_EQ(damage.undetected(), 0);
  }
}

// Two flips of one bit in any two words.
TEST(Checksum, SeesEveryPairOfEqualFlips) {
  Damage damage(random_bytes(640, 4));
  for (size_t bit = 0; bit < 64; ++bit)
    for (size_t first = bit / 8; first < damage.size(); first += 8)
      for (size_t second = first + 8; second < damage.size(); second += 8)
        damage.with([&](std::vector<uint8_t>& bytes) {
          bytes[first] ^= static_cast<uint8_t>(1 << bit % 8);
          bytes[second] ^= static_cast<uint8_t>(1 << bit % 8);
        });
  EXPECT_EQ(damage.undetected(), 0);
}

TEST(Checksum, SeesEverySwapOfBlocks) {
  Damage damage(random_bytes(2048, 5));
  for (size_t block = 4; block <= 1024; block *= 2)
    for (size_t first = 0; first < damage.size(); first += block)
      for (size_t second = first + block; second < damage.size(); second += block)
        damage.with([&](std::vector<uint8_t>& bytes) {
          std::swap_ranges(bytes.begin() + static_cast<std::ptrdiff_t>(first),
                           bytes.begin() + static_cast<std::ptrdiff_t>(first + block),
                           bytes.begin() + static_cast<std::ptrdiff_t>(second));
        });
  EXPECT_GT(damage.patterns(), 100'000);
  EXPECT_EQ(damage.undetected(), 0);
}

TEST(Checksum, StreamsFast) {
  const std::vector<uint8_t> bytes(256 << 20, 1);
  checksum_of(bytes);
  const auto start = std::chrono::steady_clock::now();
  const uint64_t value = checksum_of(bytes);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%016llx: %.1f GB/s\n", static_cast<unsigned long long>(value),
              static_cast<double>(bytes.size()) / seconds * 1e-9);
}

}  // namespace
}  // namespace sinter::runtime
