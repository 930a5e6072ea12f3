// Multi-token-prediction heads: an entry of their own beside the model's, against logits computed
// with transformers' layers, in the reference interpreter and in compiled plans; drafts of drafts,
// and what forks, snapshots and cuts leave of them.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <random>

#include "frontends/open/open_checkpoint.h"
#include "frontends/safetensors/safetensors.h"
#include "ir/entries.h"
#include "ir/interpreter.h"
#include "ir/ops.h"
#include "ir/text.h"
#include "nlohmann/json.hpp"
#include "passes/pipeline.h"
#include "tests/codegen/compiled_model.h"
#include "tests/codegen/read_tensor.h"
#include "tests/ir/f32_caches.h"

namespace sinter {
namespace {

using runtime::Result;
using runtime::Schedule;
using runtime::Session;
using Logits = std::vector<float>;

struct Golden {
  std::unique_ptr<frontends::Checkpoint> checkpoint;
  models::ImportedModel model, without;  // with the head, and without it
  std::vector<int32_t> ids;
  Logits logits;      // [ids, vocab]
  Logits mtp_logits;  // [ids - 1, vocab]: of the hidden state of token t and token t + 1
  double tolerance = 0, tolerance_f32 = 0;

  size_t vocab() const { return logits.size() / ids.size(); }
};

Golden open_golden(const std::string& name) {
  const std::filesystem::path folder = std::filesystem::path(SINTER_TEST_GOLDENS) / name;
  Golden golden;
  const bool gguf = std::filesystem::exists(folder / "model.gguf");
  auto checkpoint = frontends::open_checkpoint(gguf ? folder / "model.gguf" : folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  golden.checkpoint = *std::move(checkpoint);
  auto model = models::import_checkpoint(*golden.checkpoint, {}, {.mtp = true});
  EXPECT_TRUE(model.ok()) << model.status();
  golden.model = *std::move(model);
  auto without = models::import_checkpoint(*golden.checkpoint);
  EXPECT_TRUE(without.ok()) << without.status();
  golden.without = *std::move(without);
  auto stored = frontends::open_safetensors(folder / "golden.safetensors");
  EXPECT_TRUE(stored.ok()) << stored.status();
  golden.ids = read_tensor<int32_t>(stored->tensors.at("input_ids"));
  golden.logits = read_tensor<float>(stored->tensors.at("logits"));
  golden.mtp_logits = read_tensor<float>(stored->tensors.at("mtp_logits"));
  std::ifstream file(folder / "case.json");
  const auto details = nlohmann::json::parse(file);
  golden.tolerance = details.at("rel_tol");
  golden.tolerance_f32 = details.at("rel_tol_f32");
  return golden;
}

// |got - want| / |want| of every row, 2-norms over the vocabulary.
void expect_close(const Logits& got, const Logits& want, size_t vocab, double tolerance,
                  const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double worst = 0;
  for (size_t t = 0; t < want.size(); t += vocab) {
    double difference = 0, size = 0;
    for (size_t i = t; i < t + vocab; ++i) {
      ASSERT_TRUE(std::isfinite(got[i])) << what;
      difference += std::pow(double{got[i]} - want[i], 2);
      size += std::pow(double{want[i]}, 2);
    }
    worst = std::max(worst, std::sqrt(difference / size));
  }
  EXPECT_LE(worst, tolerance) << what;
  fmt::print("  {:<40} {:.2e} of {:.1e}\n", what, worst, tolerance);
}

// What both entries give for tokens, in steps of so many.
struct Reference {
  ir::InterpreterState model, head;
  Logits logits, mtp_logits, hidden;  // of all rows, the model's hidden states

  void run(const ir::Module& module, const Golden& golden, size_t step) {
    const std::vector<int32_t>& ids = golden.ids;
    for (size_t done = 0; done < ids.size(); done += step) {
      const size_t end = std::min(done + step, ids.size());
      ir::StepInput input;
      input.tokens.assign(ids.begin() + static_cast<std::ptrdiff_t>(done),
                          ids.begin() + static_cast<std::ptrdiff_t>(end));
      input.logits_rows = static_cast<int64_t>(input.tokens.size());
      const auto rows = ir::interpret_entry(module, *golden.checkpoint, input, model);
      ASSERT_TRUE(rows.ok()) << rows.status();
      ASSERT_EQ(rows->size(), 2U);
      logits.insert(logits.end(), (*rows)[0].data.begin(), (*rows)[0].data.end());
      hidden.insert(hidden.end(), (*rows)[1].data.begin(), (*rows)[1].data.end());
      input.tokens.erase(input.tokens.begin());
      if (end < ids.size()) input.tokens.push_back(ids[end]);
      if (input.tokens.empty()) continue;
      input.entry = 1;
      input.logits_rows = static_cast<int64_t>(input.tokens.size());
      input.hidden = (*rows)[1].data;
      input.hidden.resize(input.tokens.size() * static_cast<size_t>((*rows)[1].shape[1]));
      const auto drafted = ir::interpret_entry(module, *golden.checkpoint, input, head);
      ASSERT_TRUE(drafted.ok()) << drafted.status();
      ASSERT_EQ(drafted->size(), 2U);
      mtp_logits.insert(mtp_logits.end(), (*drafted)[0].data.begin(), (*drafted)[0].data.end());
    }
  }
};

class MtpTest : public ::testing::TestWithParam<std::string> {};

TEST_P(MtpTest, ReferenceMatchesOnImportedGraphAndAfterEveryPass) {
  const Golden golden = open_golden(GetParam());
  const auto check = [&](const ir::Module& module, const std::string& what) {
    for (const size_t step : {golden.ids.size(), size_t{1}}) {
      Reference reference;
      reference.run(ir::with_f32_caches(module), golden, step);
      expect_close(reference.logits, golden.logits, golden.vocab(), golden.tolerance_f32, what);
      expect_close(reference.mtp_logits, golden.mtp_logits, golden.vocab(), golden.tolerance_f32,
                   what + " head");
      if (what != "import") break;
    }
    const auto parsed = ir::parse(ir::print(module), "printed");
    ASSERT_TRUE(parsed.ok()) << what << ": " << parsed.status();
    EXPECT_EQ(ir::print(*parsed), ir::print(module)) << what;
  };
  check(golden.model.module, "import");
  passes::PassContext context;
  context.source = golden.checkpoint.get();
  const auto fused = passes::run_pipeline(golden.model.module, context,
                                          [&](const passes::Pass& pass, const ir::Module& module) {
                                            check(module, std::string(pass.name));
                                          });
  ASSERT_TRUE(fused.ok()) << fused.status();
}

// A plan with the head, and a session on it.
class Drafter {
 public:
  Drafter(const Golden& golden, const std::string& name, codegen::Activations activations,
          int first = 0, int64_t sequences = 4) {
    model = compile_and_load(golden.model, golden.checkpoint.get(), name, activations, first).model;
    EXPECT_NE(model, nullptr);
    if (model == nullptr) return;
    auto created = Session::create(model, {.context = 128, .sequences = sequences});
    EXPECT_TRUE(created.ok()) << created.error().message;
    session = std::move(*created);
  }

  Drafter(std::shared_ptr<runtime::Model> on, std::unique_ptr<Session> with)
      : model(std::move(on)), session(std::move(with)) {}

  Logits step(std::span<const int32_t> tokens, int sequence = 0) {
    const auto rows = static_cast<int64_t>(tokens.size());
    const Session::Part part{sequence, tokens, rows};
    const auto status = session->step({&part, 1});
    EXPECT_TRUE(status.ok()) << status.error().message;
    const auto logits = session->read_logits(sequence, rows);
    EXPECT_TRUE(logits.ok()) << logits.error().message;
    return logits.ok() ? Logits(logits->begin(), logits->end()) : Logits();
  }
  Logits draft(int64_t position, std::span<const int32_t> tokens, int sequence = 0) {
    const auto rows = static_cast<int64_t>(tokens.size());
    const Session::DraftPart part{sequence, position, tokens, rows};
    const auto status = session->draft({&part, 1});
    EXPECT_TRUE(status.ok()) << status.error().message;
    const auto logits = session->read_draft_logits(sequence, rows);
    EXPECT_TRUE(logits.ok()) << logits.error().message;
    return logits.ok() ? Logits(logits->begin(), logits->end()) : Logits();
  }
  std::string refusal(const Session::DraftPart& part) {
    const auto status = session->draft({&part, 1});
    return status.ok() ? "" : status.error().message;
  }
  // Both entries over all tokens, in steps of so many. The last token has none behind it.
  void run(std::span<const int32_t> ids, size_t most, Logits& logits, Logits& drafts) {
    for (size_t done = 0; done < ids.size(); done += most) {
      const size_t size = std::min(most, ids.size() - done);
      const Logits rows = step(ids.subspan(done, size));
      logits.insert(logits.end(), rows.begin(), rows.end());
      const auto after = ids.subspan(done + 1, std::min(size, ids.size() - done - 1));
      if (after.empty()) return;
      const Logits drafted = draft(static_cast<int64_t>(done), after);
      drafts.insert(drafts.end(), drafted.begin(), drafted.end());
    }
  }

  std::shared_ptr<runtime::Model> model;
  std::unique_ptr<Session> session;
};

TEST_P(MtpTest, CompiledPlanMatches) {
  const Golden golden = open_golden(GetParam());
  for (const auto activations : {codegen::Activations::a16, codegen::Activations::a8}) {
    const bool a8 = activations == codegen::Activations::a8;
    Drafter drafter(golden, GetParam(), activations, a8 ? 0 : 1);
    ASSERT_NE(drafter.session, nullptr);
    // As tests/codegen/goldens_test.cpp allows it.
    const double tolerance = golden.tolerance * (a8 ? 2.5 : 1);
    for (const size_t step : {golden.ids.size(), size_t{7}, size_t{1}}) {
      drafter.session->reset();
      Logits logits, drafts;
      drafter.run(golden.ids, step, logits, drafts);
      const std::string what = fmt::format("{} steps of {}", a8 ? "a8" : "a16", step);
      expect_close(logits, golden.logits, golden.vocab(), tolerance, what);
      expect_close(drafts, golden.mtp_logits, golden.vocab(), tolerance, what + " head");
    }
  }
}

// The head changes nothing of what the model computes.
TEST_P(MtpTest, ModelHasTheBitsThatItHasWithoutTheHead) {
  const Golden golden = open_golden(GetParam());
  Drafter drafter(golden, GetParam(), codegen::Activations::a8);
  ASSERT_NE(drafter.session, nullptr);
  const auto plain = compile_and_load(golden.without, golden.checkpoint.get(),
                                      GetParam() + "_plain", codegen::Activations::a8);
  ASSERT_NE(plain.model, nullptr);
  EXPECT_EQ(plain.model->plan().hidden_size, 0);
  auto session = Session::create(plain.model, 0);
  ASSERT_TRUE(session.ok()) << session.error().message;
  Logits logits, drafts;
  drafter.run(golden.ids, 5, logits, drafts);
  Logits want;
  for (size_t done = 0; done < golden.ids.size(); done += 5) {
    const Session::Part part{0, std::span(golden.ids).subspan(done, 5), 5};
    ASSERT_TRUE((*session)->step({&part, 1}).ok());
    const auto rows = (*session)->read_logits(0, 5);
    ASSERT_TRUE(rows.ok()) << rows.error().message;
    want.insert(want.end(), rows->begin(), rows->end());
  }
  EXPECT_EQ(logits, want);
  const int32_t token = 3;
  const Session::DraftPart part{0, 0, {&token, 1}};
  const auto refused = (*session)->draft({&part, 1});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message,
            "the plan has no multi-token-prediction head; compile a model that has one with --mtp");
}

// Whatever the steps, a few rows have the bits that each has alone; a draft of a draft reads what
// the head itself has left.
TEST_P(MtpTest, DraftsFollowOneAnother) {
  const Golden golden = open_golden(GetParam());
  Drafter drafter(golden, GetParam(), codegen::Activations::a16);
  ASSERT_NE(drafter.session, nullptr);
  const std::span<const int32_t> ids(golden.ids);
  Logits logits, one_by_one;
  drafter.run(ids, 1, logits, one_by_one);
  drafter.session->reset();
  Logits again, in_sixes;
  drafter.run(ids, 6, again, in_sixes);
  EXPECT_EQ(again, logits);
  EXPECT_EQ(in_sixes, one_by_one);

  // Three drafts behind 12 tokens, against the interpreter.
  drafter.session->reset();
  drafter.step(ids.first(12));
  Logits got = drafter.draft(0, ids.subspan(1, 12));
  Golden short_text = open_golden(GetParam());
  short_text.ids.resize(13);
  Reference reference;
  reference.run(golden.model.module, short_text, 13);
  const auto last_row = [&](const Logits& rows) {
    return Logits(rows.end() - static_cast<std::ptrdiff_t>(golden.vocab()), rows.end());
  };
  std::vector<int32_t> drafted = {ids[12]};
  const auto width = static_cast<size_t>(drafter.model->plan().hidden_size);
  ir::InterpreterState head;
  for (int64_t i = 0; i < 3; ++i) {
    const Logits last = last_row(got);
    const auto best = std::ranges::max_element(last) - last.begin();
    drafted.push_back(static_cast<int32_t>(best));
    got = drafter.draft(12 + i, std::span(drafted).subspan(static_cast<size_t>(i) + 1, 1));
  }
  // All of it again, a step of the head for each position.
  Logits state(reference.hidden.begin(),
               reference.hidden.begin() + static_cast<std::ptrdiff_t>(width));
  Logits want;
  for (size_t p = 0; p < 15; ++p) {
    ir::StepInput input;
    input.tokens = {p < 12 ? ids[p + 1] : drafted[p - 11]};
    input.entry = 1;
    if (p < 12)
      state.assign(reference.hidden.begin() + static_cast<std::ptrdiff_t>(p * width),
                   reference.hidden.begin() + static_cast<std::ptrdiff_t>((p + 1) * width));
    input.hidden = state;
    const auto rows = ir::interpret_entry(golden.model.module, *golden.checkpoint, input, head);
    ASSERT_TRUE(rows.ok()) << rows.status();
    want = (*rows)[0].data;
    state = (*rows)[1].data;
  }
  expect_close(got, want, golden.vocab(), golden.tolerance, "third draft");
  EXPECT_EQ(drafter.session->position(), 12);
  EXPECT_EQ(drafter.session->drafted(), 15);
  // The model goes on, and the head over the same positions with its states: as if it had never
  // drafted beyond.
  Logits later = drafter.step(ids.subspan(12, 8));
  EXPECT_EQ(drafter.session->drafted(), 12);
  later = drafter.draft(12, ids.subspan(13, 8));
  EXPECT_EQ(last_row(later),
            Logits(one_by_one.begin() + static_cast<std::ptrdiff_t>(19 * golden.vocab()),
                   one_by_one.begin() + static_cast<std::ptrdiff_t>(20 * golden.vocab())));
}

TEST_P(MtpTest, RollingBackIsAsIfNothingHadBeenDrafted) {
  const Golden golden = open_golden(GetParam());
  Drafter drafter(golden, GetParam(), codegen::Activations::a8);
  ASSERT_NE(drafter.session, nullptr);
  Session& session = *drafter.session;
  const std::span<const int32_t> ids(golden.ids);
  Logits logits, want;
  drafter.run(ids, 1, logits, want);
  const auto row = [&](size_t position) {
    return Logits(want.begin() + static_cast<std::ptrdiff_t>(position * golden.vocab()),
                  want.begin() + static_cast<std::ptrdiff_t>((position + 1) * golden.vocab()));
  };
  session.reset();
  drafter.step(ids.first(10));
  drafter.draft(0, ids.subspan(1, 9));  // all but the last position
  const auto snapshot = session.snapshot(0);
  ASSERT_TRUE(snapshot.ok()) << snapshot.error().message;
  const auto fork = session.fork(0);
  ASSERT_TRUE(fork.ok()) << fork.error().message;
  // The copies have the last position's state; what the original does is its own.
  const std::vector<int32_t> wrong = {1, 2, 3};
  drafter.draft(9, std::span(wrong).first(1));
  drafter.draft(10, std::span(wrong).subspan(1, 1));
  drafter.step(wrong);
  EXPECT_EQ(drafter.draft(9, ids.subspan(10, 1), *fork), row(9));
  EXPECT_EQ(session.drafted(*fork), 10);
  ASSERT_TRUE(session.restore(0, *snapshot).ok());
  EXPECT_EQ(session.drafted(0), 9);
  EXPECT_EQ(drafter.draft(9, ids.subspan(10, 1)), row(9));
  drafter.step(ids.subspan(10, 4));
  const Logits rows = drafter.draft(10, ids.subspan(11, 4));
  EXPECT_EQ(Logits(rows.end() - static_cast<std::ptrdiff_t>(golden.vocab()), rows.end()), row(13));
}

TEST_P(MtpTest, SequencesDraftTogether) {
  const Golden golden = open_golden(GetParam());
  Drafter drafter(golden, GetParam(), codegen::Activations::a8);
  ASSERT_NE(drafter.session, nullptr);
  Session& session = *drafter.session;
  const std::span<const int32_t> ids(golden.ids);
  Logits logits, want;
  drafter.run(ids, 1, logits, want);
  session.reset();
  const auto second = session.add();
  ASSERT_TRUE(second.ok()) << second.error().message;
  drafter.step(ids.first(4));
  drafter.draft(0, ids.subspan(1, 3));  // position 3 is left
  drafter.step(ids.first(9), *second);
  drafter.draft(0, ids.subspan(1, 6), *second);  // positions 6 to 8 are left
  const Session::DraftPart parts[] = {{0, 3, ids.subspan(4, 1), 1},
                                      {*second, 6, ids.subspan(7, 3), 2}};
  ASSERT_TRUE(session.draft(parts).ok());
  const auto row = [&](size_t position) {
    return Logits(want.begin() + static_cast<std::ptrdiff_t>(position * golden.vocab()),
                  want.begin() + static_cast<std::ptrdiff_t>((position + 1) * golden.vocab()));
  };
  const auto first_rows = session.read_draft_logits(0);
  ASSERT_TRUE(first_rows.ok()) << first_rows.error().message;
  EXPECT_EQ(Logits(first_rows->begin(), first_rows->end()), row(3));
  const auto second_rows = session.read_draft_logits(*second, 2);
  ASSERT_TRUE(second_rows.ok()) << second_rows.error().message;
  Logits both = row(7);
  const Logits last = row(8);
  both.insert(both.end(), last.begin(), last.end());
  EXPECT_EQ(Logits(second_rows->begin(), second_rows->end()), both);
  // The model's logits are still there where a step gave each sequence one row.
  EXPECT_TRUE(session.decode(ids[4]).ok());
  const auto model_row = session.read_logits(0);
  ASSERT_TRUE(model_row.ok()) << model_row.error().message;
  const Logits before(model_row->begin(), model_row->end());
  drafter.draft(4, ids.subspan(5, 1));
  const auto after = session.read_logits(0);
  ASSERT_TRUE(after.ok()) << after.error().message;
  EXPECT_EQ(Logits(after->begin(), after->end()), before);
}

// What drafts give alone: by the tokens that were read, and the one that follows them.
class DraftsAlone {
 public:
  explicit DraftsAlone(Drafter& drafter) : drafter_(drafter) {}

