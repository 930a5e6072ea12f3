#include "frontends/torch/pickle.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/frontends/test_files.h"
#include "tests/frontends/torch/writer.h"

namespace sinter::frontends {
namespace {

using Kind = PickleValue::Kind;

absl::StatusOr<Pickle> read(std::string_view text) {
  static constexpr std::string_view kAllowed[] = {"collections OrderedDict", "m f"};
  return read_pickle({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, "x.bin",
                     kAllowed);
}
// With bytes that are zero.
template <size_t n>
absl::StatusOr<Pickle> read_bytes_of(const char (&text)[n]) {
  return read(std::string_view(text, n - 1));
}

TEST(Pickle, ReadsNumbersAndText) {
  const auto pickle = read_bytes_of(
      "\x80\x02(K\xC8M\x01\x02J\xFE\xFF\xFF\xFF\x8A\x02\x00\xFF\x8A\x00G\x3F\xF8\0\0\0\0\0\0"
      "\x88\x89NX\x02\0\0\0hi\x8C\x01zt.");
  ASSERT_TRUE(pickle.ok()) << pickle.status();
  const auto items = pickle->root->items();
  ASSERT_EQ(items.size(), 11);
  EXPECT_EQ(items[0]->integer(), 200);
  EXPECT_EQ(items[1]->integer(), 513);
  EXPECT_EQ(items[2]->integer(), -2);
  EXPECT_EQ(items[3]->integer(), -256);
  EXPECT_EQ(items[4]->integer(), 0);
  EXPECT_EQ(items[5]->real(), 1.5);
  EXPECT_TRUE(items[6]->boolean());
  EXPECT_FALSE(items[7]->boolean());
  EXPECT_EQ(items[8]->kind(), Kind::none);
  EXPECT_EQ(items[9]->text(), "hi");
  EXPECT_EQ(items[10]->text(), "z");
}

TEST(Pickle, ReadsContainersAndTheMemo) {
  // {1: [2, 3], 4: the same list}
  const auto pickle = read_bytes_of("\x80\x04\x95\0\0\0\0\0\0\0\0}(K\1]\x94(K\2K\3eK\4h\0u.");
  ASSERT_TRUE(pickle.ok()) << pickle.status();
  const auto items = pickle->root->items();
  EXPECT_EQ(pickle->root->kind(), Kind::dict);
  ASSERT_EQ(items.size(), 4);
  EXPECT_EQ(items[1], items[3]);
  ASSERT_EQ(items[1]->items().size(), 2);
  EXPECT_EQ(items[1]->items()[1]->integer(), 3);
}

TEST(Pickle, ACycleIsNoTrouble) {
  const auto pickle = read_bytes_of("\x80\x02]q\1h\1a.");
  ASSERT_TRUE(pickle.ok()) << pickle.status();
  EXPECT_EQ(pickle->root->items()[0], pickle->root);
}

TEST(Pickle, DeepNestingIsNoTrouble) {
  std::string text = "\x80\x02)";
  for (int i = 0; i < 1000000; ++i) text += "\x85";
  EXPECT_TRUE(read(text + ".").ok());
}

TEST(Pickle, ValuesThatTakeManyTimesTheirBytesEndInAnError) {
  for (const char* opcodes : {"]", "(", "N", "K\1", "]\x94", "]\x85", "(]l"}) {
    std::string text = "\x80\x04";
    while (text.size() < 4'000'000) text += opcodes;
    const auto pickle = read(text + ".");
    ASSERT_FALSE(pickle.ok()) << opcodes;
  }
  std::string lists = "\x80\x04(";
  while (lists.size() < 4'000'000) lists += ']';
  expect_error(read(lists), {"x.bin: byte ", "need more than", "bytes of memory"});
  expect_error(read("\x80\x02Nr\xFF\xFF\xFF\xFF."), {"no room for the slot 4294967295"});
}

TEST(Pickle, AStateDictOfManyTensorsFits) {
  std::vector<TorchTensor> tensors;
  for (int i = 0; i < 20000; ++i)
    tensors.push_back(
        {"model.layers.0.t" + std::to_string(i), "FloatStorage", "0", 4, 0, {2, 2}, {2, 1}});
  static constexpr std::string_view kAllowed[] = {
      "collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage"};
  const std::string text = pickle_state_dict(tensors);
  const auto pickle =
      read_pickle({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, "x.bin", kAllowed);
  ASSERT_TRUE(pickle.ok()) << pickle.status();
  EXPECT_EQ(pickle->root->items().size(), 40000U);
  EXPECT_EQ(pickle->root->items()[39998]->text(), "model.layers.0.t19999");
  EXPECT_LT(pickle->values.size() * sizeof(PickleValue), 4 * text.size());
}

TEST(Pickle, ValuesOfAnotherKindAreEmpty) {
  const auto pickle = read_bytes_of("\x80\x02(K\1X\1\0\0\0at.");
  ASSERT_TRUE(pickle.ok()) << pickle.status();
  const PickleValue& number = *pickle->root->items()[0];
  EXPECT_EQ(number.text(), "");
  EXPECT_TRUE(number.items().empty());
  const PickleValue& text = *pickle->root->items()[1];
  EXPECT_EQ(text.integer(), 0);
  EXPECT_TRUE(text.items().empty());
}

TEST(Pickle, CallsAreKeptAsData) {
  const auto pickle = read(
      "\x80\x02"
      "cm\nf\nK\1\x85R.");
  ASSERT_TRUE(pickle.ok()) << pickle.status();
  EXPECT_EQ(pickle->root->kind(), Kind::call);
  EXPECT_EQ(describe(*pickle->root), "a call of m f");
  EXPECT_EQ(pickle->root->items()[1]->items()[0]->integer(), 1);
}

TEST(Pickle, OtherGlobalsAreRefusedByName) {
  expect_error(read("\x80\x02"
                    "cos\nsystem\n" +
                    pickle_text("true") + "\x85R."),
               {"x.bin: byte 2 of the pickle: the global \"os.system\"", "nothing of it was run"});
  expect_error(read("\x80\x04\x8C\x08"
                    "builtins\x8C\x04"
                    "eval\x93."),
               {"\"builtins.eval\""});
  // Not by parts of a name, nor by a name with a space.
  expect_error(read("\x80\x02"
                    "cm\nf.g\n."),
               {"\"m.f.g\""});
  expect_error(read("\x80\x02"
                    "c\nm f\n."),
               {"the global \".m f\""});
}

TEST(Pickle, OtherOpcodesAreRefused) {
  for (const char opcode :
       {'i', 'o', 'P', 'I', 'F', 'L',    'S',    'V',    'p',    'g',    'd',
        'l', '2', '0', 'B', 'C', '\x81', '\x82', '\x92', '\x8B', '\x8F', '\x97'}) {
    expect_error(read(std::string("\x80\x02N") + opcode + "1\n2\n."),
                 {"byte 3 of the pickle: the opcode 0x"});
  }
  expect_error(read("\x80\x01N."), {"pickle protocol 1"});
}

TEST(Pickle, AStackThatDoesNotFitIsRefused) {
  for (const char* text :
       {"a.",   "e.", "(a.", "N(a.", "u.",    "K\1u.",   "s.",       "K\1K\2s.", "R.",  "NR.",
        "NNR.", "b.", "Nb.", "NNb.", "t.",    "\x85.",   "K\1\x86.", "Q.",       "(Q.", "q\1.",
        "h\1.", ".",  "NN.", "(N.",  "\x93.", "NN\x93.", "}(K\1u.",  ""}) {
    expect_error(read(std::string("\x80\x02") + text), {"of the pickle: "});
  }
}

TEST(Pickle, EveryCutIsRefused) {
  const std::string good = pickle_state_dict({{"a", "FloatStorage", "0", 4, 0, {2, 2}, {2, 1}}});
  static constexpr std::string_view kAllowed[] = {
      "collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage"};
  for (size_t size = 0; size < good.size(); ++size) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(good.data());
    ASSERT_FALSE(read_pickle({bytes, size}, "x.bin", kAllowed).ok()) << size;
  }
}

}  // namespace
}  // namespace sinter::frontends
