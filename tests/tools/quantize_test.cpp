// --quantize and convert, as a user runs them.
#include <algorithm>
#include <set>

#include "command_line.h"

namespace sinter::tools {
namespace {

fs::path dense_model() { return fs::path(SINTER_GOLDENS) / "hf_qwen3"; }

// A copy of the dense model to be spoilt.
fs::path copy_of_dense_model(const std::string& name) {
  const fs::path folder = work_folder() / name;
  fs::remove_all(folder);
  fs::create_directories(folder);
  for (const char* file : {"config.json", "generation_config.json", "model.safetensors"})
    write(folder / file, read(dense_model() / file));
  return folder;
}

fs::path fresh(const std::string& name) {
  const fs::path path = work_folder() / name;
  fs::remove_all(path);
  return path;
}

// One target says enough.
Outcome compile(const fs::path& model, const fs::path& plan, const std::string& options = "") {
  return sinter(fmt::format("compile '{}' -o '{}' --target x86-64-v3 {}", model.string(),
                            plan.string(), options));
}

Outcome convert(const fs::path& model, const fs::path& out, const std::string& options = "") {
  return sinter(fmt::format("convert '{}' -o '{}' {}", model.string(), out.string(), options));
}

void expect_no_temporary_files() {
  for (const auto& entry : fs::directory_iterator(work_folder()))
    EXPECT_EQ(entry.path().string().find("-tmp-"), std::string::npos) << entry.path();
}

const char* const kRules =
    "--quantize affine:4:64 --quantize '*.o_proj=affine:8:32' --quantize '*.down_proj=ternary' "
    "--quantize '*.up_proj=affine:3:128' --quantize '*.v_proj=affine:1:32' --quantize "
    "'*.k_proj=affine:5:64' --quantize '*.q_proj=affine:6:128' --quantize '*.gate_proj=keep'";

TEST(Convert, WritesWhatCompilingTheSourceGives) {
  // Plans hold the model's name, which is its folder's.
  const fs::path out = fresh("converted") / "hf_qwen3";
  fs::create_directories(out.parent_path());
  const Outcome converted = convert(dense_model(), out, kRules);
  ASSERT_EQ(converted.code, 0) << converted.err;
  for (const char* words : {"embed_tokens", "affine b4 g64 bf16", "affine b8 g32 bf16",
                            "affine b2 g32 bf16", "relative error"})
    EXPECT_NE(converted.out.find(words), std::string::npos) << words << " in\n" << converted.out;
  EXPECT_EQ(std::count(converted.err.begin(), converted.err.end(), '\n'), 1) << converted.err;
  EXPECT_EQ(read(out / "generation_config.json"), read(dense_model() / "generation_config.json"));

  const Json config = Json::parse(read(out / "config.json"));
  EXPECT_EQ(config["quantization"], config["quantization_config"]);
  const Json& quantization = config["quantization"];
  const auto format_of = [&](const std::string& module) {
    return quantization.contains(module) ? quantization[module] : quantization;
  };
  EXPECT_EQ(format_of("model.layers.1.self_attn.o_proj")["bits"], 8);
  EXPECT_EQ(format_of("model.layers.1.self_attn.o_proj")["group_size"], 32);
  EXPECT_EQ(format_of("model.embed_tokens")["bits"], 4);
  EXPECT_EQ(config["hidden_size"], Json::parse(read(dense_model() / "config.json"))["hidden_size"]);

  const fs::path direct = work_folder() / "direct.plan", again = work_folder() / "again.plan";
  const Outcome compiled = compile(dense_model(), direct, kRules);
  ASSERT_EQ(compiled.code, 0) << compiled.err;
  EXPECT_EQ(compiled.out.rfind(converted.out, 0), 0U) << "the table is not that of convert";
  ASSERT_EQ(compile(out, again).code, 0);
  EXPECT_TRUE(read(direct) == read(again)) << "the plans differ";
}

TEST(Convert, EveryFormatLoadsAgainToTheSameBytes) {
  for (const std::string rules :
       {"--quantize mxfp4 --quantize '*.down_proj=affine:1:32'", "--quantize ternary"}) {
    const fs::path out = fresh("converted") / "hf_qwen3";
    fs::create_directories(out.parent_path());
    ASSERT_EQ(convert(dense_model(), out, rules).code, 0) << rules;
    const fs::path direct = work_folder() / "direct.plan", again = work_folder() / "again.plan";
    ASSERT_EQ(compile(dense_model(), direct, rules).code, 0) << rules;
    ASSERT_EQ(compile(out, again).code, 0) << rules;
    EXPECT_TRUE(read(direct) == read(again)) << "the plans differ: " << rules;
  }
}

TEST(Convert, KeepsQuantizedMatricesToTheByte) {
  const fs::path once = fresh("once"), twice = fresh("twice");
  ASSERT_EQ(convert(dense_model(), once, kRules).code, 0);
  const Outcome again = convert(once, twice);
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(again.out, "");
  EXPECT_TRUE(read(once / "model.safetensors") == read(twice / "model.safetensors"));
  EXPECT_EQ(read(once / "config.json"), read(twice / "config.json"));
}

TEST(Convert, CopiesTheTokenizerAndLoadsIntoAnEmptyFolder) {
  const fs::path out = fresh("bonsai");
  fs::create_directories(out);
  ASSERT_EQ(convert(tiny_model(), out).code, 0);
  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"})
    EXPECT_TRUE(read(out / file) == read(tiny_model() / file)) << file;
  EXPECT_EQ(sinter(fmt::format("run '{}' -p ROMEO: -n 3 --greedy", out.string())).out,
            sinter(fmt::format("run '{}' -p ROMEO: -n 3 --greedy", tiny_plan())).out);
}

TEST(Convert, SplitsWeightsThatAreTooLargeForOneFile) {
  const fs::path whole = fresh("whole"), split = fresh("split");
  ASSERT_EQ(convert(dense_model(), whole, "--quantize affine:4:32").code, 0);
  ASSERT_EQ(convert(dense_model(), split, "--quantize affine:4:32 --max-file-size 40k").code, 0);
  EXPECT_FALSE(fs::exists(split / "model.safetensors"));
  const Json index = Json::parse(read(split / "model.safetensors.index.json"));
  std::set<std::string> files;
  for (const auto& entry : index["weight_map"].items()) files.insert(entry.value());
  EXPECT_GE(files.size(), 3U);
  EXPECT_TRUE(fs::exists(split / fmt::format("model-00001-of-{:05}.safetensors", files.size())));
  const fs::path joined = fresh("joined");
  ASSERT_EQ(convert(split, joined).code, 0);
  EXPECT_TRUE(read(joined / "model.safetensors") == read(whole / "model.safetensors"));
}

TEST(Convert, GivesBlockFormatsTheirMlxForm) {
  const fs::path source = fs::path(SINTER_GOLDENS) / "gguf_llama_q4_0", out = fresh("from_gguf");
  ASSERT_EQ(convert(source, out).code, 0);
  const Json config = Json::parse(read(out / "config.json"));
  EXPECT_EQ(config["quantization"]["bits"], 4);
  EXPECT_EQ(config["quantization"]["group_size"], 32);
  write(work_folder() / "ids", "1 2 3 4");
  const auto logits = [&](const fs::path& model) {
    const fs::path npy = work_folder() / "out.npy";
    const Outcome outcome =
        sinter(fmt::format("logits '{}' --device reference --ids '{}' --out '{}'", model.string(),
                           (work_folder() / "ids").string(), npy.string()));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return read(npy);
  };
  EXPECT_TRUE(logits(source) == logits(out));
}

TEST(Convert, RefusesAFolderThatIsNotEmpty) {
  const fs::path out = fresh("taken");
  fs::create_directories(out);
  write(out / "notes.txt", "mine");
  expect_refusal(convert(dense_model(), out, "--quantize ternary"), {"taken", "not empty"});
  EXPECT_EQ(read(out / "notes.txt"), "mine");
  EXPECT_EQ(std::distance(fs::directory_iterator(out), {}), 1);
  expect_refusal(convert(dense_model(), out / "notes.txt"), {"notes.txt", "not a folder"});
  expect_refusal(convert(dense_model(), dense_model()), {"hf_qwen3", "is the model's folder"});
  expect_refusal(convert(dense_model(), "/nowhere/out"), {"/nowhere/out", "No such file"});
  expect_refusal(convert(dense_model(), ""), {"names no folder"});
  expect_refusal(convert(dense_model(), fresh("x"), "--max-file-size 0"), {"--max-file-size"});
  expect_no_temporary_files();
}

TEST(Convert, RefusesTheFolderOfTheModelButNotAFolderInIt) {
  const fs::path model = copy_of_dense_model("own"), link = fresh("link_to_own");
  fs::create_directory_symlink(model, link);
  for (const fs::path& source : {model, model / "model.safetensors", link}) {
    expect_refusal(convert(source, link), {"is the model's folder"});
    expect_refusal(convert(source, model / "."), {"is the model's folder"});
  }
  EXPECT_EQ(convert(model, link / "out").code, 0);
  EXPECT_TRUE(fs::exists(model / "out" / "config.json"));
  fs::remove(link);
}

TEST(Convert, LeavesNothingWhenTheDiskIsFull) {
  const fs::path out = fresh("full");
  expect_refusal(shell(fmt::format("ulimit -f 100; '{}' convert '{}' -o '{}'", SINTER_PROGRAM,
                                   dense_model().string(), out.string())),
                 {"full/model.safetensors", "File too large"});
  EXPECT_FALSE(fs::exists(out));
  expect_no_temporary_files();
}

TEST(Convert, RefusesNumbersThatAreNotFinite) {
  const fs::path model = copy_of_dense_model("nan"), out = fresh("from_nan");
  edit_weights(model, [](Json& header, std::string& data) {
    const size_t begin = header["model.layers.1.mlp.up_proj.weight"]["data_offsets"][0];
    data.replace(begin + 6, 2, "\xc0\x7f");  // NaN as bf16
  });
  expect_refusal(convert(model, out, "--quantize affine:4:64"),
                 {"model.layers.1.mlp.up_proj", "nan", "row 0, column 3"});
  EXPECT_FALSE(fs::exists(out));
  expect_no_temporary_files();
  const fs::path plan = work_folder() / "kept.plan";
  write(plan, "what was there before");
  expect_refusal(compile(model, plan, "--quantize ternary"), {"model.layers.1.mlp.up_proj", "nan"});
  EXPECT_EQ(read(plan), "what was there before");
}

TEST(Quantize, RefusesBadRulesInEveryCommand) {
  const std::string model = dense_model().string();
  write(work_folder() / "ids", "1 2 3");
  const std::string ids = (work_folder() / "ids").string();
  for (const std::string& command :
       {fmt::format("compile '{}' -o /nowhere/x.plan", model),
        fmt::format("convert '{}' -o /nowhere/x", model), fmt::format("run '{}' -p x", model),
        fmt::format("logits '{}' --ids '{}' --out /nowhere/x.npy", model, ids),
        fmt::format("eval '{}' --text '{}'", model, ids), fmt::format("verify '{}'", model),
        fmt::format("dump '{}' --stage import", model), fmt::format("explain '{}'", model)}) {
    expect_refusal(sinter(command + " --quantize affine:7:64"), {"affine:7:64", "formats are"});
    expect_refusal(sinter(command + " --quantize 'lm_heat=affine:4:64'"),
                   {"lm_heat=affine:4:64", "matches no matrix"});
  }
}

TEST(Quantize, IsForModelsAlone) {
  for (const std::string& command :
       {fmt::format("run '{}' -p x", tiny_plan()), fmt::format("verify '{}'", tiny_plan()),
        fmt::format("dump '{}' --stage final", tiny_plan())})
    expect_refusal(sinter(command + " --quantize ternary"), {"tiny.plan", "--quantize is for"});
  expect_refusal(sinter("compile --synthetic config.json -o /nowhere/x.plan --quantize ternary"),
                 {"--quantize is for a MODEL"});
  EXPECT_EQ(sinter_run(fmt::format("run '{}' -p x --quantize ternary", tiny_plan())).code, 2);
}

TEST(Quantize, LeavesQuantizedMatricesUnlessAPatternNamesThem) {
  const std::string model = tiny_model().string();
  expect_refusal(sinter(fmt::format("dump '{}' --stage import --quantize affine:4:64", model)),
                 {"nothing is left to quantize", "quantized already", "*=affine:4:64"});
  const Outcome again =
      sinter(fmt::format("dump '{}' --stage import --quantize '*=affine:4:64'", model));
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.out.find("affine b4 g64 f16"), std::string::npos);
  EXPECT_EQ(again.out.find("affine b1"), std::string::npos);
}

TEST(Quantize, TernaryIsProvenToBeSo) {
  const Outcome outcome = sinter(fmt::format(
      "dump '{}' --stage prove_weight_structure --quantize ternary", dense_model().string()));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("ternary b2 g128 bf16"), std::string::npos) << outcome.out;
  EXPECT_EQ(outcome.out.find("affine"), std::string::npos);
}