  const Logits& operator()(const std::vector<int32_t>& tokens) {
    if (const auto known = known_.find(tokens); known != known_.end()) return known->second;
    drafter_.session->reset();
    std::vector<int32_t> read;
    for (size_t p = 0; p + 1 < tokens.size(); ++p) {
      read.push_back(tokens[p]);
      drafter_.step(std::span(tokens).subspan(p, 1));
      const Logits row =
          drafter_.draft(static_cast<int64_t>(p), std::span(tokens).subspan(p + 1, 1));
      std::vector<int32_t> key = read;
      key.push_back(tokens[p + 1]);
      known_[key] = row;
    }
    return known_.at(tokens);
  }

 private:
  Drafter& drafter_;
  std::map<std::vector<int32_t>, Logits> known_;
};

// Sequences that come and go, read and draft, some of them beyond what they have read: what the
// head says of read positions is what it says alone.
TEST_P(MtpTest, RandomSchedulesGiveEachDraftWhatItGetsAlone) {
  const Golden golden = open_golden(GetParam());
  Drafter drafter(golden, GetParam(), codegen::Activations::a8, 0, 6);
  ASSERT_NE(drafter.session, nullptr);
  auto alone_session = Session::create(drafter.model, {.context = 128});
  ASSERT_TRUE(alone_session.ok()) << alone_session.error().message;
  Drafter of_one = {drafter.model, std::move(*alone_session)};
  DraftsAlone alone(of_one);
  Session& session = *drafter.session;
  int64_t compared = 0;
  for (unsigned seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
    struct Live {
      std::vector<int32_t> tokens;
      bool is_snapshot = false;
      int32_t next = -1;  // what the head was told that follows them
    };
    std::map<int, Live> live;
    session.reset();
    live[0] = {};
    const auto any = [&](bool snapshot) {
      std::vector<int> fitting;
      for (const auto& [number, its] : live)
        if (its.is_snapshot == snapshot) fitting.push_back(number);
      return fitting.empty() ? -1 : fitting[below(fitting.size())];
    };
    for (int i = 0; i < 40; ++i) {
      const int number = any(false);
      Live& its = live[number];
      const size_t action = below(8);
      if (action < 4 && its.tokens.size() < 60) {
        std::vector<int32_t> added;
        for (size_t n = 1 + below(7); n > 0; --n)
          added.push_back(static_cast<int32_t>(below(golden.vocab())));
        if (its.next >= 0) added[0] = its.next;
        its.next = -1;
        drafter.step(added, number);
        its.tokens.insert(its.tokens.end(), added.begin(), added.end());
      } else if (action == 4 || action == 5) {
        const Result<int> made = action == 4 ? session.fork(number) : session.snapshot(number);
        if (made.ok()) live[*made] = {its.tokens, action == 5, its.next};
      } else if (action == 6) {
        if (const int from = any(true); from >= 0) {
          ASSERT_TRUE(session.restore(number, from).ok());
          its = live[from];
          its.is_snapshot = false;
        }
      } else if (live.size() > 1 && number != 0) {
        ASSERT_TRUE(session.remove(number).ok());
        live.erase(number);
        continue;
      }
      // Often the head follows, over all that is at hand, with any token behind the last.
      const int64_t first = session.drafted(number);
      const auto rows = static_cast<int64_t>(its.tokens.size()) - first;
      if (rows < 1 || below(4) == 0) continue;
      std::vector<int32_t> with_next = its.tokens;
      with_next.push_back(static_cast<int32_t>(below(golden.vocab())));
      const Session::DraftPart part{
          number, first, std::span(with_next).subspan(static_cast<size_t>(first) + 1), 1};
      if (!session.draft({&part, 1}).ok()) continue;  // some are at hand no more
      const auto row = session.read_draft_logits(number);
      ASSERT_TRUE(row.ok()) << row.error().message;
      ASSERT_EQ(Logits(row->begin(), row->end()), alone(with_next));
      ++compared;
      its.next = with_next.back();
      if (below(2) == 0) drafter.draft(first + rows, std::span(with_next).last(1), number);
    }
    for (const auto& [number, its] : live)
      if (number != 0) ASSERT_TRUE(session.remove(number).ok());
  }
  EXPECT_GT(compared, 40);
  fmt::print("  {} drafts were compared\n", compared);
}

TEST_P(MtpTest, RefusesWhatIsNotAtHand) {
  const Golden golden = open_golden(GetParam());
  Drafter drafter(golden, GetParam(), codegen::Activations::a8);
  ASSERT_NE(drafter.session, nullptr);
  Session& session = *drafter.session;
  const std::span<const int32_t> ids(golden.ids);
  const auto expect_refused = [&](const Session::DraftPart& part, std::string_view text) {
    EXPECT_NE(drafter.refusal(part).find(text), std::string::npos) << drafter.refusal(part);
  };
  expect_refused({0, 0, ids.subspan(1, 1)}, "no hidden state of position 0: the model has read 0");
  drafter.step(ids.first(6));
  expect_refused({0, 2, ids.subspan(3, 1)}, "gone over 0 positions and cannot go on with 2");
  expect_refused({0, 0, ids.subspan(1, 7)}, "no hidden state of position 6: the model has read 6");
  expect_refused({0, 0, {}}, "no tokens to run");
  expect_refused({0, -1, ids.first(1)}, "does not fit into a context of 128");
  expect_refused({0, 127, ids.first(2)}, "does not fit into a context of 128");
  expect_refused({0, 0, ids.subspan(1, 2), 3}, "3 rows of logits were asked for, outside 0..2");
  expect_refused({3, 0, ids.subspan(1, 2)}, "there is no sequence 3");
  const int32_t beyond = 1 << 20;
  expect_refused({0, 0, {&beyond, 1}}, "outside the vocabulary");
  drafter.draft(0, ids.subspan(1, 6));
  expect_refused({0, 5, ids.subspan(6, 1)}, "no hidden state of position 5");
  // Tokens that nobody drafted behind leave a gap for good.
  drafter.step(ids.subspan(6, 2));
  drafter.step(ids.subspan(8, 2));
  expect_refused({0, 8, ids.subspan(9, 1)}, "gone over 6 positions");
  expect_refused({0, 6, ids.subspan(7, 1)}, "no hidden state of position 6");
  session.reset();
  EXPECT_EQ(session.drafted(), 0);
  const auto none = session.read_draft_logits();
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().message, "there are no logits of a draft");
  // After drawing the state of no position is known.
  drafter.step(ids.first(3));
  ASSERT_TRUE(session.generate({.greedy = true}, 2, [](int32_t) { return true; }).ok());
  expect_refused({0, 0, ids.subspan(1, 1)}, "no hidden state of position 0");
}

TEST_P(MtpTest, EntryHasAFewPhasesAndSharesTheModelsWeights) {
  const Golden golden = open_golden(GetParam());
  Drafter drafter(golden, GetParam(), codegen::Activations::a8);
  ASSERT_NE(drafter.session, nullptr);
  const runtime::DevicePlan& plan = drafter.model->device_plan();
  std::vector<std::string> names;
  for (const runtime::Phase& phase : plan.phases_for(Schedule::Entry::mtp, 1))
    names.push_back(phase.name);
  EXPECT_EQ(names, (std::vector<std::string>{
                       "rope+model.embed_tokens", "mtp.fc[:, 0:64]", "mtp.fc[:, 64:128]",
                       "mtp.layers.0.self_attn.q_proj[0:32:1]|q_proj[32:64:1]|k_proj|v_proj",
                       "mtp.layers.0.attention", "mtp.layers.0.self_attn.o_proj",
                       "mtp.layers.0.mlp.gate_proj|up_proj", "mtp.layers.0.mlp.down_proj",
                       "lm_head+mtp.norm"}));
  size_t tables = 0;
  for (const runtime::PlanWeight& weight : plan.weights)
    tables += weight.name == "model.embed_tokens" || weight.name == "lm_head" ? 1 : 0;
  EXPECT_EQ(tables, golden.model.module.find_symbol("lm_head") < 0 ? 1U : 2U);
  EXPECT_EQ(drafter.model->plan().hidden_size, 64);
}

// The head's function before and after all passes.
TEST(MtpText, EntryBecomesThesePhases) {
  const Golden golden = open_golden("mtp_qwen3_5");
  const auto head_of = [](const ir::Module& module) {
    const std::string text = ir::print(module);
    return text.substr(std::min(text.find("  func @mtp"), text.size()));
  };
  codegen::CompileOptions options;
  options.targets = {codegen::targets().front()};
  const auto compiled = codegen::lower_model(golden.model, golden.checkpoint.get(), options);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  const std::string text = fmt::format("imported\n{}after all passes\n{}",
                                       head_of(golden.model.module), head_of(compiled->module));
  const std::filesystem::path file = std::filesystem::path(SINTER_TEST_FAMILIES) / "mtp_head.txt";
  if (std::getenv("SINTER_UPDATE_TEXTS") != nullptr) {
    std::ofstream(file, std::ios::binary) << text;
    return;
  }
  std::ifstream stored(file, std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(stored), {}), text)
      << file << "; SINTER_UPDATE_TEXTS=1 writes it anew";
}

