#include "runtime/session/session.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <limits>
#include <numeric>
#include <stdexcept>

#include "runtime/plan/synthetic.h"
#include "runtime/session/probe.h"
#include "tests/runtime/session/toy_alone.h"
#include "tests/runtime/toy_plan.h"

namespace sinter::runtime {
namespace {

class SessionTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_FALSE(toy::kernel_object().empty()) << "no C compiler here";
    ASSERT_EQ(toy::write_plan(path), "");
  }

  std::shared_ptr<Model> load(int threads = 2) {
    const auto file = PlanFile::open(path, false);
    EXPECT_TRUE(file.ok());
    auto model = Model::load(*file, {.threads = threads, .verify_weights = true, .progress = {}});
    EXPECT_TRUE(model.ok()) << (model.ok() ? "" : model.error().message);
    return *model;
  }
  static std::unique_ptr<Session> make(const std::shared_ptr<Model>& model, int64_t context = 0,
                                       Executor executor = Executor::persistent) {
    auto session = Session::create(model, context, executor);
    EXPECT_TRUE(session.ok()) << (session.ok() ? "" : session.error().message);
    return std::move(*session);
  }
  static std::vector<float> logits(const Session& session) {
    return std::vector<float>(session.logits().begin(), session.logits().end());
  }
  static std::string message(const Status& status) {
    return status.ok() ? "" : status.error().message;
  }

  // What the session must say after `count` of the tokens.
  std::vector<float> expected(int64_t count) const {
    return toy::expected_logits(std::span(tokens).first(static_cast<size_t>(count)), weights,
                                count);
  }

  toy::Folder folder;
  std::string path = folder.file("toy.plan");
  std::vector<uint8_t> weights = toy::weights();
  std::vector<int32_t> tokens = [] {
    std::vector<int32_t> ids(50);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 7 % 32);
    return ids;
  }();
};

TEST_F(SessionTest, PrefillOfAnyLengthThenDecodeGivesTheRightLogits) {
  for (const int threads : {1, 2, 3}) {
    const auto model = load(threads);
    EXPECT_EQ(model->workers(), threads);
    for (const Executor executor : {Executor::eager, Executor::persistent}) {
      for (int64_t prompt = 1; prompt <= 11; ++prompt) {
        const auto session = make(model, 20, executor);
        EXPECT_TRUE(session->logits().empty());
        ASSERT_EQ(message(session->prefill(std::span(tokens).first(static_cast<size_t>(prompt)))),
                  "");
        ASSERT_EQ(logits(*session), expected(prompt)) << prompt;
        for (int64_t t = prompt; t < 16; ++t) {
          ASSERT_EQ(message(session->decode(tokens[static_cast<size_t>(t)])), "");
          ASSERT_EQ(session->position(), t + 1);
          ASSERT_EQ(logits(*session), expected(t + 1)) << prompt << " " << t;
        }
      }
    }
  }
}

TEST_F(SessionTest, WeightsMayLieInSeveralSections) {
  ASSERT_EQ(
      toy::write_plan(path, toy::with_two_sections, toy::kernel_object(), std::string(64, 'x')),
      "");
  const auto session = make(load());
  ASSERT_EQ(message(session->prefill(std::span(tokens).first(9))), "");
  EXPECT_EQ(logits(*session), expected(9));
}

TEST_F(SessionTest, LogitsDoNotDependOnTheNumberOfThreads) {
  for (const int threads : {4, 5, 7, 8, 16, 33, 64}) {
    const auto model = load(threads);
    for (const Executor executor : {Executor::eager, Executor::persistent}) {
      const auto session = make(model, 20, executor);
      ASSERT_EQ(message(session->prefill(std::span(tokens).first(9))), "");
      ASSERT_EQ(logits(*session), expected(9)) << threads;
      ASSERT_EQ(message(session->decode(tokens[9])), "");
      ASSERT_EQ(logits(*session), expected(10)) << threads;
    }
  }
}

