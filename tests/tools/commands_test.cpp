// What the commands do when all is well.
#include <cmath>
#include <cstring>

#include "command_line.h"

namespace sinter::tools {
namespace {

struct Matrix {
  int64_t rows = 0, cols = 0;
  std::vector<float> values;
};

Matrix read_npy(const fs::path& path) {
  const std::string file = read(path);
  Matrix matrix;
  EXPECT_EQ(file.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  const size_t head =
      10 + static_cast<unsigned char>(file[8]) + 256 * static_cast<unsigned char>(file[9]);
  EXPECT_EQ(head % 64, 0u);
  EXPECT_EQ(file[head - 1], '\n');
  const size_t shape = file.find("'shape': (");
  char* end = nullptr;
  matrix.rows = std::strtol(file.c_str() + shape + std::strlen("'shape': ("), &end, 10);
  EXPECT_EQ(std::string(end, 2), ", ");
  matrix.cols = std::strtol(end + 2, &end, 10);
  EXPECT_EQ(*end, ')');
  matrix.values.resize((file.size() - head) / 4);
  std::memcpy(matrix.values.data(), file.data() + head, matrix.values.size() * 4);
  EXPECT_EQ(static_cast<int64_t>(matrix.values.size()), matrix.rows * matrix.cols);
  return matrix;
}

// The largest |a - b| / |b| of a row.
double relative_error(const Matrix& a, const Matrix& b) {
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_EQ(a.cols, b.cols);
  double worst = 0;
  for (int64_t row = 0; row < b.rows; ++row) {
    double difference = 0, norm = 0;
    for (int64_t i = row * b.cols; i < (row + 1) * b.cols; ++i) {
      const double x = a.values[static_cast<size_t>(i)], y = b.values[static_cast<size_t>(i)];
      difference += (x - y) * (x - y);
      norm += y * y;
    }
    worst = std::max(worst, std::sqrt(difference / norm));
  }
  return worst;
}

Matrix logits(const std::string& program_and_model, const std::string& options) {
  const fs::path ids = work_folder() / "ids.txt", out = work_folder() / "logits.npy";
  write(ids, "846 268 40\n724 423 11\t295 476 606 269");
  fs::remove(out);
  const Outcome outcome = shell(fmt::format("{} --ids '{}' --out '{}' {}", program_and_model,
                                            ids.string(), out.string(), options));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  return read_npy(out);
}

std::string logits_of_plan() {
  return fmt::format("'{}' logits '{}'", SINTER_RUN_PROGRAM, tiny_plan());
}
std::string logits_of_model() {
  return fmt::format("'{}' logits '{}'", SINTER_PROGRAM, tiny_model().string());
}

TEST(SinterRun, NeedsTheCAndCxxRuntimeAlone) {
  const Outcome outcome = shell(fmt::format("ldd '{}'", SINTER_RUN_PROGRAM));
  ASSERT_EQ(outcome.code, 0);
  std::istringstream lines(outcome.out);
  std::string line;
  while (std::getline(lines, line)) {
    const bool known = line.find("linux-vdso") != std::string::npos ||
                       line.find("libstdc++.so") != std::string::npos ||
                       line.find("libm.so") != std::string::npos ||
                       line.find("libgcc_s.so") != std::string::npos ||
                       line.find("libc.so") != std::string::npos ||
                       line.find("libpthread.so") != std::string::npos ||
                       line.find("libdl.so") != std::string::npos ||
                       line.find("/ld-linux") != std::string::npos;
    EXPECT_TRUE(known) << line;
  }
}

TEST(Run, ContinuesTokenIds) {
  const std::string ids = "846 268 40 724 423 11";
  const Outcome text = sinter_run(fmt::format("run '{}' --ids - -n 8 --greedy", tiny_plan()), ids);
  ASSERT_EQ(text.code, 0) << text.err;
  const Outcome prompt =
      sinter_run(fmt::format("tokenize '{}' --decode", tiny_plan()), "[846,268,40,724,423,11]");
  EXPECT_EQ(text.out.rfind(Json::parse(prompt.out).get<std::string>(), 0), 0u) << text.out;

  // Without a tokenizer the same tokens are shown as ids.
  const fs::path model = copy_of_model("no-tokenizer");
  fs::remove(model / "tokenizer.json");
  const std::string plan = (work_folder() / "no-tokenizer.plan").string();
  ASSERT_EQ(sinter(fmt::format("compile '{}' -o '{}'", model.string(), plan)).code, 0);
  const Outcome shown = sinter_run(fmt::format("run '{}' --ids - -n 8 --greedy", plan), ids);
  ASSERT_EQ(shown.code, 0) << shown.err;
  EXPECT_EQ(shown.out.rfind(ids + " ", 0), 0u) << shown.out;
  std::string list = shown.out.substr(0, shown.out.size() - 1);
  std::replace(list.begin(), list.end(), ' ', ',');
  const Outcome decoded =
      sinter_run(fmt::format("tokenize '{}' --decode", tiny_plan()), "[" + list + "]");
  // `run` ends with a newline, whether the text does or not.
  std::string shown_text = Json::parse(decoded.out).get<std::string>();
  if (!shown_text.ends_with('\n')) shown_text += '\n';
  EXPECT_EQ(shown_text, text.out);

  expect_refusal(sinter_run(fmt::format("run '{}' --ids -", plan), "1 2 1024"),
                 {"entry 3 is 1024", "1024 tokens"});
  expect_refusal(sinter_run(fmt::format("run '{}' --ids - -n 1 --context 4", plan), "1 2 3 4 5"),
                 {"the prompt has 5 tokens", "--context"});
  expect_refusal(sinter_run(fmt::format("run '{}' -p x", plan)), {"no tokenizer", "--ids"});

  std::string many;
  for (int i = 0; i < 33; ++i) many += ids + " ";
  const Outcome eval = sinter_run(fmt::format("eval '{}' --ids - --window 32", plan), many);
  ASSERT_EQ(eval.code, 0) << eval.err;
  EXPECT_NE(eval.out.find("192 in 6 windows of 32"), std::string::npos) << eval.out;
  expect_refusal(sinter_run(fmt::format("eval '{}'", plan)), {"--text FILE or --ids FILE"});
}

TEST(Help, IsThereForEveryCommand) {
  for (const char* command : {"compile", "convert", "run", "inspect", "dump", "explain", "opt",
                              "logits", "compare", "eval", "bench", "profile", "verify", "tokenize",
                              "chat-template", "targets", "arch", "doctor", "capture"}) {
    const Outcome outcome = sinter(std::string(command) + " --help");
    EXPECT_EQ(outcome.code, 0);
    EXPECT_EQ(outcome.err, "");
    EXPECT_NE(outcome.out.find(fmt::format("Usage: sinter {}", command)), std::string::npos);
    EXPECT_NE(outcome.out.find("Example:"), std::string::npos) << outcome.out;
    EXPECT_NE(sinter("--help").out.find(fmt::format("\n  {} ", command)), std::string::npos);
  }
  EXPECT_EQ(sinter_run("run --help").code, 0);
  EXPECT_EQ(sinter("--version").out.rfind("sinter ", 0), 0u);
}

TEST(Compile, IsQuietInAPipeButForTheSummaryAndOneLine) {
  const fs::path plan = work_folder() / "again.plan";
  const Outcome outcome = sinter(
      fmt::format("compile '{}' -o '{}' --max-context 64", tiny_model().string(), plan.string()));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_EQ(outcome.err.find('\r'), std::string::npos);
  EXPECT_NE(outcome.err.find("memory at the peak"), std::string::npos);
  EXPECT_EQ(outcome.out, sinter(fmt::format("inspect '{}'", plan.string())).out);
  EXPECT_NE(outcome.out.find("64 positions"), std::string::npos);
}

TEST(Inspect, SaysWhatIsInThePlan) {
  const Outcome outcome = sinter_run(fmt::format("inspect '{}'", tiny_plan()));
  ASSERT_EQ(outcome.code, 0);
  for (const char* words : {"tiny-bonsai-1bit (qwen3)", "4 layers", "a8", "1,024 positions",
                            "bits per weight", "per layer", "barriers", "tokens/s", "symmetric b1"})
    EXPECT_NE(outcome.out.find(words), std::string::npos) << words << " in\n" << outcome.out;
  const Json json = Json::parse(sinter_run(fmt::format("inspect '{}' --json", tiny_plan())).out);
  EXPECT_EQ(json["architecture"], "qwen3");
  std::map<std::string, int> per_layer;
  for (const Json& phase : json["device_plans"][0]["schedules"][0]["phases"]) {
    const std::string name = phase["name"];
    const size_t at = name.find("layers.");
    if (at != std::string::npos) ++per_layer[name.substr(at, name.find('.', at + 7) - at)];
  }
  ASSERT_EQ(per_layer.size(), 4u);
  for (const auto& [layer, phases] : per_layer) EXPECT_LE(phases, 5) << layer;
}

TEST(Logits, OnePerPositionByPrefillAndByDecode) {
  const Matrix prefill = logits(logits_of_plan(), "");
  EXPECT_EQ(prefill.rows, 10);
  EXPECT_EQ(prefill.cols, 1024);
  const Matrix decode = logits(logits_of_plan(), "--mode decode --threads 1");
  EXPECT_LT(relative_error(decode, prefill), 5e-2);
}

TEST(Logits, OfTheReferenceAgreeWithTheKernels) {
  const Matrix reference = logits(logits_of_model(), "--device reference");
  const Matrix stepwise = logits(logits_of_model(), "--device reference --mode decode");
  EXPECT_LT(relative_error(stepwise, reference), 1e-4);
  for (const char* pass : {"fuse_projections", "form_kernels"})
    EXPECT_LT(relative_error(logits(logits_of_model(),
                                    fmt::format("--device reference --after-pass {}", pass)),
                             reference),
              1e-4)
        << pass;
  EXPECT_LT(relative_error(logits(logits_of_model(), "--activations a16"), reference), 2e-2);
}

TEST(Compare, HoldsEveryWayOfRunningAPlanAgainstGivenLogits) {
  const fs::path ids = work_folder() / "ids.txt", want = work_folder() / "logits.npy";
  logits(logits_of_model(), "--device reference");
  const std::string command = fmt::format("compare '{}' --ids '{}' --logits '{}'", tiny_plan(),
                                          ids.string(), want.string());
  const Outcome close = sinter_run(command + " --tolerance 0.05 --agreement 0.7");
  EXPECT_EQ(close.code, 0) << close.out << close.err;
  EXPECT_EQ(std::count(close.out.begin(), close.out.end(), '\n'), 1) << close.out;
  for (const char* way : {"ok ", "prefill", "parts", "decode", "eager"})
    EXPECT_NE(close.out.find(way), std::string::npos) << close.out;

  const Outcome strict = sinter_run(command + " --tolerance 1e-6 --outliers 9 --json");
  EXPECT_EQ(strict.code, 1) << strict.out << strict.err;
  const Json json = Json::parse(strict.out);
  EXPECT_EQ(json["ok"], false);
  for (const auto& [way, result] : json["ways"].items()) {
    EXPECT_EQ(result["beyond"], 10) << way;
    EXPECT_LT(result["largest_error"], 0.05) << way;
  }
  EXPECT_EQ(sinter_run(command + " --tolerance 1e-6 --outliers 10").code, 0);
  EXPECT_EQ(sinter_run(command + " --tolerance 0.05 --agreement 1 --json").code,
            json["ways"]["prefill"]["agreement"] == 1.0 ? 0 : 1);
}

TEST(Compare, RefusesLogitsOfAnotherShapeAndFilesThatAreNone) {
  const fs::path ids = work_folder() / "ids.txt", file = work_folder() / "bad.npy";
  logits(logits_of_model(), "--device reference");
  const std::string good = read(work_folder() / "logits.npy");
  const auto refuse = [&](const std::string& bytes, std::initializer_list<std::string> words) {
    write(file, bytes);
    expect_refusal(sinter_run(fmt::format("compare '{}' --ids '{}' --logits '{}'", tiny_plan(),
                                          ids.string(), file.string())),
                   words);
  };
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string bytes = good;
    return bytes.replace(bytes.find(from), from.size(), to);
  };
  refuse(with("(10, 1024)", "(1024, 10)"), {"bad.npy: is 1024 x 10", "10 x 1024"});
  refuse(with("(10, 1024)", "(10, 1023)"), {"holds 40960 bytes, not 10 x 1023"});
  refuse(with("(10, 1024)", "(10240,)  "), {"shape that is not of two sizes"});
  refuse(with("(10, 1024)", "(-10,1024)"), {"shape that is not of two sizes"});
  refuse(with("<f4", "<f8"), {"is not of '<f4'"});
  refuse(with("False", "True "), {"in C order"});
  refuse(good.substr(0, good.size() - 1), {"holds 40959 bytes"});
  refuse(good.substr(0, 9), {"ends within its header"});
  refuse(good.substr(0, 60), {"ends within its header"});
  refuse("", {"does not begin as NumPy's files do"});
  refuse("PK", {"does not begin as NumPy's files do"});
}

TEST(Run, GreedyTextIsTheReferenceTextAndThePlanIsCached) {
  const Json reference = Json::parse(read(tiny_model() / "reference.json"));
  const std::string command =
      fmt::format("run '{}' --activations a16 --greedy -n 64 -p '{}'", tiny_model().string(),
                  reference["prompt"].get<std::string>());
  const fs::path cache = work_folder() / "cache" / "sinter";
  fs::remove_all(cache);
  const Outcome first = sinter(command);
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_EQ(first.out, reference["greedy_text"].get<std::string>() + "\n");
  // Nothing but where it runs.
  EXPECT_TRUE(first.err.starts_with("host: ")) << first.err;
  EXPECT_EQ(first.err.find('\n'), first.err.size() - 1) << first.err;
  ASSERT_EQ(std::distance(fs::directory_iterator(cache), {}), 1);
  const fs::path plan = fs::directory_iterator(cache)->path();
  const auto written = fs::last_write_time(plan);
  EXPECT_EQ(sinter(command).out, first.out);
  EXPECT_EQ(fs::last_write_time(plan), written);

  // A damaged plan in the cache is made again.
  std::string bytes = read(plan);
  bytes[bytes.size() / 2] ^= 1;
  write(plan, bytes);
  EXPECT_EQ(sinter(command).out, first.out);
  EXPECT_NE(read(plan), bytes);
}

TEST(Run, KeepsTextAndNumbersApart) {
  const Outcome outcome = sinter_run(fmt::format(
      "run '{}' -p ROMEO: -n 8 --seed 3 --temperature 0.9 --top-k 20 --stats", tiny_plan()));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out.rfind("ROMEO:", 0), 0u);
  EXPECT_GT(outcome.out.size(), 8u);
  for (const char* words : {"prompt", "first token", "generated", "tokens/s", "memory"})
    EXPECT_NE(outcome.err.find(words), std::string::npos) << words;
  const std::string again =
      fmt::format("run '{}' -p ROMEO: -n 8 --temperature 0.9 --top-k 20 --seed ", tiny_plan());
  EXPECT_EQ(sinter_run(again + "3").out, outcome.out);
  EXPECT_NE(sinter_run(again + "4").out, outcome.out);
}

TEST(Run, ReadsThePromptFromAFileOrTheStandardInput) {
  const fs::path file = work_folder() / "prompt.txt";
  write(file, "ROMEO:\n");
  const std::string rest =
      fmt::format("'{}' run '{}' -n 8 --greedy", SINTER_RUN_PROGRAM, tiny_plan());
  const Outcome typed = shell(rest + " -p ROMEO:");
  ASSERT_EQ(typed.code, 0) << typed.err;
  EXPECT_EQ(shell(fmt::format("{} -f '{}'", rest, file.string())).out, typed.out);
  EXPECT_EQ(shell(fmt::format("{} -p - <'{}'", rest, file.string())).out, typed.out);
  EXPECT_EQ(shell(fmt::format("{} -f - <'{}'", rest, file.string())).out, typed.out);
  // Only the last newline is not part of the prompt.
  write(file, "ROMEO:\n\n");
  EXPECT_TRUE(shell(fmt::format("{} -f '{}'", rest, file.string())).out.starts_with("ROMEO:\n"));
  EXPECT_EQ(shell(rest + " -p x -f y").code, 2);
  const Outcome missing = shell(rest + " -f /nowhere/x");
  EXPECT_EQ(missing.code, 2);
  EXPECT_NE(missing.err.find("/nowhere/x: cannot be read"), std::string::npos) << missing.err;
}

TEST(Run, StopsWhenTheContextIsFull) {
  const Outcome outcome = sinter_run(
      fmt::format("run '{}' -p ROMEO: -n 50 --context 16 --ignore-eos --greedy", tiny_plan()));
  EXPECT_EQ(outcome.code, 0);
  EXPECT_NE(outcome.err.find("the context of 16 is full"), std::string::npos) << outcome.err;
}

TEST(Run, InterruptEndsTheTextCleanly) {
  // A context that takes far longer to fill than the test waits.
  const fs::path model = copy_of_model("long");
  edit_config(model, [](Json& config) { config["max_position_embeddings"] = 1 << 20; });
  const fs::path plan = work_folder() / "long.plan";
  ASSERT_EQ(sinter(fmt::format("compile '{}' -o '{}' --max-context 500000", model.string(),
                               plan.string()))
                .code,
            0);
  // --foreground: the signal comes once. A second one ends a program that is still writing.
  const Outcome outcome = shell(fmt::format(
      "timeout --foreground --preserve-status -s INT 5 '{}' run '{}' -p ROMEO: -n 400000 "
      "--ignore-eos --stats",
      SINTER_RUN_PROGRAM, plan.string()));
  EXPECT_EQ(outcome.code, 130) << outcome.err;
  EXPECT_EQ(outcome.out.rfind("ROMEO:", 0), 0u);
  EXPECT_EQ(outcome.out.back(), '\n');
  EXPECT_NE(outcome.err.find("generated"), std::string::npos) << outcome.err;
}

TEST(Eval, CountsAsTheReferenceDoes) {
  const Json reference = Json::parse(read(tiny_model() / "reference.json"));
  const Outcome outcome = sinter_run(
      fmt::format("eval '{}' --text '{}/tiny-shakespeare-validation.txt' --window 256 --json",
                  tiny_plan(), SINTER_MODELS));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json result = Json::parse(outcome.out);
  EXPECT_EQ(result["tokens"], reference["val_tokens"]);
  const double nll = result["nll"], expected = reference["val_nll"];
  EXPECT_NEAR(nll, expected, 0.005 * expected);
  EXPECT_NEAR(result["perplexity"].get<double>(), std::exp(nll), 1e-6 * std::exp(nll));
}

TEST(Eval, CachesOfFewBitsLoseLittle) {
  const auto nll = [](const char* format) {
    const Outcome outcome = sinter(
        fmt::format("eval '{}' --text '{}/tiny-shakespeare-validation.txt' --window 256 --json "
                    "--activations a16 --kv-format {}",
                    tiny_model().string(), SINTER_MODELS, format));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return Json::parse(outcome.out)["nll"].get<double>();
  };
  const double f16 = nll("f16");
  EXPECT_NEAR(nll("f32"), f16, 0.0001 * f16);
  EXPECT_NEAR(nll("q8"), f16, 0.005 * f16);
  EXPECT_NEAR(nll("q4"), f16, 0.03 * f16);
}

// Random weights of BitNet's kind, with activations that are normed once more before o and down.
TEST(Eval, CachesOfFewBitsServeTernaryModels) {
  std::string ids;
  for (int i = 0; i < 64; ++i) ids += fmt::format("{} ", (7 * i * i + 3) % 320);
  write(work_folder() / "ids", ids);
  const auto nll = [](const char* format) {
    const Outcome outcome = sinter(
        fmt::format("eval '{}/bitnet_packed' --ids '{}' --window 63 --json --activations a16 "
                    "--kv {}",
                    SINTER_GOLDENS, (work_folder() / "ids").string(), format));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return Json::parse(outcome.out)["nll"].get<double>();
  };
  const double f16 = nll("f16");
  EXPECT_NEAR(nll("q8"), f16, 0.005 * f16);
  EXPECT_NEAR(nll("q4"), f16, 0.03 * f16);
}

// Four layers of two KV heads of 64 features, keys and values: the numbers and their scales.
TEST(Compile, SaysWhatAPositionTakes) {
  for (const auto& [format, text] :
       {std::pair{"f16", "2,048 bytes in f16"}, std::pair{"f32", "4,096 bytes in f32"},
        std::pair{"q8", "1,088 bytes in q8"}, std::pair{"q4", "576 bytes in q4"}}) {
    const std::string plan = (work_folder() / fmt::format("kv_{}.plan", format)).string();
    const Outcome outcome =
        sinter(fmt::format("compile '{}' -o '{}' --max-context 64 --kv-format {}",
                           tiny_model().string(), plan, format));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.out.find(text), std::string::npos) << outcome.out;
    EXPECT_EQ(outcome.out, sinter(fmt::format("inspect '{}'", plan)).out);
    const Json json = Json::parse(sinter_run(fmt::format("inspect '{}' --json", plan)).out);
    for (const Json& state : json["device_plans"][0]["states"]) EXPECT_EQ(state["format"], format);
    expect_refusal(sinter(fmt::format("run '{}' -p x --kv-format {}", plan,
                                      std::string_view(format) == "q8" ? "f16" : "q8")),
                   {fmt::format("was compiled with --kv-format {}", format)});
  }
}