INSTANTIATE_TEST_SUITE_P(Goldens, MtpTest, ::testing::Values("mtp_qwen3_5", "gguf_qwen35_mtp"));

std::string import_error(const std::function<void(frontends::Checkpoint&)>& edit,
                         const std::string& golden = "mtp_qwen3_5") {
  const std::filesystem::path folder = std::filesystem::path(SINTER_TEST_GOLDENS) / golden;
  auto checkpoint =
      frontends::open_checkpoint(golden.starts_with("gguf") ? folder / "model.gguf" : folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  edit(**checkpoint);
  const auto model = models::import_checkpoint(**checkpoint, {}, {.mtp = true});
  return model.ok() ? "imported" : std::string(model.status().message());
}

TEST(MtpImport, RefusesAHeadThatIsNotThereOrNotWhole) {
  struct Case {
    std::function<void(frontends::Checkpoint&)> edit;
    std::string message;
  };
  const Case cases[] = {
      {[](frontends::Checkpoint&) {}, "imported"},
      {[](frontends::Checkpoint& c) {
         std::erase_if(c.matrices, [](const auto& m) { return m.first.starts_with("mtp."); });
       },
       "config.json: the model has no multi-token-prediction head: there is no tensor \"mtp.fc\"; "
       "compile without --mtp"},
      {[](frontends::Checkpoint& c) { c.matrices.erase("mtp.norm"); },
       "tensor \"mtp.norm\" is missing"},
      {[](frontends::Checkpoint& c) { c.matrices.erase("mtp.layers.0.self_attn.k_proj"); },
       "tensor \"mtp.layers.0.self_attn.k_proj\" is missing"},
      {[](frontends::Checkpoint& c) { c.matrices.at("mtp.fc").type.shape = {128, 64}; },
       "tensor \"mtp.fc\" is [128, 64], but config.json asks for [64, 128]"},
      {[](frontends::Checkpoint& c) { c.config["text_config"]["mtp_num_hidden_layers"] = 2; },
       "\"text_config.mtp_num_hidden_layers\" is 2; heads of one layer are supported"},
      {[](frontends::Checkpoint& c) { c.matrices["mtp.extra"] = c.matrices.at("mtp.norm"); },
       "1 tensor is not used by the architecture that config.json names: \"mtp.extra\""},
  };
  for (const Case& c : cases) {
    const std::string error = import_error(c.edit);
    EXPECT_NE(error.find(c.message), std::string::npos) << "not \"" << c.message << "\": " << error;
  }
  EXPECT_NE(
      import_error([](frontends::Checkpoint& c) { c.matrices.erase("mtp.fc"); }, "gguf_qwen35_mtp")
          .find("has no multi-token-prediction head"),
      std::string::npos);
}

TEST(MtpImport, FamiliesWithoutOneSaySo) {
  const auto model = models::import_synthetic({{"model_type", "llama"},
                                               {"hidden_size", 64},
                                               {"intermediate_size", 96},
                                               {"num_hidden_layers", 1},
                                               {"num_attention_heads", 4},
                                               {"vocab_size", 48},
                                               {"max_position_embeddings", 64},
                                               {"rms_norm_eps", 1e-5},
                                               {"tie_word_embeddings", true}},
                                              {}, {.mtp = true});
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.status().message(),
            "config.json: no multi-token-prediction head is known of llama; compile without --mtp");
}