// Whatever computes them, logits that are no numbers end the step, and nothing is drawn from them.
TEST_F(SessionTest, LogitsThatAreNotFiniteAreAnError) {
  const std::string end =
      ": the model's output is not a finite number; its weights are damaged, or values "
      "inside it overflow (keys and values do beyond 65504)";
  const std::string nan = "v == 3 ? 0.0f / 0.0f : 1.0f";
  ASSERT_EQ(toy::write_plan(path, {}, toy::spoiled_kernel_object(6, nan)), "");
  const auto model = load();
  {
    const auto session = make(model);
    ASSERT_EQ(message(session->prefill(std::span(tokens).first(5))), "");
    ASSERT_FALSE(session->logits().empty());
    EXPECT_EQ(message(session->decode(1)), "the logit of token 3 at position 5 is NaN" + end);
    EXPECT_EQ(session->position(), 6);
    EXPECT_TRUE(session->logits().empty());
    EXPECT_EQ(message(session->generate({}, 1, [](int32_t) { return true; })),
              "there are no logits yet: prefill first");
    session->reset();
    EXPECT_EQ(message(session->prefill(std::span(tokens).first(5))), "");
    EXPECT_EQ(logits(*session), expected(5));
  }
  {
    const auto session = make(model);
    EXPECT_EQ(message(session->prefill(std::span(tokens).first(9))),
              "the logit of token 3 at position 8 is NaN" + end);
    session->reset();
    // Rows 5 and 6 are made in one step, which the counter has seen whole.
    int64_t rows = 0;
    EXPECT_EQ(message(session->prefill(std::span(tokens).first(9), 9,
                                       [&](std::span<const float>, int64_t n) { rows += n; })),
              "the logit of token 3 at position 4 is NaN" + end);
    EXPECT_EQ(rows, 4);
  }
  {
    const auto session = make(model);
    ASSERT_EQ(message(session->prefill(std::span(tokens).first(3))), "");
    int drawn = 0;
    EXPECT_EQ(message(session->generate({}, 20, [&](int32_t) { return ++drawn > 0; })),
              "the logit of token 3 at position 5 is NaN" + end);
    EXPECT_EQ(drawn, 3);
  }
  ASSERT_EQ(
      toy::write_plan(path, {}, toy::spoiled_kernel_object(1, "v == 31 ? -1.0f / 0.0f : 0.0f")),
      "");
  EXPECT_EQ(message(make(load())->decode(1)),
            "the logit of token 31 at position 0 is -infinity" + end);
}

