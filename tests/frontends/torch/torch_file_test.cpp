#include "frontends/torch/torch_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "frontends/checkpoint.h"
#include "frontends/open/open_checkpoint.h"
#include "frontends/torch/zip_file.h"
#include "tests/frontends/test_files.h"
#include "tests/frontends/torch/writer.h"

namespace sinter::frontends {
namespace {

class TorchFileTest : public testing::Test {
 protected:
  absl::StatusOr<TensorFiles> open(const std::string& bytes) {
    return open_torch_file(dir_.write("pytorch_model.bin", bytes));
  }
  // One tensor over a storage of six floats.
  absl::StatusOr<TensorFiles> open_one(TorchTensor tensor) {
    tensor.name = "t";
    if (tensor.storage_type.empty()) tensor.storage_type = "FloatStorage";
    if (tensor.key.empty()) tensor.key = "0";
    if (tensor.storage_elements == 0) tensor.storage_elements = 6;
    return open(torch_bytes(pickle_state_dict({tensor}), {{"0", six_}}));
  }
  std::string six_ = bytes_of(std::vector<float>{1, 2, 3, 4, 5, 6});
  TempDir dir_;
};

TEST_F(TorchFileTest, TensorsAreViewsOfTheirStorages) {
  for (const bool zip64 : {false, true}) {
    const auto files = open(torch_bytes(
        pickle_state_dict({{"a", "FloatStorage", "0", 6, 0, {2, 3}, {3, 1}},
                           {"b", "FloatStorage", "0", 6, 4, {2}, {1}},
                           {"c", "HalfStorage", "1", 3, 0, {1, 3}, {7, 1}},
                           {"n", "LongStorage", "2", 1, 0, {}, {}},
                           {"e", "FloatStorage", "0", 6, 6, {0, 4}, {4, 1}}}),
        {{"0", six_}, {"1", std::string(6, '\x3C')}, {"2", std::string(8, '\0')}}, zip64));
    ASSERT_TRUE(files.ok()) << files.status();
    const StoredTensor& a = files->tensors.at("a");
    EXPECT_EQ(a.dtype, "F32");
    EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(std::string(a.bytes.begin(), a.bytes.end()), six_);
    const StoredTensor& b = files->tensors.at("b");
    EXPECT_EQ(b.bytes.data(), a.bytes.data() + 16);
    EXPECT_EQ(b.bytes.size(), 8);
    EXPECT_EQ(files->tensors.at("c").dtype, "F16");
    EXPECT_EQ(files->tensors.at("n").dtype, "I64");
    EXPECT_TRUE(files->tensors.at("e").bytes.empty());
  }
}

TEST_F(TorchFileTest, ParametersAreTensors) {
  const std::string pickle = "\x80\x02}(" + pickle_text("p") +
                             "ctorch._utils\n_rebuild_parameter\n(" +
                             pickle_tensor({"", "FloatStorage", "0", 6, 0, {6}, {1}}) +
                             "\x88"
                             "ccollections\nOrderedDict\n)RtRu.";
  const auto files = open(torch_bytes(pickle, {{"0", six_}}));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->tensors.at("p").bytes.size(), 24);
}

// Files made with Python's own pickle and zipfile modules, as torch.save uses them.
TEST_F(TorchFileTest, ReadsWhatPythonWrites) {
  const std::filesystem::path folder = std::filesystem::path(SINTER_TEST_GOLDENS) / "torch_pickle";
  for (const char* name : {"protocol2.bin", "protocol4.bin"}) {
    const auto files = open_torch_file(folder / name);
    ASSERT_TRUE(files.ok()) << files.status();
    ASSERT_EQ(files->tensors.size(), 3);
    const StoredTensor& embed = files->tensors.at("model.embed.weight");
    EXPECT_EQ(embed.shape, (std::vector<int64_t>{300, 2}));
    for (int i = 0; i < 600; ++i)
      ASSERT_EQ(ir::read_element(ir::DType::f32, embed.bytes.data(), i), static_cast<float>(i));
    EXPECT_EQ(files->tensors.at("model.head.weight").bytes.data(), embed.bytes.data());
    const StoredTensor& norm = files->tensors.at("model.norm.weight");
    EXPECT_EQ(norm.dtype, "BF16");
    EXPECT_EQ(ir::read_element(ir::DType::bf16, norm.bytes.data(), 3), 4);
  }
}

TEST_F(TorchFileTest, OnlyContiguousTensorsInsideTheirStorage) {
  expect_error(open_one({.shape = {3, 2}, .stride = {1, 3}}),
               {"pytorch_model.bin: tensor \"t\" of shape [3, 2] has the stride 3 in dimension 1",
                "contiguous"});
  expect_error(open_one({.shape = {2, 2}, .stride = {0, 1}}), {"has the stride 0 in dimension 0"});
  expect_error(open_one({.offset = 3, .shape = {2, 2}, .stride = {2, 1}}),
               {"lies at element 3 of a storage of 6 elements"});
  expect_error(open_one({.offset = 7, .shape = {0}, .stride = {1}}), {"lies at element 7"});
  expect_error(open_one({.offset = -1, .shape = {1}, .stride = {1}}), {"has offset -1"});
  expect_error(open_one({.shape = {-1}, .stride = {1}}), {"size a tuple of 1"});
  expect_error(open_one({.shape = {2, 3}, .stride = {1}}), {"stride a tuple of 1"});
  expect_error(open_one({.storage_elements = 7, .shape = {1}, .stride = {1}}),
               {"in a storage of 7 elements of 4 bytes, but \"archive/data/0\" has 24 bytes"});
  expect_error(open_one({.key = "9", .shape = {1}, .stride = {1}}),
               {"in the storage \"archive/data/9\", which the archive lacks"});
  expect_error(open_one({.storage_type = "BoolStorage", .shape = {1}, .stride = {1}}),
               {"the storage type torch BoolStorage, which is not supported"});
  expect_error(open_one({.storage_type = "QInt8Storage", .shape = {1}, .stride = {1}}),
               {"the global \"torch.QInt8Storage\""});
}

TEST_F(TorchFileTest, WhatIsNoStateDictIsRefused) {
  expect_error(open(torch_bytes("\x80\x02N.", {})), {"holds None, expected a state dict"});
  expect_error(open(torch_bytes("\x80\x02}.", {})), {"holds no tensors"});
  expect_error(open(torch_bytes("\x80\x02}K\1Ns.", {})), {"the state dict has the key 1"});
  expect_error(open(torch_bytes("\x80\x02}" + pickle_text("epoch") + "K\1s.", {})),
               {"tensor \"epoch\" is 1, expected a tensor; the file is not a plain state dict"});
  expect_error(open(torch_bytes("\x80\x02"
                                "cos\nsystem\n.",
                                {})),
               {"the global \"os.system\""});
  expect_error(open("\x80\x02\x8A\x0A"
                    "legacy"),
               {"PyTorch format before 1.6"});
  expect_error(open("version https://git-lfs"), {"no directory of a zip archive"});
  expect_error(open(zip_bytes({{"a/x", "1"}})), {"holds no data.pkl"});
  expect_error(open(zip_bytes({{"a/data.pkl", "1"}, {"b/data.pkl", "1"}})), {"two pickles"});
  expect_error(open(zip_bytes({{"a/data.pkl", "1"}, {"a/byteorder", "big"}})),
               {"not little-endian"});
  const TorchTensor twice{"a", "FloatStorage", "0", 6, 0, {6}, {1}};
  expect_error(open(torch_bytes(pickle_state_dict({twice, twice}), {{"0", six_}})),
               {"tensor \"a\" is also in pytorch_model.bin"});
}

TEST_F(TorchFileTest, BadArchivesAreRefused) {
  expect_error(open(zip_bytes({{"a/data.pkl", "1", 8}})), {"entry \"a/data.pkl\"", "compressed"});
  expect_error(open(zip_bytes({{"a/data.pkl", "1", 0, 1}})), {"encrypted"});
  expect_error(open(zip_bytes({{"a/x", "1"}, {"a/x", "2"}})), {"\"a/x\"", "occurs twice"});
  // Two entries of the directory with one header.
  std::string overlap = zip_bytes({{"a/x", "1"}, {"a/y", "2"}});
  const size_t second = overlap.rfind("PK\x01\x02");
  overlap.replace(second + 42, 4, std::string(4, '\0'));
  expect_error(open(overlap), {"\"a/x\" and \"a/y\"", "overlap"});

  const std::string good =
      torch_bytes(pickle_state_dict({{"a", "FloatStorage", "0", 6, 0, {6}, {1}}}), {{"0", six_}});
  EXPECT_TRUE(open(good).ok());
  for (size_t size = 1; size < good.size(); ++size)
    ASSERT_FALSE(open(good.substr(0, size)).ok()) << size;
}

// The same model from both containers.
TEST_F(TorchFileTest, ACheckpointIsTheSameFromEitherContainer) {
  const std::filesystem::path golden = std::filesystem::path(SINTER_TEST_GOLDENS) / "hf_qwen3";
  const auto expected = open_checkpoint(golden);
  ASSERT_TRUE(expected.ok()) << expected.status();
  const auto stored = open_safetensors(golden / "model.safetensors");
  ASSERT_TRUE(stored.ok()) << stored.status();
  std::vector<TorchTensor> tensors[2];
  std::vector<TorchStorage> storages[2];
  std::string weight_map;
  size_t count = 0;
  for (const auto& [name, tensor] : stored->tensors) {
    ASSERT_EQ(tensor.dtype, "BF16");
    const size_t shard = count % 2;
    const std::string key = std::to_string(count++);
    std::vector<int64_t> stride(tensor.shape.size(), 1);
    for (size_t i = stride.size() - 1; i-- > 0;) stride[i] = stride[i + 1] * tensor.shape[i + 1];
    tensors[shard].push_back({name, "BFloat16Storage", key,
                              static_cast<int64_t>(tensor.bytes.size()) / 2, 0, tensor.shape,
                              stride});
    storages[shard].push_back({key, std::string(tensor.bytes.begin(), tensor.bytes.end())});
    weight_map += (weight_map.empty() ? "\"" : ", \"") + name + "\": \"pytorch_model-" +
                  std::to_string(shard) + ".bin\"";
  }
  const auto expect_same = [&](const absl::StatusOr<std::unique_ptr<Checkpoint>>& got) {
    ASSERT_TRUE(got.ok()) << got.status();
    ASSERT_EQ((*got)->matrices.size(), (*expected)->matrices.size());
    for (const auto& [name, matrix] : (*expected)->matrices) {
      const auto other = (*got)->matrix(name);
      ASSERT_TRUE(other.ok()) << other.status();
      EXPECT_EQ(other->type, matrix.type) << name;
      EXPECT_TRUE(std::ranges::equal(other->codes, matrix.codes)) << name;
    }
  };
  dir_.write("config.json", read_bytes(golden / "config.json"));
  for (const size_t shard : {0, 1}) {
    dir_.write("pytorch_model-" + std::to_string(shard) + ".bin",
               torch_bytes(pickle_state_dict(tensors[shard]), storages[shard]));
  }
  const auto index = dir_.write("pytorch_model.bin.index.json",
                                R"({"metadata": {}, "weight_map": {)" + weight_map + "}}");
  expect_same(open_checkpoint(dir_.path()));
  expect_same(open_checkpoint(dir_.path() / "pytorch_model-1.bin"));
  std::filesystem::remove(dir_.path() / "pytorch_model-1.bin");
  expect_error(open_checkpoint(dir_.path()), {"the shard \"pytorch_model-1.bin\" is missing"});
  std::filesystem::remove(index);

  tensors[0].insert(tensors[0].end(), tensors[1].begin(), tensors[1].end());
  storages[0].insert(storages[0].end(), storages[1].begin(), storages[1].end());
  dir_.write("pytorch_model.bin", torch_bytes(pickle_state_dict(tensors[0]), storages[0]));
  expect_same(open_checkpoint(dir_.path()));
  expect_same(open_checkpoint(dir_.path() / "pytorch_model.bin"));
  // Safetensors come first when both are there.
  dir_.write("model.safetensors", safetensors_bytes({f32_tensor("a.weight", {1}, {1})}));
  const auto both = open_checkpoint(dir_.path());
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_TRUE((*both)->has("a"));
}

}  // namespace
}  // namespace sinter::frontends