TEST(MtpImport, WithoutTheFlagTheHeadIsLeftOutWithANote) {
  const Golden golden = open_golden("mtp_qwen3_5");
  EXPECT_TRUE(golden.without.module.further.empty());
  EXPECT_TRUE(std::ranges::any_of(golden.without.notes, [](const std::string& note) {
    return note.find("15 of them are of a multi-token-prediction head, which --mtp compiles") !=
           std::string::npos;
  })) << fmt::format("{}", fmt::join(golden.without.notes, "\n"));
}

// A small hybrid of Qwen's, made of its sizes alone, with a head.
absl::StatusOr<models::ImportedModel> small_hybrid(nlohmann::json more) {
  nlohmann::json config = {{"hidden_size", 64},
                           {"num_hidden_layers", 2},
                           {"num_attention_heads", 2},
                           {"num_key_value_heads", 1},
                           {"head_dim", 32},
                           {"vocab_size", 48},
                           {"full_attention_interval", 2},
                           {"linear_num_key_heads", 2},
                           {"linear_num_value_heads", 4},
                           {"linear_key_head_dim", 16},
                           {"linear_value_head_dim", 16},
                           {"max_position_embeddings", 64},
                           {"tie_word_embeddings", false}};
  config.update(more);
  return models::import_synthetic(config, {}, {.mtp = true});
}

