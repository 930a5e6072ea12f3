// Every allocation of the readers and of the runtime fails once: an error or std::bad_alloc comes
// out, nothing else, and no file stays open.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "frontends/checkpoint.h"
#include "frontends/open/open_checkpoint.h"
#include "runtime/session/session.h"
#include "runtime/sinter.h"
#include "runtime/support/folder.h"
#include "runtime/text/chat_template.h"
#include "runtime/text/tokenizer/import.h"
#include "runtime/text/tokenizer/tokenizer.h"
#include "tests/runtime/toy_plan.h"

namespace {

// Allocations until the one that fails; negative: none does.
std::atomic<int64_t> allocations_left{-1};

void* allocate(size_t size, size_t alignment) {
  if (allocations_left.load(std::memory_order_relaxed) >= 0 && allocations_left.fetch_sub(1) == 0)
    throw std::bad_alloc();
  void* memory =
      alignment <= alignof(std::max_align_t)
          ? std::malloc(std::max<size_t>(size, 1))
          : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t size) { return allocate(size, 1); }
void* operator new(size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace sinter {
namespace {

namespace fs = std::filesystem;
namespace rt = sinter::runtime;

size_t open_files() {
  const fs::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

fs::path golden(const char* name) { return fs::path(SINTER_GOLDENS) / name; }

// At most so many of the allocations of one kind of work fail.
constexpr int64_t kMostPlaces = 150;

// How one run ended.
enum class End { done, error, bad_alloc, terminated, leaked, odd_error, threw };

std::string_view name(End end) {
  constexpr std::string_view kNames[] = {"done",   "error",     "bad_alloc", "terminated",
                                         "leaked", "odd error", "threw"};
  return kNames[static_cast<size_t>(end)];
}

// The JSON library's destructors allocate and may not throw: what fails there ends in
// std::terminate with std::bad_alloc, for which programs say the same as for one that is thrown.
[[noreturn]] void on_terminate() {
  try {
    if (const auto exception = std::current_exception()) std::rethrow_exception(exception);
  } catch (const std::bad_alloc&) {
    std::_Exit(static_cast<int>(End::terminated));
  } catch (...) {
  }
  std::_Exit(static_cast<int>(End::threw));
}

// Runs the work in a process of its own with one allocation failing.
End run_failing(const std::function<std::string()>& work, int64_t at) {
  const ::pid_t child = ::fork();
  if (child == 0) {
    std::set_terminate(on_terminate);
    const size_t files = open_files();
    End end = End::done;
    allocations_left = at;
    try {
      const std::string error = work();
      if (!error.empty()) end = error.find('\n') == error.npos ? End::error : End::odd_error;
    } catch (const std::bad_alloc&) {
      end = End::bad_alloc;
    } catch (...) {
      end = End::threw;
    }
    allocations_left = -1;
    if (open_files() != files) end = End::leaked;
    std::_Exit(static_cast<int>(end));
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  if (WIFEXITED(status)) return static_cast<End>(WEXITSTATUS(status));
  ADD_FAILURE() << "killed by signal " << WTERMSIG(status);
  return End::threw;
}

// `work` gives an error's text, empty when it succeeded. It may throw std::bad_alloc and nothing
// else.
void expect_survives(const std::function<std::string()>& work) {
  // What is made once, stays.
  ASSERT_EQ(work(), "");
  constexpr int64_t kMany = int64_t{1} << 40;
  allocations_left = kMany;
  ASSERT_EQ(work(), "");
  const int64_t count = kMany - allocations_left.exchange(-1);
  ASSERT_GT(count, 0);
  const int64_t step = std::max<int64_t>(1, count / kMostPlaces);
  const int64_t first = std::chrono::system_clock::now().time_since_epoch().count() / 1000 % step;
  int64_t refused = 0;
  for (int64_t at = first; at < count; at += step) {
    const End end = run_failing(work, at);
    EXPECT_TRUE(end == End::done || end == End::error || end == End::bad_alloc ||
                end == End::terminated)
        << name(end) << " after allocation " << at << " of " << count;
    refused += end == End::done ? 0 : 1;
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(refused, 0);
}

std::string text_of(const rt::Status& status) { return status.ok() ? "" : status.error().message; }

class ToyPlan {
 public:
  ToyPlan() {
    const std::string error = rt::toy::write_plan(
        path(), rt::toy::with_probes, rt::toy::kernel_object(),
        R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}})");
    EXPECT_EQ(error, "");
  }
  std::string path() const { return folder_.file("toy.plan"); }

 private:
  rt::toy::Folder folder_;
};

TEST(Allocations, LoadSessionAndSteps) {
  const ToyPlan plan;
  expect_survives([&]() -> std::string {
    auto file = rt::PlanFile::open(plan.path(), true);
    if (!file.ok()) return file.error().message;
    rt::LoadOptions options;
    options.threads = 2;
    auto model = rt::Model::load(*file, options);
    if (!model.ok()) return model.error().message;
    auto session = rt::Session::create(*model, 16);
    if (!session.ok()) return session.error().message;
    const std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6};
    if (const auto status = (*session)->prefill(tokens); !status.ok()) return text_of(status);
    return text_of((*session)->decode(7));
  });
}

TEST(Allocations, CApi) {
  const ToyPlan plan;
  expect_survives([&]() -> std::string {
    char* error = nullptr;
    sinter_model* model = nullptr;
    sinter_session* session = nullptr;
    bool good = sinter_load(plan.path().c_str(), 1, &model, &error) == SINTER_OK;
    int32_t tokens[4];
    size_t count = 4;
    good = good && sinter_tokenize(model, "ab", 0, tokens, &count, &error) == SINTER_OK;
    good = good && sinter_create_session(model, 16, &session, &error) == SINTER_OK;
    good = good && sinter_prefill(session, tokens, count, &error) == SINTER_OK;
    good = good && sinter_decode(session, 1, &error) == SINTER_OK;
    const std::string text = good ? "" : error == nullptr ? "no message" : error;
    sinter_free_string(error);
    sinter_free_session(session);
    sinter_free_model(model);
    return text;
  });
}

TEST(Allocations, Tokenizers) {
  const std::string json = read(golden("tok_qwen") / "tokenizer.json");
  const std::string model = read(golden("tok_spm_bpe") / "tokenizer.model");
  const auto use = [](const rt::Result<rt::Tokenizer>& tokenizer) -> std::string {
    if (!tokenizer.ok()) return tokenizer.error().message;
    const auto ids = tokenizer->encode("Hello, world: 12 <s>", true);
    if (!ids.ok()) return ids.error().message;
    return tokenizer->decode(*ids, false)->empty() ? "no text" : "";
  };
  expect_survives([&] { return use(rt::Tokenizer::from_json(json)); });
  expect_survives([&]() -> std::string {
    const auto made = rt::tokenizer::import_sentencepiece(model, {});
    return made.ok() ? use(rt::Tokenizer::from_json(*made)) : made.error().message;
  });
}

TEST(Allocations, ChatTemplates) {
  const std::string source = read(golden("chat_qwen3") / "chat_template.jinja");
  const auto conversation = nlohmann::ordered_json::parse(
      R"({"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
          "tools": [{"type": "function", "function": {"name": "f"}}]})");
  expect_survives([&]() -> std::string {
    const auto parsed = rt::ChatTemplate::parse(source);
    if (!parsed.ok()) return parsed.error().message;
    const auto variables = rt::chat_variables(conversation, R"({"bos_token": "<s>"})");
    if (!variables.ok()) return variables.error().message;
    const auto text = parsed->render(*variables, std::tm{});
    return text.ok() ? "" : text.error().message;
  });
}

TEST(Allocations, Folders) {
  expect_survives([]() -> std::string {
    return rt::names_in_folder(SINTER_GOLDENS).empty() ? "no names" : "";
  });
}

TEST(Allocations, Checkpoints) {
  for (const char* name : {"mlx_b4_g32", "gguf_tokenizer", "bitnet_packed"}) {
    SCOPED_TRACE(name);
    expect_survives([&]() -> std::string {
      const auto checkpoint = frontends::open_checkpoint(golden(name));
      return checkpoint.ok() ? "" : std::string(checkpoint.status().message());
    });
  }
}

}  // namespace
}  // namespace sinter
