// How programs end: by signals, with files that change under them, without descriptors, without
// room. One line, the right code, and nothing left behind.
#include <csignal>

#include "command_line.h"
#include "tests/runtime/toy_plan.h"

namespace sinter::tools {
namespace {

// A folder for one test.
fs::path fresh_folder(const std::string& name) {
  const fs::path folder = work_folder() / name;
  fs::remove_all(folder);
  fs::create_directories(folder / "tmp");
  fs::create_directories(folder / "out");
  return folder;
}

size_t entries(const fs::path& folder) {
  return static_cast<size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

// Compiles `model` without remembered kernels, which takes a while, and once its temporary file is
// there runs `meanwhile`, in which $pid is the compiler.
Outcome compile_and(const fs::path& folder, const fs::path& model, const std::string& meanwhile) {
  return shell(fmt::format(
      "cd '{0}'; SINTER_OBJECT_CACHE= TMPDIR='{0}/tmp' '{1}' compile '{2}' -o out/a.plan & pid=$!; "
      "until ls -A out | grep -q sinter-tmp; do kill -0 $pid || exit 99; done; {3}; wait $pid",
      folder.string(), SINTER_PROGRAM, model.string(), meanwhile));
}

TEST(Signals, LeaveNoTemporaryFiles) {
  for (const int signal : {SIGTERM, SIGHUP, SIGABRT}) {
    const fs::path folder = fresh_folder("signals");
    write(folder / "out/a.plan", "old");
    const Outcome outcome = compile_and(folder, tiny_model(), fmt::format("kill -{} $pid", signal));
    EXPECT_EQ(outcome.code, 128 + signal) << outcome.err;
    EXPECT_TRUE(read(folder / "out/a.plan") == "old");
    EXPECT_EQ(entries(folder / "out"), 1u);
    EXPECT_EQ(entries(folder / "tmp"), 0u);
  }
}

TEST(Signals, WhatAKillLeavesIsSweptByTheNextCommand) {
  const fs::path folder = fresh_folder("killed");
  EXPECT_EQ(compile_and(folder, tiny_model(), "kill -9 $pid").code, 128 + SIGKILL);
  EXPECT_EQ(entries(folder / "out"), 1u);
  const std::string in =
      fmt::format("cd '{}'; TMPDIR='{}'", folder.string(), (folder / "tmp").string());
  const Outcome next = shell(fmt::format("{}; '{}' compile '{}' -o out/b.plan", in, SINTER_PROGRAM,
                                         tiny_model().string()));
  EXPECT_EQ(next.code, 0) << next.err;
  EXPECT_EQ(entries(folder / "out"), 1u);
  EXPECT_TRUE(fs::exists(folder / "out/b.plan"));
}

TEST(ChangingFiles, ACheckpointThatIsTruncatedWhileItIsCompiledEndsInOneLine) {
  const fs::path folder = fresh_folder("truncated");
  const fs::path model = copy_of_model("truncated-model");
  const Outcome outcome = compile_and(
      folder, model, fmt::format("truncate -s 100 '{}'", (model / "model.safetensors").string()));
  expect_refusal(outcome, {"model.safetensors"});
  EXPECT_EQ(entries(folder / "out"), 0u);
  EXPECT_EQ(entries(folder / "tmp"), 0u);
}

TEST(ChangingFiles, APlanThatIsTruncatedWhileItRunsEndsInOneLine) {
  const fs::path folder = fresh_folder("truncated-plan");
  const fs::path plan = folder / "a.plan";
  fs::copy_file(tiny_plan(), plan);
  const Outcome outcome = shell(fmt::format(
      "'{}' eval '{}' --text '{}' & pid=$!; "
      "until grep -q a.plan /proc/$pid/maps; do kill -0 $pid || exit 99; done; kill -STOP $pid; "
      "truncate -s 4096 '{}'; kill -CONT $pid; wait $pid",
      SINTER_RUN_PROGRAM, plan.string(),
      (fs::path(SINTER_MODELS) / "tiny-shakespeare-validation.txt").string(), plan.string()));
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  EXPECT_NE(outcome.err.find("a.plan: "), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("truncated"), std::string::npos) << outcome.err;
}

TEST(ClosedDescriptors, MessagesDoNotLandInFiles) {
  const fs::path folder = fresh_folder("closed");
  write(folder / "ids", "1 2 3 4");
  const auto logits = [&](const std::string& name, const std::string& closed) {
    const Outcome outcome = shell(
        fmt::format("'{}' logits '{}' --ids '{}' --out '{}' {}", SINTER_RUN_PROGRAM, tiny_plan(),
                    (folder / "ids").string(), (folder / name).string(), closed));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return read(folder / name);
  };
  const std::string whole = logits("a.npy", "");
  EXPECT_EQ(whole.substr(1, 5), "NUMPY");
  for (const char* closed : {"2>&-", ">&- 2>&-", "<&- >&- 2>&-", "<&-"})
    EXPECT_EQ(logits("b.npy", closed), whole) << closed;
  const Outcome text = shell(
      fmt::format("'{}' run '{}' -p 'ROMEO:' -n 20 --greedy >&-", SINTER_RUN_PROGRAM, tiny_plan()));
  EXPECT_EQ(text.code, 0) << text.err;
}

TEST(FullDisk, UnderTheCacheDoesNotFailRun) {
  const fs::path folder = fresh_folder("full");
  const Outcome possible = shell(fmt::format(
      "unshare -m sh -c 'mount -t tmpfs -o size=64k none {}'", (folder / "out").string()));
  if (possible.code != 0) GTEST_SKIP() << "needs the right to mount: " << possible.err;
  const Outcome outcome = shell(fmt::format(
      "unshare -m sh -c \"mount -t tmpfs -o size=64k none '{}'; XDG_CACHE_HOME='{}' '{}' run '{}' "
      "-p "
      "'ROMEO:' -n 4 --greedy\"",
      (folder / "out").string(), (folder / "out").string(), SINTER_PROGRAM, tiny_model().string()));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out, "");
  EXPECT_NE(outcome.err.find("no cache: "), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("No space left on device"), std::string::npos) << outcome.err;
}

// Out of address space in the middle of compiling, whoever notices it.
TEST(OutOfMemory, IsOneLineAndLeavesNothing) {
  for (const char* limit : {"700000", "900000", "1200000"}) {
    const fs::path folder = fresh_folder("memory");
    const Outcome outcome = shell(fmt::format(
        "cd '{0}'; ulimit -v {1}; SINTER_OBJECT_CACHE= TMPDIR='{0}/tmp' '{2}' compile '{3}' -o "
        "out/a.plan",
        folder.string(), limit, SINTER_PROGRAM, tiny_model().string()));
    if (outcome.code == 0) continue;  // it was enough
    EXPECT_TRUE(outcome.code == 2 || outcome.code == 127) << outcome.code << ": " << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_EQ(entries(folder / "out"), 0u) << limit;
    EXPECT_EQ(entries(folder / "tmp"), 0u) << limit;
  }
}

// SECURITY.md: running a plan is running its code, looking at it is not.
TEST(Trust, CommandsThatLookAtAPlanLoadNoCode) {
  const fs::path folder = fresh_folder("trust");
  const fs::path trace = folder / "out/the-code-ran";
  write(folder / "evil.c",
        fmt::format("#include <stdio.h>\n__attribute__((constructor)) static void "
                    "run(void) {{ fclose(fopen(\"{}\", \"w\")); }}\n{}",
                    trace.string(), runtime::toy::kernel_source));
  const Outcome built =
      shell(fmt::format("cc -shared -fPIC -o '{0}/evil.so' '{0}/evil.c' || clang-22 -shared -fPIC "
                        "-o '{0}/evil.so' '{0}/evil.c'",
                        folder.string()));
  ASSERT_EQ(built.code, 0) << built.err;
  const std::string plan = (folder / "evil.plan").string();
  const std::string tokenizer = read(tiny_model() / "tokenizer.json");
  ASSERT_EQ(runtime::toy::write_plan(plan, {}, read(folder / "evil.so"), tokenizer), "");
  for (const std::string command :
       {"inspect '{}'", "inspect '{}' --json", "explain '{}'", "tokenize '{}'"}) {
    for (const char* program : {SINTER_PROGRAM, SINTER_RUN_PROGRAM}) {
      const Outcome outcome = shell(
          fmt::format("'{}' ", program) + fmt::format(fmt::runtime(command), plan), "\"hello\"\n");
      EXPECT_EQ(outcome.code, 0) << command << ": " << outcome.err;
      EXPECT_FALSE(fs::exists(trace)) << command;
    }
  }
  for (const char* stage : {"hip", "asm", "memory", "schedule", "kernels", "final"})
    sinter(fmt::format("dump '{}' --stage {}", plan, stage));
  shell(fmt::format("echo '[]' | '{}' chat-template '{}'", SINTER_RUN_PROGRAM, plan));
  EXPECT_FALSE(fs::exists(trace));
  // The trap works.
  write(folder / "ids", "1 2");
  sinter_run(fmt::format("logits '{}' --ids '{}' --out '{}'", plan, (folder / "ids").string(),
                         (folder / "x.npy").string()));
  EXPECT_TRUE(fs::exists(trace));
}

}  // namespace
}  // namespace sinter::tools
