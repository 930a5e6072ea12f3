#include "codegen/compile/kernel_resources.h"

#include <fmt/format.h>
#include <llvm/BinaryFormat/MsgPackDocument.h>
#include <llvm/Object/ELFObjectFile.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/Program.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include "codegen/compile/end_without_memory.h"
#include "runtime/abi/kernel_abi.h"
#include "runtime/support/temporary_file.h"

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

}  // namespace

absl::StatusOr<std::vector<runtime::KernelResources>> kernel_resources(
    const std::vector<uint8_t>& code_object, const std::vector<runtime::Kernel>& kernels) {
  const EndWithoutMemory guard;
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
  const EndWithoutMemory guard;
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
  runtime::TemporaryFolder folder;
  if (const int error = folder.create(runtime::temporary_root() + "/sinter", 0700); error != 0)
    return absl::UnavailableError(
        fmt::format("cannot make a temporary folder in {}: {}; set TMPDIR to a writable folder",
                    runtime::temporary_root(), std::strerror(error)));
  const std::string in = folder.name() + "/phases.ptx";
  const std::string out = folder.name() + "/phases.cubin";
  const std::string log = folder.name() + "/log";
  {
    std::error_code error;
    llvm::raw_fd_ostream stream(in, error);
    stream.write(ptx.data(), ptx.size());
    stream.close();
    if (error || stream.has_error()) {
      stream.clear_error();
      return absl::UnavailableError(
          fmt::format("cannot write {}: the disk may be full; set TMPDIR to another folder", in));
    }
  }
  constexpr const char* kThreads = "--split-compile=4";
  const std::string arch = fmt::format("-arch={}", target.name);
  const std::optional<llvm::StringRef> redirects[] = {llvm::StringRef(""), llvm::StringRef(log),
                                                      llvm::StringRef(log)};
  std::string error;
  const auto run = [&](llvm::ArrayRef<llvm::StringRef> args) {
    return llvm::sys::ExecuteAndWait(ptxas, args, std::nullopt, redirects, 0, 0, &error);
  };
  const auto read = [](const std::string& path) {
    auto buffer = llvm::MemoryBuffer::getFile(path);
    return buffer ? (*buffer)->getBuffer().str() : std::string();
  };
  // So many threads, whatever the machine has: a cubin holds the number. From CUDA 12.1 on.
  int code = run({ptxas, arch, kThreads, "-v", "-o", out, in});
  if (code != 0 && read(log).find("split-compile") != std::string::npos)
    code = run({ptxas, arch, "-v", "-o", out, in});
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
  const EndWithoutMemory guard;
  // ptxas would rather spill a few registers than run one block less on a multiprocessor. A kernel
  // that does is given as many as it wants instead, which also measured faster: prefill 57,000
  // against 55,000 tokens/s with Llama-3.2-1B in 4 bits on an H100. Not one that says how many
  // blocks it wants, or that has all registers; and fewer than few_spills are not worth the time of
  // assembling everything once more.
  std::vector<uint32_t> limits(kernels.size(), 0);
  while (true) {
    std::string text(ptx.begin(), ptx.end());
    const auto head = [&](size_t i) {
      const size_t entry = text.find(fmt::format(".entry {}(", kernels[i].symbol));
      return entry == std::string::npos
                 ? std::string_view()
                 : std::string_view(text).substr(entry, text.find('{', entry) - entry);
    };
    for (size_t i = 0; i < kernels.size(); ++i) {
      if (limits[i] == 0) continue;
      const std::string_view its = head(i);
      const size_t at = its.find(".maxntid");
      if (at != std::string_view::npos)
        text.insert(static_cast<size_t>(its.data() - text.data()) + at,
                    fmt::format(".maxnreg {}\n", limits[i]));
    }
    absl::StatusOr<Cubin> cubin = assemble(ptxas, text, target, kernels);
    if (!cubin.ok()) return cubin;
    bool again = false;
    for (size_t i = 0; i < kernels.size(); ++i) {
      const runtime::KernelResources& used = cubin->resources[i];
      if (used.spills < few_spills || used.vgprs == 0 || used.vgprs == most_registers ||
          head(i).find(".minnctapersm") != std::string_view::npos)
        continue;
      const uint32_t limit = registers_of_fewer_blocks(std::max(used.vgprs, limits[i]));
      again |= limit != limits[i];
      limits[i] = limit;
    }
    if (!again) return cubin;
  }
}

}  // namespace sinter::codegen
