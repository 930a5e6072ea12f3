// Folders of tensor files, with and without an index, in the states in which users have them.
#include "frontends/open/weight_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/frontends/test_files.h"

namespace sinter::frontends {
namespace {

using Json = nlohmann::json;

class WeightFilesTest : public testing::Test {
 protected:
  // A file with a tensor of one byte for each letter, its value the letter.
  void write(const std::string& name, const std::string& letters) {
    std::vector<TestTensor> tensors;
    for (const char letter : letters)
      tensors.push_back({std::string(1, letter), "U8", {1}, std::string(1, letter)});
    dir_.write(name, safetensors_bytes(tensors));
  }
  void write_index(const Json& weight_map) {
    dir_.write("model.safetensors.index.json", Json{{"weight_map", weight_map}}.dump());
  }
  void remove(const std::string& name) { std::filesystem::remove(dir_.path() / name); }
  absl::StatusOr<WeightFiles> open(const std::string& named = "") {
    return open_weight_files(dir_.path(), named.empty() ? dir_.path() : dir_.path() / named);
  }
  // The letters that are found; or the error.
  std::string found(const std::string& named = "") {
    const auto weights = open(named);
    if (!weights.ok()) return std::string(weights.status().message());
    std::string letters;
    for (const auto& [name, tensor] : weights->files.tensors) {
      EXPECT_EQ(tensor.bytes[0], name[0]);
      letters += name;
    }
    return letters;
  }
  TempDir dir_;
};

TEST_F(WeightFilesTest, OneFileIsKnownByItsName) {
  for (const char* name :
       {"model.safetensors", "weights.safetensors", "weights.00.safetensors",
        "model-00001-of-00001.safetensors", "model-00000-of-00001.safetensors",
        "Some-Model-3.1-4bit.safetensors", "phi-3.5.safetensors", "consolidated.safetensors"}) {
    write(name, "ab");
    EXPECT_EQ(found(), "ab") << name;
    EXPECT_EQ(found(name), "ab") << name;
    remove(name);
  }
  EXPECT_TRUE(absl::IsNotFound(open().status()));
}

TEST_F(WeightFilesTest, AModelIsNamedAsOneOrListed) {
  EXPECT_FALSE(has_safetensors(dir_.path()));
  write("expected-logits.safetensors", "a");
  EXPECT_FALSE(has_safetensors(dir_.path()));
  for (const char* name :
       {"model.safetensors", "weights.00.safetensors", "model-00002-of-00003.safetensors"}) {
    write(name, "a");
    EXPECT_TRUE(has_safetensors(dir_.path())) << name;
    remove(name);
  }
  write_index({{"a", "expected-logits.safetensors"}});
  EXPECT_TRUE(has_safetensors(dir_.path()));
}

TEST_F(WeightFilesTest, PartsAreReadTogether) {
  for (const auto& [one, two] :
       {std::pair("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        std::pair("model-00000-of-00002.safetensors", "model-00001-of-00002.safetensors"),
        std::pair("weights.00.safetensors", "weights.01.safetensors"),
        std::pair("weights.01.safetensors", "weights.02.safetensors"),
        std::pair("x-00001-of-00002.safetensors", "x-00002-of-00002.safetensors")}) {
    write(one, "ab");
    write(two, "cd");
    EXPECT_EQ(found(), "abcd") << one;
    EXPECT_EQ(found(two), "abcd") << two;
    remove(one);
    remove(two);
  }
}

TEST_F(WeightFilesTest, APartThatIsMissingIsNamed) {
  write("model-00001-of-00003.safetensors", "a");
  write("model-00003-of-00003.safetensors", "b");
  expect_error(open(), {"model-00001-of-00003.safetensors: part 2 of 3 is missing"});
  expect_error(open("model-00001-of-00003.safetensors"), {"part 2 of 3 is missing"});
  write_index(
      {{"a", "model-00001-of-00003.safetensors"}, {"c", "model-00002-of-00003.safetensors"}});
  expect_error(open(), {"model.safetensors.index.json: the shard "
                        "\"model-00002-of-00003.safetensors\" is missing"});
  remove("model.safetensors.index.json");
  remove("model-00001-of-00003.safetensors");
  remove("model-00003-of-00003.safetensors");
  write("weights.00.safetensors", "a");
  write("weights.02.safetensors", "b");
  expect_error(open(), {"weights.00.safetensors: part 1 is missing"});
}

TEST_F(WeightFilesTest, AStaleIndexOfPartsThatAreGoneIsNoTrouble) {
  write_index(
      {{"a", "model-00001-of-00005.safetensors"}, {"b", "model-00004-of-00005.safetensors"}});
  expect_error(open(), {"the shard \"model-00001-of-00005.safetensors\" is missing"});
  write("model.safetensors", "ab");
  EXPECT_EQ(found(), "ab");
  EXPECT_EQ(found("model.safetensors"), "ab");
  remove("model.safetensors");
  write("model-00001-of-00002.safetensors", "a");
  write("model-00002-of-00002.safetensors", "b");
  EXPECT_EQ(found(), "ab");
}

TEST_F(WeightFilesTest, TheTensorsInTheFilesCount) {
  write("model.safetensors", "abc");
  write_index({{"a", "model.safetensors"}, {"b", "model.safetensors"}});
  EXPECT_EQ(found(), "abc");
  write_index({{"a", "model.safetensors"}, {"z", "model.safetensors"}});
  EXPECT_EQ(found(), "abc");
  EXPECT_EQ(
      open()->absent.at("z"),
      "model.safetensors.index.json says that it is in \"model.safetensors\", which lacks it");
  remove("model.safetensors");
  write("model-00001-of-00003.safetensors", "a");
  write("model-00002-of-00003.safetensors", "b");
  write("model-00003-of-00003.safetensors", "c");
  // In another file than the index says, and one file that it does not know.
  write_index(
      {{"a", "model-00002-of-00003.safetensors"}, {"b", "model-00001-of-00003.safetensors"}});
  EXPECT_EQ(found(), "abc");
  EXPECT_TRUE(open()->absent.empty());
}

TEST_F(WeightFilesTest, AnIndexMayListFilesOfAnyName) {
  write("one.safetensors", "a");
  write("two.safetensors", "bc");
  expect_error(open(), {"one", "could each be the model; name one of them"});
  write_index({{"a", "one.safetensors"}, {"b", "two.safetensors"}, {"c", "two.safetensors"}});
  EXPECT_EQ(found(), "abc");
  remove("two.safetensors");
  expect_error(open(), {"the shard \"two.safetensors\" is missing"});
  write("three.safetensors", "bc");
  expect_error(open(), {"the shard \"two.safetensors\" is missing"});
  EXPECT_EQ(found("three.safetensors"), "bc");
}

TEST_F(WeightFilesTest, TwoModelsInAFolderAreRefused) {
  write("model.safetensors", "ab");
  write("model-00001-of-00002.safetensors", "a");
  write("model-00002-of-00002.safetensors", "b");
  expect_error(open(),
               {"model-00001-of-00002.safetensors", "model.safetensors", "name one of them"});
  EXPECT_EQ(found("model.safetensors"), "ab");
  EXPECT_EQ(found("model-00002-of-00002.safetensors"), "ab");
  write_index(
      {{"a", "model-00001-of-00002.safetensors"}, {"b", "model-00002-of-00002.safetensors"}});
  expect_error(open(), {"model.safetensors.index.json: does not list model.safetensors"});
  write_index({{"a", "model.safetensors"}});
  EXPECT_EQ(found(), "ab");
}

TEST_F(WeightFilesTest, FilesOfOtherThingsArePassedOver) {
  write("model.safetensors", "ab");
  write("consolidated.safetensors", "cd");
  write("adapter_model.safetensors", "e");
  write(".hidden.safetensors", "f");
  write("optimizer.safetensors", "g");
  EXPECT_EQ(found(), "ab");
  remove("model.safetensors");
  EXPECT_EQ(found(), "cd");
}

TEST_F(WeightFilesTest, ATensorInTwoPartsIsRefused) {
  write("model-00001-of-00002.safetensors", "ab");
  write("model-00002-of-00002.safetensors", "bc");
  expect_error(open(), {"model-00002-of-00002.safetensors: tensor \"b\" is also in "
                        "model-00001-of-00002.safetensors"});
}

TEST_F(WeightFilesTest, AnIndexThatCannotBeReadIsPassedOverWithANote) {
  const std::vector<std::pair<std::string, std::string>> indexes = {
      {"{", "not valid JSON"},
      {"{}", "\"weight_map\" is missing"},
      {R"({"weight_map": 1})", "\"weight_map\" is 1"},
      {R"({"weight_map": {}})", "\"weight_map\" names no tensors"},
      {R"({"weight_map": {"a": 3}})", "\"a\" is 3, expected a string"},
      {R"({"weight_map": {"a": "../one.safetensors"}})", "tensor \"a\" is mapped to"},
      {R"({"weight_map": {"a": "/one.safetensors"}})", "tensor \"a\" is mapped to"},
      {R"({"weight_map": {"a": "one.bin"}})", "expected the name of a .safetensors file"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS pointer"}};
  for (const auto& [index, why] : indexes) {
    dir_.write("model.safetensors.index.json", index);
    write("model.safetensors", "ab");
    const auto weights = open();
    ASSERT_TRUE(weights.ok()) << weights.status();
    ASSERT_EQ(weights->notes.size(), 1U);
    EXPECT_NE(weights->notes[0].find(why), std::string::npos) << weights->notes[0];
    // Without it nothing says which files belong together.
    remove("model.safetensors");
    write("one.safetensors", "a");
    write("two.safetensors", "b");
    expect_error(open(), {"model.safetensors.index.json", why});
    remove("one.safetensors");
    remove("two.safetensors");
  }
}

}  // namespace
}  // namespace sinter::frontends
