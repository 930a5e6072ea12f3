// What people get wrong, and what happens to files: one line, exit code 2, nothing changed.
#include <algorithm>
#include <span>

#include "command_line.h"
#include "runtime/plan/head.h"
#include "runtime/plan/plan.h"

namespace sinter::tools {
namespace {

// Compiling `folder` fails with `words`, and a plan that was there stays as it was.
void expect_compile_refused(const fs::path& folder, std::initializer_list<std::string> words) {
  const fs::path plan = work_folder() / "kept.plan";
  write(plan, "what was there before");
  expect_refusal(sinter(fmt::format("compile '{}' -o '{}'", folder.string(), plan.string())),
                 words);
  EXPECT_EQ(read(plan), "what was there before");
  for (const auto& entry : fs::directory_iterator(work_folder()))
    EXPECT_EQ(entry.path().string().find("-tmp-"), std::string::npos) << entry.path();
}

TEST(BadModel, TruncatedSafetensorsHeader) {
  const fs::path model = copy_of_model("model");
  write(model / "model.safetensors", read(model / "model.safetensors").substr(0, 100));
  expect_compile_refused(model, {"model.safetensors"});
}

// Finite weights whose values in the cache overflow.
TEST(BadModel, NumbersThatOverflowEndEveryCommandThatComputes) {
  const fs::path model = copy_of_model("overflow");
  edit_weights(model, [](Json& header, std::string& data) {
    const auto fill = [&](const char* part, const char* number) {
      const Json& offsets =
          header[fmt::format("model.layers.1.self_attn.v_proj.{}", part)]["data_offsets"];
      for (size_t at = offsets[0]; at < offsets[1]; at += 2) data.replace(at, 2, number, 2);
    };
    fill("scales", "\xff\x7b");  // 65504 as f16
    fill("biases", "\xff\xf7");  // -32752
  });
  write(work_folder() / "ids", "1 2 3");
  const std::string path = model.string();
  const std::string text = (fs::path(SINTER_MODELS) / "tiny-shakespeare-validation.txt").string();
  struct Case {
    std::string command, out;
  };
  for (const Case& c :
       {Case{fmt::format("eval '{}' --text '{}' --window 32", path, text), ""},
        Case{fmt::format("run '{}' -p ROMEO -n 3", path), "ROMEO"},
        Case{fmt::format("logits '{}' --ids '{}' --out '{}'", path,
                         (work_folder() / "ids").string(), (work_folder() / "logits.npy").string()),
             ""}}) {
    SCOPED_TRACE(c.command);
    const Outcome outcome = sinter(c.command);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_EQ(outcome.out, c.out);
    EXPECT_NE(outcome.err.find("sinter: the logit of token 0 at position 0 is NaN"),
              std::string::npos)
        << outcome.err;
  }
  EXPECT_FALSE(fs::exists(work_folder() / "logits.npy"));
}

TEST(BadModel, SafetensorsHeaderLongerThanTheFile) {
  const fs::path model = copy_of_model("model");
  std::string file = read(model / "model.safetensors");
  file[5] = '\x7f';
  write(model / "model.safetensors", file);
  expect_compile_refused(model, {"model.safetensors"});
}

TEST(BadModel, TensorsThatOverlap) {
  const fs::path model = copy_of_model("model");
  edit_weights(model, [](Json& header, std::string&) {
    header["model.norm.weight"]["data_offsets"] = {0, 512};
  });
  expect_compile_refused(model, {"model.safetensors"});
}

TEST(BadModel, TensorThatLeavesTheFile) {
  const fs::path model = copy_of_model("model");
  edit_weights(model, [](Json&, std::string& data) { data.resize(data.size() - 1); });
  expect_compile_refused(model, {"model.safetensors"});
}

TEST(BadModel, MissingShard) {
  const fs::path model = copy_of_model("model");
  fs::rename(model / "model.safetensors", model / "model-00001-of-00002.safetensors");
  Json index;
  index["weight_map"]["model.norm.weight"] = "model-00002-of-00002.safetensors";
  write(model / "model.safetensors.index.json", index.dump());
  expect_compile_refused(model, {"model-00002-of-00002.safetensors"});
}

TEST(BadModel, MissingTensor) {
  const fs::path model = copy_of_model("model");
  edit_weights(model, [](Json& header, std::string&) {
    header["model.norm2.weight"] = header["model.norm.weight"];
    header.erase("model.norm.weight");
  });
  expect_compile_refused(model, {"model.norm", "missing"});
}

TEST(BadModel, TensorThatNothingUses) {
  const fs::path model = copy_of_model("model");
  edit_weights(model, [](Json& header, std::string& data) {
    header["model.extra.weight"] = {
        {"dtype", "F16"}, {"shape", {2}}, {"data_offsets", {data.size(), data.size() + 4}}};
    data += std::string(4, '\0');
  });
  expect_compile_refused(model, {"model.extra"});
}

TEST(BadModel, WrongShape) {
  const fs::path model = copy_of_model("model");
  edit_weights(model,
               [](Json& header, std::string&) { header["model.norm.weight"]["shape"] = {2, 128}; });
  expect_compile_refused(model, {"model.norm"});
}

TEST(BadModel, WrongDtype) {
  const fs::path model = copy_of_model("model");
  edit_weights(model,
               [](Json& header, std::string&) { header["model.norm.weight"]["dtype"] = "I16"; });
  expect_compile_refused(model, {"model.norm", "I16"});
}

TEST(BadModel, BitsThatShapesContradict) {
  const fs::path model = copy_of_model("model");
  edit_config(model, [](Json& config) {
    config["quantization"]["bits"] = 2;
    config["quantization_config"]["bits"] = 2;
  });
  expect_compile_refused(model, {"bits"});
}

TEST(BadModel, OverrideThatMatchesNothing) {
  const fs::path model = copy_of_model("model");
  edit_config(model, [](Json& config) {
    for (const char* key : {"quantization", "quantization_config"})
      config[key]["model.layers.0.mlp.upproj"] = {{"bits", 4}, {"group_size", 64}};
  });
  expect_compile_refused(model, {"config.json", "model.layers.0.mlp.upproj"});
}

TEST(BadModel, UnknownModelType) {
  const fs::path model = copy_of_model("model");
  edit_config(model, [](Json& config) { config["model_type"] = "qwen33"; });
  expect_compile_refused(model, {"config.json", "model_type", "qwen33", "qwen3", "sinter arch"});
}

TEST(BadModel, UnknownQuantizationMode) {
  const fs::path model = copy_of_model("model");
  edit_config(model, [](Json& config) {
    config["quantization"]["mode"] = "fancy";
    config["quantization_config"]["mode"] = "fancy";
  });
  expect_compile_refused(model, {"config.json", "fancy"});
}

TEST(BadModel, UnknownRopeType) {
  const fs::path model = copy_of_model("model");
  edit_config(model, [](Json& config) {
    config["rope_scaling"] = {{"rope_type", "spiral"}, {"factor", 2.0}};
  });
  expect_compile_refused(model, {"config.json", "spiral"});
}

TEST(BadModel, BrokenJsonWithItsPosition) {
  const fs::path model = copy_of_model("model");
  write(model / "config.json", "{\n  \"model_type\": \"qwen3\",\n  oops\n}\n");
  expect_compile_refused(model, {"config.json:3:"});
}

TEST(BadModel, NoSuchFolder) { expect_compile_refused("/nowhere/model", {"/nowhere/model"}); }

TEST(BadOutput, FolderThatIsNotThere) {
  expect_refusal(sinter(fmt::format("compile '{}' -o /nowhere/x.plan", tiny_model().string())),
                 {"/nowhere/x.plan", "No such file"});
}

// Nothing that a command reads is written over, whatever the path to it.
TEST(BadOutput, FileOfTheModelItself) {
  const fs::path model = copy_of_model("model"), links = work_folder() / "links";
  fs::remove_all(links);
  fs::create_directories(links);
  fs::create_directory_symlink(model, links / "folder");
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"}) {
    const std::string before = read(model / name);
    fs::create_symlink(model / name, links / name);
    fs::create_hard_link(model / name, links / (std::string("hard.") + name));
    for (const fs::path& out : {model / name, model / "." / name, links / "folder" / name,
                                links / name, links / (std::string("hard.") + name)}) {
      for (const fs::path& source : {model, links / "folder", model / "model.safetensors"})
        expect_refusal(sinter(fmt::format("compile '{}' -o '{}'", source.string(), out.string())),
                       {out.string(), "name another file to write"});
      write(work_folder() / "ids", "1 2");
      expect_refusal(sinter(fmt::format("logits '{}' --ids '{}' --out '{}'", model.string(),
                                        (work_folder() / "ids").string(), out.string())),
                     {out.string(), "name another file to write"});
    }
    EXPECT_TRUE(read(model / name) == before) << name;
  }
}

TEST(BadOutput, FileOfAGgufModel) {
  const fs::path folder = work_folder() / "gguf";
  fs::remove_all(folder);
  fs::create_directories(folder);
  const std::string bytes = read(fs::path(SINTER_GOLDENS) / "gguf_llama_q4_0" / "model.gguf");
  for (const char* name : {"m.gguf", "m.GGUF", "sha256-0123"}) {
    write(folder / name, bytes);
    expect_refusal(sinter(fmt::format("compile '{0}' -o '{0}'", (folder / name).string())),
                   {name, "is read by this command"});
    EXPECT_TRUE(read(folder / name) == bytes);
    // Named by its folder.
    expect_refusal(
        sinter(fmt::format("compile '{}' -o '{}'", folder.string(), (folder / "m.gguf").string())),
        {"m.gguf", "name another file to write"});
    if (std::string(name) != "m.gguf") fs::remove(folder / name);
  }
}

TEST(BadOutput, PlanAndTokenIdsThatAreRead) {
  const fs::path folder = work_folder() / "read";
  fs::create_directories(folder);
  fs::copy_file(tiny_plan(), folder / "m.plan", fs::copy_options::overwrite_existing);
  write(folder / "ids", "1 2");
  const std::string plan = (folder / "m.plan").string(), ids = (folder / "ids").string();
  for (const std::string& out : {plan, ids})
    expect_refusal(sinter(fmt::format("logits '{}' --ids '{}' --out '{}'", plan, ids, out)),
                   {out, "is read by this command"});
  expect_refusal(sinter(fmt::format("capture '{}' --target gfx1100 --ids '{}' --out '{}'", plan,
                                    ids, folder.string())),
                 {"is the folder that the plan lies in"});
  expect_refusal(sinter(fmt::format("capture '{}' --target gfx1100 --ids '{}' --out '{}'",
                                    tiny_model().string(), ids, tiny_model().string())),
                 {"is the model's folder"});
  EXPECT_EQ(read(folder / "ids"), "1 2");
  EXPECT_TRUE(read(plan) == read(tiny_plan()));
}

TEST(BadModel, GitLfsPointers) {
  const fs::path model = copy_of_model("model");
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:00ff\nsize 1234567\n";
  write(model / "config.json", pointer);
  expect_compile_refused(model, {"config.json", "is a Git LFS pointer"});
  fs::copy_file(tiny_model() / "config.json", model / "config.json",
                fs::copy_options::overwrite_existing);
  write(model / "tokenizer.json", pointer);
  expect_refusal(sinter(fmt::format("tokenize '{}'", model.string()), "\"a\"\n"),
                 {"tokenizer.json", "is a Git LFS pointer"});
  write(work_folder() / "some.plan", pointer);
  expect_refusal(sinter(fmt::format("inspect '{}'", (work_folder() / "some.plan").string())),
                 {"some.plan"});
  expect_refusal(sinter(fmt::format("run '{}' -p x", (work_folder() / "some.plan").string())),
                 {"some.plan", "is a Git LFS pointer"});
}

TEST(BadOutput, FolderThatCannotBeWritten) {
  // Not even root can make files in /proc.
  expect_refusal(sinter(fmt::format("compile '{}' -o /proc/x.plan", tiny_model().string())),
                 {"/proc/x.plan"});
  write(work_folder() / "ids", "1 2");
  expect_refusal(sinter(fmt::format("logits '{}' --ids '{}' --out /proc/x.npy", tiny_plan(),
                                    (work_folder() / "ids").string())),
                 {"/proc/x.npy"});
}

// A limit on file sizes (in units of 512 bytes) makes writes fail as a full disk does.
TEST(BadOutput, DiskThatIsFull) {
  const fs::path folder = work_folder() / "full";
  fs::create_directories(folder);
  write(folder / "x.plan", "old");
  expect_refusal(shell(fmt::format("ulimit -f 1200; '{}' compile '{}' -o '{}'", SINTER_PROGRAM,
                                   tiny_model().string(), (folder / "x.plan").string())),
                 {"x.plan", "File too large"});
  EXPECT_EQ(read(folder / "x.plan"), "old");
  write(work_folder() / "ids", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16");
  write(folder / "x.npy", "old");
  expect_refusal(
      shell(fmt::format("ulimit -f 64; '{}' logits '{}' --device reference --ids '{}' --out '{}'",
                        SINTER_PROGRAM, tiny_model().string(), (work_folder() / "ids").string(),
                        (folder / "x.npy").string())),
      {"x.npy", "File too large"});
  EXPECT_EQ(read(folder / "x.npy"), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 2);
}

TEST(BadOutput, StdoutThatIsFull) {
  const Outcome outcome =
      shell(fmt::format("'{}' inspect '{}' >/dev/full", SINTER_PROGRAM, tiny_plan()));
  expect_refusal(outcome, {"standard output", "No space left"});
}

TEST(BadPlan, Truncated) {
  const std::string plan = read(tiny_plan());
  const fs::path cut = work_folder() / "cut.plan";
  for (const size_t size : {size_t{0}, size_t{5}, size_t{8}, size_t{39}, size_t{4096},
                            plan.size() / 2, plan.size() - 1}) {
    write(cut, plan.substr(0, size));
    expect_refusal(sinter(fmt::format("run '{}' -p x", cut.string())), {"cut.plan"});
  }
}

TEST(BadPlan, OneByteFlippedAnywhere) {
  const std::string plan = read(tiny_plan());
  const fs::path flipped = work_folder() / "flipped.plan";
  constexpr size_t kPlaces = 40;
  for (size_t i = 0; i < kPlaces; ++i) {
    std::string bytes = plan;
    bytes[i * (plan.size() - 1) / (kPlaces - 1)] ^= 0x10;
    write(flipped, bytes);
    expect_refusal(sinter_run(fmt::format("run '{}' -p x -n 1", flipped.string())),
                   {"flipped.plan"});
  }
}

TEST(BadPlan, FromANewerMajorVersion) {
  std::string bytes = read(tiny_plan());
  bytes[8] = 99;
  const fs::path newer = work_folder() / "newer.plan";
  write(newer, bytes);
  expect_refusal(sinter_run(fmt::format("inspect '{}'", newer.string())),
                 {"newer.plan", "99", "newer sinter"});
}

// Plans of majors before this one hold kernels that are called in another way. Nothing else is
// wrong with the file.
TEST(BadPlan, FromAnOlderMajorVersionIsToBeCompiledAgain) {
  std::string bytes = read(tiny_plan());
  const std::span file(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size());
  runtime::PlanHead head = runtime::decode_head(file.first(runtime::plan_head_bytes));
  head.major = 2;
  head.minor = 4;
  head.header_checksum = runtime::head_checksum(head, file.subspan(head.header_offset));
  const auto encoded = runtime::encode_head(head);
  std::ranges::copy(encoded, file.begin());
  const fs::path older = work_folder() / "older.plan";
  write(older, bytes);
  const std::string expected = fmt::format(
      "{}: made by an older sinter: plan version 2.4, this reader supports {}.0 to {}.{}; "
      "compile the plan again\n",
      older.string(), runtime::plan_major, runtime::plan_major, runtime::plan_minor);
  for (const char* command : {"run '{}' -p x", "inspect '{}'"}) {
    const std::string line = fmt::format(fmt::runtime(command), older.string());
    SCOPED_TRACE(line);
    for (const auto& [outcome, program] :
         {std::pair{sinter(line), "sinter: "}, std::pair{sinter_run(line), "sinter-run: "}}) {
      EXPECT_EQ(outcome.code, 2);
      EXPECT_EQ(outcome.out, "");
      EXPECT_EQ(outcome.err, program + expected);
    }
  }
}

TEST(BadPlan, WithoutCodeForThisCpu) {
#if defined(__aarch64__)
  const std::string foreign = "x86-64-v3";
#else
  const std::string foreign = "aarch64";
#endif
  const fs::path plan = work_folder() / "foreign.plan";
  ASSERT_EQ(sinter(fmt::format("compile '{}' -o '{}' --target {}", tiny_model().string(),
                               plan.string(), foreign))
                .code,
            0);
  expect_refusal(sinter_run(fmt::format("run '{}' -p x", plan.string())),
                 {"foreign.plan", foreign});
}

TEST(BadPlan, SomethingElse) {
  write(work_folder() / "notes.txt", "hello");
  expect_refusal(sinter(fmt::format("run '{}' -p x", (work_folder() / "notes.txt").string())),
                 {"notes.txt", "neither a plan"});
  expect_refusal(sinter_run(fmt::format("run '{}' -p x", tiny_model().string())),
                 {"sinter compile", "is a model"});
  expect_refusal(sinter_run("inspect /dev/null"), {"/dev/null"});
}

TEST(BadPrompt, LongerThanTheContext) {
  expect_refusal(sinter_run(fmt::format("run '{}' --context 4 -p 'To be, or not to be, that is the "
                                        "question'",
                                        tiny_plan())),
                 {"the prompt has", "the context holds 4"});
  const std::string line =
      fmt::format("run '{}' -n 4 -p \"$(yes 'Now is the winter of our discontent' | head -n 200)\"",
                  tiny_plan());
  expect_refusal(sinter_run(line), {"the prompt has", "the context holds 1024", "--max-context"});
}

TEST(BadPrompt, Empty) {
  expect_refusal(sinter_run(fmt::format("run '{}'", tiny_plan())), {"the prompt is empty"});
}

TEST(BadTokenIds, AreNamed) {
  const fs::path ids = work_folder() / "ids.txt";
  const fs::path out = work_folder() / "out.npy";
  write(out, "old");
  const auto refuse = [&](const std::string& text, std::initializer_list<std::string> words) {
    write(ids, text);
    for (const char* device : {"host", "reference"})
      expect_refusal(
          sinter(fmt::format("logits '{}' --device {} --ids '{}' --out '{}'",
                             device == std::string("host") ? tiny_plan() : tiny_model().string(),
                             device, ids.string(), out.string())),
          words);
    EXPECT_EQ(read(out), "old");
  };
  refuse("1 2 three", {"ids.txt", "entry 3", "three"});
  refuse("1 -2", {"ids.txt", "entry 2", "-2"});
  refuse("1 2 1024", {"ids.txt", "entry 3", "1024", "vocabulary"});
  refuse("99999999999999999999", {"ids.txt", "entry 1"});
  refuse("1.5", {"ids.txt", "entry 1", "1.5"});
  refuse(" \n", {"ids.txt", "no token ids"});
}

TEST(BadArguments, AreOneLine) {
  const std::string& plan = tiny_plan();
  expect_refusal(sinter(""), {"no command", "--help"});
  expect_refusal(sinter("fly"), {"\"fly\" is not a command"});
  expect_refusal(sinter("--bogus"), {"--bogus"});
  expect_refusal(sinter_run("compile x -o y"), {"\"compile\" is not a command"});
  expect_refusal(sinter("run"), {"MODEL|PLAN", "sinter run --help"});
  expect_refusal(sinter("run '" + plan + "' --bogus"), {"--bogus", "sinter run --help"});
  expect_refusal(sinter("run '" + plan + "' -p x -n many"), {"many"});
  expect_refusal(sinter("run '" + plan + "' -p x --temperature=-1"), {"temperature"});
  expect_refusal(sinter("run '" + plan + "' -p x --top-p 2"), {"top_p"});
  expect_refusal(sinter("run '" + plan + "' -p x --device gpu"), {"--device", "gpu"});
  expect_refusal(sinter("run '" + plan + "' -p x --activations a16"), {"a8", "a16"});
  expect_refusal(sinter("run '" + plan + "' -p x --context 5000"), {"5000"});
  expect_refusal(sinter("compile"), {"--output"});
  expect_refusal(sinter("compile -o x.plan"), {"MODEL", "--synthetic"});
  const std::string model = tiny_model().string();
  expect_refusal(sinter("compile '" + model + "' -o x.plan --target pdp11"),
                 {"pdp11", "x86-64-v3"});
  expect_refusal(sinter("compile '" + model + "' -o x.plan --max-context 2048"), {"2048", "1024"});
  expect_refusal(sinter("compile '" + model + "' -o x.plan --activations a4"), {"a4"});
  expect_refusal(sinter("compile '" + model + "' -o x.plan --kv-format q5"),
                 {"--kv", "q5", "f16", "f32", "q8", "q4"});
  expect_refusal(sinter("run '" + model + "' -p x --kv-format bf16"), {"--kv", "bf16"});
  expect_refusal(sinter("compile '" + model + "' -o x.plan --seed 1"), {"--seed", "--synthetic"});
  expect_refusal(sinter("compile --synthetic /nowhere.json -o x.plan"), {"/nowhere.json"});
  expect_refusal(sinter("logits '" + plan + "' --ids x --out y --after-pass fold_dequantize"),
                 {"--after-pass", "reference"});
  expect_refusal(sinter("eval '" + plan + "' --text /nowhere"), {"/nowhere"});
  expect_refusal(sinter("eval '" + plan + "' --window 5000 --text '" + model + "/config.json'"),
                 {"--window 5000"});
  expect_refusal(sinter("bench '" + plan + "' --prompt 1000 --gen 100"), {"1100", "1024"});
  expect_refusal(sinter("opt /nowhere.sir"), {"/nowhere.sir"});
}

}  // namespace
}  // namespace sinter::tools
