#include <gtest/gtest.h>

#include <thread>

#include "runtime/plan/synthetic.h"
#include "runtime/session/session.h"
#include "tests/runtime/gpu/toy_gpu.h"
#include "tests/runtime/session/toy_alone.h"

namespace sinter::runtime {
namespace {

std::string message(const auto& result) { return result.ok() ? "" : result.error().message; }

class GpuSessionTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(toy::write_gpu_plan(path), "");
    toy::add_kernels(gpu, {});
  }
  void TearDown() override {
    EXPECT_EQ(gpu.objects(), 0u);
    EXPECT_EQ(gpu.abuse, std::vector<std::string>());
  }

  LoadOptions options() {
    LoadOptions load;
    load.threads = 2;
    load.device = "hip:0";
    load.driver = gpu.driver();
    return load;
  }
  std::shared_ptr<Model> load() {
    auto model = Model::load(*PlanFile::open(path, false), options());
    EXPECT_EQ(message(model), "");
    return *model;
  }
  std::string load_error(const LoadOptions& with) {
    return message(Model::load(*PlanFile::open(path, false), with));
  }
  static std::unique_ptr<Session> make(const std::shared_ptr<Model>& model, int64_t context = 0,
                                       Executor executor = Executor::automatic) {
    auto session = Session::create(model, context, executor);
    EXPECT_EQ(message(session), "");
    return std::move(*session);
  }
  static std::vector<float> logits(const Session& session) {
    return std::vector<float>(session.logits().begin(), session.logits().end());
  }
  std::vector<float> expected(std::span<const int32_t> seen) const {
    return toy::expected_logits(seen, weights, static_cast<int64_t>(seen.size()));
  }
  std::span<const int32_t> first(int64_t count) const {
    return std::span(tokens).first(static_cast<size_t>(count));
  }
  // A plan without fixed state, so that replays run ahead.
  void run_ahead() {
    ASSERT_EQ(toy::write_gpu_plan(path, toy::without_fixed_state), "");
    toy::add_kernels(gpu, {.counts_up = false});
  }
  // What the host's sampler draws from the logits that the toy model computes.
  std::vector<int32_t> drawn_by_hand(std::vector<int32_t> seen, int64_t count,
                                     const SamplingOptions& sampling, uint64_t draw = 0) const {
    std::vector<int32_t> drawn;
    for (int64_t i = 0; i < count; ++i) {
      drawn.push_back(*sample(expected(seen), sampling, draw++));
      seen.push_back(drawn.back());
    }
    return drawn;
  }

  toy::Folder folder;
  std::string path = folder.file("toy.plan");
  GpuDouble gpu;
  std::vector<uint8_t> weights = toy::weights();
  std::vector<int32_t> tokens = [] {
    std::vector<int32_t> ids(50);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 7 % 32);
    return ids;
  }();
};

TEST_F(GpuSessionTest, PrefillOfAnyLengthThenDecodeGivesTheRightLogits) {
  const auto model = load();
  EXPECT_EQ(model->device().id, "hip:0");
  EXPECT_EQ(model->workers(), 4);
  for (const Executor executor : {Executor::eager, Executor::graph}) {
    for (int64_t prompt = 1; prompt <= 11; ++prompt) {
      const auto session = make(model, 20, executor);
      EXPECT_TRUE(session->logits().empty());
      ASSERT_EQ(message(session->prefill(first(prompt))), "");
      ASSERT_EQ(logits(*session), expected(first(prompt))) << prompt;
      for (int64_t t = prompt; t < 16; ++t) {
        ASSERT_EQ(message(session->decode(tokens[static_cast<size_t>(t)])), "");
        ASSERT_EQ(session->position(), t + 1);
        ASSERT_EQ(logits(*session), expected(first(t + 1))) << prompt << " " << t;
      }
    }
  }
  EXPECT_EQ(make(model)->executor(), Executor::graph);
}

