#include "tools/token_ids.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "tools/files.h"
#include "tools/terminal.h"

namespace sinter::tools {

using runtime::Error;
using runtime::Result;
using runtime::Status;

Result<std::vector<int32_t>> read_token_ids(const std::string& path) {
  const Result<std::string> text = read_file(path);
  if (!text.ok()) return text.error();
  constexpr std::string_view kBlanks = " \t\r\n\f\v";
  std::vector<int32_t> ids;
  std::string_view rest = *text;
  for (;;) {
    const size_t begin = rest.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) break;
    rest.remove_prefix(begin);
    const std::string_view word = rest.substr(0, rest.find_first_of(kBlanks));
    rest.remove_prefix(word.size());
    int32_t id = -1;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size() || id < 0)
      return Error{fmt::format("{}: entry {} is \"{}\", expected a token id: a whole number from 0",
                               path, ids.size() + 1, printable(word.substr(0, 40)))};
    ids.push_back(id);
  }
  if (ids.empty())
    return Error{fmt::format("{}: holds no token ids; write them separated by spaces", path)};
  return ids;
}

Status check_token_ids(std::span<const int32_t> ids, int64_t vocab_size, const std::string& name) {
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] >= vocab_size)
      return Error{fmt::format("{}: entry {} is {}, but the model's vocabulary has {} tokens", name,
                               i + 1, ids[i], vocab_size)};
  return runtime::Done{};
}

}  // namespace sinter::tools
