// Files that appear whole or not at all, and nothing that stays behind.
#include "runtime/support/temporary_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>

#include "tests/runtime/toy_plan.h"

namespace sinter::runtime {
namespace {

namespace fs = std::filesystem;
using toy::Folder;

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Runs `f`, which kills itself, in a child.
void in_killed_process(const std::function<void()>& f) {
  const ::pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    f();
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST(TemporaryFile, TakesItsNameWhenItIsWhole) {
  const Folder folder;
  const std::string path = folder.file("a");
  toy::write_file(path, "old");
  {
    TemporaryFile file;
    ASSERT_EQ(file.create(path), 0);
    ASSERT_EQ(file.append(bytes_of("new")), 0);
    ASSERT_EQ(file.write_at(bytes_of("N"), 0), 0);
    EXPECT_EQ(toy::read_file(path), "old");
    EXPECT_EQ(folder.entries(), 2u);
    TemporaryFile moved = std::move(file);
    ASSERT_EQ(moved.finish(), 0);
  }
  EXPECT_EQ(toy::read_file(path), "New");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(TemporaryFile, UnfinishedOnesGo) {
  const Folder folder;
  {
    TemporaryFile file;
    ASSERT_EQ(file.create(folder.file("a")), 0);
    TemporaryFolder inner;
    ASSERT_EQ(inner.create(folder.file("b")), 0);
    toy::write_file(inner.name() + "/x", "x");
    EXPECT_EQ(folder.entries(), 2u);
  }
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(TemporaryFile, PermissionsAreThoseOfTheUmask) {
  const Folder folder;
  const auto mode_with = [&](mode_t mask) {
    const mode_t before = ::umask(mask);
    {
      TemporaryFile file;
      EXPECT_EQ(file.create(folder.file("a")), 0);
      EXPECT_EQ(file.finish(), 0);
    }
    ::umask(before);
    struct stat info{};
    EXPECT_EQ(::stat(folder.file("a").c_str(), &info), 0);
    return info.st_mode & 0777;
  };
  EXPECT_EQ(mode_with(022), 0644u);
  EXPECT_EQ(mode_with(002), 0664u);
  EXPECT_EQ(mode_with(077), 0600u);
}

TEST(TemporaryFile, PlacesThatCannotBeWrittenAreErrors) {
  const Folder folder;
  TemporaryFile file;
  EXPECT_EQ(file.create(folder.file("no/a")), ENOENT);
  EXPECT_EQ(TemporaryFolder().create(folder.file("no/a")), ENOENT);
  EXPECT_EQ(file.create("/proc/self/a"), ENOENT);
}

TEST(TemporaryFile, LongNamesAreShortened) {
  const Folder folder;
  const std::string name(255, 'n');
  TemporaryFile file;
  ASSERT_EQ(file.create(folder.file(name)), 0);
  ASSERT_EQ(file.finish(), 0);
  EXPECT_TRUE(fs::exists(folder.file(name)));
}

TEST(TemporaryFile, WhatKilledProcessesLeftIsSweptAndWhatLivesIsNot) {
  const Folder folder;
  toy::write_file(folder.file(".not-ours.sinter-tmp-0123"), "short");
  toy::write_file(folder.file("mine.tmp"), "x");
  TemporaryFile living;
  ASSERT_EQ(living.create(folder.file("living")), 0);
  in_killed_process([&] {
    TemporaryFile file;
    if (file.create(folder.file("dead")) != 0) ::_exit(1);
    TemporaryFolder inner;
    if (inner.create(folder.file("dead-folder")) != 0) ::_exit(1);
    toy::write_file(inner.name() + "/x", "x");
    ::raise(SIGKILL);  // before anything is tidied up
  });
  EXPECT_EQ(folder.entries(), 5u);
  TemporaryFile next;
  ASSERT_EQ(next.create(folder.file("next")), 0);
  EXPECT_EQ(folder.entries(), 4u);
  EXPECT_EQ(living.finish(), 0);
  EXPECT_EQ(next.finish(), 0);
  EXPECT_TRUE(fs::exists(folder.file("living")) && fs::exists(folder.file("next")));
}

// As a signal handler does it.
TEST(TemporaryFile, AllOfAProcessCanBeRemovedAtOnce) {
  const Folder folder;
  const ::pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    TemporaryFile file;
    TemporaryFolder inner;
    if (file.create(folder.file("a")) != 0 || inner.create(folder.file("b")) != 0) ::_exit(1);
    for (int i = 0; i < 200; ++i) toy::write_file(inner.name() + "/" + std::to_string(i), "x");
    remove_temporaries();
    ::_exit(folder.entries() == 0 ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(TemporaryFile, AForkedChildRemovesNothingOfItsParents) {
  const Folder folder;
  TemporaryFile file;
  ASSERT_EQ(file.create(folder.file("a")), 0);
  const ::pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    remove_temporaries();
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(folder.entries(), 1u);
  EXPECT_EQ(file.finish(), 0);
}

TEST(TemporaryFile, NamesAreOurs) {
  EXPECT_TRUE(is_temporary_name(".a.plan.sinter-tmp-0123456789abcdef"));
  for (const char* name : {"a.plan.sinter-tmp-0123456789abcdef", ".a.sinter-tmp-0123456789abcde",
                           ".a.sinter-tmp-0123456789abcdeg", ".a.tmp-123", "", "."})
    EXPECT_FALSE(is_temporary_name(name)) << name;
}

}  // namespace
}  // namespace sinter::runtime
