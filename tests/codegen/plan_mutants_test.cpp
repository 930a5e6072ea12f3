// Plans whose header was changed and whose checksums were made right again, with the weights and
// the code as they were: each is refused in one line or computes what the plan before computed.
// None ends by a signal. SINTER_MUTANTS in the environment says how many; without it, as many as a
// few seconds allow.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "codegen/plan_builder.h"
#include "frontends/open/open_checkpoint.h"
#include "runtime/plan/head.h"
#include "runtime/session/session.h"

namespace sinter::codegen {
namespace {

using Json = nlohmann::ordered_json;
using runtime::PlanHead;
using runtime::Result;

// Changes one thing of a document, equal seeds the same.
class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  void mutate(Json& root) {
    for (uint64_t i = 0, n = 1 + below(3); i < n; ++i) change(root, pick(root));
  }
  uint64_t below(uint64_t n) { return random_() % n; }

 private:
  static Json& child(Json& json, uint64_t i) {
    return std::next(json.begin(), static_cast<std::ptrdiff_t>(i)).value();
  }
  static Json& element(Json& json, uint64_t i) {
    return json.is_object() ? child(json, i) : json[i];
  }
  static bool has_parts(const Json& json) { return json.is_structured() && !json.empty(); }

  // Goes down from the root, each way equally likely: short lists are met as often as long ones.
  Json& pick(Json& root) {
    Json* at = &root;
    while (has_parts(*at) && (at == &root || below(8) != 0)) at = &element(*at, below(at->size()));
    return *at;
  }
  // Something of the same kind from anywhere.
  Json like(Json& root, const Json& json) {
    for (int i = 0; i < 200; ++i)
      if (Json& other = pick(root); other.type() == json.type() && other != json) return other;
    return json;
  }

  void change_number(Json& root, Json& json) {
    const auto value = json.get<int64_t>();
    static constexpr int64_t kSpecial[] = {
        0,         1,        -1, 2, 16, 64, 4096, 1 << 20, int64_t{1} << 31, int64_t{1} << 32,
        INT64_MAX, INT64_MIN};
    switch (below(6)) {
      case 0:
        json = kSpecial[below(std::size(kSpecial))];
        break;
      case 1:
        json = static_cast<int64_t>(static_cast<uint64_t>(value) + 1 - 2 * below(2));
        break;
      case 2:
        json = static_cast<int64_t>(static_cast<uint64_t>(value) + 64 - 128 * below(2));
        break;
      case 3:
        json = static_cast<int64_t>(static_cast<uint64_t>(value) * 2);
        break;
      case 4:
        json = value / 2;
        break;
      default:
        json = like(root, json);
        break;
    }
  }

  void change_parts(Json& root, Json& json) {
    const uint64_t first = below(json.size()), second = below(json.size());
    switch (below(6)) {
      case 0:
        json.erase(std::next(json.begin(), static_cast<std::ptrdiff_t>(first)));
        break;
      case 1:
        if (json.is_array())
          json.insert(json.begin() + static_cast<std::ptrdiff_t>(second), Json(json[first]));
        break;
      case 2:
        std::swap(element(json, first), element(json, second));
        break;
      case 3:
        json.clear();
        break;
      case 4:  // a field of one element to another: symbols, types, offsets
        if (json.is_array() && has_parts(json[first]) && json[first].is_object() &&
            json[second].is_object()) {
          const uint64_t field = below(json[first].size());
          if (field < json[second].size())
            std::swap(child(json[first], field), child(json[second], field));
        }
        break;
      default:
        json = like(root, json);
        break;
    }
  }

  void change(Json& root, Json& json) {
    if (has_parts(json)) {
      change_parts(root, json);
    } else if (json.is_number_integer()) {
      change_number(root, json);
    } else if (json.is_boolean()) {
      json = !json.get<bool>();
    } else if (json.is_number_float()) {
      json = json.get<double>() * 2 - 1;
    } else {
      json = like(root, json);
    }
  }

  std::mt19937_64 random_;
};

// A plan in a file, whose header can be exchanged.
class ChangedPlan {
 public:
  explicit ChangedPlan(std::string path) : path_(std::move(path)) {
    std::ifstream file(path_, std::ios::binary);
    bytes_ = {std::istreambuf_iterator<char>(file), {}};
    head_ = runtime::decode_head({data(), runtime::plan_head_bytes});
    header_ = Json::parse(bytes_.substr(head_.header_offset));
    fd_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
  }
  ~ChangedPlan() {
    ::close(fd_);
    ::unlink(path_.c_str());
  }
  ChangedPlan(const ChangedPlan&) = delete;
  ChangedPlan& operator=(const ChangedPlan&) = delete;

  const std::string& path() const { return path_; }