// A child has no threads but the one that called fork; it says so instead of waiting for them, also
// where it lets go of the model.
TEST_F(SessionTest, AChildOfForkSaysThatTheModelStayedBehind) {
  auto model = load(3);
  auto session = make(model);
  ASSERT_EQ(message(session->prefill(std::span(tokens).first(3))), "");
  const std::string parent = std::to_string(::getpid());
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::alarm(20);
    const std::string wanted = "the model was loaded by process " + parent +
                               " and this is process " + std::to_string(::getpid()) +
                               ": threads and devices do not come along through fork(); load the "
                               "model in the child";
    bool said = message(session->decode(1)) == wanted &&
                message(session->prefill(tokens)) == wanted &&
                message(session->generate({}, 1, [](int32_t) { return true; })) == wanted &&
                session->logits().empty();
    const auto another = Session::create(model, 0);
    said = said && !another.ok() && another.error().message == wanted;
    session->reset();
    session.reset();
    model.reset();
    // Loaded here it works.
    const auto own = load(3);
    const auto fresh = make(own);
    said = said && fresh->prefill(std::span(tokens).first(4)).ok() && logits(*fresh) == expected(4);
    ::_exit(said ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  ASSERT_EQ(message(session->decode(tokens[3])), "");
  EXPECT_EQ(logits(*session), expected(4));
}

TEST_F(SessionTest, SinkGetsEveryWantedRowInOrder) {
  const auto model = load();
  const int64_t count = 11;
  for (int64_t rows = 1; rows <= count; ++rows) {
    const auto session = make(model);
    std::vector<float> got;
    const auto sink = [&](std::span<const float> values, int64_t n) {
      EXPECT_LE(n, toy::logits_rows);
      EXPECT_EQ(values.size(), static_cast<size_t>(n * toy::vocab));
      got.insert(got.end(), values.begin(), values.end());
    };
    ASSERT_EQ(message(session->prefill(std::span(tokens).first(count), rows, sink)), "");
    ASSERT_EQ(got.size(), static_cast<size_t>(rows * toy::vocab));
    for (int64_t r = 0; r < rows; ++r) {
      // The counter saw the whole chunk when the row was made, so compare against each possible
      // chunk's end.
      const std::span<const int32_t> seen =
          std::span(tokens).first(static_cast<size_t>(count - rows + r + 1));
      const std::vector<float> row(got.begin() + r * toy::vocab,
                                   got.begin() + (r + 1) * toy::vocab);
      bool found = false;
      for (int64_t ahead = 0; ahead < toy::logits_rows; ++ahead) {
        found |=
            row == toy::expected_logits(seen, weights, static_cast<int64_t>(seen.size()) + ahead);
      }
      EXPECT_TRUE(found) << rows << " rows, row " << r;
    }
    EXPECT_EQ(logits(*session), expected(count));
  }
}

TEST_F(SessionTest, ResetIsAnEmptySequence) {
  const auto session = make(load());
  ASSERT_TRUE(session->prefill(std::span(tokens).subspan(20, 9)).ok());
  session->reset();
  EXPECT_EQ(session->position(), 0);
  EXPECT_TRUE(session->logits().empty());
  ASSERT_TRUE(session->prefill(std::span(tokens).first(5)).ok());
  EXPECT_EQ(logits(*session), expected(5));
}

TEST_F(SessionTest, SessionsOfOneModelAreIndependent) {
  const auto model = load();
  const auto a = make(model), b = make(model, 0, Executor::eager);
  ASSERT_TRUE(a->prefill(std::span(tokens).first(6)).ok());
  ASSERT_TRUE(b->prefill(std::span(tokens).first(3)).ok());
  ASSERT_TRUE(a->decode(tokens[6]).ok());
  ASSERT_TRUE(b->decode(tokens[3]).ok());
  EXPECT_EQ(logits(*a), expected(7));
  EXPECT_EQ(logits(*b), expected(4));
}

TEST_F(SessionTest, ErrorsChangeNothing) {
  const auto session = make(load(), 10);
  ASSERT_TRUE(session->prefill(std::span(tokens).first(8)).ok());
  EXPECT_EQ(message(session->prefill(std::span(tokens).first(3))),
            "3 tokens do not fit: the session holds 8 of 10 positions; make a longer context");
  const std::vector<int32_t> outside = {1, 32}, negative = {-1};
  EXPECT_EQ(message(session->prefill(outside)),
            "token 32 at index 1 is outside the vocabulary of 32");
  EXPECT_EQ(message(session->prefill(negative)),
            "token -1 at index 0 is outside the vocabulary of 32");
  EXPECT_EQ(message(session->decode(32)), "token 32 at index 0 is outside the vocabulary of 32");
  EXPECT_EQ(message(session->prefill({})), "no tokens to run");
  EXPECT_NE(message(session->prefill(std::span(tokens).first(2), 0)).find("0 rows"),
            std::string::npos);
  EXPECT_NE(message(session->prefill(std::span(tokens).first(2), 3)).find("3 rows"),
            std::string::npos);
  EXPECT_EQ(session->position(), 8);
  EXPECT_EQ(logits(*session), expected(8));
  ASSERT_TRUE(session->decode(tokens[8]).ok());
  ASSERT_TRUE(session->decode(tokens[9]).ok());
  EXPECT_EQ(logits(*session), expected(10));
  EXPECT_NE(message(session->decode(0)).find("do not fit"), std::string::npos);
}

TEST_F(SessionTest, WithoutASinkRowsAreLimitedToTheBuffer) {
  const auto session = make(load());
  EXPECT_NE(message(session->prefill(std::span(tokens).first(4), 3)).find("outside 1..2"),
            std::string::npos);
  // The wanted rows may lie in two chunks.
  ASSERT_EQ(message(session->prefill(std::span(tokens).first(5), 2)), "");
  EXPECT_EQ(logits(*session), expected(5));
}

TEST_F(SessionTest, ContextIsCheckedAndSized) {
  const auto model = load();
  const auto session = make(model, 17);
  EXPECT_EQ(session->context(), 17);
  EXPECT_EQ(session->state_bytes(), 64u * 4 + 64);  // a page, and fixed state
  EXPECT_EQ(session->arena_bytes(), 80u);
  EXPECT_EQ(make(model)->context(), toy::max_context);
  ASSERT_EQ(message(make(model)->prefill(tokens)), "");
  for (const int64_t context : {int64_t{51}, int64_t{-1}, INT64_MAX, INT64_MIN}) {
    const auto refused = Session::create(model, context);
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().message.find("outside 1..50"), std::string::npos);
  }
}