TEST_F(GpuSessionTest, SinkGetsEveryWantedRowInOrder) {
  const auto session = make(load());
  std::vector<float> got;
  const auto sink = [&](std::span<const float> values, int64_t) {
    got.insert(got.end(), values.begin(), values.end());
  };
  ASSERT_EQ(message(session->prefill(first(6), 2, sink)), "");
  ASSERT_EQ(got.size(), 2u * toy::vocab);
  EXPECT_EQ(std::vector<float>(got.begin() + toy::vocab, got.end()), expected(first(6)));
  EXPECT_EQ(std::vector<float>(got.begin(), got.begin() + toy::vocab),
            toy::expected_logits(first(5), weights, 6));
}

TEST_F(GpuSessionTest, ResetIsAnEmptySequence) {
  const auto session = make(load());
  ASSERT_TRUE(session->prefill(std::span(tokens).subspan(20, 9)).ok());
  session->reset();
  EXPECT_EQ(session->position(), 0);
  EXPECT_TRUE(session->logits().empty());
  ASSERT_TRUE(session->prefill(first(5)).ok());
  EXPECT_EQ(logits(*session), expected(first(5)));
}

TEST_F(GpuSessionTest, SessionsShareWeightsAndNothingElse) {
  auto model = load();
  const auto a = make(model), b = make(model, 0, Executor::eager);
  const auto uploads = std::count(gpu.log.begin(), gpu.log.end(), "hipModuleLoadData");
  EXPECT_EQ(uploads, 1);
  model.reset();
  ASSERT_TRUE(a->prefill(first(6)).ok());
  ASSERT_TRUE(b->prefill(first(3)).ok());
  ASSERT_TRUE(a->decode(tokens[6]).ok());
  std::thread([&] { ASSERT_TRUE(b->decode(tokens[3]).ok()); }).join();
  EXPECT_EQ(logits(*a), expected(first(7)));
  EXPECT_EQ(logits(*b), expected(first(4)));
}

TEST_F(GpuSessionTest, PhasesAreLaunchedInOrderWithTheirBlocks) {
  const auto session = make(load(), 0, Executor::eager);
  gpu.launches.clear();
  ASSERT_TRUE(session->prefill(first(3)).ok());
  ASSERT_TRUE(session->decode(1).ok());
  struct Wanted {
    const char* kernel;
    unsigned blocks, shared_bytes;
    int rows;
  };
  // At most 4 multiprocessors times 2 blocks for decode.
  const std::vector<Wanted> wanted = {{"toy_remember", 2, 0, 3},  {"toy_sum", 9, 2048, 3},
                                      {"toy_logits", 1000, 0, 3}, {"toy_remember", 1, 0, 1},
                                      {"toy_sum", 3, 2048, 1},    {"toy_logits", 8, 0, 1}};
  ASSERT_EQ(gpu.launches.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    const GpuDouble::Launch& launch = gpu.launches[i];
    EXPECT_EQ(launch.kernel, wanted[i].kernel);
    EXPECT_EQ(launch.blocks, wanted[i].blocks) << i;
    EXPECT_EQ(launch.workers, static_cast<int>(launch.blocks));
    EXPECT_EQ(launch.threads, static_cast<unsigned>(gpu_block_threads));
    EXPECT_EQ(launch.shared_bytes, wanted[i].shared_bytes);
    EXPECT_EQ(launch.rows, wanted[i].rows);
    EXPECT_FALSE(launch.replayed);
  }
}

TEST_F(GpuSessionTest, ProbesAreLaunchedBeforeAnythingElse) {
  ASSERT_EQ(toy::write_gpu_plan(path,
                                [](Plan& plan) {
                                  toy::with_probes(plan);
                                  toy::probe(plan.device_plans[0])[0].blocks = 1000;
                                  toy::probe(plan.device_plans[0])[0].shared_bytes = 512;
                                }),
            "");
  const auto model = load();
  for (const Executor executor : {Executor::eager, Executor::graph}) {
    gpu.launches.clear();
    const auto session = make(model, 0, executor);
    ASSERT_FALSE(gpu.launches.empty());
    EXPECT_EQ(gpu.launches[0].kernel, "toy_probe");
    EXPECT_EQ(gpu.launches[0].blocks, 8u);  // as many as are resident
    EXPECT_EQ(gpu.launches[0].shared_bytes, 512u);
    EXPECT_EQ(gpu.launches[0].rows, 1);
    ASSERT_TRUE(session->prefill(first(5)).ok());
    EXPECT_EQ(logits(*session), expected(first(5)));
  }
}

