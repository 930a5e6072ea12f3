#include "runtime/host/device.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>

#include "tests/runtime/toy_plan.h"

namespace sinter::runtime {
namespace {

Plan plan_with_code() {
  Plan plan;
  plan.code = {{"aarch64", "host-aarch64", {}, 0, {}, {}},
               {"x86-64-v3", "host-x86-64", {"avx2", "fma"}, 0, {}, {}},
               {"x86-64-v4", "host-x86-64", {"avx2", "avx512f", "avx512bw"}, 0, {}, {}}};
  return plan;
}

TEST(ChooseCode, TakesTheLastThatFits) {
  const Plan plan = plan_with_code();
  HostCpu cpu{"host-x86-64", "cpu", {"fma", "avx2", "avx512f"}, 1};
  ASSERT_TRUE(choose_code(plan, cpu).ok());
  EXPECT_EQ((*choose_code(plan, cpu))->target, "x86-64-v3");
  cpu.features.push_back("avx512bw");
  EXPECT_EQ((*choose_code(plan, cpu))->target, "x86-64-v4");
  cpu.family = "host-aarch64";
  EXPECT_EQ((*choose_code(plan, cpu))->target, "aarch64");
}

TEST(ChooseCode, SaysWhatThePlanHasAndTheCpuLacks) {
  const HostCpu cpu{"host-x86-64", "Old CPU", {"avx2"}, 1};
  const Plan plan = plan_with_code();
  const auto code = choose_code(plan, cpu);
  ASSERT_FALSE(code.ok());
  EXPECT_EQ(code.error().message,
            "the plan has no code for this machine (host-x86-64, Old CPU): aarch64 is for "
            "host-aarch64, x86-64-v3 needs fma, "
            "x86-64-v4 needs avx512f avx512bw; compile it again with --target host here");
}

class HostCodeTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_FALSE(toy::kernel_object().empty()) << "no C compiler here"; }
  std::shared_ptr<const PlanFile> open(const std::function<void(Plan&)>& edit,
                                       std::string_view code) {
    EXPECT_EQ(toy::write_plan(path, edit, code), "");
    return *PlanFile::open(path, true);
  }
  std::string load_error(const PlanFile& file) {
    const auto code = HostCode::load(file, file.plan().code[0]);
    return code.ok() ? "" : code.error().message;
  }
  toy::Folder folder;
  std::string path = folder.file("toy.plan");
};

TEST_F(HostCodeTest, LoadsEveryKernel) {
  const auto file = open({}, toy::kernel_object());
  const auto code = HostCode::load(*file, file->plan().code[0]);
  ASSERT_TRUE(code.ok()) << code.error().message;
  for (uint32_t i = 0; i < 3; ++i) EXPECT_NE((*code)->kernel(i), nullptr);
}

// dlopen recognises objects by their names; those of anonymous files come again.
TEST_F(HostCodeTest, EveryLoadIsOfItsOwnCode) {
  const auto file = open({}, toy::kernel_object());
  const auto first = HostCode::load(*file, file->plan().code[0]);
  const auto second = HostCode::load(*file, file->plan().code[0]);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE((*first)->kernel(0), (*second)->kernel(0));
}

// As a sandbox that knows no memfd_create does.
bool refuse_memfd() {
  std::array<sock_filter, 4> program = {
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 1),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog filter{program.size(), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// What `f` returns in a child: 0..255.
int in_child(const std::function<int()>& f) {
  const ::pid_t child = ::fork();
  EXPECT_GE(child, 0);
  if (child == 0) ::_exit(f());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

TEST_F(HostCodeTest, WithoutMemfdCodeIsLoadedFromATemporaryFileThatIsGone) {
  const auto file = open({}, toy::kernel_object());
  constexpr int no_filters = 77;
  const int code = in_child([&] {
    if (!refuse_memfd()) return no_filters;
    ::setenv("TMPDIR", folder.path().c_str(), 1);
    if (::memfd_create("x", 0) >= 0) return 1;
    const size_t before = folder.entries();
    if (!load_error(*file).empty()) return 2;
    return folder.entries() == before ? 0 : 3;
  });
  if (code == no_filters) GTEST_SKIP() << "this system takes no filters of system calls";
  EXPECT_EQ(code, 0);
}

TEST_F(HostCodeTest, WhenNoFileCanBeWrittenTheErrorIsOneLine) {
  const auto file = open({}, toy::kernel_object());
  EXPECT_EQ(in_child([&] {
              std::signal(SIGXFSZ, SIG_IGN);
              const rlimit none{0, 0};
              if (::setrlimit(RLIMIT_FSIZE, &none) != 0) return 1;
              const std::string error = load_error(*file);
              return error.starts_with(path + ": code for toy: cannot be loaded: memfd_create: ") &&
                             error.find('\n') == std::string::npos
                         ? 0
                         : 2;
            }),
            0);
}

// The header says what the code was compiled for, and the code says it, too.
TEST_F(HostCodeTest, CodeOfOtherSchedulesIsRefused) {
  const auto error_with = [&](const std::function<void(Plan&)>& edit) {
    // The mark is of the plan as it was before `edit`.
    std::string code(toy::kernel_object());
    EXPECT_EQ(toy::write_plan(path, {}, code), "");
    code += toy::marks((*PlanFile::open(path, true))->plan());
    auto writer = PlanWriter::create(path);
    Plan plan = (*PlanFile::open(path, true))->plan();
    plan.code[0].section = *(*writer)->add(std::string_view(code));
    plan.tokenizer = plan.device_plans[0].source = {};
    plan.device_plans[0].weights_sections = {
        *(*writer)->add(std::span<const uint8_t>(toy::weights()))};
    edit(plan);
    EXPECT_TRUE((*writer)->finish(plan).ok());
    return load_error(**PlanFile::open(path, true));
  };
  EXPECT_EQ(error_with([](Plan&) {}), "");
  const std::string refusal =
      path +
      ": the code for toy was compiled for other schedules than the plan has; compile it "
      "again";
  EXPECT_EQ(error_with([](Plan& p) { p.code[0].features = {}, p.code[0].target = "other"; }),
            path +
                ": the code for other was compiled for other schedules than the plan has; "
                "compile it again");
  EXPECT_EQ(error_with([](Plan& p) { p.max_context = 49; }), refusal);
  EXPECT_EQ(error_with([](Plan& p) { p.device_plans[0].weights[0].type = "other"; }), refusal);
  EXPECT_EQ(error_with([](Plan& p) { p.device_plans[0].states[0].name = "other"; }), refusal);
  EXPECT_EQ(error_with([](Plan& p) {
              std::swap(p.device_plans[0].kernels[0].symbol, p.device_plans[0].kernels[1].symbol);
            }),
            refusal);
  // What decides nothing may change.
  EXPECT_EQ(error_with([](Plan& p) { p.model = "other", p.eos_ids = {3}; }), "");
}

TEST_F(HostCodeTest, AMissingKernelIsNamed) {
  const auto file = open([](Plan& plan) { plan.device_plans[0].kernels[1].symbol = "toy_absent"; },
                         toy::kernel_object());
  EXPECT_NE(load_error(*file).find("code for toy: kernel toy_absent is missing"),
            std::string::npos);
}

TEST_F(HostCodeTest, CodeThatIsNoObjectIsAnError) {
  const auto file = open({}, "not an ELF file");
  const std::string error = load_error(*file);
  EXPECT_NE(error.find(path + ": code for toy: cannot be loaded"), std::string::npos) << error;
}

}  // namespace
}  // namespace sinter::runtime