TEST_F(SessionTest, AContextLargerThanMemorySaysWhatFits) {
  ASSERT_EQ(toy::write_plan(path,
                            [](Plan& plan) {
                              plan.max_context = 1 << 24;
                              plan.device_plans[0].states[0].bytes_per_position = 4 << 20;
                            }),
            "");
  const auto model = load();
  const auto session = Session::create(model, 0);
  ASSERT_FALSE(session.ok());
  EXPECT_NE(session.error().message.find("a context of 16777216 needs 70368744.2 MB for the state"),
            std::string::npos)
      << session.error().message;
  EXPECT_NE(session.error().message.find(" fits"), std::string::npos) << session.error().message;
}

TEST_F(SessionTest, ProfileCountsDecodePhases) {
  const auto model = load();
  for (const Executor executor : {Executor::eager, Executor::persistent}) {
    const auto session = make(model, 0, executor);
    ASSERT_TRUE(session->prefill(std::span(tokens).first(3)).ok());
    ASSERT_TRUE(session->decode(1).ok());
    session->profile(1);
    ASSERT_TRUE(session->decode(2).ok());
    ASSERT_TRUE(session->decode(3).ok());
    session->profile(0);
    ASSERT_TRUE(session->decode(4).ok());
    ASSERT_EQ(session->profiled_times().size(), 3u);
    for (const PhaseTime& time : session->profiled_times()) {
      EXPECT_EQ(time.calls, 2u);
      EXPECT_GT(time.seconds, 0);
    }
  }
}

TEST_F(SessionTest, GeneratesWhatTheSamplerDrawsAndNumbersDrawsOn) {
  const SamplingOptions sampling{.temperature = 60, .seed = 11};
  const auto model = load();
  for (const Executor executor : {Executor::eager, Executor::persistent}) {
    const auto session = make(model, 0, executor);
    std::vector<int32_t> seen(tokens.begin(), tokens.begin() + 5);
    ASSERT_TRUE(session->prefill(seen).ok());
    Sampler sampler(sampling);
    size_t stop = 4;
    std::vector<int32_t> drawn;
    const auto sink = [&](int32_t token) {
      drawn.push_back(token);
      return drawn.size() < stop;
    };
    const auto expect_drawn = [&] {
      for (const int32_t token : drawn) {
        EXPECT_EQ(token, *sampler.sample(toy::expected_logits(seen, weights,
                                                              static_cast<int64_t>(seen.size()))));
        seen.push_back(token);
      }
      seen.pop_back();
      EXPECT_EQ(session->position(), static_cast<int64_t>(seen.size()));
      EXPECT_EQ(logits(*session),
                toy::expected_logits(seen, weights, static_cast<int64_t>(seen.size())));
    };
    ASSERT_EQ(message(session->generate(sampling, 20, sink)), "");
    ASSERT_EQ(drawn.size(), 4u);
    expect_drawn();
    // Drawn again from the same logits, up to the count.
    drawn.clear();
    stop = 100;
    ASSERT_EQ(message(session->generate(sampling, 6, sink)), "");
    ASSERT_EQ(drawn.size(), 6u);
    expect_drawn();
  }
}