TEST_F(GpuSessionTest, AKernelThatComputesAWrongProbeIsRefused) {
  ASSERT_EQ(toy::write_gpu_plan(path, toy::with_probes), "");
  toy::add_kernels(gpu, {.probe_error = 1});
  EXPECT_EQ(message(Session::create(load(), 0)),
            "hip:0: the code for gfx1100 does not decode weights of the format \"other bytes\" as "
            "the compiler did: a row of w times the probe is 16873 instead of 16872 (within 0.5); "
            "compile the plan again, and report it if that does not help");
  toy::add_kernels(gpu, {.probe_error = std::numeric_limits<float>::quiet_NaN()});
  EXPECT_NE(message(Session::create(load(), 0)).find("is nan instead of 16872"), std::string::npos);
}

TEST_F(GpuSessionTest, AReplayedStepDoesNothingButReplay) {
  const auto session = make(load(), 0, Executor::graph);
  EXPECT_EQ(std::count(gpu.log.begin(), gpu.log.end(), "hipGraphInstantiate"), 1);
  ASSERT_TRUE(session->prefill(first(3)).ok());
  gpu.launches.clear();
  gpu.log.clear();
  ASSERT_TRUE(session->decode(1).ok());
  EXPECT_EQ(gpu.log, (std::vector<std::string>{"hipSetDevice", "hipMemcpyHtoDAsync",
                                               "hipGraphLaunch", "hipStreamSynchronize"}));
  ASSERT_EQ(gpu.launches.size(), 4u);
  EXPECT_EQ(gpu.launches[2].kernel, "toy_logits");
  EXPECT_EQ(gpu.launches[3].kernel, "sinter_sample");
  EXPECT_EQ(gpu.launches[3].shared_bytes, static_cast<unsigned>(gpu_sample_shared_bytes));
  EXPECT_TRUE(gpu.launches[0].replayed);
}

// The sampler waits for all of the step; what runs outside of the graph starts in order.
TEST_F(GpuSessionTest, PhasesOfTheGraphAreLaunchedEarlyWhereCodeAndDriverCan) {
  for (const bool code : {false, true}) {
    for (const bool driver : {false, true}) {
      ASSERT_EQ(toy::write_gpu_plan(path, [code](Plan& plan) { plan.code[0].early_launch = code; }),
                "");
      gpu.launches_early = driver;
      gpu.log.clear();
      const auto session = make(load(), 0, Executor::graph);
      EXPECT_EQ(std::count(gpu.log.begin(), gpu.log.end(), "launch_early"), code && driver ? 3 : 0);
      ASSERT_TRUE(session->prefill(first(3)).ok());
      ASSERT_TRUE(session->decode(tokens[3]).ok());
      EXPECT_EQ(logits(*session), expected(first(4)));
    }
  }
}

TEST_F(GpuSessionTest, AGraphThatComputesSomethingElseIsRefused) {
  toy::add_kernels(gpu, {.wrong_when_replayed = true});
  const auto model = load();
  const auto refused = Session::create(model, 0);
  EXPECT_EQ(message(refused),
            "hip:0: the graph of a decode step does not compute what its 3 phases do: logit 3 is "
            "364 instead of 363; use --executor eager and report it");
  EXPECT_EQ(message(Session::create(model, 0, Executor::eager)), "");
}

TEST_F(GpuSessionTest, ExecutorsOfTheHostAreRefused) {
  EXPECT_EQ(message(Session::create(load(), 0, Executor::persistent)),
            "hip:0 has no persistent executor; its executors are graph and eager");
}

