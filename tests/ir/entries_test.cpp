// Modules of several entries: their text, what the verifier refuses, and steps of each.
#include "ir/entries.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "ir/interpreter.h"
#include "ir/text.h"
#include "tests/ir/map_source.h"

namespace sinter::ir {
namespace {

// The second entry adds half of its rows to those of the table that both read.
constexpr const char* kTwoEntries = R"(module @two {
  weight @table : weight<4x2, f32> = source("table")
  state @first : state<1xCx2, paged f32>
  state @second : state<1xCx2, paged f32>
  func @forward(%tokens: tensor<Txi32>) {
    %0 = embed %tokens, @table : tensor<Tx2xf32>
    %1 = reshape %0 : tensor<Tx1x2xf32>
    kv_append @first, %1
    %2 = last_rows %0 : tensor<Lx2xf32>
    return %2, %0
  }
  func @mtp(%mtp.tokens: tensor<Txi32>, %mtp.hidden: tensor<Tx2xf32>) {
    %3 = embed %mtp.tokens, @table : tensor<Tx2xf32>
    %4 = affine %mtp.hidden {scale = 0.5} : tensor<Tx2xf32>
    %5 = add %3, %4 : tensor<Tx2xf32>
    %6 = reshape %5 : tensor<Tx1x2xf32>
    kv_append @second, %6
    %7 = last_rows %5 : tensor<Lx2xf32>
    return %7, %5
  }
}
)";

std::string error_after(std::string_view from, std::string_view to) {
  std::string text = kTwoEntries;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  const auto module = parse(text.replace(at, from.size(), to), "f.sir");
  return module.ok() ? "parsed" : std::string(module.status().message());
}

TEST(Entries, TextIsReadBack) {
  const auto module = parse(kTwoEntries, "f.sir");
  ASSERT_TRUE(module.ok()) << module.status();
  ASSERT_EQ(module->further.size(), 1U);
  EXPECT_EQ(module->further[0].name, "mtp");
  EXPECT_EQ(module->params.size(), 1U);
  EXPECT_EQ(module->further[0].params.size(), 2U);
  EXPECT_EQ(print(*module), kTwoEntries);
}

// Passes put nodes behind others that they have nothing to do with.
TEST(Entries, NodesAreTheirsWhateverTheOrder) {
  auto module = parse(kTwoEntries, "f.sir");
  ASSERT_TRUE(module.ok()) << module.status();
  const size_t of_first = nodes_by_entry(*module)[0].size();
  std::rotate(module->nodes.begin(), module->nodes.begin() + static_cast<std::ptrdiff_t>(of_first),
              module->nodes.end());
  const auto nodes = nodes_by_entry(*module);
  EXPECT_EQ(nodes[0].size(), of_first);
  EXPECT_EQ(nodes[0].size() + nodes[1].size(), module->nodes.size());
  EXPECT_EQ(nodes[1].front(), 0U);
  EXPECT_EQ(print(*module), kTwoEntries);
}

TEST(Entries, ShareNoTensorAndNoState) {
  EXPECT_EQ(error_after("add %3, %4", "add %3, %0"),
            "f.sir: [add] value 4 is of the entry @forward, what else it reads of @mtp");
  EXPECT_EQ(error_after("kv_append @second", "kv_append @first"),
            "f.sir: [kv_append] value 12 is of the entry @mtp, what else it reads of @forward");
  EXPECT_EQ(error_after("return %7, %5", "return %2, %5"),
            "f.sir: value 6 is returned by the entry @mtp, of which it is not");
  EXPECT_EQ(error_after("@mtp(%mtp.tokens", "@forward(%mtp.tokens"),
            "f.sir: the entry @forward is there twice");
  EXPECT_EQ(error_after("func @forward", "func @mtp"),
            "f.sir:5:8: found '@mtp', expected 'forward'");
  EXPECT_EQ(error_after("%mtp.tokens: tensor<Txi32>", "%tokens: tensor<Txi32>"),
            "f.sir:12:13: '%tokens' is declared twice");
}

TEST(Entries, StepsOfEachKeepTheirOwnState) {
  const auto module = parse(kTwoEntries, "f.sir");
  ASSERT_TRUE(module.ok()) << module.status();
  MapSource source;
  source.dense("table", {4, 2}, {0, 1, 2, 3, 4, 5, 6, 7});
  InterpreterState first, second;
  const auto rows = interpret_entry(*module, source, {{3, 1}, 1}, first);
  ASSERT_TRUE(rows.ok()) << rows.status();
  ASSERT_EQ(rows->size(), 2U);
  EXPECT_EQ((*rows)[0].data, (std::vector<float>{2, 3}));
  EXPECT_EQ((*rows)[1].data, (std::vector<float>{6, 7, 2, 3}));
  const auto drafted = interpret_entry(
      *module, source, {{1}, 1, 1, {(*rows)[1].data.begin(), (*rows)[1].data.begin() + 2}}, second);
  ASSERT_TRUE(drafted.ok()) << drafted.status();
  EXPECT_EQ((*drafted)[0].data, (std::vector<float>{5, 6.5}));
  EXPECT_EQ(first.position, 2);
  EXPECT_EQ(second.position, 1);
  EXPECT_EQ(second.states.size(), 1U);
  EXPECT_FALSE(interpret_entry(*module, source, {{1}, 1, 1, {1}}, second).ok());
  EXPECT_FALSE(interpret_entry(*module, source, {{1}, 1, 2}, second).ok());
}

}  // namespace
}  // namespace sinter::ir