TEST_F(SessionTest, GenerationChecksBeforeItDraws) {
  const auto session = make(load(), 10);
  const auto sink = [](int32_t) -> bool { throw std::runtime_error("drawn"); };
  const SamplingOptions greedy{.greedy = true};
  EXPECT_EQ(message(session->generate(greedy, 1, sink)), "there are no logits yet: prefill first");
  ASSERT_TRUE(session->prefill(std::span(tokens).first(8)).ok());
  EXPECT_EQ(message(session->generate({.top_k = -1}, 1, sink)),
            "sampling: top_k is -1, expected 0 (off) or more");
  EXPECT_EQ(message(session->generate(greedy, 0, sink)),
            "0 tokens were asked for, expected 1 or more");
  EXPECT_EQ(message(session->generate(greedy, 4, sink)),
            "3 tokens do not fit: the session holds 8 of 10 positions; make a longer context");
}

TEST_F(SessionTest, TheHostHasNoGraphs) {
  const auto refused = Session::create(load(), 0, Executor::graph);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message,
            "the host has no graphs; its executors are eager and persistent");
  EXPECT_EQ(make(load(), 0, Executor::automatic)->executor(), Executor::persistent);
}

TEST_F(SessionTest, SyntheticWeightsAreMadeAtLoad) {
  Plan plan = toy::description();
  auto writer = PlanWriter::create(path);
  ASSERT_TRUE(writer.ok());
  plan.code = {{"toy", detect_host_cpu().family, {}, 0, {}, {}}};
  plan.seed = 77;
  plan.device_plans[0].fills = {{Fill::Kind::bits, "", 0, 500, 0, 0, 0},
                                {Fill::Kind::ternary, "", 500, 524, 0, 0, 0}};
  plan.code[0].section = *(*writer)->add(std::string_view(toy::kernel_object() + toy::marks(plan)));
  ASSERT_TRUE((*writer)->finish(plan).ok());
  const std::vector<Fill>& fills = plan.device_plans[0].fills;
  for (size_t i = 0; i < fills.size(); ++i) {
    fill_range(fills, i, plan.seed, 0, fill_words(fills[i]), weights.data());
  }
  const auto session = make(load());
  ASSERT_TRUE(session->prefill(std::span(tokens).first(30)).ok());
  EXPECT_EQ(logits(*session), expected(30));
}

TEST_F(SessionTest, ProbesAreComputedBeforeTheFirstToken) {
  ASSERT_EQ(toy::write_plan(path, toy::with_probes), "");
  for (const int threads : {1, 3}) {
    const auto model = load(threads);
    for (const Executor executor : {Executor::eager, Executor::persistent}) {
      const auto session = make(model, 0, executor);
      ASSERT_TRUE(session->prefill(std::span(tokens).first(5)).ok());
      EXPECT_EQ(logits(*session), expected(5));
    }
  }
}

