#include "frontends/rotation.h"

#include <functional>
#include <memory>

#include "tests/frontends/model_folder.h"
#include "tests/frontends/test_files.h"

namespace sinter::frontends {
namespace {

// Two widths, of which the second has other signs; one matrix and one table.
Json contract() {
  return Json::parse(R"({
    "prism.hadamard.version": 1, "prism.hadamard.block_size": 2,
    "prism.hadamard.transform": "normalized-sylvester-walsh-hadamard",
    "prism.hadamard.axis": "input-last-dimension", "prism.hadamard.sign_mode": "explicit",
    "prism.hadamard.sign_widths": [2, 4], "prism.hadamard.sign_values": [1, -1, -1, -1, 1, 1.0],
    "prism.hadamard.weight_names": ["w.weight"],
    "prism.hadamard.inverse_weight_names": ["t.weight"]})");
}

absl::StatusOr<Rotation> read(const Json& contract) {
  return read_rotation(contract, "hadamard.json", [](std::string_view tensor) {
    return tensor == "w.weight" || tensor == "t.weight" ? std::string(tensor.substr(0, 1))
                                                        : std::string();
  });
}
// The contract with one key of another value; null: without it.
absl::StatusOr<Rotation> read_with(const std::string& key, const Json& value) {
  Json changed = contract();
  if (value.is_null()) {
    changed.erase("prism.hadamard." + key);
  } else {
    changed["prism.hadamard." + key] = value;
  }
  return read(changed);
}

TEST(Rotation, SignsAreOfWidths) {
  const auto rotation = read(contract());
  ASSERT_TRUE(rotation.ok()) << rotation.status();
  EXPECT_EQ(rotation->block, 2);
  EXPECT_EQ(rotation->signs.at(2), (std::vector<float>{1, -1}));
  EXPECT_EQ(rotation->signs.at(4), (std::vector<float>{-1, -1, 1, 1}));
  EXPECT_TRUE(rotation->matrices.contains("w"));
  EXPECT_TRUE(rotation->tables.contains("t"));
  EXPECT_FALSE(rotation->tied_output);
  const auto plain = read_with("sign_mode", "identity");
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->signs.at(4), (std::vector<float>{1, 1, 1, 1}));
}

TEST(Rotation, WhatIsNotUnderstoodIsRefused) {
  expect_error(read_with("version", 3), {"hadamard.json", "version\" is 3; supported is 1 or 2"});
  expect_error(read_with("transform", "fourier"), {"transform\" is \"fourier\""});
  expect_error(read_with("axis", nullptr), {"axis\" is missing"});
  expect_error(read_with("sign_mode", 1), {"sign_mode\" is 1"});
  expect_error(read_with("tail", 1), {"\"prism.hadamard.tail\" is not known", "sign_widths"});
  expect_error(read_with("weight_names", {"w.weight", "x.weight"}),
               {"weight_names\" has \"x.weight\"", "no such tensor"});
  expect_error(read_with("inverse_weight_names", {1}), {"has 1, and there is no such tensor"});
  expect_error(read_with("gdn_v_grouped", "yes"), {"gdn_v_grouped\" is \"yes\""});
}

TEST(Rotation, WidthsAndSignsAreChecked) {
  for (const Json& block : {Json(3), Json(1), Json(-2), Json("2"), Json(1 << 20)})
    expect_error(read_with("block_size", block), {"block_size"});
  expect_error(read_with("sign_widths", {2, 3}), {"sign_widths\" has 3", "block of 2"});
  expect_error(read_with("sign_widths", {2, -4}), {"sign_widths\" has -4"});
  expect_error(read_with("sign_widths", {2, 1LL << 40}), {"sign_widths\" has 1099511627776"});
  expect_error(read_with("sign_widths", 4), {"sign_widths\" is 4, expected a list"});
  expect_error(read_with("sign_widths", {2, 2}), {"sign_widths\" has 2 twice"});
  expect_error(read_with("sign_values", nullptr), {"sign_values\" is missing"});
  expect_error(read_with("sign_values", {1, -1, 1}), {"has nothing at 3"});
  expect_error(read_with("sign_values", {1, -1, 1, 0, 1, 1}), {"has 0 at 3"});
  expect_error(read_with("sign_values", {1, -1, 1, 1, 1, 1, 1}), {"has 7 signs", "need 6"});

  // Widths without signs cost memory that no file pays for.
  Json many = contract();
  many["prism.hadamard.sign_mode"] = "identity";
  many["prism.hadamard.sign_widths"] = {1 << 23, 1 << 22, 1 << 22, 2};
  expect_error(read(many), {"sign_widths", "twice"});
  many["prism.hadamard.sign_widths"] = {1 << 23, 1 << 22, (1 << 22) - 2, 4};
  expect_error(read(many), {"sign_widths\" has 4", "16777216 at most together"});
}