// Qwen's experts in the head, and a head of a model that is made of its sizes alone.
TEST(MtpImport, HeadsHaveTheModelsExperts) {
  const auto model = small_hybrid({{"model_type", "qwen3_5_moe_text"},
                                   {"num_experts", 4},
                                   {"num_experts_per_tok", 2},
                                   {"moe_intermediate_size", 32},
                                   {"shared_expert_intermediate_size", 32}});
  ASSERT_TRUE(model.ok()) << model.status();
  const ir::Module& module = model->module;
  ASSERT_EQ(module.further.size(), 1U);
  EXPECT_GE(module.find_symbol("mtp.layers.0.mlp.experts.down_proj"), 0);
  EXPECT_GE(module.find_symbol("mtp.layers.0.mlp.shared_expert_gate"), 0);
  EXPECT_EQ(module.find_symbol("mtp.lm_head"), -1);
  EXPECT_EQ(module.find_symbol("mtp.embed_tokens"), -1);
}

// A head that was put to a model whose matrices are rotated (Bonsai 2): its own are not, and rows
// of the model's table and the rows before the model's head are rotated for it, too.
TEST(MtpImport, SharesRotatedMatricesOfTheModel) {
  const auto model = small_hybrid({{"model_type", "qwen3_5_text"},
                                   {"intermediate_size", 64},
                                   {"synthetic_rotation", 32},
                                   {"synthetic_structure", "symmetric"},
                                   {"quantization", {{"group_size", 32}, {"bits", 2}}}});
  ASSERT_TRUE(model.ok()) << model.status();
  const ir::Module& module = model->module;
  std::vector<bool> inverse;
  const auto nodes = ir::nodes_by_entry(module);
  for (const size_t i : nodes[1])
    if (module.nodes[i].op == ir::Op::rotate) inverse.push_back(module.nodes[i].flag("inverse"));
  EXPECT_EQ(inverse, (std::vector<bool>{true, false}));
  EXPECT_EQ(module.weight(module.find_symbol("mtp.layers.0.mlp.down_proj")).rotated, 0);
  EXPECT_EQ(module.weight(module.find_symbol("lm_head")).rotated, 32);
  codegen::CompileOptions options;
  options.targets = {codegen::targets().front()};
  const auto compiled = codegen::lower_model(*model, nullptr, options);
  EXPECT_TRUE(compiled.ok()) << compiled.status();
}

