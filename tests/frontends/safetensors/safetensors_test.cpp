#include "frontends/safetensors/safetensors.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/frontends/test_files.h"

namespace sinter::frontends {
namespace {

using Json = nlohmann::json;

class SafetensorsTest : public testing::Test {
 protected:
  // Opens a file with this header and `data_size` bytes of data.
  absl::StatusOr<TensorFiles> open(const std::string& header, size_t data_size) {
    return open_safetensors(
        dir_.write("model.safetensors", safetensors_bytes(header, std::string(data_size, '\1'))));
  }
  TempDir dir_;
};

TEST_F(SafetensorsTest, ReadsTensorsInAnyOrder) {
  const auto set = open(R"({"__metadata__": {"format": "mlx"},
    "b": {"dtype": "U32", "shape": [2, 1], "data_offsets": [2, 10]},
    "a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]},
    "none": {"dtype": "F32", "shape": [0, 4], "data_offsets": [2, 2]},
    "scalar": {"dtype": "I64", "shape": [], "data_offsets": [10, 18]}})",
                        18);
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->tensors.size(), 4);
  const StoredTensor& b = set->tensors.at("b");
  EXPECT_EQ(b.dtype, "U32");
  EXPECT_EQ(b.shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(b.bytes.size(), 8);
  EXPECT_EQ(b.bytes.data() - set->tensors.at("a").bytes.data(), 2);
  EXPECT_EQ(b.file, "model.safetensors");
}

TEST_F(SafetensorsTest, RefusesAHeaderThatLeavesTheFile) {
  const auto open_bytes = [&](std::string_view bytes) {
    return open_safetensors(dir_.write("model.safetensors", bytes));
  };
  expect_error(open_bytes("abc"), {"model.safetensors: has 3 bytes, too short"});
  std::string bytes = safetensors_bytes("{}", "");
  bytes[0] = 3;
  expect_error(open_bytes(bytes), {"model.safetensors: the header length is 3, beyond the end"});
  bytes.replace(0, 8, 8, '\xff');
  expect_error(open_bytes(bytes), {"18,446,744,073,709,551,615, beyond the end"});
}

TEST_F(SafetensorsTest, RefusesAHeaderOfMoreThanAHundredMegabytes) {
  const uint64_t size = kMaxSafetensorsHeader + 1;
  std::string length;
  for (int i = 0; i < 8; ++i) length += static_cast<char>(size >> (8 * i) & 0xFF);
  const auto path = dir_.write("model.safetensors", length);
  std::filesystem::resize_file(path, size + 8);  // sparse
  expect_error(open_safetensors(path),
               {"model.safetensors: the header length is 100,000,001", "100,000,000"});
}

TEST_F(SafetensorsTest, RefusesAHeaderThatIsNoJsonObject) {
  expect_error(open("[1]", 0), {"model.safetensors: the header is an array of 1"});
  expect_error(open("{\"a\": ", 0),
               {"model.safetensors:1:7: not valid JSON", "safetensors header"});
  expect_error(open("{}", 0), {"model.safetensors: holds no tensors"});
  expect_error(open(R"({"__metadata__": 3})", 0), {"\"__metadata__\" is 3"});
  expect_error(open(R"({"__metadata__": {"a": 1}})", 0), {"__metadata__", "\"a\" is 1"});
}

TEST_F(SafetensorsTest, RefusesATensorThatOccursTwice) {
  expect_error(open(R"({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
                        "a": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}})",
                    2),
               {"model.safetensors:", "\"a\" occurs twice"});
}

struct BadEntry {
  const char* what;
  const char* entry;    // the header's value for tensor "x"; the file has 4 bytes of data
  const char* message;  // after: model.safetensors: tensor "x"
};

class BadEntryTest : public SafetensorsTest, public testing::WithParamInterface<BadEntry> {};

TEST_P(BadEntryTest, IsRefusedByName) {
  expect_error(open(std::string("{\"x\": ") + GetParam().entry + "}", 4),
               {std::string("model.safetensors: tensor \"x\" ") + GetParam().message});
}

