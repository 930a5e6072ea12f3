// Rows that are taken back leave nothing: a compiled model goes on bit for bit as if they had never
// run, whatever its state is, wherever they began and however they were run.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <ostream>
#include <set>
#include <utility>
#include <vector>

#include "frontends/open/open_checkpoint.h"
#include "tests/codegen/compiled_model.h"

namespace sinter {
namespace {

using Kind = runtime::PlanState::Kind;
using Tokens = std::vector<int32_t>;
using Logits = std::vector<float>;

const std::set<Kind> kPaged = {Kind::paged}, kFixed = {Kind::fixed},
                     kRing = {Kind::paged, Kind::ring}, kHybrid = {Kind::paged, Kind::fixed};

// Shorter than a page, and no part of one.
constexpr int kChunk = 48;

struct Family {
  const char* what;
  std::string golden;
  std::set<Kind> kinds;  // of its states
};
void PrintTo(const Family& family, std::ostream* out) { *out << family.golden; }

// The cases of each kind are in the repository, some of the further ones beside it: these tests are
// there where it is.
std::filesystem::path folder_of(const std::string& golden) {
  const auto folder = std::filesystem::path(SINTER_TEST_GOLDENS) / golden;
  return std::filesystem::exists(folder) ? folder
                                         : std::filesystem::path(SINTER_MORE_GOLDENS) / golden;
}

class RollingBack : public testing::TestWithParam<Family> {
 protected:
  void SetUp() override {
    const auto folder = folder_of(GetParam().golden);
    const auto checkpoint = frontends::open_checkpoint(folder);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const auto imported = models::import_checkpoint(**checkpoint);
    ASSERT_TRUE(imported.ok()) << imported.status();
    codegen::CompileOptions options;
    options.chunk = kChunk;
    model_ =
        compile_and_load(*imported, checkpoint->get(), "rollback_" + GetParam().golden, options)
            .model;
    ASSERT_NE(model_, nullptr);
    session_ = create(2);
    alone_ = create(1);
  }

  std::unique_ptr<runtime::Session> create(int64_t sequences) {
    auto session = runtime::Session::create(model_, {.context = 256, .sequences = sequences});
    EXPECT_TRUE(session.ok()) << session.error().message;
    return session.ok() ? std::move(*session) : nullptr;
  }

  // Tokens that differ from one another, and from those of another `salt`.
  Tokens tokens(int64_t count, int64_t salt) const {
    Tokens out;
    for (int64_t i = 0; i < count; ++i)
      out.push_back(
          static_cast<int32_t>((i * i * 7 + i * 31 + salt * 53 + 11) % model_->plan().vocab_size));
    return out;
  }

  void read(runtime::Session& session, const Tokens& prompt) const {
    if (prompt.empty()) return;
    const auto status = session.prefill(prompt);
    ASSERT_TRUE(status.ok()) << status.error().message;
  }

  // A chunk and more, then token by token: the logits of all these rows.
  Logits go_on(runtime::Session& session) const {
    Logits out = prefill_logits(session, tokens(kChunk + 5, 3));
    for (const int32_t token : tokens(3, 4)) {
      EXPECT_TRUE(session.decode(token).ok());
      const auto row = session.logits();
      out.insert(out.end(), row.begin(), row.end());
    }
    return out;
  }

  std::shared_ptr<runtime::Model> model_;
  std::unique_ptr<runtime::Session> session_, alone_;
};

enum class How { prefill, decode, step };
constexpr const char* kRuns[] = {"prefill", "decode", "step"};

TEST_P(RollingBack, IsAsIfTheRowsHadNeverRun) {
  std::set<Kind> kinds;
  for (const runtime::PlanState& state : model_->device_plan().states) kinds.insert(state.kind);
  EXPECT_EQ(kinds, GetParam().kinds) << GetParam().what;
  int64_t cut = 0, restored = 0;
  // At the beginning, about the end of a chunk, of a page, and of another chunk.
  for (const int64_t begin : {0, 1, kChunk - 1, kChunk, kChunk + 1, 63, 64, 2 * kChunk - 2}) {
    const Tokens before = tokens(begin, 1);
    alone_->reset();
    read(*alone_, before);
    const Logits want = go_on(*alone_);
    // Within a chunk, up to its end, and beyond.
    for (const int64_t rows : {1, 2, 3, 5, 17, kChunk, kChunk + 1, 70}) {
      for (const How run : {How::prefill, How::decode, How::step}) {
        if (run == How::step && rows > 17) continue;
        if (run == How::decode && rows > 5) continue;
        const Tokens drafted = tokens(rows, 2);
        SCOPED_TRACE(
            fmt::format("{} rows of {} behind {}", rows, kRuns[static_cast<int>(run)], begin));
        const auto draft = [&] {
          if (run == How::prefill) return read(*session_, drafted);
          if (run == How::decode)
            for (const int32_t token : drafted) ASSERT_TRUE(session_->decode(token).ok());
          const runtime::Session::Part part{0, drafted, 1};
          if (run == How::step) ASSERT_TRUE(session_->step({&part, 1}).ok());
        };
        session_->reset();
        read(*session_, before);
        const auto snapshot = session_->snapshot(0);
        ASSERT_TRUE(snapshot.ok()) << snapshot.error().message;
        draft();
        // What has no positions is cut to nothing or not at all; a window forgets what is far back.
        if (session_->truncate(0, begin).ok()) {
          ++cut;
          ASSERT_EQ(session_->position(), begin);
          ASSERT_EQ(go_on(*session_), want) << "cut";
          draft();
        }
        ASSERT_TRUE(session_->restore(0, *snapshot).ok());
        ++restored;
        ASSERT_EQ(session_->position(), begin);
        ASSERT_EQ(go_on(*session_), want) << "restored";
        // And from the same snapshot again.
        ASSERT_TRUE(session_->restore(0, *snapshot).ok());
        ASSERT_TRUE(session_->remove(*snapshot).ok());
        ASSERT_EQ(go_on(*session_), want) << "restored again";
      }
    }
  }
  EXPECT_GT(cut, 0);
  if (kinds.contains(Kind::fixed)) EXPECT_LT(cut, restored);
  if (kinds == kPaged) EXPECT_EQ(cut, restored);
}

INSTANTIATE_TEST_SUITE_P(
    OfEachKind, RollingBack,
    ::testing::Values(Family{"keys and values of all positions", "mlx_b2_ternary", kPaged},
                      Family{"those of a window", "hf_gpt_oss", kRing},
                      Family{"a gated delta net", "mlx_qwen3_5_b1", kHybrid},
                      Family{"a state space of channels", "hf_mamba", kFixed},
                      Family{"delta nets of channels, latent attention", "hf_kimi_linear", kHybrid},
                      Family{"a state space of heads", "hf_nemotron_h", kHybrid}),
    [](const auto& info) { return info.param.golden; });
INSTANTIATE_TEST_SUITE_P(
    Further, RollingBack,
    ::testing::Values(Family{"short convolutions", "hf_lfm2", kHybrid},
                      Family{"lightning attention", "hf_minimax", kHybrid},
                      Family{"latent attention", "hf_deepseek_v3", kPaged},
                      Family{"a state space beside attention", "hf_falcon_h1", kHybrid},
                      Family{"delta nets and experts", "hf_qwen3_next", kHybrid},
                      Family{"windows on most layers", "hf_gemma3_text", kRing},
                      Family{"shared caches and windows", "hf_gemma3n_text", kRing}),
    [](const auto& info) { return info.param.golden; });

}  // namespace
}  // namespace sinter
