// capture: what is written is complete, points where it should, and bad requests are refused.
#include <gtest/gtest.h>

#include <map>

#include "runtime/abi/kernel_abi.h"
#include "tests/tools/command_line.h"

namespace sinter::tools {
namespace {

Json read_json(const fs::path& path) { return Json::parse(read(path)); }

class Capture : public testing::Test {
 protected:
  Capture() : folder(work_folder() / "capture"), ids(work_folder() / "capture-ids.txt") {
    write(ids, "1 5 9 100 200 33 7");
  }
  ~Capture() override { fs::remove_all(folder); }
  Outcome capture(const std::string& input, const std::string& more) {
    return sinter(fmt::format("capture '{}' --ids '{}' --out '{}' {}", input, ids.string(),
                              folder.string(), more));
  }
  fs::path folder, ids;
};

TEST_F(Capture, HoldsEveryLaunchAndPointsIntoItsBuffers) {
  const Outcome outcome =
      capture(tiny_model().string(), "--target gfx1100 --decode 2 --activations a16");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json json = read_json(folder / "capture.json");
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["target"], "gfx1100");
  std::map<std::string, size_t> bytes;
  for (const Json& buffer : json["buffers"]) {
    bytes[buffer["id"]] = buffer["bytes"];
    if (!buffer["init"].is_null())
      EXPECT_EQ(fs::file_size(folder / buffer["init"].get<std::string>()),
                buffer["bytes"].get<size_t>());
  }
  ASSERT_EQ(json["steps"].size(), 3U);  // the prompt and two tokens
  for (const Json& step : json["steps"]) {
    EXPECT_GT(step["launches"].size(), 20U);
    for (const Json& launch : step["launches"]) {
      EXPECT_TRUE(fs::exists(folder / launch["code_object"].get<std::string>()));
      EXPECT_EQ(launch["kernarg"].get<std::string>().size(), 2 * sizeof(GpuArguments));
      EXPECT_GE(launch["grid"][0], 1);
      EXPECT_EQ(launch["block"][0], gpu_block_threads);
      for (const Json& reloc : launch["relocs"])
        EXPECT_LT(reloc["offset"].get<size_t>(), bytes.at(reloc["buffer"])) << launch["phase"];
    }
    ASSERT_EQ(step["reads"].size(), 1U);
    EXPECT_TRUE(fs::exists(folder / step["reads"][0]["expect"].get<std::string>()));
  }
  EXPECT_EQ(json["steps"][0]["reads"][0]["shape"], Json({7, 1024}));
}

TEST_F(Capture, DecodesTheLastTokensWhereLogitsAreGiven) {
  const fs::path logits = work_folder() / "given.npy";
  ASSERT_EQ(sinter(fmt::format("logits '{}' --device reference --ids '{}' --out '{}'",
                               tiny_model().string(), ids.string(), logits.string()))
                .code,
            0);
  const std::string more = fmt::format("--target gfx1100 --logits '{}'", logits.string());
  const Outcome outcome = capture(tiny_model().string(), more + " --decode 2 --tolerance 0.03");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json json = read_json(folder / "capture.json");
  ASSERT_EQ(json["steps"].size(), 3U);
  const std::string all = read(logits);
  std::string captured;
  for (size_t i = 0; i < 3; ++i) {
    const Json& step = json["steps"][i];
    EXPECT_EQ(step["reads"][0]["shape"], Json({i == 0 ? 5 : 1, 1024}));
    EXPECT_EQ(step["reads"][0]["rel_tol"], 0.03);
    const std::string expected = read(folder / step["reads"][0]["expect"].get<std::string>());
    captured += expected.substr(expected.size() - (i == 0 ? 5 : 1) * size_t{4096});
  }
  EXPECT_TRUE(captured == all.substr(all.size() - captured.size()));
  fs::remove_all(folder);
  expect_refusal(capture(tiny_model().string(), more + " --decode 7"), {"leaves no prompt"});
  expect_refusal(capture(tiny_model().string(), more + " --sequences 2"), {"--logits", "one"});
}

TEST_F(Capture, SequencesDecodeTogether) {
  const Outcome outcome =
      capture(tiny_model().string(), "--target gfx1100 --decode 2 --sequences 3 --schedule few");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json json = read_json(folder / "capture.json");
  ASSERT_EQ(json["steps"].size(), 5U);  // three prompts, then two tokens of each
  for (const auto& [step, rows] : {std::pair{0, 7}, {1, 6}, {2, 5}, {3, 3}, {4, 3}})
    EXPECT_EQ(json["steps"][step]["reads"][0]["shape"], Json({rows, 1024})) << step;
  // The rows of the last step: token, position, sequence, logits.
  const std::string table = json["steps"][4]["writes"][0]["hex"];
  std::vector<int> words;
  for (size_t i = 0; i < 16; ++i) {
    int word = 0;
    for (size_t b = 0; b < 4; ++b)
      word |= std::stoi(table.substr((i * 4 + b) * 2, 2), nullptr, 16) << (8 * b);
    words.push_back(word);
  }
  EXPECT_EQ(words[0], 3);
  for (size_t r = 0; r < 3; ++r) {
    const size_t row = (sizeof(StepParams) + r * sizeof(StepRow)) / 4;
    EXPECT_EQ(words[row + 1], 8 - static_cast<int>(r));
    EXPECT_EQ(words[row + 2], static_cast<int>(r));
    EXPECT_EQ(words[row + 3], static_cast<int>(r));
  }
}

TEST_F(Capture, OfAWholeScheduleIsOneLaunchPerToken) {
  const Outcome outcome =
      capture(tiny_model().string(), "--target gfx942 --decode 1 --schedule persistent");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json json = read_json(folder / "capture.json");
  const Json& launches = json["steps"][1]["launches"];
  ASSERT_EQ(launches.size(), 1U);
  EXPECT_EQ(launches[0]["kernel"], "sinter_decode");
  EXPECT_EQ(launches[0]["grid"], Json({1, 1, 1}));
}

TEST_F(Capture, RefusesWhatItCannotCapture) {
  const auto refused = [&](const std::string& input, const std::string& more,
                           const std::string& words) {
    const Outcome outcome = capture(input, more);
    EXPECT_EQ(outcome.code, 2) << more;
    EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
    EXPECT_FALSE(fs::exists(folder / "capture.json"));
  };
  refused(tiny_model().string(), "--target sm_90", "one AMD target");
  refused(tiny_model().string(), "--target gfx1", "is unknown");
  refused(tiny_model().string(), "--target gfx1100 --sequences 2 --schedule persistent",
          "has one sequence");
  refused(tiny_plan(), "--target gfx1100", "has no code for gfx1100");
  refused(tiny_model().string(), "--target gfx1100 --decode 100000", "positions");
  const fs::path plan = work_folder() / "without-persistent.plan";
  const Outcome compiled = sinter(
      fmt::format("compile '{}' -o '{}' --target gfx942", tiny_model().string(), plan.string()));
  ASSERT_EQ(compiled.code, 0) << compiled.err;
  refused(plan.string(), "--target gfx942 --schedule persistent", "compile it with --persistent");
}

}  // namespace
}  // namespace sinter::tools
