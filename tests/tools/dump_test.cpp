// Every stage prints, reads back and verifies.
#include "command_line.h"

namespace sinter::tools {
namespace {

Outcome dump(const std::string& model, const std::string& stage, const std::string& options = "") {
  return sinter(fmt::format("dump '{}' --stage {} {}", model, stage, options));
}

TEST(Dump, EveryStageOfAModelChecks) {
  for (const char* stage :
       {"import", "prove_weight_structure", "fuse_projections", "fold_dequantize", "fuse_routers",
        "fuse_experts", "fuse_epilogues", "join_products", "fuse_recurrences", "fuse_prologues",
        "fuse_attention", "form_kernels", "final", "kernels", "hip", "asm", "memory", "schedule"}) {
    const Outcome outcome = dump(tiny_model().string(), stage, "--check");
    EXPECT_EQ(outcome.code, 0) << stage << ": " << outcome.err;
    EXPECT_FALSE(outcome.out.empty());
    EXPECT_EQ(outcome.err, fmt::format("sinter: stage {}: checked\n", stage));
  }
}

TEST(Dump, EveryStageThatAPlanHoldsChecks) {
  for (const char* stage : {"final", "kernels", "hip", "asm", "memory", "schedule"}) {
    const Outcome outcome = dump(tiny_plan(), stage, "--check");
    EXPECT_EQ(outcome.code, 0) << stage << ": " << outcome.err;
    EXPECT_FALSE(outcome.out.empty());
  }
  EXPECT_EQ(dump(tiny_plan(), "final").out, dump(tiny_model().string(), "final").out);
  EXPECT_EQ(dump(tiny_plan(), "hip").out, dump(tiny_model().string(), "hip").out);
  EXPECT_EQ(dump(tiny_plan(), "memory").out, dump(tiny_model().string(), "memory").out);
  expect_refusal(dump(tiny_plan(), "import"), {"tiny.plan", "--stage final", "model folder"});
  expect_refusal(dump(tiny_plan(), "fuse_epilogues"), {"tiny.plan", "--stage fuse_epilogues"});
}

TEST(Dump, OtherFormatsWhereTheyMakeSense) {
  const std::string model = tiny_model().string();
  EXPECT_TRUE(Json::accept(dump(model, "import", "--format json").out));
  for (const char* stage : {"import", "schedule"})
    EXPECT_EQ(dump(model, stage, "--format dot").out.rfind("digraph", 0), 0u) << stage;
  EXPECT_EQ(dump(tiny_plan(), "final", "--format json --check").code, 0);
  const Json schedule = Json::parse(dump(tiny_plan(), "schedule", "--format json").out);
  EXPECT_EQ(schedule["decode"][0]["name"].get<std::string>().empty(), false);
  const Json kernels = Json::parse(dump(tiny_plan(), "kernels", "--format json").out);
  size_t calls = 0;
  for (const Json& kernel : kernels) calls += kernel["decode_phases"].get<size_t>();
  EXPECT_EQ(calls, schedule["decode"].size());
  expect_refusal(dump(model, "hip", "--format json"), {"hip", "text only"});
  expect_refusal(dump(model, "memory", "--format dot"), {"memory", "text only"});
  expect_refusal(dump(model, "kernels", "--format dot"), {"kernels", "text and json"});
}

TEST(Dump, UnknownStageListsTheKnown) {
  expect_refusal(dump(tiny_model().string(), "fuse"),
                 {"\"fuse\"", "import", "fuse_epilogues", "schedule"});
}

TEST(Dump, SyntheticModelsHaveStages) {
  const std::string config = (tiny_model() / "config.json").string();
  for (const char* stage : {"import", "final", "kernels", "memory"}) {
    const Outcome outcome =
        sinter(fmt::format("dump --synthetic '{}' --stage {} --check", config, stage));
    EXPECT_EQ(outcome.code, 0) << stage << ": " << outcome.err;
  }
}

TEST(Opt, OfTheImportedGraphGivesWhatDumpGives) {
  const std::string model = tiny_model().string();
  const std::string imported = dump(model, "import").out;
  EXPECT_EQ(sinter("opt -", imported).out, imported);
  const Outcome folded = sinter(
      fmt::format("opt - --pass prove_weight_structure,fuse_projections --pass fold_dequantize "
                  "--checkpoint '{}' --remarks",
                  model),
      imported);
  EXPECT_EQ(folded.code, 0) << folded.err;
  EXPECT_EQ(folded.out, dump(model, "fold_dequantize").out);
  EXPECT_EQ(folded.err.rfind("remark: prove_weight_structure: accepted: ", 0), 0u) << folded.err;
  EXPECT_NE(folded.err.find("\nremark: fold_dequantize: "), std::string::npos);
}

TEST(Opt, RefusesWhatItCannotRead) {
  const fs::path file = work_folder() / "graph.sir", out = work_folder() / "out.sir";
  write(file, "module @m {\n  oops\n}\n");
  write(out, "old");
  expect_refusal(sinter(fmt::format("opt '{}' -o '{}'", file.string(), out.string())),
                 {"graph.sir:2:3"});
  EXPECT_EQ(read(out), "old");
  expect_refusal(sinter("opt - --pass fly", ""), {"\"fly\"", "fold_dequantize"});
}

TEST(Opt, WritesAFile) {
  const std::string imported = dump(tiny_model().string(), "import").out;
  const fs::path out = work_folder() / "copy.sir";
  EXPECT_EQ(sinter(fmt::format("opt - -o '{}'", out.string()), imported).code, 0);
  EXPECT_EQ(read(out), imported);
}

TEST(Dump, GgufIsKnownByItsFirstBytes) {
  const fs::path folder = work_folder() / "blobs";
  fs::create_directories(folder);
  const fs::path golden = fs::path(SINTER_GOLDENS) / "gguf_llama_q4_0" / "model.gguf";
  const Outcome expected = sinter(fmt::format("dump '{}' --stage import", golden.string()));
  ASSERT_EQ(expected.code, 0) << expected.err;
  for (const char* name : {"sha256-0123", "model.GGUF"}) {
    fs::copy_file(golden, folder / name, fs::copy_options::overwrite_existing);
    const Outcome outcome =
        sinter(fmt::format("dump '{}' --stage import", (folder / name).string()));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, expected.out);
  }
}

}  // namespace
}  // namespace sinter::tools