INSTANTIATE_TEST_SUITE_P(
    Header, BadEntryTest,
    testing::Values(
        BadEntry{"NotAnObject", "7", "is 7, expected an object"},
        BadEntry{"NoDtype", R"({"shape": [4], "data_offsets": [0, 4]})",
                 "lacks the field \"dtype\""},
        BadEntry{"NoShape", R"({"dtype": "U8", "data_offsets": [0, 4]})",
                 "lacks the field \"shape\""},
        BadEntry{"NoOffsets", R"({"dtype": "U8", "shape": [4]})",
                 "lacks the field \"data_offsets\""},
        BadEntry{"UnknownField", R"({"dtype": "U8", "shape": [4], "data_offsets": [0, 4], "z": 1})",
                 "has the unknown field \"z\""},
        BadEntry{"UnknownDtype", R"({"dtype": "Q4", "shape": [4], "data_offsets": [0, 4]})",
                 "has the unknown dtype \"Q4\""},
        BadEntry{"DtypeNotAString", R"({"dtype": 4, "shape": [4], "data_offsets": [0, 4]})",
                 "has the unknown dtype 4"},
        BadEntry{"ShapeNotAnArray", R"({"dtype": "U8", "shape": 4, "data_offsets": [0, 4]})",
                 "has the shape 4"},
        BadEntry{"NegativeExtent", R"({"dtype": "U8", "shape": [-4], "data_offsets": [0, 4]})",
                 "has the dimension -4"},
        BadEntry{"FractionalExtent", R"({"dtype": "U8", "shape": [4.0], "data_offsets": [0, 4]})",
                 "has the dimension 4.0"},
        BadEntry{"ExtentBeyond63Bits",
                 R"({"dtype": "U8", "shape": [9223372036854775808], "data_offsets": [0, 4]})",
                 "has the dimension 9223372036854775808"},
        BadEntry{"ManyDimensions",
                 R"({"dtype": "U8", "shape": [4,1,1,1,1,1,1,1,1], "data_offsets": [0, 4]})",
                 "has 9 dimensions"},
        BadEntry{"ProductOverflows",
                 R"({"dtype": "U8", "shape": [4294967296, 4294967296], "data_offsets": [0, 4]})",
                 "of shape [4294967296, 4294967296] and dtype U8 has more elements"},
        BadEntry{"ProductWrapsToTheRightSize",
                 R"({"dtype": "U32", "shape": [4611686018427387905], "data_offsets": [0, 4]})",
                 "of shape [4611686018427387905] and dtype U32 has more elements"},
        BadEntry{"SizeDiffers", R"({"dtype": "F16", "shape": [3], "data_offsets": [0, 4]})",
                 "of shape [3] and dtype F16 needs 6 bytes, but its data_offsets [0, 4] span 4"},
        BadEntry{"HalfABytes", R"({"dtype": "F4", "shape": [3], "data_offsets": [0, 4]})",
                 "of shape [3] and dtype F4 does not fill whole bytes"},
        BadEntry{"OffsetsNotAPair", R"({"dtype": "U8", "shape": [4], "data_offsets": [0, 4, 8]})",
                 "has the data_offsets [0,4,8]"},
        BadEntry{"NegativeOffset", R"({"dtype": "U8", "shape": [4], "data_offsets": [-1, 3]})",
                 "has the data_offsets [-1,3]"},
        BadEntry{"EndBeforeBegin", R"({"dtype": "U8", "shape": [4], "data_offsets": [4, 0]})",
                 "has data_offsets [4, 0], which end before they begin"},
        BadEntry{"BeyondTheFile", R"({"dtype": "U8", "shape": [4], "data_offsets": [0, 99999999]})",
                 "has data_offsets [0, 99999999], beyond the end of the file ("},
        BadEntry{"OneByteBeyondTheFile", R"({"dtype": "U8", "shape": [5], "data_offsets": [0, 5]})",
                 "has data_offsets [0, 5], beyond the end of the file ("}),
    [](const auto& entry) { return entry.param.what; });

TEST_F(SafetensorsTest, RefusesOverlaps) {
  expect_error(open(R"({"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
                        "b": {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]}})",
                    4),
               {"model.safetensors: tensor \"b\" has data_offsets [2, 4]", "overlap tensor \"a\""});
  expect_error(open(R"({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                        "b": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}})",
                    4),
               {"overlap tensor"});
}

TEST_F(SafetensorsTest, RefusesBytesThatBelongToNoTensor) {
  expect_error(open(R"({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
                        "b": {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]}})",
                    4),
               {"model.safetensors: bytes [1, 2] of the data belong to no tensor", "\"b\""});
  expect_error(open(R"({"a": {"dtype": "U8", "shape": [3], "data_offsets": [1, 4]}})", 4),
               {"bytes [0, 1] of the data", "\"a\""});
  expect_error(open(R"({"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}})", 4),
               {"model.safetensors: 1 bytes after the last tensor \"a\""});
}

}  // namespace
}  // namespace sinter::frontends