TEST_F(SessionTest, AWrongProbeIsRefusedWithItsFormat) {
  ASSERT_EQ(toy::write_plan(path, toy::with_probes), "");
  std::string bytes = toy::read_file(path);
  bytes[(*PlanFile::open(path, false))->plan().device_plans[0].weights_sections[0].offset + 17] ^=
      1;
  toy::write_file(path, bytes);
  const auto model = Model::load(*PlanFile::open(path, false),
                                 {.threads = 2, .verify_weights = false, .progress = {}});
  ASSERT_TRUE(model.ok());
  const auto refused = Session::create(*model, 0);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message,
            "host: the code for toy does not decode weights of the format \"other bytes\" as the "
            "compiler did: a row of w times the probe is 16874 instead of 16872 (within 0.5); "
            "compile the plan again, and report it if that does not help");
}

TEST_F(SessionTest, AProbeThatIsNoNumberIsRefused) {
  const Probe probe{"f", "w", 0, 1, 1e9};
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(
      message(check_probes({&probe, 1}, {&nan, 1}, "host", "toy")).find("is nan instead of 1"),
      std::string::npos);
}

TEST_F(SessionTest, DamagedWeightsAreFoundAtLoadWithProgress) {
  const auto whole = PlanFile::open(path, false);
  ASSERT_TRUE(whole.ok());
  double last = 0;
  const auto progress = [&](double fraction) { last = fraction; };
  EXPECT_TRUE(
      Model::load(*whole, {.threads = 1, .verify_weights = true, .progress = progress}).ok());
  EXPECT_EQ(last, 1.0);

  std::string bytes = toy::read_file(path);
  bytes[(*whole)->plan().device_plans[0].weights_sections[0].offset + 3] ^= 4;
  toy::write_file(folder.file("damaged.plan"), bytes);
  const auto damaged = PlanFile::open(folder.file("damaged.plan"), false);
  ASSERT_TRUE(damaged.ok());
  const auto refused =
      Model::load(*damaged, {.threads = 1, .verify_weights = true, .progress = {}});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("section host weights has a wrong checksum"),
            std::string::npos);
  EXPECT_TRUE(Model::load(*damaged, {.threads = 1, .verify_weights = false, .progress = {}}).ok());
}

TEST_F(SessionTest, LoadErrorsNameThePlan) {
  const auto load_error = [&](const std::function<void(Plan&)>& edit, int threads) {
    EXPECT_EQ(toy::write_plan(path, edit), "");
    const auto model = Model::load(*PlanFile::open(path, false),
                                   {.threads = threads, .verify_weights = true, .progress = {}});
    return model.ok() ? std::string() : model.error().message;
  };
  EXPECT_EQ(load_error([](Plan& plan) { plan.code[0].features = {"quantum"}; }, 1)
                .find(path + ": the plan has no code"),
            0u);
  EXPECT_NE(load_error({}, -1).find("threads is -1"), std::string::npos);
  EXPECT_NE(load_error({}, 100000).find("threads is 100000"), std::string::npos);
}

// ---- Several sequences

constexpr int64_t long_context = 300;
void with_long_context(Plan& plan) { plan.max_context = long_context; }
void with_paged_counter(Plan& plan) {
  with_long_context(plan);
  toy::without_fixed_state(plan);
}

// ThreadSanitizer takes ten times as long, and looks for something else.
#if __has_feature(thread_sanitizer)
constexpr unsigned random_schedules = 100;
#else
constexpr unsigned random_schedules = 1500;
#endif

TEST_F(SessionTest, SequencesGetWhatTheyGetAloneWhateverTheSchedule) {
  for (const bool paged : {false, true}) {
    SCOPED_TRACE(paged ? "paged state alone" : "fixed state, too");
    ASSERT_EQ(toy::write_plan(path, paged ? with_paged_counter : with_long_context,
                              paged ? toy::paged_kernel_object() : toy::kernel_object()),
              "");
    const auto model = load();
    int draws = 0;
    for (unsigned seed = 0; seed < random_schedules; ++seed) {
      SCOPED_TRACE(seed);
      // Some sessions have room for all that their sequences may hold, others do not.
      auto session = Session::create(
          model, SessionOptions{.context = 200 + seed % 3 * 50,
                                .sequences = 1 + seed % 6,
                                .positions = seed % 2 == 0 ? 0 : 256,
                                .executor = seed % 4 < 2 ? Executor::persistent : Executor::eager});
      ASSERT_TRUE(session.ok()) << session.error().message;
      RandomSchedule schedule(*model, **session, seed);
      schedule.run(60);
      session->reset();
      if (!HasFailure()) schedule.compare(toy::run_alone);
      draws += schedule.draws();
      if (HasFailure()) return;
    }
    EXPECT_GT(draws, int{random_schedules} * 20);
  }
}

