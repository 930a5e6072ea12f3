#include "codegen/kernel_resources.h"

#include <fmt/format.h>
#include <llvm/BinaryFormat/MsgPackDocument.h>
#include <llvm/Object/ELFObjectFile.h>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/Program.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <regex>
#include <set>

#include "runtime/kernel_abi.h"

namespace sinter::codegen {

namespace {

constexpr unsigned kMetadataNote = 32;  // NT_AMDGPU_METADATA

uint32_t number(llvm::msgpack::MapDocNode& map, const char* key) {
  const auto found = map.find(key);
  return found != map.end() && found->second.getKind() == llvm::msgpack::Type::UInt
             ? static_cast<uint32_t>(found->second.getUInt())
             : 0;
}

absl::Status unreadable(std::string_view what) {
  return absl::InternalError(fmt::format(
      "the metadata of a code object is unreadable ({}); this is a bug in sinter", what));
}

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

}  // namespace

absl::StatusOr<std::vector<runtime::KernelResources>> kernel_resources(
    const std::vector<uint8_t>& code_object, const std::vector<runtime::Kernel>& kernels) {
  const llvm::StringRef bytes(reinterpret_cast<const char*>(code_object.data()),
                              code_object.size());
  auto file = llvm::object::ELF64LEObjectFile::create(llvm::MemoryBufferRef(bytes, "code object"));
  if (!file) return unreadable(llvm::toString(file.takeError()));
  const auto& elf = file->getELFFile();
  auto headers = elf.program_headers();
  if (!headers) return unreadable(llvm::toString(headers.takeError()));
  std::map<std::string, runtime::KernelResources, std::less<>> found;
  for (const auto& header : *headers) {
    if (header.p_type != llvm::ELF::PT_NOTE) continue;
    llvm::Error error = llvm::Error::success();
    for (const auto& note : elf.notes(header, error)) {
      if (note.getType() != kMetadataNote) continue;
      llvm::msgpack::Document document;
      if (!document.readFromBlob(note.getDescAsStringRef(4), false))
        return unreadable("MessagePack");
      auto& root = document.getRoot().getMap();
      for (auto& kernel : root["amdhsa.kernels"].getArray()) {
        auto& map = kernel.getMap();
        found[map[".name"].getString().str()] = {
            .vgprs = number(map, ".vgpr_count"),
            .sgprs = number(map, ".sgpr_count"),
            .shared_bytes = number(map, ".group_segment_fixed_size"),
            .scratch_bytes = number(map, ".private_segment_fixed_size"),
            .spills = number(map, ".vgpr_spill_count") + number(map, ".sgpr_spill_count")};
      }
    }
    if (error) return unreadable(llvm::toString(std::move(error)));
  }
  std::vector<runtime::KernelResources> resources;
  for (const runtime::Kernel& kernel : kernels) {
    const auto at = found.find(kernel.symbol);
    if (at == found.end()) return unreadable(kernel.symbol + " is missing");
    resources.push_back(at->second);
  }
  return resources;
}

std::string find_ptxas() {
  std::vector<llvm::StringRef> places = {"/usr/local/cuda/bin"};
  std::string toolkit;
  if (const char* path = std::getenv("CUDA_PATH"); path != nullptr) {
    toolkit = std::string(path) + "/bin";
    places.insert(places.begin(), toolkit);
  }
  if (auto found = llvm::sys::findProgramByName("ptxas")) return *found;
  if (auto found = llvm::sys::findProgramByName("ptxas", places)) return *found;
  return "";
}

namespace {

absl::StatusOr<Cubin> assemble(const std::string& ptxas, std::string_view ptx, const Target& target,
                               const std::vector<runtime::Kernel>& kernels) {
  llvm::SmallString<128> in;
  llvm::SmallString<128> out;
  llvm::SmallString<128> log;
  for (auto [path, suffix] :
       {std::pair{&in, "ptx"}, std::pair{&out, "cubin"}, std::pair{&log, "log"}})
    if (const auto error = llvm::sys::fs::createTemporaryFile("sinter", suffix, *path))
      return absl::UnavailableError(fmt::format(
          "cannot make a temporary file: {}; set TMPDIR to a writable folder", error.message()));
  const auto remove = [](llvm::SmallString<128>* path) {
    (void)llvm::sys::fs::remove(*path);  // nothing depends on it
  };
  const std::unique_ptr<llvm::SmallString<128>, decltype(remove)> guards[] = {
      {&in, remove}, {&out, remove}, {&log, remove}};
  {
    std::error_code error;
    llvm::raw_fd_ostream stream(in, error);
    stream.write(ptx.data(), ptx.size());
  }
  const std::string arch = fmt::format("-arch={}", target.name);
  const llvm::StringRef args[] = {ptxas, arch, "-v", "-o", out, in};
  const std::optional<llvm::StringRef> redirects[] = {llvm::StringRef(""), log.str(), log.str()};
  std::string error;
  const int code = llvm::sys::ExecuteAndWait(ptxas, args, std::nullopt, redirects, 0, 0, &error);
  const auto read = [](const llvm::SmallString<128>& path) {
    auto buffer = llvm::MemoryBuffer::getFile(path);
    return buffer ? (*buffer)->getBuffer().str() : std::string();
  };
  const std::string said = read(log);
  if (code != 0)
    return absl::UnavailableError(fmt::format("{} failed on generated code: {}{}", ptxas, error,
                                              said.substr(0, said.find('\n'))));
  Cubin cubin;
  const std::string bytes = read(out);
  cubin.code.assign(bytes.begin(), bytes.end());
  for (const runtime::Kernel& kernel : kernels) {
    runtime::KernelResources& resources = cubin.resources.emplace_back();
    const size_t at = said.find(fmt::format("'{}'", kernel.symbol));
    if (at == std::string::npos) continue;
    const std::string_view text =
        std::string_view(said).substr(at, said.find("Compiling", at) - at);
    const auto before = [&](std::string_view unit) -> uint32_t {
      const size_t end = text.find(unit);
      if (end == std::string_view::npos) return 0;
      size_t begin = end;
      while (begin > 0 && text[begin - 1] >= '0' && text[begin - 1] <= '9') --begin;
      return begin == end
                 ? 0
                 : static_cast<uint32_t>(std::stoul(std::string(text.substr(begin, end - begin))));
    };
    resources.vgprs = before(" registers");
    resources.shared_bytes = before(" bytes smem");
    resources.scratch_bytes = before(" bytes stack frame");
    resources.spills = before(" bytes spill stores") / 4;
  }
  return cubin;
}

constexpr uint32_t most_registers = 255;  // of a thread

// Those that a thread may have when one block less runs on a multiprocessor than with `registers`
// each. It has 65,536, which are given in eights.
uint32_t registers_of_fewer_blocks(uint32_t registers) {
  constexpr uint32_t all = 65536 / gpu_block_threads;
  const uint32_t blocks = all / registers;
  return blocks < 3 ? most_registers : all / (blocks - 1) / 8 * 8;
}

}  // namespace

absl::StatusOr<Cubin> assemble_ptx(const std::string& ptxas, const std::vector<uint8_t>& ptx,
                                   const Target& target,
                                   const std::vector<runtime::Kernel>& kernels) {
  // ptxas would rather spill a few registers than run one block less on a multiprocessor. A kernel
  // that does is given as many as it wants instead, which also measured faster: prefill 57,000
  // against 55,000 tokens/s with Llama-3.2-1B in 4 bits on an H100.
  std::vector<uint32_t> limits(kernels.size(), 0);
  while (true) {
    std::string text(ptx.begin(), ptx.end());
    for (size_t i = 0; i < kernels.size(); ++i) {
      if (limits[i] == 0) continue;
      const size_t entry = text.find(fmt::format(".entry {}(", kernels[i].symbol));
      const size_t at = entry == std::string::npos ? entry : text.find(".maxntid", entry);
      if (at != std::string::npos) text.insert(at, fmt::format(".maxnreg {}\n", limits[i]));
    }
    absl::StatusOr<Cubin> cubin = assemble(ptxas, text, target, kernels);
    if (!cubin.ok()) return cubin;
    bool again = false;
    for (size_t i = 0; i < kernels.size(); ++i) {
      const runtime::KernelResources& used = cubin->resources[i];
      if (used.spills == 0 || used.vgprs == 0) continue;
      const uint32_t limit = registers_of_fewer_blocks(std::max(used.vgprs, limits[i]));
      again |= limit != limits[i];
      limits[i] = limit;
    }
    if (!again) return cubin;
  }
}

namespace {

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