// A model file and one with its head: those of a golden, whose head is of "visual" in the first,
// where it is left out, and has no prefix in the second.
class MtpSidecar : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / fmt::format("sidecar_{}", ::getpid());
    std::filesystem::create_directories(folder_);
    std::filesystem::copy_file(golden() / "config.json", folder_ / "config.json");
    rename_to(folder_ / "model.safetensors", [](const std::string& name) {
      return name.starts_with("mtp.") ? "visual." + name.substr(4) : name;
    });
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static std::filesystem::path golden() {
    return std::filesystem::path(SINTER_TEST_GOLDENS) / "mtp_qwen3_5";
  }
  static void rename_to(const std::filesystem::path& to,
                        const std::function<std::string(const std::string&)>& name) {
    std::ifstream in(golden() / "model.safetensors", std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(in), {});
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    const auto header = nlohmann::json::parse(bytes.substr(8, length));
    nlohmann::json renamed;
    for (const auto& [key, tensor] : header.items())
      renamed[key == "__metadata__" ? key : name(key)] = tensor;
    const std::string text = renamed.dump();
    const uint64_t size = text.size();
    std::ofstream out(to, std::ios::binary);
    out.write(reinterpret_cast<const char*>(&size), sizeof size);
    out << text << bytes.substr(8 + length);
  }
  std::string error(const std::filesystem::path& head) {
    auto checkpoint = frontends::open_checkpoint(folder_, head);
    if (!checkpoint.ok()) return std::string(checkpoint.status().message());
    const auto model = models::import_checkpoint(**checkpoint, {}, {.mtp = true});
    return model.ok() ? "" : std::string(model.status().message());
  }

  std::filesystem::path folder_;
};

