// What --quantize takes, and which matrices it is for.
#include "frontends/rounding/rules.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/frontends/test_files.h"

namespace sinter::frontends {
namespace {

ir::Matrix matrix_of(std::vector<int64_t> shape, ir::WeightFormat format) {
  ir::Matrix matrix;
  matrix.type.shape = std::move(shape);
  matrix.type.format = format;
  return matrix;
}

const ir::WeightFormat kDense{ir::CodeMap::dense, 0, 0, 0, ir::DType::bf16};
const ir::WeightFormat kPacked{ir::CodeMap::affine, 2, 64, 0, ir::DType::f16};

Checkpoint model() {
  Checkpoint checkpoint;
  checkpoint.matrices["lm_head"] = matrix_of({8, 256}, kDense);
  checkpoint.matrices["model.embed_tokens"] = matrix_of({8, 256}, kDense);
  checkpoint.matrices["model.layers.0.mlp.down_proj"] = matrix_of({8, 96}, kDense);
  checkpoint.matrices["model.layers.0.mlp.up_proj"] = matrix_of({8, 256}, kDense);
  checkpoint.matrices["model.layers.1.mlp.down_proj"] = matrix_of({8, 96}, kDense);
  checkpoint.matrices["model.layers.1.mlp.up_proj"] = matrix_of({8, 256}, kPacked);
  checkpoint.matrices["model.norm"] = matrix_of({256}, kDense);
  return checkpoint;
}

absl::StatusOr<QuantizeChoice> choose(const std::vector<std::string>& texts) {
  std::vector<QuantizeRule> rules;
  for (const std::string& text : texts) {
    auto rule = parse_quantize_rule(text);
    if (!rule.ok()) return rule.status();
    rules.push_back(*rule);
  }
  return choose_quantization(model(), rules);
}

TEST(QuantizeRule, NamesAFormat) {
  const auto rule = parse_quantize_rule("*.mlp.*=affine:3:128");
  ASSERT_TRUE(rule.ok()) << rule.status();
  EXPECT_EQ(rule->pattern, "*.mlp.*");
  EXPECT_EQ(rule->mode, QuantizeMode::affine);
  EXPECT_EQ(rule->bits, 3);
  EXPECT_EQ(rule->group, 128);
  const auto short_form = parse_quantize_rule("affine");
  ASSERT_TRUE(short_form.ok()) << short_form.status();
  EXPECT_EQ(short_form->bits, 4);
  EXPECT_EQ(short_form->group, 64);
  EXPECT_EQ(parse_quantize_rule("affine:8")->bits, 8);
  EXPECT_EQ(parse_quantize_rule("ternary")->mode, QuantizeMode::ternary);
  EXPECT_EQ(parse_quantize_rule("lm_head=keep")->mode, QuantizeMode::keep);
}

TEST(QuantizeRule, RefusesWhatIsNone) {
  for (const char* text :
       {"", "affine:7:64", "affine:0:64", "affine:9", "affine:4:96", "affine:4:", "affine::64",
        "affine:4:64:1", "affine:4x:64", "affine:-4:64", "affine:99999999999:64", "Affine:4:64",
        "ternary:64", "mxfp4:32", "keep", "q4_0", "lm_head="})
    expect_error(parse_quantize_rule(text), {"--quantize", text, "formats are affine:BITS:GROUP"});
  expect_error(parse_quantize_rule("=affine:4:64"), {"no pattern"});
}

TEST(QuantizeChoice, TakesEveryDenseMatrixThatTheGroupDivides) {
  const auto choice = choose({"affine:4:64"});
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_EQ(choice->matrices.size(), 3U);
  const ir::WeightFormat format{ir::CodeMap::affine, 4, 64, 0, ir::DType::bf16};
  for (const char* name : {"lm_head", "model.embed_tokens", "model.layers.0.mlp.up_proj"})
    EXPECT_EQ(choice->matrices.at(name).format, format) << name;
  ASSERT_EQ(choice->notes.size(), 2U);
  EXPECT_EQ(choice->notes[0],
            "down_proj [8, 96] stays bf16: 96 columns are not a multiple of the group of 64 (in 2 "
            "layers)");
  EXPECT_NE(choice->notes[1].find("1 matrix is quantized already"), std::string::npos);
}

TEST(QuantizeChoice, PatternsGoFirstAndTheLastOfThemCounts) {
  const auto choice =
      choose({"*_proj=affine:8:32", "affine:4:64", "lm_head=keep", "*.up_proj=affine:2:128"});
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_EQ(choice->matrices.size(), 5U);
  EXPECT_EQ(choice->matrices.at("model.layers.0.mlp.down_proj").format.bits, 8);
  EXPECT_EQ(choice->matrices.at("model.layers.0.mlp.up_proj").format.bits, 2);
  EXPECT_EQ(choice->matrices.at("model.embed_tokens").format.bits, 4);
  EXPECT_FALSE(choice->matrices.contains("lm_head"));
  // A pattern is for packed matrices, too; their numbers keep the type of their scales.
  EXPECT_EQ(choice->matrices.at("model.layers.1.mlp.up_proj").format,
            (ir::WeightFormat{ir::CodeMap::affine, 2, 128, 0, ir::DType::f16}));
  EXPECT_TRUE(choice->notes.empty());
}

TEST(QuantizeChoice, TernaryTakesTheLargestGroupThatDivides) {
  const auto choice = choose({"ternary"});
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_EQ(choice->matrices.at("lm_head").format.group, 128);
  EXPECT_EQ(choice->matrices.at("model.layers.0.mlp.down_proj").format.group, 32);
  EXPECT_EQ(choice->matrices.at("lm_head").format.bits, 2);
}

TEST(QuantizeChoice, NoRulesChangeNothing) {
  const auto choice = choose({});
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_TRUE(choice->matrices.empty());
  EXPECT_TRUE(choice->notes.empty());
}

TEST(QuantizeChoice, RefusesAPatternThatMatchesNoMatrix) {
  expect_error(choose({"affine:4:64", "lm_heat=affine:8:64"}),
               {"lm_heat=affine:8:64", "matches no matrix", "did you mean \"lm_head\""});
  expect_error(choose({"model.norm=affine:8:64"}), {"matches no matrix"});
  expect_error(choose({"*.q_proj=affine:8:64"}), {"a name is like"});
}

TEST(QuantizeChoice, LeavesDecayRatesAsTheyAre) {
  Checkpoint checkpoint = model();
  checkpoint.matrices["model.layers.0.mixer.A_log"] = matrix_of({512, 64}, kDense);
  const auto choice = choose_quantization(checkpoint, {*parse_quantize_rule("affine:4:64")});
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_FALSE(choice->matrices.contains("model.layers.0.mixer.A_log"));
  EXPECT_TRUE(choice->matrices.contains("lm_head"));
}

TEST(QuantizeChoice, SaysThatATiedOutputHeadIsTheEmbedding) {
  Checkpoint tied = model();
  tied.matrices.erase("lm_head");
  const auto rule = parse_quantize_rule("lm_head=affine:8:64");
  expect_error(choose_quantization(tied, {*rule}), {"tied to \"model.embed_tokens\""});
}

TEST(QuantizeChoice, RefusesTwoRulesForEverything) {
  expect_error(choose({"affine:4:64", "ternary"}), {"affine:4:64", "ternary", "pattern"});
}

TEST(QuantizeChoice, RefusesWhatLeavesNothingToDo) {
  expect_error(choose({"*.down_proj=affine:4:64"}), {"nothing is left to quantize", "96 columns"});
}

}  // namespace
}  // namespace sinter::frontends
