// The architectures that a user describes, by the programs: --arch-from, the folder of the user's
// configuration, and the entry that `arch MODEL` prints.
#include <gtest/gtest.h>

#include "tests/tools/command_line.h"

namespace sinter::tools {
namespace {

// tiny_model under a name that nobody knows.
fs::path renamed_model() {
  const fs::path folder = copy_of_model("renamed");
  edit_config(folder, [](Json& config) { config["model_type"] = "acme_lm"; });
  return folder;
}

std::string graph_of(const fs::path& model, const std::string& options = "") {
  const Outcome outcome =
      sinter(fmt::format("dump '{}' --stage import {}", model.string(), options));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return outcome.out;
}

TEST(Arch, PrintsAnEntryThatDescribesTheModel) {
  const fs::path model = renamed_model();
  expect_refusal(sinter(fmt::format("dump '{}' --stage import", model.string())),
                 {"config.json", "\"acme_lm\", which is not supported", "look like \"qwen3\"",
                  "`sinter arch MODEL`"});
  const Outcome entry = sinter(fmt::format("arch '{}'", model.string()));
  EXPECT_EQ(entry.code, 0) << entry.err;
  EXPECT_EQ(Json::parse(entry.out)["base"], "qwen3");
  EXPECT_NE(entry.err.find("qwen3"), std::string::npos);
  const fs::path file = work_folder() / "acme.json";
  write(file, entry.out);

  std::string want = graph_of(tiny_model());
  want.replace(want.find("@qwen3"), 6, "@acme_lm");
  EXPECT_EQ(graph_of(model, fmt::format("--arch-from '{}'", file.string())), want);

  const fs::path plan = work_folder() / "acme.plan";
  const Outcome compiled =
      sinter(fmt::format("compile '{}' --arch-from '{}' -o '{}' --max-context 64", model.string(),
                         file.string(), plan.string()));
  EXPECT_EQ(compiled.code, 0) << compiled.err;
  EXPECT_NE(compiled.err.find("entry \"acme_lm\": describes the model"), std::string::npos);
  const Outcome run = sinter_run(fmt::format("run '{}' -p a -n 2", plan.string()));
  EXPECT_EQ(run.code, 0) << run.err;

  // A plan needs none, and no command writes over what it reads.
  expect_refusal(
      sinter(fmt::format("run '{}' --arch-from '{}' -p a", plan.string(), file.string())),
      {"acme.plan", "--arch-from is for models"});
  expect_refusal(sinter(fmt::format("compile '{0}' --arch-from '{1}' -o '{1}'", model.string(),
                                    file.string())),
                 {"acme.json", "is read by this command"});
  expect_refusal(sinter(fmt::format("dump '{}' --stage import --arch-from '{}'", model.string(),
                                    (work_folder() / "none.json").string())),
                 {"none.json: is not there"});
  const Outcome other = sinter(fmt::format("dump '{}' --stage import --arch-from '{}'",
                                           tiny_model().string(), file.string()));
  EXPECT_NE(other.err.find("--arch-from describes nothing of qwen3"), std::string::npos);
}

TEST(Arch, EntriesOfTheConfigurationCountForEveryCommand) {
  const fs::path model = renamed_model();
  const fs::path folder = work_folder() / "config" / "sinter" / "architectures";
  fs::create_directories(folder);
  write(folder / "acme.json", R"({"model_type": "acme_lm", "base": "qwen3"})");
  write(folder / "notes.txt", "no entry");
  const std::string with =
      fmt::format("XDG_CONFIG_HOME='{}' ", (work_folder() / "config").string());
  const auto run = [&](const std::string& arguments) {
    return shell(fmt::format("{} '{}' {}", with, SINTER_PROGRAM, arguments));
  };
  EXPECT_EQ(run(fmt::format("dump '{}' --stage import", model.string())).code, 0);
  const Outcome list = run("arch");
  EXPECT_NE(list.out.find("acme_lm              as qwen3, by " + folder.string()),
            std::string::npos)
      << list.out;
  bool found = false;
  for (const Json& row : Json::parse(run("arch --json").out))
    found = found || (row["model_type"] == "acme_lm" && row["base"] == "qwen3" &&
                      row["file"] == (folder / "acme.json").string());
  EXPECT_TRUE(found);

  // --arch-from comes before the folder; two files of the folder may not describe one model.
  const fs::path other = work_folder() / "other.json";
  write(other, R"({"model_type": "acme_lm", "base": "qwen3", "blocks": {"logit_scale": 2}})");
  const Outcome scaled =
      run(fmt::format("dump '{}' --stage import --arch-from '{}'", model.string(), other.string()));
  EXPECT_NE(scaled.out.find("affine"), std::string::npos);
  write(folder / "again.json", R"({"model_type": "acme_lm", "base": "llama"})");
  expect_refusal(run("arch"),
                 {"again.json: entry \"acme_lm\": is described before, by", "acme.json"});
  write(folder / "again.json", "{");
  expect_refusal(run("arch"), {"again.json:1:"});
}

TEST(Arch, TheDocumentIsWhatTheRegistrySays) {
  EXPECT_EQ(sinter("arch --markdown").out,
            read(fs::path(SINTER_MODELS) / ".." / "docs" / "supported-models.md"))
      << "`sinter arch --markdown > docs/supported-models.md` writes it anew";
}

TEST(Arch, FlagsAreListed) {
  const Outcome flags = sinter("arch --flags");
  EXPECT_EQ(flags.code, 0);
  EXPECT_NE(flags.out.find("qk_norm: \"none\", \"head\", \"each_head\", \"row\"\n"),
            std::string::npos);
}

}  // namespace
}  // namespace sinter::tools