TEST_F(MtpSidecar, GivesTheHeadThatTheModelLacks) {
  EXPECT_NE(error({}).find("has no multi-token-prediction head"), std::string::npos) << error({});
  EXPECT_EQ(error(golden() / "model.safetensors"), "");
  auto checkpoint = frontends::open_checkpoint(folder_, golden() / "model.safetensors");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  auto model = models::import_checkpoint(**checkpoint, {}, {.mtp = true});
  ASSERT_TRUE(model.ok()) << model.status();
  Golden whole = open_golden("mtp_qwen3_5");
  Reference want, got;
  want.run(whole.model.module, whole, 13);
  whole.checkpoint = *std::move(checkpoint);
  got.run(model->module, whole, 13);
  EXPECT_EQ(got.mtp_logits, want.mtp_logits);
}

// As MLX's files have it.
TEST_F(MtpSidecar, HeadsMayStandBelowTheLanguageModel) {
  rename_to(folder_ / "model.safetensors", [](const std::string& name) {
    return name.starts_with("mtp.") ? "language_model." + name : name;
  });
  EXPECT_EQ(error({}), "");
}

TEST_F(MtpSidecar, IsRefusedWhereTheModelHasItToo) {
  auto checkpoint = frontends::open_checkpoint(golden(), golden() / "model.safetensors");
  ASSERT_FALSE(checkpoint.ok());
  EXPECT_EQ(checkpoint.status().message(),
            "model.safetensors: tensor \"mtp.fc.weight\" is in model.safetensors already");
  EXPECT_FALSE(frontends::open_checkpoint(folder_, folder_ / "none.safetensors").ok());
  // Of the model's own tensors none is the head's.
  EXPECT_NE(error(folder_ / "config.json"), "");
}

}  // namespace
}  // namespace sinter
