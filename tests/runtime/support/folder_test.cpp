#include "runtime/support/folder.h"

#include <gtest/gtest.h>

#include "tests/runtime/toy_plan.h"

namespace sinter::runtime {
namespace {

TEST(Folder, NamesAreSortedAndComplete) {
  const toy::Folder folder;
  for (const char* name : {"b", "a", ".hidden", "c.json"}) toy::write_file(folder.file(name), "x");
  EXPECT_EQ(names_in_folder(folder.path()),
            (std::vector<std::string>{".hidden", "a", "b", "c.json"}));
}

TEST(Folder, WhatCannotBeReadHasNoNames) {
  const toy::Folder folder;
  toy::write_file(folder.file("a"), "x");
  EXPECT_TRUE(names_in_folder(folder.file("a")).empty());
  EXPECT_TRUE(names_in_folder(folder.file("no")).empty());
}

}  // namespace
}  // namespace sinter::runtime
