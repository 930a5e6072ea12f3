#include "codegen/compile/join_ptx.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace sinter::codegen {

namespace {

// What begins a kernel, and stands nowhere else.
constexpr std::string_view kBegin = "\t// .globl\t";

// What stands before the first kernel, then the kernels.
std::vector<std::string_view> pieces_of(std::string_view text) {
  std::vector<std::string_view> pieces;
  while (true) {
    const size_t next = text.find(kBegin, pieces.empty() ? 0 : kBegin.size());
    pieces.push_back(text.substr(0, next));
    if (next == std::string_view::npos) return pieces;
    text.remove_prefix(next);
  }
}

// Appends text of a kernel whose number is `from` as that of number `to`: blocks are named in
// labels (`$L__BB1_2`) and comments (`Header=BB1_2`), stacks in declarations.
void append_renumbered(std::string& out, std::string_view text, size_t from, size_t to) {
  constexpr std::string_view kBlock = "BB";
  constexpr std::string_view kStack = "__local_depot";
  const std::string old = fmt::format("{}", from);
  size_t done = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    const std::string_view rest = text.substr(at);
    const bool is_block = rest.starts_with(kBlock) && at > 0 &&
                          std::string_view("_ =").find(text[at - 1]) != std::string_view::npos;
    if (!is_block && !rest.starts_with(kStack)) continue;
    const size_t begin = at + (is_block ? kBlock : kStack).size();
    const size_t end = std::min(text.find_first_not_of("0123456789", begin), text.size());
    if (text.substr(begin, end - begin) != old || (is_block && !text.substr(end).starts_with('_')))
      continue;
    out += text.substr(done, begin - done);
    out += fmt::format("{}", to);
    done = end;
    at = end - 1;
  }
  out += text.substr(done);
}

// The same of a line. The comment behind a label stands in a column of its own.
void append_line(std::string& out, std::string_view line, size_t from, size_t to) {
  const size_t label = line.starts_with("$L__BB") ? line.find(':') + 1 : 0;
  const size_t spaces = std::min(line.find_first_not_of(' ', label), line.size()) - label;
  const size_t before = out.size();
  append_renumbered(out, line.substr(0, label), from, to);
  const size_t longer = out.size() - before;
  if (label > 0 && spaces > 0)
    out.append(label + spaces > longer ? label + spaces - longer : 1, ' ');
  append_renumbered(out, line.substr(label > 0 ? label + spaces : 0), from, to);
}

}  // namespace

absl::StatusOr<std::string> join_ptx(const std::vector<std::string>& parts) {
  std::vector<std::vector<std::string_view>> pieces;
  size_t kernels = 1;
  size_t bytes = 0;
  for (const std::string& part : parts) {
    pieces.push_back(pieces_of(part));
    const auto& its = pieces.back();
    if (its.size() < 2 || its[0] != pieces[0][0] || its[1] != pieces[0][1])
      return absl::FailedPreconditionError("parts of a PTX module begin otherwise");
    kernels += its.size() - 2;
    bytes += part.size();
  }
  std::string out;
  out.reserve(bytes);
  out += pieces[0][0];
  out += pieces[0][1];
  for (size_t i = 1; i < kernels; ++i) {
    const auto& its = pieces[(i - 1) % parts.size()];
    const size_t number = (i - 1) / parts.size() + 1;  // in the part
    if (number + 1 >= its.size())
      return absl::InternalError("a part of a PTX module lacks a kernel; this is a bug in sinter");
    for (std::string_view kernel = its[number + 1]; !kernel.empty();) {
      const size_t line = std::min(kernel.find('\n'), kernel.size() - 1) + 1;
      append_line(out, kernel.substr(0, line), number, i);
      kernel.remove_prefix(line);
    }
  }
  return out;
}

}  // namespace sinter::codegen