TEST_F(GpuSessionTest, GeneratesWhatTheHostsSamplerDraws) {
  const SamplingOptions greedy{.greedy = true};
  const SamplingOptions free{.temperature = 60, .seed = 11};
  const SamplingOptions narrow{.temperature = 200, .top_k = 9, .top_p = 0.7F, .seed = 3};
  for (const bool ahead : {false, true}) {
    if (ahead) run_ahead();
    const auto model = load();
    for (const Executor executor : {Executor::eager, Executor::graph}) {
      for (const SamplingOptions& sampling : {greedy, free, narrow}) {
        const auto session = make(model, 0, executor);
        ASSERT_EQ(message(session->prefill(first(6), 2)), "");
        std::vector<int32_t> drawn;
        const auto sink = [&](int32_t token) {
          drawn.push_back(token);
          return true;
        };
        ASSERT_EQ(message(session->generate(sampling, 20, sink)), "");
        const std::vector<int32_t> prompt(tokens.begin(), tokens.begin() + 6);
        EXPECT_EQ(drawn, drawn_by_hand(prompt, 20, sampling));
        EXPECT_EQ(session->position(), 6 + 19);
      }
    }
  }
}

TEST_F(GpuSessionTest, GenerationStopsWhereTheSinkSays) {
  const SamplingOptions sampling{.temperature = 60, .seed = 11};
  for (const bool ahead : {false, true}) {
    if (ahead) run_ahead();
    const auto model = load();
    for (const Executor executor : {Executor::eager, Executor::graph}) {
      for (size_t stop = 1; stop <= 7; ++stop) {
        const auto session = make(model, 0, executor);
        ASSERT_EQ(message(session->prefill(first(5))), "");
        std::vector<int32_t> seen(tokens.begin(), tokens.begin() + 5), drawn;
        const auto sink = [&](int32_t token) {
          drawn.push_back(token);
          return drawn.size() < stop;
        };
        ASSERT_EQ(message(session->generate(sampling, 20, sink)), "");
        ASSERT_EQ(drawn.size(), stop);
        EXPECT_EQ(drawn, drawn_by_hand(seen, static_cast<int64_t>(stop), sampling));
        // All but the last are part of the sequence, and the logits are those of its last token.
        seen.insert(seen.end(), drawn.begin(), drawn.end() - 1);
        EXPECT_EQ(session->position(), static_cast<int64_t>(seen.size()));
        EXPECT_EQ(logits(*session), expected(seen)) << stop;
        // The session goes on as if nothing had been computed beyond; draws are numbered on.
        seen.push_back(drawn.back());
        ASSERT_EQ(message(session->decode(drawn.back())), "");
        EXPECT_EQ(logits(*session), expected(seen));
        drawn.clear();
        stop += 100;
        ASSERT_EQ(message(session->generate(sampling, 6, sink)), "");
        stop -= 100;
        EXPECT_EQ(drawn, drawn_by_hand(seen, 6, sampling, stop));
      }
    }
  }
}

// Drawing again after a stop is from the same logits.
TEST_F(GpuSessionTest, GenerationAfterGenerationDrawsFromTheLogitsThatAreThere) {
  run_ahead();
  const SamplingOptions sampling{.temperature = 60, .seed = 4};
  const auto session = make(load());
  ASSERT_EQ(message(session->prefill(first(5))), "");
  std::vector<int32_t> seen(tokens.begin(), tokens.begin() + 5), drawn;
  const auto sink = [&](int32_t token) {
    drawn.push_back(token);
    return drawn.size() < 3;
  };
  ASSERT_EQ(message(session->generate(sampling, 20, sink)), "");
  seen.insert(seen.end(), drawn.begin(), drawn.end() - 1);
  drawn.clear();
  ASSERT_EQ(message(session->generate(sampling, 3, sink)), "");
  EXPECT_EQ(drawn, drawn_by_hand(seen, 3, sampling, 3));
  session->reset();
  ASSERT_EQ(message(session->prefill(first(5))), "");
  drawn.clear();
  ASSERT_EQ(message(session->generate(sampling, 3, sink)), "");
  EXPECT_EQ(drawn, drawn_by_hand({tokens.begin(), tokens.begin() + 5}, 3, sampling, 0));
}

