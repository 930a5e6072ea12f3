// tokenize: text to token ids and back, a JSON value per line.
#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/support/json_text.h"
#include "runtime/text/tokenizer/import.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/model_options.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

using runtime::Error;
using runtime::Result;
using Json = nlohmann::json;

struct TokenizeOptions {
  std::string path;
  bool decode = false;
  bool special = false;
  bool skip_special = false;
};

// Only the tokenizer of a model folder is looked at: weights need not be there.
Result<runtime::Tokenizer> open_tokenizer(const Program& program, const std::string& path) {
  const auto kind = kind_of_input(path);
  if (!kind.ok()) return kind.error();
  if (*kind == InputKind::plan) {
    auto file = runtime::PlanFile::open(path, false);
    if (!file.ok()) return file.error();
    return tokenizer_of(**file);
  }
  const std::string folder = folder_of(path);
  const auto files = read_model_text(program, path, runtime::read_tokenizer);
  if (!files.ok()) return files.error();
  // The last note says why a tokenizer that is there cannot be used.
  const bool unusable = files->tokenizer_json.empty() && !files->notes.empty();
  for (size_t i = 0; i + (unusable ? 1 : 0) < files->notes.size(); ++i)
    std::cerr << folder << ": " << files->notes[i] << "\n";
  if (unusable) return Error{fmt::format("{}: {}", folder, files->notes.back())};
  if (files->tokenizer_json.empty())
    return Error{fmt::format(
        "{}: no tokenizer is there: neither tokenizer.json, tokenizer.model, vocab.json with "
        "merges.txt nor a .gguf file that has one",
        folder)};
  if (files->tokenizer) return *files->tokenizer;
  auto result = runtime::Tokenizer::from_json(files->tokenizer_json, files->tokenizer_config_json);
  if (!result.ok()) return Error{fmt::format("{}: {}", folder, result.error().message)};
  return result;
}

Result<std::vector<int32_t>> ids_of(const runtime::Tokenizer& tokenizer, const Json& json,
                                    size_t line) {
  const auto wrong = [&](const std::string& what) {
    return Error{fmt::format("stdin:{}: {}, expected an array of token ids from 0 to {}", line,
                             what, tokenizer.vocab_size() - 1)};
  };
  if (!json.is_array()) return wrong(fmt::format("found {}", runtime::kind_of(json)));
  std::vector<int32_t> ids;
  for (const Json& id : json) {
    const auto vocab_size = static_cast<uint64_t>(tokenizer.vocab_size());
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= vocab_size) {
      // What has parts may be nested too deeply to be written out.
      const std::string found =
          id.is_structured() ? std::string(runtime::kind_of(id)) : runtime::to_line(id);
      return wrong(fmt::format("found {} in the array", found.substr(0, 40)));
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

Result<std::string> convert(const runtime::Tokenizer& tokenizer, const TokenizeOptions& options,
                            const Json& json, size_t line) {
  if (options.decode) {
    const auto ids = ids_of(tokenizer, json, line);
    if (!ids.ok()) return ids.error();
    auto text = tokenizer.decode(*ids, options.skip_special);
    if (!text.ok()) return Error{fmt::format("stdin:{}: {}", line, text.error().message)};
    return runtime::tokenizer::json_string(*std::move(text));
  }
  if (!json.is_string())
    return Error{fmt::format("stdin:{}: found {}, expected a string; --decode takes arrays of ids",
                             line, runtime::kind_of(json))};
  const auto ids = tokenizer.encode(json.get_ref<const std::string&>(), options.special);
  if (!ids.ok()) return Error{fmt::format("stdin:{}: {}", line, ids.error().message)};
  return Json(*ids).dump();
}

Result<int> tokenize(const Program& program, const TokenizeOptions& options) {
  if (options.skip_special && !options.decode)
    return Error{"--skip-special leaves special tokens out of decoded text; it needs --decode"};
  if (options.skip_special && options.special)
    return Error{"--special keeps special tokens and --skip-special drops them; give one of them"};
  const auto tokenizer = open_tokenizer(program, options.path);
  if (!tokenizer.ok()) return tokenizer.error();
  std::string text;
  for (size_t line = 1; std::getline(std::cin, text); ++line) {
    throw_if_interrupted();
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto json = runtime::read_json<Json>(text);
    if (!json.ok())
      return Error{
          fmt::format("stdin:{}: {}; write one JSON value per line", line, json.error().message)};
    const auto converted = convert(*tokenizer, options, *json, line);
    if (!converted.ok()) return converted.error();
    write_output(*converted);
    write_output("\n");
  }
  return 0;
}

}  // namespace

void add_tokenize(CommandLine& line) {
  auto options = std::make_shared<TokenizeOptions>();
  const Program& program = line.program();
  CLI::App& app = line.add(
      "tokenize",
      "Turn text into token ids, or ids into text. Reads a JSON value per line on stdin (a string; "
      "with --decode an array of ids) and writes one per line on stdout. Of a model folder only "
      "the tokenizer's files are read.",
      "echo '\"To be, or not to be\"' | " + program.name + " tokenize model.plan",
      [&program, options] { return tokenize(program, *options); });
  app.add_option("MODEL|PLAN", options->path, "A plan, a folder with a tokenizer, or a .gguf file")
      ->required();
  app.add_flag("--decode", options->decode, "From ids to text");
  app.add_flag("--special", options->special,
               "Add the special tokens that the model puts around a text (BOS and the like). With "
               "--decode: keep special tokens in the text, which is what --decode does by itself");
  app.add_flag("--skip-special", options->skip_special,
               "With --decode: leave special tokens out of the text");
}

}  // namespace sinter::tools
