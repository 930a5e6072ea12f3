// Runs the built programs as a user does, and makes the files that they are given.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

namespace sinter::tools {

namespace fs = std::filesystem;
using Json = nlohmann::json;

inline std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// A folder for this test process, removed at its end; holds the cache of plans, too.
inline const fs::path& work_folder() {
  struct Folder {
    Folder() {
      std::string name = (fs::temp_directory_path() / "sinter-test-XXXXXX").string();
      path = ::mkdtemp(name.data());
      ::setenv("XDG_CACHE_HOME", (path / "cache").c_str(), 1);
      ::setenv("XDG_CONFIG_HOME", (path / "no-config").c_str(), 1);
    }
    ~Folder() { fs::remove_all(path); }
    fs::path path;
  };
  static const Folder folder;
  return folder.path;
}

struct Outcome {
  int code = -1;  // 128 + signal for one that was killed
  std::string out;
  std::string err;
};

// A shell command line.
inline Outcome shell(const std::string& command, const std::string& input = "") {
  const fs::path& folder = work_folder();
  write(folder / "stdin", input);
  const std::string line =
      fmt::format("{{ {}; }} <'{}' >'{}' 2>'{}'", command, (folder / "stdin").string(),
                  (folder / "stdout").string(), (folder / "stderr").string());
  const char* const arguments[] = {"sh", "-c", line.c_str(), nullptr};
  int status = -1;
  ::pid_t child = -1;
  EXPECT_EQ(::posix_spawn(&child, "/bin/sh", nullptr, nullptr, const_cast<char* const*>(arguments),
                          environ),
            0);
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  Outcome outcome;
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = read(folder / "stdout");
  outcome.err = read(folder / "stderr");
  return outcome;
}

inline Outcome sinter(const std::string& arguments, const std::string& input = "") {
  return shell(fmt::format("'{}' {}", SINTER_PROGRAM, arguments), input);
}

inline Outcome sinter_run(const std::string& arguments, const std::string& input = "") {
  return shell(fmt::format("'{}' {}", SINTER_RUN_PROGRAM, arguments), input);
}

// Bad input: exit code 2, nothing on stdout, one line on stderr that holds each of `words`.
inline void expect_refusal(const Outcome& outcome, std::initializer_list<std::string> words) {
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err.rfind("sinter", 0), 0u) << outcome.err;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  for (const std::string& word : words)
    EXPECT_NE(outcome.err.find(word), std::string::npos)
        << "\"" << word << "\" is not in: " << outcome.err;
}

inline fs::path tiny_model() { return fs::path(SINTER_MODELS) / "tiny-bonsai-1bit"; }

// tiny_model compiled for this machine, once.
inline const std::string& tiny_plan() {
  static const std::string path = [] {
    const std::string plan = (work_folder() / "tiny.plan").string();
    const Outcome outcome =
        sinter(fmt::format("compile '{}' -o '{}'", tiny_model().string(), plan));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return plan;
  }();
  return path;
}

// A copy of tiny_model to be spoilt.
inline fs::path copy_of_model(const std::string& name) {
  const fs::path folder = work_folder() / name;
  fs::remove_all(folder);
  fs::create_directories(folder);
  for (const char* file : {"config.json", "generation_config.json", "model.safetensors",
                           "tokenizer.json", "tokenizer_config.json"}) {
    fs::copy_file(tiny_model() / file, folder / file);
    fs::permissions(folder / file, fs::perms::owner_write, fs::perm_options::add);
  }
  return folder;
}

inline void edit_config(const fs::path& folder, const std::function<void(Json&)>& edit) {
  Json config = Json::parse(read(folder / "config.json"));
  edit(config);
  write(folder / "config.json", config.dump(1));
}

// Edits the JSON header of model.safetensors, and the tensors' bytes.
inline void edit_weights(const fs::path& folder,
                         const std::function<void(Json&, std::string&)>& edit) {
  const std::string file = read(folder / "model.safetensors");
  uint64_t length = 0;
  file.copy(reinterpret_cast<char*>(&length), 8);
  Json header = Json::parse(file.substr(8, length));
  std::string data = file.substr(8 + length);
  edit(header, data);
  const std::string text = header.dump();
  length = text.size();
  write(folder / "model.safetensors",
        std::string(reinterpret_cast<const char*>(&length), 8) + text + data);
}

}  // namespace sinter::tools