TEST_F(GpuSessionTest, ReplaysRunAheadUnlessStateWouldBeLost) {
  const auto generate = [&] {
    const auto session = make(load());
    ASSERT_TRUE(session->prefill(first(5)).ok());
    ASSERT_EQ(message(session->generate({.greedy = true}, 20, [](int32_t) { return true; })), "");
  };
  generate();
  EXPECT_EQ(gpu.most_in_flight, 1u);
  run_ahead();
  generate();
  EXPECT_EQ(gpu.most_in_flight, 4u);
}

TEST_F(GpuSessionTest, AnExceptionOfTheSinkLeavesTheSessionSound) {
  run_ahead();
  const auto session = make(load());
  ASSERT_TRUE(session->prefill(first(5)).ok());
  std::vector<int32_t> seen(tokens.begin(), tokens.begin() + 5);
  const auto sink = [&](int32_t token) -> bool {
    seen.push_back(token);
    if (seen.size() == 8) throw std::runtime_error("stop");
    return true;
  };
  EXPECT_THROW((void)session->generate({.greedy = true}, 20, sink), std::runtime_error);
  EXPECT_EQ(session->position(), 7);
  seen.pop_back();
  EXPECT_EQ(logits(*session), expected(seen));
}

TEST_F(GpuSessionTest, SamplingErrorsAreThoseOfTheHost) {
  for (const bool ahead : {false, true}) {
    if (ahead) run_ahead();
    toy::add_kernels(gpu, {.counts_up = !ahead, .nan_from_position = 8});
    const auto session = make(load());
    ASSERT_TRUE(session->prefill(first(6)).ok());
    int given = 0;
    const auto sink = [&](int32_t) { return ++given > 0; };
    EXPECT_EQ(message(session->generate({.greedy = true}, 20, sink)),
              "sampling: the logit of token 5 is NaN; the model's output is not a number");
    EXPECT_EQ(given, 3);
    EXPECT_EQ(session->position(), 9);
  }
}

TEST_F(GpuSessionTest, GenerationChecksBeforeItDraws) {
  const auto session = make(load(), 10);
  const auto sink = [](int32_t) -> bool { throw std::runtime_error("drawn"); };
  const SamplingOptions greedy{.greedy = true};
  EXPECT_EQ(message(session->generate(greedy, 1, sink)), "there are no logits yet: prefill first");
  ASSERT_TRUE(session->prefill(first(8)).ok());
  EXPECT_EQ(message(session->generate({.temperature = -1}, 1, sink)),
            "sampling: temperature is -1, expected 0 or more");
  EXPECT_EQ(message(session->generate(greedy, 0, sink)),
            "0 tokens were asked for, expected 1 or more");
  EXPECT_EQ(message(session->generate(greedy, 4, sink)),
            "3 tokens do not fit: the session holds 8 of 10 positions; make a longer context");
  EXPECT_EQ(message(session->generate(greedy, 3, [](int32_t) { return true; })), "");
  EXPECT_EQ(session->position(), 10);
}

TEST_F(GpuSessionTest, WhatDoesNotFitIsRefusedBeforeAnythingIsAllocated) {
  ASSERT_EQ(toy::write_gpu_plan(path,
                                [](Plan& plan) {
                                  plan.max_context = 1000;
                                  plan.device_plans[0].states[0].bytes_per_position = 1000;
                                }),
            "");
  gpu.memory = 500000;
  LoadOptions load_options = options();
  load_options.context = 1000;
  EXPECT_EQ(load_error(load_options),
            "a context of 1000 needs 0.0 MB for the weights, 1.0 MB for the state and 0.1 MB for "
            "activations, but 0.5 MB of hip:0's memory are free; a context of 384 fits");
  EXPECT_EQ(std::count(gpu.log.begin(), gpu.log.end(), "hipMalloc"), 0);
  gpu.memory = 20000;
  EXPECT_NE(load_error(load_options).find("no context fits"), std::string::npos);
  gpu.memory = 500000;
  const auto model = load();
  const auto refused = Session::create(model, 0);
  EXPECT_EQ(message(refused),
            "a context of 1000 needs 1.0 MB for the state and 0.1 MB for activations, but 0.5 MB "
            "of hip:0's memory are free; a context of 384 fits");
  EXPECT_EQ(make(model, 384)->context(), 384);
}

