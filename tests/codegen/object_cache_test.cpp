#include "codegen/compile/object_cache.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace sinter::codegen {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSource = "#include \"sinter.h\"\nSINTER_PHASE(nothing) { (void)launch; }\n";

// Points SINTER_OBJECT_CACHE at an empty folder while it lives.
class CacheFolder {
 public:
  CacheFolder() {
    const char* before = std::getenv("SINTER_OBJECT_CACHE");
    had_ = before != nullptr;
    if (had_) before_ = before;
    std::string name = ::testing::TempDir() + "object_cache_XXXXXX";
    path_ = ::mkdtemp(name.data());
    ::setenv("SINTER_OBJECT_CACHE", path_.c_str(), 1);
  }
  CacheFolder(const CacheFolder&) = delete;
  CacheFolder& operator=(const CacheFolder&) = delete;
  ~CacheFolder() {
    if (had_) {
      ::setenv("SINTER_OBJECT_CACHE", before_.c_str(), 1);
    } else {
      ::unsetenv("SINTER_OBJECT_CACHE");
    }
    fs::remove_all(path_);
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(path_)) out.push_back(entry.path());
    return out;
  }

 private:
  bool had_ = false;
  std::string before_;
  fs::path path_;
};

TEST(ObjectCache, SecondCompilationReadsWhatTheFirstWrote) {
  const CacheFolder folder;
  const auto first = compile_shared(kSource, targets().front());
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_EQ(folder.files().size(), 1);
  const auto written = fs::last_write_time(folder.files()[0]);
  const auto second = compile_shared(kSource, targets().front());
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(*first, *second);
  EXPECT_EQ(fs::last_write_time(folder.files()[0]), written);
}

TEST(ObjectCache, SourceAndTargetMakeTheKey) {
  const CacheFolder folder;
  ASSERT_TRUE(compile_shared(kSource, targets()[0]).ok());
  ASSERT_TRUE(compile_shared(std::string(kSource) + "// more\n", targets()[0]).ok());
  ASSERT_TRUE(compile_shared(kSource, targets()[1]).ok());
  EXPECT_EQ(folder.files().size(), 3);
}

TEST(ObjectCache, DamagedFileIsCompiledAnew) {
  const CacheFolder folder;
  const auto first = compile_shared(kSource, targets().front());
  ASSERT_TRUE(first.ok()) << first.status();
  const fs::path file = folder.files().at(0);
  for (const size_t bytes : {size_t{0}, size_t{5}, fs::file_size(file) - 1}) {
    fs::resize_file(file, bytes);
    const auto again = compile_shared(kSource, targets().front());
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, *first) << bytes;
  }
  std::fstream(file, std::ios::binary | std::ios::in | std::ios::out).seekp(100).put('!');
  const auto again = compile_shared(kSource, targets().front());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, *first);
}

TEST(ObjectCache, CacheThatCannotBeWrittenIsNoError) {
  const CacheFolder folder;
  ::setenv("SINTER_OBJECT_CACHE", "/proc/no/such/folder", 1);
  EXPECT_TRUE(compile_shared(kSource, targets().front()).ok());
}

}  // namespace
}  // namespace sinter::codegen