  void write_mutant(uint64_t seed) const {
    Json header = header_;
    Mutator(seed).mutate(header);
    write(header.dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  void write_original() const { write(header_.dump()); }

 private:
  const uint8_t* data() const { return reinterpret_cast<const uint8_t*>(bytes_.data()); }

  void write(const std::string& json) const {
    PlanHead head = head_;
    head.header_bytes = json.size();
    head.header_checksum =
        runtime::head_checksum(head, {reinterpret_cast<const uint8_t*>(json.data()), json.size()});
    const auto encoded = runtime::encode_head(head);
    const auto end = static_cast<off_t>(head.header_offset + json.size());
    if (::pwrite(fd_, encoded.data(), encoded.size(), 0) < 0 ||
        ::pwrite(fd_, json.data(), json.size(), static_cast<off_t>(head.header_offset)) < 0 ||
        ::ftruncate(fd_, end) != 0)
      std::abort();
  }

  std::string path_, bytes_;
  PlanHead head_;
  Json header_;
  int fd_ = -1;
};

// The logits of a prefill and a decode step, or why there are none.
Result<std::vector<float>> logits_of(const std::string& path) {
  const auto file = runtime::PlanFile::open(path, false);
  if (!file.ok()) return file.error();
  auto model = runtime::Model::load(*file, {.threads = 1});
  if (!model.ok()) return model.error();
  const auto session =
      runtime::Session::create(*model, std::min<int64_t>(32, (*file)->plan().max_context));
  if (!session.ok()) return session.error();
  constexpr int32_t kPrompt[] = {1, 5, 2, 9, 7, 3};
  if (auto status = (*session)->prefill(kPrompt); !status.ok()) return status.error();
  const auto first = (*session)->logits();
  std::vector<float> all(first.begin(), first.end());
  if (auto status = (*session)->decode(4); !status.ok()) return status.error();
  const auto second = (*session)->logits();
  all.insert(all.end(), second.begin(), second.end());
  if ((*file)->plan().hidden_size == 0) return all;
  // The head over what a step of three rows leaves.
  (*session)->reset();
  const runtime::Session::Part part{0, std::span(kPrompt).first(3), 1};
  if (auto status = (*session)->step({&part, 1}); !status.ok()) return status.error();
  const runtime::Session::DraftPart draft{0, 0, std::span(kPrompt).subspan(1, 3), 1};
  if (auto status = (*session)->draft({&draft, 1}); !status.ok()) return status.error();
  const auto drafted = (*session)->read_draft_logits();
  if (!drafted.ok()) return drafted.error();
  all.insert(all.end(), drafted->begin(), drafted->end());
  return all;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// What a child tells, in memory that both see.
struct Tally {
  uint64_t next;  // mutant that it works on
  uint64_t refused, equal, different, wrong_errors;
  uint64_t first_different;
};

class PlanMutants : public ::testing::TestWithParam<const char*> {};

TEST_P(PlanMutants, AreRefusedOrComputeTheSame) {
  const std::string golden = GetParam();
  const std::string path = fmt::format("{}mutants_{}.plan", ::testing::TempDir(), ::getpid());
  auto checkpoint = frontends::open_checkpoint(std::filesystem::path(SINTER_TEST_GOLDENS) / golden);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto model =
      models::import_checkpoint(**checkpoint, {}, {.mtp = golden.starts_with("mtp")});
  ASSERT_TRUE(model.ok()) << model.status();
  CompileOptions options;
  options.targets = *parse_targets("host");
  const auto compiled = compile_plan(*model, checkpoint->get(), golden, options, path);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  const ChangedPlan plan(path);
  plan.write_original();
  auto* const tally = static_cast<Tally*>(
      ::mmap(nullptr, sizeof(Tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(tally, MAP_FAILED);

  const char* const wanted = std::getenv("SINTER_MUTANTS");
  const uint64_t most = wanted != nullptr ? std::stoull(wanted) : UINT64_MAX;
  const auto end = std::chrono::steady_clock::now() +
                   (wanted != nullptr ? std::chrono::hours(24) : std::chrono::seconds(6));
  constexpr uint64_t kBatch = 500;
  std::set<uint64_t> signals;  // mutants that ended a child
  // Not the same ones every time: the first seed is told with each finding.
  const uint64_t base = wanted != nullptr ? 1 : std::random_device()();
  tally->next = 0;
  while (tally->next < most && std::chrono::steady_clock::now() < end) {
    const uint64_t last = std::min(tally->next + kBatch, most);
    const ::pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      plan.write_original();
      const auto original = logits_of(path);
      if (!original.ok()) ::_exit(3);
      for (; tally->next < last && std::chrono::steady_clock::now() < end; ++tally->next) {
        ::alarm(20);  // a hang is a signal, too
        plan.write_mutant(base + tally->next);
        const auto got = logits_of(path);
        if (!got.ok()) {
          ++tally->refused;
          const std::string& text = got.error().message;
          tally->wrong_errors += text.empty() || text.find('\n') != std::string::npos;
        } else if (same(*got, *original)) {
          ++tally->equal;
        } else {
          if (tally->different++ == 0) tally->first_different = base + tally->next;
        }
      }
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
      ASSERT_EQ(WEXITSTATUS(status), 0);
      continue;
    }
    signals.insert(base + tally->next);
    ADD_FAILURE() << "mutant " << base + tally->next << " ended by signal " << WTERMSIG(status);
    if (signals.size() > 10) break;
    ++tally->next;
  }
  fmt::print("{} mutants: {} refused, {} computed the same\n", tally->next, tally->refused,
             tally->equal);
  EXPECT_GT(tally->refused, 0u);
  EXPECT_GT(tally->equal, 0u);
  EXPECT_EQ(tally->different, 0u) << "the first is mutant " << tally->first_different;
  EXPECT_EQ(tally->wrong_errors, 0u) << "errors that are not one line";
  ::munmap(tally, sizeof(Tally));
}

INSTANTIATE_TEST_SUITE_P(Goldens, PlanMutants,
                         ::testing::Values("mlx_b1_sym_untied", "mtp_qwen3_5"));

}  // namespace
}  // namespace sinter::codegen