TEST_F(GpuSessionTest, SyntheticWeightsAreMadeAtLoad) {
  Plan plan;
  ASSERT_EQ(toy::write_gpu_plan(path, [&](Plan& written) { plan = written; }), "");
  auto writer = PlanWriter::create(path);
  plan.tokenizer = {};
  DevicePlan& device = plan.device_plans[0];
  device.weights_sections.clear();
  device.source = {};
  plan.seed = 77;
  // With a gap, which is zeros.
  device.fills = {{Fill::Kind::bits, "", 0, 501, 0, 0, 0},
                  {Fill::Kind::ternary, "", 600, 424, 0, 0, 0}};
  plan.code[0].section =
      *(*writer)->add(std::string_view(std::string(GpuDouble::code) + toy::marks(plan)));
  ASSERT_EQ(message((*writer)->finish(plan)), "");
  weights.assign(weights.size(), 0);
  for (size_t i = 0; i < 2; ++i)
    fill_range(device.fills, i, plan.seed, 0, fill_words(device.fills[i]), weights.data());
  const auto session = make(load());
  ASSERT_TRUE(session->prefill(first(50)).ok());
  EXPECT_EQ(logits(*session), expected(first(50)));
}

TEST_F(GpuSessionTest, WeightsMayLieInSeveralSections) {
  ASSERT_EQ(toy::write_gpu_plan(path, toy::with_two_sections, std::string(64, 'x')), "");
  std::vector<double> done;
  LoadOptions watched = options();
  watched.verify_weights = true;
  watched.progress = [&](double fraction) { done.push_back(fraction); };
  const auto model = Model::load(*PlanFile::open(path, false), watched);
  ASSERT_EQ(message(model), "");
  ASSERT_EQ(done.size(), 2U);
  EXPECT_EQ(done[0], 64.0 / 1088);
  EXPECT_EQ(done[1], 1);
  const auto session = make(*model);
  ASSERT_TRUE(session->prefill(first(50)).ok());
  EXPECT_EQ(logits(*session), expected(first(50)));
}

TEST_F(GpuSessionTest, DamagedWeightsAreFoundWhileTheyAreLoaded) {
  const auto whole = PlanFile::open(path, false);
  std::string bytes = toy::read_file(path);
  bytes[(*whole)->plan().device_plans[0].weights_sections[0].offset + 3] ^= 4;
  toy::write_file(path, bytes);
  EXPECT_EQ(load_error(options()),
            path +
                ": section gpu weights has a wrong checksum: the plan is damaged; compile it "
                "again");
  LoadOptions unverified = options();
  unverified.verify_weights = false;
  double last = 0;
  unverified.progress = [&](double fraction) { last = fraction; };
  EXPECT_EQ(load_error(unverified), "");
  EXPECT_EQ(last, 1);
}

TEST_F(GpuSessionTest, LoadErrorsSayWhatIsWrong) {
  LoadOptions other = options();
  other.device = "hip:1";
  EXPECT_EQ(load_error(other), "there is no device hip:1: libdouble.so finds 1, hip:0");
  other.device = "gpu";
  EXPECT_NE(load_error(other).find("\"gpu\" is not a device"), std::string::npos);
  gpu.kernels.erase("toy_sum");
  EXPECT_EQ(load_error(options()),
            "hip:0: finding kernel toy_sum failed: something broke (error 500)");
  gpu.resident_blocks = 0;
  toy::add_kernels(gpu, {});
  EXPECT_EQ(load_error(options()),
            "hip:0 cannot run kernel sinter_stream: a block of 256 threads needs 255 registers per "
            "thread and 1024 bytes of shared memory, of which a block may have 65536; compile the "
            "plan for gfx1100 again");
  gpu.resident_blocks = 2;
  gpu.architectures = {"gfx1030"};
  EXPECT_EQ(load_error(options()),
            path +
                ": the plan has no code for hip:0 (Double, gfx1030), only for gfx1100; compile "
                "it with --target gfx1030 or another that runs there (`sinter targets`)");
  gpu.architectures = {"gfx1100"};
  ASSERT_EQ(toy::write_plan(
                path,
                [](Plan& plan) {
                  plan.device_plans[0].device = "gpu";
                  plan.code[0].target = "gfx1100";
                  plan.code[0].family = "amdgpu";
                },
                "no code"),
            "");
  EXPECT_EQ(load_error(options()), "hip:0: loading the code for gfx1100 of " + path +
                                       ": line 1: this is no code failed: something broke (error "
                                       "218)");
}

