// Architectures that a user describes: what entries do, what is refused with which words, and what
// is said of a model that nobody describes.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "frontends/open/open_checkpoint.h"
#include "ir/interpreter.h"
#include "ir/text.h"
#include "models/blocks/flags.h"
#include "models/import.h"
#include "models/likeness.h"
#include "models/registry.h"
#include "models/user/entries.h"
#include "tests/frontends/test_files.h"
#include "tests/fuzz/mutate_json.h"

namespace sinter::models {
namespace {

namespace fs = std::filesystem;
using frontends::TempDir;
using nlohmann::json;

fs::path golden_folder(const std::string& name) { return fs::path(SINTER_TEST_GOLDENS) / name; }

// A copy of a case whose configuration and names of tensors are changed.
class EditedModel {
 public:
  EditedModel(const std::string& name, const std::function<void(json&)>& edit,
              const std::vector<Rename>& tensors = {}) {
    json config = json::parse(frontends::read_bytes(golden_folder(name) / "config.json"));
    edit(config);
    folder_.write("config.json", config.dump());
    for (const auto& entry : fs::directory_iterator(golden_folder(name))) {
      const std::string weights = entry.path().filename().string();
      if (!weights.starts_with("model") || !weights.ends_with(".safetensors")) continue;
      const std::string file = frontends::read_bytes(entry.path());
      size_t size = 0;
      std::memcpy(&size, file.data(), 8);
      json header;
      const json stored = json::parse(file.substr(8, size));
      for (const auto& [tensor, where] : stored.items()) header[rename(tensor, tensors)] = where;
      folder_.write(weights, frontends::safetensors_bytes(header.dump(), file.substr(8 + size)));
    }
  }
  const fs::path& path() const { return folder_.path(); }