TEST(Bench, PrintsSpeedBesideTheStreamingRead) {
  const Outcome outcome =
      sinter_run(fmt::format("bench '{}' --prompt 16 --gen 8 --reps 2 --json", tiny_plan()));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json result = Json::parse(outcome.out);
  for (const char* rate : {"prefill_tokens_per_second", "decode_tokens_per_second"}) {
    EXPECT_GT(result[rate]["min"], 0.0);
    EXPECT_LE(result[rate]["min"], result[rate]["median"]);
    EXPECT_LE(result[rate]["median"], result[rate]["max"]);
  }
  EXPECT_GT(result["streaming_gb_per_second"], 0.0);
  EXPECT_GT(result["decode_gb_per_second"], 0.0);
  EXPECT_NE(sinter_run(fmt::format("bench '{}' --prompt 8 --gen 4 --reps 1", tiny_plan()))
                .out.find("streaming read"),
            std::string::npos);
}

// A step takes the schedule for the fewest rows that serves it.
TEST(Compile, RowsAreTheSchedulesThatSeveralSequencesTake) {
  const std::string plan = (work_folder() / "rows.plan").string();
  const Outcome compiled = sinter(fmt::format("compile '{}' -o '{}' --max-context 64 --rows 12,4",
                                              tiny_model().string(), plan));
  ASSERT_EQ(compiled.code, 0) << compiled.err;
  std::map<std::string, int64_t> most_rows;
  const Json header = Json::parse(sinter_run(fmt::format("inspect '{}' --json", plan)).out);
  for (const Json& schedule : header["device_plans"][0]["schedules"])
    if (schedule["name"] != "probe") most_rows[schedule["name"]] = schedule["most_rows"];
  EXPECT_EQ(most_rows, (std::map<std::string, int64_t>{
                           {"decode", 1}, {"rows4", 4}, {"rows12", 12}, {"prefill", 64}}));

  const std::string bench = fmt::format("bench '{}' --prompt 8 --gen 4 --reps 1 ", plan);
  const Outcome outcome = sinter_run(bench + "--sequences 1,2,8,16 --json");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  std::vector<std::pair<int64_t, std::string>> schedules;
  const Json results = Json::parse(outcome.out)["decode"];
  for (const Json& result : results) {
    schedules.emplace_back(result["sequences"], result["schedule"]);
    EXPECT_GT(result["tokens_per_second"]["min"], 0.0);
  }
  EXPECT_EQ(schedules, (std::vector<std::pair<int64_t, std::string>>{
                           {1, "decode"}, {2, "rows4"}, {8, "rows12"}, {16, "prefill"}}));
  const Outcome text = sinter_run(bench + "--sequences 1,2,8");
  ASSERT_EQ(text.code, 0) << text.err;
  for (const char* words : {"\n  1 sequence ", "\n  2 sequences ", "\n  8 sequences ",
                            "together, 1.00 times one, decode\n", " times one, rows12\n"})
    EXPECT_NE(text.out.find(words), std::string::npos) << words << " in\n" << text.out;

  for (const char* rows : {"1", "33", "4,x"})
    expect_refusal(sinter(fmt::format("compile '{}' -o '{}' --rows {}", tiny_model().string(),
                                      (work_folder() / "none.plan").string(), rows)),
                   {"--rows", "not in range 2 to 32"});
  for (const char* sequences : {"0", "513", "1,x"})
    expect_refusal(sinter_run(bench + "--sequences " + sequences),
                   {"--sequences", "not in range 1 to 512"});
}