TEST_F(GpuSessionTest, TheHostIsNotTakenForAGpuNorAGpuForTheHost) {
  LoadOptions host = options();
  host.device = "host";
  EXPECT_NE(load_error(host).find("the plan has no code for this machine"), std::string::npos);
  ASSERT_FALSE(toy::kernel_object().empty()) << "no C compiler here";
  ASSERT_EQ(toy::write_plan(path), "");
  EXPECT_EQ(load_error(options()),
            path +
                ": the plan has no code for hip:0 (Double, gfx1100), only for toy; compile it "
                "with --target gfx1100 or another that runs there (`sinter targets`)");
}

TEST_F(GpuSessionTest, ProfileTimesThePhases) {
  const auto model = load();
  for (const Executor executor : {Executor::eager, Executor::graph}) {
    const auto session = make(model, 0, executor);
    ASSERT_TRUE(session->prefill(first(3)).ok());
    ASSERT_TRUE(session->decode(1).ok());
    session->profile(1);
    ASSERT_TRUE(session->decode(2).ok());
    ASSERT_TRUE(session->decode(3).ok());
    session->profile(0);
    ASSERT_TRUE(session->decode(4).ok());
    ASSERT_EQ(session->profiled_times().size(), 3u);
    for (const PhaseTime& time : session->profiled_times()) {
      EXPECT_EQ(time.calls, 2u);
      EXPECT_NEAR(time.seconds, 2e-3, 1e-9);  // the double's clock: a millisecond for each launch
    }
    const std::vector<int32_t> seen = {0, 7, 14, 1, 2, 3, 4};
    EXPECT_EQ(logits(*session), expected(seen));
  }
}

TEST_F(GpuSessionTest, StreamingReadIsBytesByTime) {
  const auto model = load();
  const auto rate = model->streaming_read(16000);
  ASSERT_EQ(message(rate), "");
  EXPECT_NEAR(*rate, 16000 / 1e-3, 1);
  EXPECT_GT(*model->streaming_read(), 0);
}

// Every call of the driver fails once, at each place where it is made.
TEST_F(GpuSessionTest, WhateverFailsGivesOneClearLineAndIsGivenBack) {
  ASSERT_EQ(toy::write_gpu_plan(path,
                                [](Plan& plan) {
                                  toy::without_fixed_state(plan);
                                  toy::with_probes(plan);
                                }),
            "");
  toy::add_kernels(gpu, {.counts_up = false});
  const auto scenario = [&]() -> Status {
    auto model = Model::load(*PlanFile::open(path, false), options());
    if (!model.ok()) return model.error();
    const auto rate = (*model)->streaming_read();
    if (!rate.ok()) return rate.error();
    auto session = Session::create(*model, 40);
    if (!session.ok()) return session.error();
    int given = 0;
    const auto sink = [&](int32_t) { return ++given % 5 != 0; };
    const auto rows = [](std::span<const float>, int64_t) {};
    const std::vector<std::function<Status()>> steps = {
        [&] { return (*session)->prefill(first(6), 6, rows); },
        [&] { return (*session)->decode(3); },
        [&] { return (*session)->generate({.temperature = 50}, 7, sink); },
        [&] { return (*session)->generate({.greedy = true}, 3, sink); },
        [&] {
          (*session)->profile(1);
          return (*session)->decode(3);
        },
        [&] {
          (*session)->reset();
          return (*session)->prefill(first(3));
        },
        [&] {
          (void)(*session)->logits();
          return (*session)->decode(3);
        },
    };
    for (const auto& step : steps)
      if (Status status = step(); !status.ok()) return status;
    return Done{};
  };
  int failures = 0;
  for (int n = 1;; ++n) {
    gpu.calls = 0;
    gpu.fail_call = n;
    gpu.failed.clear();
    const std::string error = message(scenario());
    ASSERT_EQ(gpu.objects(), 0u) << n << ": " << gpu.failed << ": " << error;
    ASSERT_EQ(gpu.abuse, std::vector<std::string>()) << n << ": " << gpu.failed << ": " << error;
    if (gpu.failed.empty()) {
      ASSERT_EQ(error, "");
      EXPECT_GT(n, 150);  // calls of the whole scenario
      break;
    }
    if (error.empty()) {
      // Only what gives back, at the end of something's life, may fail unseen.
      EXPECT_TRUE(gpu.failed.ends_with("Destroy") || gpu.failed == "hipFree" ||
                  gpu.failed == "hipHostFree" || gpu.failed == "hipModuleUnload" ||
                  gpu.failed == "hipSetDevice" || gpu.failed == "hipStreamSynchronize")
          << n << ": " << gpu.failed;
      continue;
    }
    ++failures;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    EXPECT_NE(error.find(" failed: something broke (error 719)"), std::string::npos)
        << gpu.failed << ": " << error;
    EXPECT_TRUE(error.starts_with("hip:0: ") || error.starts_with("libdouble.so: ") ||
                error.starts_with("phase "))
        << error;
  }
  EXPECT_GT(failures, 100);
  gpu.fail_call = 0;
}