 private:
  TempDir folder_;
};

EditedModel called(const std::string& golden, const std::string& model_type) {
  return {golden, [&](json& config) { config["model_type"] = model_type; }};
}

std::vector<Family> entries(const json& entry) {
  auto read = parse_entries(entry.dump(), "mine.json");
  EXPECT_TRUE(read.ok()) << read.status();
  return read.ok() ? *std::move(read) : std::vector<Family>();
}

// Bits of the logits of three tokens; the error's text where there are none.
std::pair<std::vector<float>, std::string> logits_of(const fs::path& path,
                                                     std::span<const Family> own = {}) {
  const auto checkpoint = frontends::open_checkpoint(path);
  if (!checkpoint.ok()) return {{}, std::string(checkpoint.status().message())};
  const auto model = import_checkpoint(**checkpoint, own);
  if (!model.ok()) return {{}, std::string(model.status().message())};
  ir::InterpreterState state;
  const auto logits = ir::interpret(model->module, **checkpoint, {{5, 3, 7}, 3}, state);
  if (!logits.ok()) return {{}, std::string(logits.status().message())};
  return {logits->data, ""};
}

void expect_same_logits(const std::string& golden, const fs::path& path, const json& entry) {
  const auto own = entries(entry);
  const auto want = logits_of(golden_folder(golden));
  const auto got = logits_of(path, own);
  EXPECT_EQ(want.second, "");
  EXPECT_EQ(got.second, "");
  EXPECT_EQ(want.first, got.first);
}

TEST(OwnArchitectures, AnotherNameForTheSameModel) {
  for (const auto& [golden, base] :
       {std::pair("hf_qwen3", "qwen3"), std::pair("hf_gemma", "gemma"),
        std::pair("hf_gpt_oss", "gpt_oss"), std::pair("mlx_qwen3_5_b1", "qwen3_5_text")}) {
    SCOPED_TRACE(golden);
    const EditedModel model = called(golden, "mine-7");
    EXPECT_NE(logits_of(model.path()).second.find("\"mine-7\", which is not supported"),
              std::string::npos);
    expect_same_logits(golden, model.path(), {{"model_type", "mine-7"}, {"base", base}});
  }
}

TEST(OwnArchitectures, FlagsMakeOneFamilyOfAnother) {
  expect_same_logits(
      "hf_qwen3", called("hf_qwen3", "mine").path(),
      {{"model_type", "mine"}, {"base", "llama"}, {"blocks", {{"qk_norm", "head"}}}});
  expect_same_logits("hf_llama_bias", called("hf_llama_bias", "mine").path(),
                     {{"model_type", "mine"}, {"base", "llama"}});
  // Flags are stronger than what the base makes of the configuration.
  const EditedModel no_bias("hf_llama_bias", [](json& config) {
    config["model_type"] = "mine";
    config["attention_bias"] = config["mlp_bias"] = false;
  });
  expect_same_logits("hf_llama_bias", no_bias.path(),
                     {{"model_type", "mine"},
                      {"base", "llama"},
                      {"blocks", {{"qkv_bias", true}, {"output_bias", true}, {"mlp_bias", true}}}});
  expect_same_logits("hf_bitnet_dense", called("hf_bitnet_dense", "mine").path(),
                     {{"model_type", "mine"},
                      {"base", "llama"},
                      {"defaults", {{"rms_norm_eps", 1e-5}}},
                      {"blocks", {{"sub_norms", true}}}});
  const EditedModel plain_gemma("hf_gemma", [](json& config) {
    config["model_type"] = "mine";
    config["hidden_act"] = "gelu_pytorch_tanh";
    config.erase("hidden_activation");
  });
  const json config = json::parse(frontends::read_bytes(golden_folder("hf_gemma") / "config.json"));
  expect_same_logits("hf_gemma", plain_gemma.path(),
                     {{"model_type", "mine"},
                      {"base", "llama"},
                      {"defaults", {{"tie_word_embeddings", true}}},
                      {"blocks",
                       {{"norms_less_one", true},
                        {"embedding_scale", std::sqrt(config["hidden_size"].get<double>())}}}});
}

// Nothing a flag says is dropped: each changes the graph of some base, or is refused.
TEST(OwnArchitectures, EveryFlagChangesTheGraph) {
  const json config = {{"model_type", "mine"},        {"vocab_size", 96},
                       {"hidden_size", 64},           {"intermediate_size", 128},
                       {"num_hidden_layers", 2},      {"num_attention_heads", 4},
                       {"num_key_value_heads", 2},    {"head_dim", 16},
                       {"tie_word_embeddings", true}, {"sliding_window", 8}};
  const auto graph = [&](const std::string& base, const json& blocks) {
    const auto model = import_synthetic(
        config, entries({{"model_type", "mine"}, {"base", base}, {"blocks", blocks}}));
    return model.ok() ? ir::print(model->module) : std::string(model.status().message());
  };
  const json context = {{"norm_bias", {{"norm", "layer"}}},
                        {"qk_norm_after_rope", {{"qk_norm", "head"}}},
                        {"norms_less_one", json::object()}};
  for (const FlagText& flag : flag_texts()) {
    json with = context.value(std::string(flag.name), json::object());
    const std::string before = graph("llama", with);
    std::vector<json> values = {true, 0.5};
    for (size_t at = 0; at < flag.values.size();) {
      if (flag.values[at] != '"') {
        ++at;
        continue;
      }
      const size_t end = flag.values.find('"', at + 1);
      values.emplace_back(flag.values.substr(at + 1, end - at - 1));
      at = end + 1;
    }
    bool changed = false;
    for (const json& value : values) {
      json blocks = with;
      blocks[std::string(flag.name)] = value;
      if (!check_flags(blocks, "mine.json").ok()) continue;
      const std::string after = graph("llama", blocks);
      EXPECT_EQ(after.find('\n') == std::string::npos, after.find("mine.json") == 0) << after;
      changed = changed || after != before;
    }
    // Llama has these as they are: false is the change.
    for (const char* on : {"norm_weight", "mlp_gated"})
      if (flag.name == on) changed = graph("llama", {{on, false}}) != before;
    EXPECT_TRUE(changed) << flag.name;
  }
}

TEST(OwnArchitectures, TensorsAndFieldsMayHaveOtherNames) {
  const std::vector<Rename> tensors = {{"^model.layers.*.self_attn.q_proj", "net.h.*.attn.wq"},
                                       {"^model.layers.*.self_attn", "net.h.*.attn"},
                                       {"^model.layers", "net.h"},
                                       {"^model.embed_tokens", "net.wte"},
                                       {"^model.norm", "net.final"},
                                       {"mlp.down_proj", "mlp.out"}};
  const EditedModel model(
      "hf_qwen3",
      [](json& config) {
        config["model_type"] = "mine";
        config["d_model"] = config["hidden_size"];
        config["depth"] = config["num_hidden_layers"];
        config.erase("hidden_size");
        config.erase("num_hidden_layers");
        config.erase("rope_theta");  // an entry's default
      },
      tensors);
  const json entry = {{"model_type", "mine"},
                      {"base", "qwen3"},
                      {"fields", {{"d_model", "hidden_size"}, {"depth", "num_hidden_layers"}}},
                      {"defaults", {{"rope_theta", 1e6}}},
                      {"tensors", json::parse(R"([
                           ["^net.h.*.attn.wq", "model.layers.*.self_attn.q_proj"],
                           ["^net.h.*.attn", "model.layers.*.self_attn"],
                           ["^net.h", "model.layers"],
                           ["^net.wte", "model.embed_tokens"],
                           ["^net.final", "model.norm"],
                           ["mlp.out", "mlp.down_proj"]])")}};
  expect_same_logits("hf_qwen3", model.path(), entry);
  // Messages speak of names in the file.
  json wrong = entry;
  wrong["tensors"].erase(5);
  EXPECT_NE(logits_of(model.path(), entries(wrong)).second.find("mlp.down_proj"),
            std::string::npos);
  wrong = entry;
  wrong["defaults"]["depth"] = 1;
  expect_same_logits("hf_qwen3", model.path(), wrong);  // the file says another
}

// An entry's rules come before those of its base, whose files' names it may have too.
TEST(OwnArchitectures, BasesWithNamesOfTheirOwn) {
  const EditedModel model("hf_nemotron", [](json& config) { config["model_type"] = "mine"; },
                          {{"^model.layers", "stack"}});
  expect_same_logits("hf_nemotron", model.path(),
                     {{"model_type", "mine"},
                      {"base", "nemotron"},
                      {"tensors", json::parse(R"([["^stack", "model.layers"]])")}});
}

TEST(OwnArchitectures, WhatIsBuiltInIsReplacedByName) {
  const json entry = {{"model_type", "llama"},
                      {"base", "llama"},
                      {"override", true},
                      {"blocks", {{"qk_norm", "head"}}}};
  expect_same_logits("hf_qwen3", called("hf_qwen3", "llama").path(), entry);
  const auto checkpoint = frontends::open_checkpoint(golden_folder("hf_llama_bias"));
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_FALSE(import_checkpoint(**checkpoint, entries(entry)).ok());
}

TEST(OwnArchitectures, ModelsSayWhatDescribesThem) {
  const TempDir folder;
  const std::string file =
      folder.write("mine.json", R"({"model_type": "mine", "base": "qwen3"})").string();
  const auto own = read_entries(file);
  ASSERT_TRUE(own.ok()) << own.status();
  const EditedModel model = called("hf_qwen3", "mine");
  const auto checkpoint = frontends::open_checkpoint(model.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto imported = import_checkpoint(**checkpoint, *own);
  ASSERT_TRUE(imported.ok()) << imported.status();
  EXPECT_EQ(imported->architecture, "mine");
  EXPECT_EQ(imported->module.name, "mine");
  const std::string note =
      fmt::format("{}: entry \"mine\": describes the model, on the base of qwen3", file);
  EXPECT_NE(std::ranges::find(imported->notes, note), imported->notes.end());
  // A plan is of the entry's file, too.
  EXPECT_NE(std::ranges::find(imported->sources, file, &runtime::SourceFile::path),
            imported->sources.end());
  EXPECT_EQ(read_entries(file + "x").status().message(), file + "x: is not there");
}

TEST(OwnArchitectures, BadEntriesAreRefusedInOneLine) {
  struct Bad {
    const char* text;
    const char* message;  // behind "mine.json: "
  };
  const std::vector<Bad> table = {
      {"3", "is 3, expected an entry (an object) or a list of them"},
      {"[]", "is an array of 0, expected an entry (an object) or a list of them"},
      {"[7]", "entry 1: is 7, expected an object"},
      {R"({})", "entry 1: \"model_type\" is missing, expected a string"},
      {R"({"model_type": 3})", "entry 1: \"model_type\" is 3, expected a string"},
      {R"({"model_type": "a b"})",
       "entry 1: \"model_type\" is \"a b\", expected a name without white space"},
      {R"({"model_type": ""})",
       "entry 1: \"model_type\" is \"\", expected a name without white space"},
      {R"({"model_type": "a"})", "entry \"a\": \"base\" is missing, expected a string"},
      {R"({"model_type": "a", "base": "qwen33"})",
       "entry \"a\": \"base\" is \"qwen33\", which is not built in; did you mean \"qwen3\", "
       "\"qwen2\", "
       "\"qwen3_5\"; `sinter arch` lists what is"},
      {R"({"model_type": "a", "base": "llama", "tensor": []})",
       "entry \"a\": \"tensor\" is no field of an entry; did you mean \"tensors\"; it has "
       "model_type, "
       "base, override, fields, defaults, tensors, skipped, blocks"},
      {R"({"model_type": "llama", "base": "llama"})",
       "entry \"llama\": \"model_type\" is built in; \"override\": true replaces what is known of "
       "it"},
      {R"({"model_type": "a", "base": "llama", "override": true})",
       "entry \"a\": \"override\" is true, but no model_type that is built in is replaced"},
      {R"({"model_type": "a", "base": "llama", "override": 1})",
       "entry \"a\": \"override\" is 1, expected true or false"},
      {R"([{"model_type": "a", "base": "llama"}, {"model_type": "a", "base": "llama"}])",
       "entry 2: \"model_type\" is \"a\", which an entry before describes"},
      {R"({"model_type": "a", "base": "llama", "fields": []})",
       "entry \"a\": \"fields\" is an array of 0, expected an object"},
      {R"({"model_type": "a", "base": "llama", "fields": {"n": 3}})",
       "entry \"a\": \"fields.n\" is 3, expected the name that \"base\" has for the field"},
      {R"({"model_type": "a", "base": "llama", "fields": {"": "n"}})",
       "entry \"a\": \"fields\" has \"\", expected the name of a field"},
      {R"({"model_type": "a", "base": "llama", "fields": {"n": "model_type"}})",
       "entry \"a\": \"fields\" renames \"model_type\", which every configuration calls so"},
      {R"({"model_type": "a", "base": "llama", "defaults": 1})",
       "entry \"a\": \"defaults\" is 1, expected an object"},
      {R"({"model_type": "a", "base": "llama", "defaults": {"hidden_size": null}})",
       "entry \"a\": \"defaults.hidden_size\" is null, expected a value for a field of the model"},
      {R"({"model_type": "a", "base": "llama", "defaults": {"model_type": "b"}})",
       "entry \"a\": \"defaults.model_type\" is \"b\", expected a value for a field of the model"},
      {R"({"model_type": "a", "base": "llama", "tensors": {"x": "y"}})",
       "entry \"a\": \"tensors\" is an object, expected an array"},
      {R"({"model_type": "a", "base": "llama", "tensors": ["x"]})",
       "entry \"a\": \"tensors.0\" is \"x\", expected a list of two texts, the run of a name and "
       "what "
       "stands for it"},
      {R"({"model_type": "a", "base": "llama", "tensors": [["x", "y", "z"]]})",
       "entry \"a\": \"tensors.0\" is an array of 3, expected a list of two texts, the run of a "
       "name "
       "and what stands for it"},
      {R"({"model_type": "a", "base": "llama", "tensors": [["x", "y"], ["", "z"]]})",
       "entry \"a\": \"tensors.1.0\" is \"\", expected components of a name between dots"},
      {R"({"model_type": "a", "base": "llama", "tensors": [["x..y", "z"]]})",
       "entry \"a\": \"tensors.0.0\" is \"x..y\", expected components of a name between dots"},
      {R"({"model_type": "a", "base": "llama", "tensors": [["x", "y."]]})",
       "entry \"a\": \"tensors.0.1\" is \"y.\", expected components of a name between dots, or "
       "none"},
      {R"({"model_type": "a", "base": "llama", "tensors": [["x.*", "*.y.*"]]})",
       "entry \"a\": \"tensors.0.1\" is \"*.y.*\", expected no more * than there are on the left "
       "side"},
      {R"({"model_type": "a", "base": "llama", "skipped": "x"})",
       "entry \"a\": \"skipped\" is \"x\", expected an array"},
      {R"({"model_type": "a", "base": "llama", "skipped": ["x", "y y"]})",
       "entry \"a\": \"skipped.1\" is \"y y\", expected components of a name between dots"},
      {R"({"model_type": "a", "base": "llama", "blocks": true})",
       "entry \"a\": \"blocks\" is true, expected an object"},
      {R"({"model_type": "a", "base": "llama", "blocks": {"qk_norms": "head"}})",
       "entry \"a\": \"blocks\" has \"qk_norms\", which is no flag; did you mean \"qk_norm\", "
       "\"sub_norms\"; "
       "`sinter arch --flags` lists the 33 that are"},
      {R"({"model_type": "a", "base": "llama", "blocks": {"qk_norm": true}})",
       "entry \"a\": \"blocks.qk_norm\" is true, expected \"none\", \"head\", \"each_head\", "
       "\"row\""},
      {R"({"model_type": "a", "base": "llama", "blocks": {"qk_norm": "heads"}})",
       "entry \"a\": \"blocks.qk_norm\" is \"heads\", expected \"none\", \"head\", \"each_head\", "
       "\"row\""},
      {R"({"model_type": "a", "base": "llama", "blocks": {"mlp_bias": "yes"}})",
       "entry \"a\": \"blocks.mlp_bias\" is \"yes\", expected true or false"},
      {R"({"model_type": "a", "base": "llama", "blocks": {"logit_scale": 0}})",
       "entry \"a\": \"blocks.logit_scale\" is 0, expected a number from 1e-09 to 1e+09"},
  };
  for (const Bad& bad : table) {
    const auto read = parse_entries(bad.text, "mine.json");
    EXPECT_FALSE(read.ok()) << bad.text;
    EXPECT_EQ(std::string(read.status().message()), std::string("mine.json: ") + bad.message);
  }
  const auto broken = parse_entries("{\"model_type\": ", "mine.json");
  EXPECT_EQ(broken.status().message().find("mine.json:1:"), 0U) << broken.status();
  EXPECT_FALSE(
      parse_entries(R"({"model_type": "a", "model_type": "b", "base": "llama"})", "mine.json")
          .ok());
}

// What an entry says must have had an effect once the model is there.
TEST(OwnArchitectures, WhatChangesNothingIsRefused) {
  const auto error_of = [](const std::string& golden, const json& entry) {
    return logits_of(called(golden, "mine").path(), entries(entry)).second;
  };
  EXPECT_EQ(
      error_of("hf_qwen3",
               {{"model_type", "mine"}, {"base", "qwen3"}, {"defaults", {{"hiden_size", 64}}}}),
      "mine.json: entry \"mine\": \"defaults.hiden_size\" is no field that qwen3 reads");
  EXPECT_EQ(
      error_of("hf_gpt_oss",
               {{"model_type", "mine"}, {"base", "gpt_oss"}, {"blocks", {{"mlp_bias", true}}}}),
      "mine.json: entry \"mine\": \"blocks.mlp_bias\" is of MLPs, but every layer has another "
      "block in its place");
  EXPECT_EQ(
      error_of("hf_qwen3",
               {{"model_type", "mine"}, {"base", "qwen3"}, {"blocks", {{"norm_bias", true}}}}),
      "mine.json: entry \"mine\": \"blocks.norm_bias\" is true, but RMS norms have no biases; "
      "see \"norm\"");
}

// The right family is proposed, never taken; the printed entry is one that works.
TEST(UnknownArchitectures, SayWhatTheyLookLike) {
  for (const auto& [golden, base] :
       {std::pair("hf_qwen3", "qwen3"), std::pair("hf_llama_bias", "llama"),
        std::pair("hf_gpt_oss", "gpt_oss"), std::pair("hf_bitnet_dense", "bitnet"),
        std::pair("mlx_qwen3_moe_b3", "qwen3_moe"), std::pair("hf_internlm2", "internlm2"),
        std::pair("hf_apertus", "apertus")}) {
    SCOPED_TRACE(golden);
    const EditedModel model = called(golden, "another_model");
    const auto checkpoint = frontends::open_checkpoint(model.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const auto refused = import_checkpoint(**checkpoint);
    EXPECT_EQ(
        std::string(refused.status().message()),
        fmt::format(
            "config.json: \"model_type\" is \"another_model\", which is not supported; its fields "
            "and tensors look like \"{}\": `sinter arch MODEL` prints an entry to start "
            "from, which --arch-from takes; `sinter arch` lists the {} that are",
            base, families().size()));
    const auto entry = entry_for("another_model", most_like(**checkpoint));
    EXPECT_EQ(entry["tensors"].size(), 0U);
    expect_same_logits(golden, model.path(), json::parse(entry.dump()));
  }
}

TEST(UnknownArchitectures, TheirOwnNamesAreInTheEntry) {
  const EditedModel model("hf_qwen3",
                          [](json& config) {
                            config["model_type"] = "another_model";
                            config["qk_scale_up"] = 2;
                          },
                          {{"mlp.down_proj", "mlp.out"}});
  const auto checkpoint = frontends::open_checkpoint(model.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(import_checkpoint(**checkpoint).status().message().find("look like"),
            std::string_view::npos);
  const Likeness like = most_like(**checkpoint);
  EXPECT_EQ(like.family->model_type, "qwen3");
  EXPECT_EQ(like.missing, std::vector<std::string>{"model.layers.*.mlp.down_proj"});
  EXPECT_EQ(like.unused, std::vector<std::string>{"model.layers.*.mlp.out"});
  auto entry = entry_for("another_model", like);
  EXPECT_EQ(entry["fields"]["qk_scale_up"], "qk_scale_up");
  EXPECT_EQ(entry["tensors"].dump(), R"([["^model.layers.*.mlp.out","model.layers.*.mlp.out"]])");
  // It is read as it is, and works once its right side is what the base asks for.
  entries(json::parse(entry.dump()));
  entry["tensors"][0][1] = "model.layers.*.mlp.down_proj";
  expect_same_logits("hf_qwen3", model.path(), json::parse(entry.dump()));
}

// Changed entries are read or refused in one line, and so are models by them.
TEST(OwnArchitectures, MutantsAreReadOrRefused) {
  const std::string good =
      json({{{"model_type", "mine"},
             {"base", "llama"},
             {"fields", {{"d_model", "hidden_size"}, {"depth", "num_hidden_layers"}}},
             {"defaults", {{"rope_theta", 1e6}, {"sliding_window", 8}}},
             {"tensors",
              json::parse(R"([["^net.h.*", "model.layers.*"], ["mlp.out", "mlp.down_proj"]])")},
             {"skipped", {"rotary"}},
             {"blocks",
              {{"qk_norm", "head"},
               {"post_norms", "also"},
               {"norm", "layer"},
               {"windows", true},
               {"logit_cap", 30.0},
               {"parallel", "none"},
               {"rope_style", "interleaved"},
               {"mlp_gated", false}}}},
            {{"model_type", "gpt2"}, {"base", "gpt2"}, {"override", true}}})
          .dump();
  const json config = {
      {"model_type", "mine"}, {"vocab_size", 32},         {"d_model", 32},
      {"depth", 2},           {"num_attention_heads", 2}, {"intermediate_size", 32}};
  ASSERT_TRUE(import_synthetic(config, entries(json::parse(good))).ok());
  uint64_t state = 7;
  int read = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string text = fuzz::mutate_json(good, state);
    const auto own = parse_entries(text, "mine.json");
    absl::Status status = own.status();
    if (own.ok()) {
      ++read;
      status = import_synthetic(config, *own).status();
    }
    const std::string message(status.message());
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), 600U) << message;
    if (!own.ok()) EXPECT_TRUE(message.starts_with("mine.json: ")) << message;
  }
  EXPECT_GT(read, 100);
}

}  // namespace
}  // namespace sinter::models