TEST_F(SessionTest, MisuseOfSequencesIsOneErrorAndChangesNothing) {
  ASSERT_EQ(toy::write_plan(path, with_paged_counter, toy::paged_kernel_object()), "");
  const auto model = load();
  const auto made = Session::create(model, SessionOptions{.context = 100, .sequences = 3});
  ASSERT_TRUE(made.ok());
  Session& session = **made;
  ASSERT_TRUE(session.prefill(std::span(tokens).first(10)).ok());
  const int fork = *session.fork(0), snapshot = *session.snapshot(0);
  const auto row = [&](int sequence, size_t count, int64_t rows = 1) {
    return Session::Part{sequence, std::span(tokens).first(count), rows};
  };
  const auto step = [&](std::vector<Session::Part> parts) { return message(session.step(parts)); };
  EXPECT_EQ(step({}), "no tokens to run");
  EXPECT_EQ(step({row(0, 0)}), "no tokens to run");
  EXPECT_EQ(step({row(0, 3), row(fork, 2)}),
            "a step of 5 rows: the plan's schedules serve at most 4");
  EXPECT_EQ(step({row(0, 1), row(0, 1)}), "sequence 0 is named twice");
  EXPECT_EQ(step({row(0, 1), row(7, 1)}), "there is no sequence 7: it was never added, or removed");
  EXPECT_EQ(step({row(-1, 1)}), "there is no sequence -1: it was never added, or removed");
  EXPECT_EQ(step({row(snapshot, 1)}), "2 is a snapshot; restore it into a sequence");
  EXPECT_EQ(step({row(0, 2, 3)}), "3 rows of logits were asked for, outside 0..2");
  EXPECT_EQ(step({row(0, 2, 2), row(fork, 1)}), "3 rows of logits were asked for, outside 0..2");
  EXPECT_NE(message(session.prefill(tokens, 1, {}, fork).ok() ? session.prefill(tokens, 1, {}, fork)
                                                              : Status(Done{}))
                .find("50 tokens do not fit: the session holds 60 of 100"),
            std::string::npos);
  EXPECT_EQ(message(session.truncate(0, -1)), "sequence 0 has 10 tokens and cannot be cut to -1");
  EXPECT_EQ(message(session.truncate(0, 11)), "sequence 0 has 10 tokens and cannot be cut to 11");
  EXPECT_NE(session.add().error().message.find("all 3 sequences of the session are in use"),
            std::string::npos);
  EXPECT_EQ(message(session.restore(0, fork)), "1 is no snapshot of this session");
  EXPECT_EQ(message(session.restore(0, 99)), "99 is no snapshot of this session");
  EXPECT_NE(message(session.remove(99)).find("there is no sequence 99"), std::string::npos);
  EXPECT_EQ(session.position(), 10);
  EXPECT_EQ(logits(session), expected(10));
  ASSERT_TRUE(session.remove(fork).ok());
  EXPECT_NE(message(session.decode(1, fork)).find("never added, or removed"), std::string::npos);
  EXPECT_FALSE(Session::create(model, SessionOptions{.sequences = 0}).ok());
  EXPECT_FALSE(
      Session::create(model, SessionOptions{.context = 64, .sequences = 2, .positions = 129}).ok());
}

}  // namespace
}  // namespace sinter::runtime