TEST_F(GpuSessionTest, ASessionThatGoesWaitsForWhatItCopies) {
  const auto model = load();
  auto made = Session::create(model, SessionOptions{.sequences = 2});
  ASSERT_EQ(message(made), "");
  ASSERT_EQ(message((*made)->decode(5)), "");
  ASSERT_EQ(message((*made)->snapshot(0)), "");
  made->reset();
  EXPECT_EQ(gpu.abuse, std::vector<std::string>());
}

TEST_F(GpuSessionTest, LogitsAfterDrawingFromOneOfSeveralRowsAreThoseOfTheLastToken) {
  for (const Executor executor : {Executor::graph, Executor::eager}) {
    const auto session = make(load(), 0, executor);
    const Session::Part part{0, first(2), 2};
    ASSERT_EQ(message(session->step({&part, 1})), "");
    std::vector<int32_t> seen(tokens.begin(), tokens.begin() + 2), drawn;
    ASSERT_EQ(message(session->generate({.greedy = true}, 3,
                                        [&](int32_t t) {
                                          drawn.push_back(t);
                                          return true;
                                        })),
              "");
    EXPECT_EQ(drawn, drawn_by_hand(seen, 3, {.greedy = true}));
    seen.insert(seen.end(), drawn.begin(), drawn.end() - 1);
    EXPECT_EQ(logits(*session), expected(seen));
  }
}

TEST_F(GpuSessionTest, SequencesGetWhatTheyGetAloneWhateverTheSchedule) {
  for (const bool paged : {false, true}) {
    SCOPED_TRACE(paged ? "paged state alone" : "fixed state, too");
    ASSERT_EQ(toy::write_gpu_plan(path,
                                  [&](Plan& plan) {
                                    plan.max_context = 300;
                                    if (paged) toy::without_fixed_state(plan);
                                  }),
              "");
    toy::add_kernels(gpu, {.counts_up = !paged});
    const auto model = load();
    int draws = 0;
    for (unsigned seed = 0; seed < 200; ++seed) {
      SCOPED_TRACE(seed);
      auto session = Session::create(
          model, SessionOptions{.context = 200 + seed % 3 * 50,
                                .sequences = 1 + seed % 6,
                                .positions = seed % 2 == 0 ? 0 : 256,
                                .executor = seed % 4 < 2 ? Executor::graph : Executor::eager});
      ASSERT_EQ(message(session), "");
      RandomSchedule schedule(*model, **session, seed);
      schedule.run(60);
      session->reset();
      if (!HasFailure()) schedule.compare(toy::run_alone);
      draws += schedule.draws();
      if (HasFailure()) return;
    }
    EXPECT_GT(draws, 3000);
  }
}

}  // namespace
}  // namespace sinter::runtime