TEST(Quantize, AgreesWithTheReferenceOfTheSameRules) {
  const Outcome outcome = sinter(fmt::format(
      "verify '{}' --quantize affine:8:64 --quantize '*.down_proj=affine:6:32' --activations a16",
      dense_model().string()));
  EXPECT_EQ(outcome.code, 0) << outcome.out << outcome.err;
  EXPECT_NE(outcome.out.find("against the reference"), std::string::npos);
  EXPECT_NE(outcome.err.find("affine b6 g32 bf16"), std::string::npos) << outcome.err;
}

TEST(Quantize, IsPartOfTheCacheKey) {
  const fs::path cache = work_folder() / "cache" / "sinter";
  const auto run = [&](const std::string& rule) {
    const Outcome outcome = sinter(fmt::format("run '{}' -p ROMEO: -n 8 --greedy --quantize '{}'",
                                               tiny_model().string(), rule));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome;
  };
  const auto plans = [&] { return std::distance(fs::directory_iterator(cache), {}); };
  const Outcome first = run("*=affine:8:64");
  EXPECT_NE(first.err.find("relative error"), std::string::npos) << first.err;
  const auto before = plans();
  const Outcome second = run("*=affine:8:64");
  EXPECT_EQ(plans(), before);
  EXPECT_EQ(second.out, first.out);
  run("*=affine:8:32");
  EXPECT_EQ(plans(), before + 1);
}

}  // namespace
}  // namespace sinter::tools
