// Files that change after they were read: nothing is made of files of two times.
#include "tests/faults/fault_runs.h"

namespace sinter::tools {
namespace {

// Stops the program before it writes its first byte, when everything was read, runs `meanwhile` and
// lets it go on.
Outcome run_and_meanwhile(const Scenario& scenario, const std::string& meanwhile) {
  return shell(
      fmt::format("LD_PRELOAD='{}' SINTER_FAULT=write:1:stop SINTER_FAULT_UNDER='{}' {} & pid=$!; "
                  "until grep -q '^State:.T' /proc/$pid/status; do kill -0 $pid || exit 99; done; "
                  "{}; kill -CONT $pid; wait $pid",
                  SINTER_FAULT_SHIM, scenario.folder.string(), scenario.command, meanwhile));
}

// Each of the `files` changes in one of three ways.
void expect_notices(const Scenario& scenario, const fs::path& model,
                    const std::vector<std::string>& files) {
  constexpr const char* kWays[] = {"touch '{0}'", "cp '{0}' '{0}.new'; mv '{0}.new' '{0}'",
                                   "rm '{0}'"};
  const auto turn =
      static_cast<size_t>(std::chrono::system_clock::now().time_since_epoch().count() / 1000);
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string change = fmt::format(fmt::runtime(kWays[(turn + i) % std::size(kWays)]),
                                           (model / files[i]).string());
    SCOPED_TRACE(change);
    const Files before = prepare(scenario);
    const Outcome outcome = run_and_meanwhile(scenario, change);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find(files[i] + ": changed while it was read"), std::string::npos)
        << outcome.err;
    EXPECT_TRUE(files_in(scenario.folder) == before) << names(files_in(scenario.folder));
  }
  // What is beside the model and not of it.
  prepare(scenario);
  const Outcome outcome =
      run_and_meanwhile(scenario, fmt::format("touch '{}'", (model / "README.md").string()));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
}

// A model with everything that one is read from.
const std::vector<std::string> kFiles = {
    "config.json",           "generation_config.json",
    "model.safetensors",     "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json",     "model.safetensors.index.json",
    "chat_template.jinja",   "additional_chat_templates/rag.jinja"};

void make_model(const fs::path& model) {
  copy_model(tiny_model(), model,
             {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
              "tokenizer_config.json"});
  write(model / "special_tokens_map.json", "{}");
  write(model / "added_tokens.json", "{}");
  write(model / "model.safetensors.index.json",
        R"({"weight_map": {"model.norm.weight": "model.safetensors"}})");
  write(model / "chat_template.jinja", "{{ messages }}");
  fs::create_directories(model / "additional_chat_templates");
  write(model / "additional_chat_templates" / "rag.jinja", "{{ documents }}");
  write(model / "README.md", "A model.");
}

TEST(Sources, ThatChangeWhileTheyAreCompiledAreNamed) {
  const fs::path model = work_folder() / "compiled-model";
  Scenario scenario;
  scenario.folder = work_folder() / "compiled";
  scenario.command = fmt::format("'{}' compile '{}' -o '{}' --target x86-64-v3", SINTER_PROGRAM,
                                 model.string(), (scenario.folder / "a.plan").string());
  scenario.prepare = [&] {
    fs::remove_all(model);
    make_model(model);
  };
  expect_notices(scenario, model, kFiles);
}

TEST(Sources, ThatChangeWhileTheyAreConvertedAreNamed) {
  const fs::path model = work_folder() / "converted-model";
  Scenario scenario;
  scenario.folder = work_folder() / "converted";
  scenario.command = fmt::format("'{}' convert '{}' -o '{}'", SINTER_PROGRAM, model.string(),
                                 (scenario.folder / "out").string());
  scenario.prepare = [&] {
    fs::remove_all(model);
    make_model(model);
  };
  expect_notices(scenario, model, kFiles);
}

TEST(Sources, OfASyntheticModelAreNamed) {
  const fs::path model = work_folder() / "synthetic-model";
  Scenario scenario;
  scenario.folder = work_folder() / "synthetic";
  scenario.command =
      fmt::format("'{}' compile --synthetic '{}' -o '{}' --target x86-64-v3", SINTER_PROGRAM,
                  (model / "config.json").string(), (scenario.folder / "a.plan").string());
  scenario.prepare = [&] {
    fs::remove_all(model);
    copy_model(tiny_model(), model, {"config.json"});
  };
  expect_notices(scenario, model, {"config.json"});
}

}  // namespace
}  // namespace sinter::tools
