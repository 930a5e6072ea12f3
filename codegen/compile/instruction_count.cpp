#include "codegen/compile/instruction_count.h"

#include <fmt/format.h>

#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace sinter::codegen {

namespace {

using Lines = std::vector<std::string_view>;

// The lines of one function, without comments, directives and blanks.
Lines lines_of(std::string_view assembly, std::string_view kernel) {
  const std::string amd = fmt::format("\n{}:", kernel);
  const std::string ptx = fmt::format(".entry {}(", kernel);
  size_t at = assembly.find(amd);
  std::string_view end = "s_endpgm";
  if (at == std::string_view::npos) {
    at = assembly.find(ptx);
    end = "\n}";
  }
  if (at == std::string_view::npos) return {};
  // A function of AMD may end its program in several places; it lasts until its size is said.
  const size_t size = assembly.find(fmt::format(".size\t{},", kernel), at);
  const size_t stop =
      end[0] == 's' && size != std::string_view::npos ? size : assembly.find(end, at);
  std::string_view text = assembly.substr(at, stop - at);
  Lines lines;
  while (!text.empty()) {
    const size_t length = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, length);
    text.remove_prefix(std::min(length + 1, text.size()));
    line = line.substr(0, line.find("//"));
    line = line.substr(0, line.find(';') == line.size() - 1 ? line.size() : line.find(" ;"));
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
    while (!line.empty() && (line.back() == ' ' || line.back() == '\t')) line.remove_suffix(1);
    const bool directive =
        !line.empty() && line[0] == '.' && line.find(':') == std::string_view::npos;
    if (!line.empty() && !directive && line[0] != ';' && line[0] != '{' && line[0] != '}')
      lines.push_back(line);
  }
  return lines;
}

bool is_label(std::string_view line) { return line.back() == ':'; }

// Bytes that a lane loads with the hint that weights are loaded with; 0 for other instructions.
int weight_bytes(std::string_view line) {
  static const std::regex amd(
      R"(^(global|flat)_load_(dwordx4|dwordx3|dwordx2|dword|b128|b96|b64|b32)\b.*)");
  static const std::regex ptx(R"(^ld\.global\.nc\.L1::no_allocate\.(v4\.|v2\.)?u32\b.*)");
  std::cmatch match;
  if (std::regex_match(line.data(), line.data() + line.size(), match, ptx))
    return match[1] == "v4." ? 16 : match[1] == "v2." ? 8 : 4;
  const bool streamed = line.find("slc") != std::string_view::npos ||
                        line.find(" nt") != std::string_view::npos ||
                        line.find("TH_LOAD_NT") != std::string_view::npos;
  if (!streamed || !std::regex_match(line.data(), line.data() + line.size(), match, amd)) return 0;
  static const std::map<std::string, int> sizes = {{"dwordx4", 16}, {"dwordx3", 12}, {"dwordx2", 8},
                                                   {"dword", 4},    {"b128", 16},    {"b96", 12},
                                                   {"b64", 8},      {"b32", 4}};
  return sizes.at(match[2]);
}

// Lines without a branch among them but at the end, and the blocks that may follow.
struct Block {
  std::vector<std::string_view> lines;
  std::vector<size_t> next;
};

std::vector<Block> blocks_of(const Lines& lines) {
  std::vector<Block> blocks(1);
  std::map<std::string_view, size_t> labels;
  for (const std::string_view line : lines) {
    if (is_label(line)) {
      if (!blocks.back().lines.empty()) blocks.emplace_back();
      labels[line.substr(0, line.size() - 1)] = blocks.size() - 1;
      continue;
    }
    blocks.back().lines.push_back(line);
    // s_branch and s_cbranch of AMD; bra of PTX, often behind a predicate.
    if (line.starts_with("s_branch") || line.starts_with("s_cbranch") || line.starts_with("bra") ||
        line.find(" bra") != std::string_view::npos || line.starts_with("s_endpgm") ||
        line.starts_with("ret"))
      blocks.emplace_back();
  }
  for (size_t b = 0; b < blocks.size(); ++b) {
    const std::string_view last = blocks[b].lines.empty() ? "" : blocks[b].lines.back();
    std::string_view target = last.substr(last.find_last_of(" \t") + 1);
    if (target.ends_with(';')) target.remove_suffix(1);
    const auto label = labels.find(target);
    if (label != labels.end()) blocks[b].next.push_back(label->second);
    const bool always = last.starts_with("s_branch") || last.starts_with("bra") ||
                        last.starts_with("s_endpgm") || last.starts_with("ret");
    if (!always && b + 1 < blocks.size()) blocks[b].next.push_back(b + 1);
  }
  return blocks;
}

// Every loop among `allowed` blocks: those that reach each other. Without the one by which they are
// entered, what still does are the loops inside.
void find_loops(const std::vector<Block>& blocks, const std::set<size_t>& allowed,
                std::vector<std::set<size_t>>& loops) {
  std::map<size_t, std::set<size_t>> reached;
  for (const size_t from : allowed) {
    std::vector<size_t> open = {from};
    while (!open.empty()) {
      const size_t block = open.back();
      open.pop_back();
      for (const size_t next : blocks[block].next)
        if (allowed.contains(next) && reached[from].insert(next).second) open.push_back(next);
    }
  }
  std::set<size_t> known;
  for (const size_t from : allowed) {
    if (!reached[from].contains(from) || known.contains(from)) continue;
    std::set<size_t> loop;
    for (const size_t block : reached[from])
      if (reached[block].contains(from)) loop.insert(block);
    known.insert(loop.begin(), loop.end());
    loops.push_back(loop);
    size_t entry = *loop.begin();
    for (size_t block = 0; block < blocks.size(); ++block)
      for (const size_t next : blocks[block].next)
        if (!loop.contains(block) && loop.contains(next)) entry = next;
    loop.erase(entry);
    find_loops(blocks, loop, loops);
  }
}

}  // namespace

double instructions_per_weight_byte(std::string_view assembly, std::string_view kernel) {
  const std::vector<Block> blocks = blocks_of(lines_of(assembly, kernel));
  std::set<size_t> all;
  for (size_t b = 0; b < blocks.size(); ++b) all.insert(b);
  std::vector<std::set<size_t>> loops;
  find_loops(blocks, all, loops);
  double best = 0;
  int fewest = 0;
  int most_products = 0;
  for (const std::set<size_t>& loop : loops) {
    int bytes = 0;
    int instructions = 0;
    int products = 0;
    for (const size_t block : loop)
      for (const std::string_view line : blocks[block].lines) {
        bytes += weight_bytes(line);
        ++instructions;
        for (const char* product : {"dot4", "dp4a", "fma"})
          products += line.find(product) != std::string_view::npos ? 1 : 0;
      }
    if (bytes == 0 || products == 0 || products < most_products ||
        (products == most_products && instructions >= fewest))
      continue;
    fewest = instructions;
    most_products = products;
    best = static_cast<double>(instructions) / bytes;
  }
  return best;
}

}  // namespace sinter::codegen