TEST(Profile, CountsEveryPhaseOfEveryStep) {
  const Outcome outcome = sinter_run(fmt::format("profile '{}' --gen 4 --json", tiny_plan()));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json plan = Json::parse(sinter_run(fmt::format("inspect '{}' --json", tiny_plan())).out);
  size_t calls = 0;
  double share = 0;
  for (const Json& row : Json::parse(outcome.out)) {
    calls += row["calls"].get<size_t>();
    share += row["share"].get<double>();
  }
  EXPECT_EQ(calls, 4 * plan["device_plans"][0]["schedules"][0]["phases"].size());
  EXPECT_NEAR(share, 1, 1e-6);
}

TEST(Verify, FindsThatAllWaysOfRunningAgree) {
  const Outcome of_plan = sinter_run(fmt::format("verify '{}'", tiny_plan()));
  EXPECT_EQ(of_plan.code, 0) << of_plan.out << of_plan.err;
  EXPECT_NE(of_plan.out.find("bit for bit"), std::string::npos);
  const Outcome of_model =
      sinter(fmt::format("verify '{}' --activations a16 --tokens 8", tiny_model().string()));
  EXPECT_EQ(of_model.code, 0) << of_model.out << of_model.err;
  EXPECT_NE(of_model.out.find("against the reference"), std::string::npos);
  // The reference's caches are as coarse.
  EXPECT_EQ(sinter(fmt::format("verify '{}' --activations a16 --kv-format q4 --tokens 8",
                               tiny_model().string()))
                .code,
            0);
  // A tolerance that rounding must exceed.
  EXPECT_EQ(
      sinter(fmt::format("verify '{}' --tokens 8 --tolerance 1e-12", tiny_model().string())).code,
      1);
}