// A folder with the contract, a matrix and a table with their signs, and config.json's own list.
absl::StatusOr<std::unique_ptr<Checkpoint>> open_folder(
    const std::function<void(ModelFolder&)>& change = {}) {
  ModelFolder folder;
  folder.config = Json::parse(R"({"hadamard_config": "hadamard.json", "modules": [
    {"path": "w", "block": 2, "embedding": false}, {"path": "plain", "block": 0},
    {"path": "t", "block": 2, "embedding": true}]})");
  folder.tensors = {f32_tensor("text.w.weight", {1, 2}, {1, 2}),
                    f32_tensor("text.w.signs", {2}, {1, -1}),
                    f32_tensor("text.t.weight", {1, 4}, {1, 2, 3, 4}),
                    f32_tensor("text.t.signs", {4}, {-1, -1, 1, 1})};
  Json said = contract();
  said["prism.hadamard.weight_names"] = {"text.w.weight"};
  said["prism.hadamard.inverse_weight_names"] = {"text.t.weight"};
  folder.dir.write("hadamard.json", said.dump());
  if (change) change(folder);
  return folder.open();
}

TEST(Rotation, SignsOfAFolderAreThere) {
  const auto checkpoint = open_folder();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_TRUE((*checkpoint)->rotation.rotates("text.w"));
  expect_error(open_folder([](ModelFolder& f) { f.remove("text.w.signs"); }).status(),
               {"tensor \"text.w.signs\" is missing"});
  const auto other_signs = [](ModelFolder& f) {
    f.tensor("text.w.signs") = f32_tensor("text.w.signs", {2}, {1, 1});
  };
  expect_error(open_folder(other_signs).status(), {"the signs of \"text.w\" are not those"});
  expect_error(
      open_folder([](ModelFolder& f) { f.config["hadamard_config"] = "other.json"; }).status(),
      {"other.json: no such file"});
}

TEST(Rotation, ListedModulesAreThoseOfTheContract) {
  const auto error_with = [](const char* pointer, const Json& value) {
    return open_folder([&](ModelFolder& f) { f.config[Json::json_pointer(pointer)] = value; })
        .status();
  };
  expect_error(error_with("/modules", 3), {"config.json: \"modules\" is 3, expected a list"});
  expect_error(error_with("/modules/0", "w"),
               {"config.json: \"modules.0\" is \"w\", expected an object"});
  expect_error(
      error_with("/modules/0/block", 4),
      {"\"modules.0\" has blocks of 4 columns for \"w\", but hadamard.json has blocks of 2"});
  expect_error(error_with("/modules/1/block", 2),
               {"\"modules.1\" has blocks of 2 columns for \"plain\", but hadamard.json has none"});
  expect_error(error_with("/modules/2/embedding", false),
               {"\"modules.2\" is no embedding for \"t\"", "a matrix that is looked up"});
  expect_error(error_with("/modules/2/path", "u"),
               {"\"modules.2\" has blocks of 2 columns for \"u\""});
  expect_error(open_folder([](ModelFolder& f) { f.config["modules"].erase(2); }).status(),
               {"\"modules\" does not list \"text.t\", which hadamard.json says is rotated"});
  EXPECT_TRUE(open_folder([](ModelFolder& f) { f.config.erase("modules"); }).ok());
}

}  // namespace
}  // namespace sinter::frontends