TEST(Explain, GivesReasonsForOneNode) {
  const Outcome all = sinter_run(fmt::format("explain '{}'", tiny_plan()));
  EXPECT_EQ(all.code, 0);
  EXPECT_NE(all.out.find("fuse_projections: "), std::string::npos) << all.out;
  EXPECT_NE(all.out.find("accepted"), std::string::npos);
  const Outcome of_model = sinter(fmt::format("explain '{}'", tiny_model().string()));
  EXPECT_EQ(of_model.out, all.out) << of_model.err;
  const Json some =
      Json::parse(sinter_run(fmt::format("explain '{}' layers.2. --json", tiny_plan())).out);
  ASSERT_FALSE(some.empty());
  for (const Json& remark : some)
    EXPECT_NE(remark["subject"].get<std::string>().find("layers.2."), std::string::npos);
  expect_refusal(sinter_run(fmt::format("explain '{}' layers.77.", tiny_plan())), {"layers.77."});
}

TEST(Synthetic, PlanOfAConfigurationRunsWithoutWeights) {
  const Json floats = Json::parse(R"({"mode": "mxfp8", "group_size": 32, "bits": 8,
      "model.embed_tokens": {"mode": "nvfp4", "group_size": 16, "bits": 4},
      "model.layers.0.mlp.down_proj": {"mode": "mxfp4", "group_size": 32, "bits": 4}})");
  Json config = Json::parse(read(tiny_model() / "config.json"));
  for (const Json& quantization : {config["quantization"], floats}) {
    config["quantization"] = quantization;
    config.erase("quantization_config");
    const fs::path file = work_folder() / "synthetic.json";
    write(file, config.dump());
    const fs::path plan = work_folder() / "synthetic.plan";
    const Outcome compiled = sinter(
        fmt::format("compile --synthetic '{}' -o '{}' --seed 5", file.string(), plan.string()));
    ASSERT_EQ(compiled.code, 0) << compiled.err;
    EXPECT_NE(compiled.out.find("made from a seed at load"), std::string::npos);
    const Outcome verified = sinter_run(fmt::format("verify '{}'", plan.string()));
    EXPECT_EQ(verified.code, 0) << verified.out << verified.err;
    expect_refusal(sinter_run(fmt::format("run '{}' -p x", plan.string())), {"no tokenizer"});
  }
}

TEST(Doctor, LooksAtTheMachineAndAtAPlan) {
  const Outcome outcome = sinter_run(fmt::format("doctor '{}'", tiny_plan()));
  EXPECT_EQ(outcome.code, 0) << outcome.out;
  EXPECT_NE(outcome.out.find("runs here"), std::string::npos);
  const Outcome compiler = sinter("doctor");
  EXPECT_EQ(compiler.code, 0) << compiler.out;
  EXPECT_NE(compiler.out.find("compiles and links"), std::string::npos);
}

TEST(Targets, AreListed) {
  const Json targets = Json::parse(sinter("targets --json").out);
  EXPECT_GE(targets.size(), 3u);
  EXPECT_NE(sinter("targets").out.find("aarch64"), std::string::npos);
  const Json families = Json::parse(sinter("arch --json").out);
  EXPECT_GE(families.size(), 60u);
  EXPECT_NE(sinter("arch").out.find("qwen3_5_text         qwen35"), std::string::npos);
}

}  // namespace
}  // namespace sinter::tools
