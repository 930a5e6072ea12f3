#include "codegen/compile/clang_compile.h"

#include <clang/Basic/Diagnostic.h>
#include <clang/Basic/DiagnosticIDs.h>
#include <clang/Basic/DiagnosticOptions.h>
#include <clang/Basic/Version.h>
#include <clang/CodeGen/BackendUtil.h>
#include <clang/CodeGen/CodeGenAction.h>
#include <clang/Driver/Compilation.h>
#include <clang/Driver/Driver.h>
#include <clang/Driver/Job.h>
#include <clang/Frontend/CompilerInstance.h>
#include <clang/Frontend/CompilerInvocation.h>
#include <clang/Frontend/TextDiagnosticPrinter.h>
#include <fmt/format.h>
#include <lld/Common/Driver.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/Module.h>
#include <llvm/Support/ErrorHandling.h>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/VirtualFileSystem.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "codegen/compile/device_sources.h"
#include "codegen/compile/end_without_memory.h"
#include "codegen/compile/join_ptx.h"
#include "runtime/support/temporary_file.h"

LLD_HAS_DRIVER(elf)

namespace sinter::codegen {

namespace {

constexpr const char* kRoot = "/sinter";
constexpr const char* kSource = "/sinter/phases.cpp";

void initialize_llvm() {
  static std::once_flag once;
  std::call_once(once, [] {
    llvm::InitializeAllTargetInfos();
    llvm::InitializeAllTargets();
    llvm::InitializeAllTargetMCs();
    llvm::InitializeAllAsmPrinters();
    llvm::InitializeAllAsmParsers();
  });
}

// The kernel library and the source; nothing of the machine that compiles can be included.
llvm::IntrusiveRefCntPtr<llvm::vfs::FileSystem> file_system(std::string_view source) {
  auto files = llvm::makeIntrusiveRefCnt<llvm::vfs::InMemoryFileSystem>();
  // Neither can fail: the names are new and absolute.
  (void)files->setCurrentWorkingDirectory(kRoot);
  files->addFile(
      kSource, 0,
      llvm::MemoryBuffer::getMemBufferCopy(llvm::StringRef(source.data(), source.size())));
  for (const DeviceSource& device : device_sources())
    files->addFile(fmt::format("{}/{}", kRoot, device.name), 0,
                   llvm::MemoryBuffer::getMemBuffer(
                       llvm::StringRef(device.text.data(), device.text.size()), "", false));
  return files;
}

std::vector<std::string> arguments(const Target& target, bool assembly) {
  std::vector<std::string> args = {"clang++", "-std=c++20", "-O3", assembly ? "-S" : "-c"};
  if (!kind_of(target.device).gpu) {
    args.push_back(fmt::format("--target={}", family_of(target).triple));
    // Which multiply-adds fuse is decided by expressions, not by the optimizer: it would fuse
    // others in a loop over many rows than in one over few, and so depend on the number of threads.
    for (const char* flag :
         {"-fPIC", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-ffp-contract=on"})
      args.emplace_back(flag);
  } else {
    // The host that this is said to be compiled beside is always the same one.
    args.emplace_back("--target=x86_64-unknown-linux-gnu");
    args.push_back(fmt::format("--offload-arch={}", target.name));
    args.emplace_back("-ffp-contract=fast");
  }
  for (const std::string_view flag : target.flags) args.emplace_back(flag);
  // Infinities and NaNs keep their meaning.
  for (const char* flag :
       {"-ffreestanding", "-nostdinc", "-fvisibility=hidden", "-fno-math-errno", "-fno-exceptions",
        "-fno-rtti", "-fno-ident", "-Wno-psabi", "-I/sinter", "-o", "-", kSource})
    args.emplace_back(flag);
  return args;
}

absl::Status bug(std::string_view what, std::string_view diagnostics) {
  return absl::InternalError(
      fmt::format("{} failed on generated code; this is a bug in sinter, please report it: {}",
                  what, diagnostics));
}

// One run of Clang.
class Run {
 public:
  Run(std::string_view source, const Target& target, bool assembly)
      : printer_(diagnostics_stream_, diagnostic_options_), files_(file_system(source)) {
    status_ = prepare(target, assembly);
  }

  // What of it went wrong.
  absl::Status execute(clang::FrontendAction& action) {
    if (status_.ok() && !instance_->ExecuteAction(action)) return bug("Clang", diagnostics_text_);
    return status_;
  }
  absl::Status emit_assembly(llvm::Module& module) {
    clang::emitBackendOutput(*instance_, instance_->getCodeGenOpts(), module.getDataLayoutStr(),
                             &module, clang::Backend_EmitAssembly, files_,
                             std::make_unique<llvm::raw_svector_ostream>(output_));
    return instance_->getDiagnostics().hasErrorOccurred() ? bug("Clang", diagnostics_text_)
                                                          : absl::OkStatus();
  }

  clang::CodeGenOptions& options() { return instance_->getCodeGenOpts(); }
  const absl::Status& status() const { return status_; }
  llvm::SmallVector<char, 0>& output() { return output_; }

 private:
  absl::Status prepare(const Target& target, bool assembly) {
    clang::DiagnosticsEngine diagnostics(llvm::makeIntrusiveRefCnt<clang::DiagnosticIDs>(),
                                         diagnostic_options_, &printer_,
                                         /*ShouldOwnClient=*/false);
    // The driver turns flags into the frontend's options, as on a command line.
    clang::driver::Driver driver("clang++", std::string(family_of(target).triple), diagnostics,
                                 "sinter", files_);
    driver.setCheckInputsExist(false);
    const std::vector<std::string> args = arguments(target, assembly);
    std::vector<const char*> pointers;
    for (const std::string& arg : args) pointers.push_back(arg.c_str());
    const std::unique_ptr<clang::driver::Compilation> compilation(
        driver.BuildCompilation(pointers));
    if (compilation == nullptr || compilation->getJobs().empty())
      return bug("Clang's driver", diagnostics_text_);
    auto invocation = std::make_shared<clang::CompilerInvocation>();
    const auto& job = *compilation->getJobs().begin();
    if (!clang::CompilerInvocation::CreateFromArgs(*invocation, job.getArguments(), diagnostics))
      return bug("Clang's command line", diagnostics_text_);
    invocation->getFrontendOpts().DisableFree = false;
    invocation->getCodeGenOpts().DisableFree = false;

    instance_.emplace(std::move(invocation));
    instance_->setVirtualFileSystem(files_);
    instance_->createDiagnostics(&printer_, /*ShouldOwnClient=*/false);
    instance_->createFileManager();
    instance_->setVerboseOutputStream(diagnostics_stream_);  // or errors are counted on stderr
    instance_->setOutputStream(std::make_unique<llvm::raw_svector_ostream>(output_));
    return absl::OkStatus();
  }

  std::string diagnostics_text_;
  llvm::raw_string_ostream diagnostics_stream_{diagnostics_text_};
  clang::DiagnosticOptions diagnostic_options_;
  clang::TextDiagnosticPrinter printer_;
  llvm::IntrusiveRefCntPtr<llvm::vfs::FileSystem> files_;
  llvm::SmallVector<char, 0> output_;
  std::optional<clang::CompilerInstance> instance_;
  absl::Status status_;
};

absl::StatusOr<llvm::SmallVector<char, 0>> compile(std::string_view source, const Target& target,
                                                   bool assembly) {
  const EndWithoutMemory guard;
  initialize_llvm();
  Run run(source, target, assembly);
  std::unique_ptr<clang::CodeGenAction> action;
  if (assembly) {
    action = std::make_unique<clang::EmitAssemblyAction>();
  } else {
    action = std::make_unique<clang::EmitObjAction>();
  }
  if (auto status = run.execute(*action); !status.ok()) return status;
  return std::move(run.output());
}

// The PTX of the first kernel of a source, which is in all parts, and of every `parts`-th of the
// others from number `part` + 1 on. Kernels call no functions, so each is compiled as if it were
// alone.
absl::StatusOr<std::string> compile_part(std::string_view source, const Target& target, size_t part,
                                         size_t parts) {
  Run run(source, target, true);
  if (!run.status().ok()) return run.status();
  llvm::LLVMContext context;
  context.setDiscardValueNames(run.options().DiscardValueNames);
  clang::EmitLLVMOnlyAction action(&context);
  run.options().DisableLLVMPasses = true;
  if (auto status = run.execute(action); !status.ok()) return status;
  run.options().DisableLLVMPasses = false;
  const std::unique_ptr<llvm::Module> module = action.takeModule();
  size_t kernels = 0;
  for (llvm::Function& function : *module) {
    if (function.isDeclaration() || function.getCallingConv() != llvm::CallingConv::PTX_Kernel)
      continue;
    const size_t number = kernels++;
    if (number > 0 && (number - 1) % parts != part) function.deleteBody();
  }
  if (auto status = run.emit_assembly(*module); !status.ok()) return status;
  return std::string(run.output().begin(), run.output().end());
}

// As many as this machine can work on at a time; each runs the frontend anew, a twentieth of what
// compiling everything takes.
size_t ptx_parts() { return std::clamp(std::thread::hardware_concurrency(), 1U, 8U); }

}  // namespace

absl::StatusOr<std::string> compile_to_ptx(std::string_view source, const Target& target,
                                           size_t parts) {
  const EndWithoutMemory guard;
  initialize_llvm();
  std::vector<absl::StatusOr<std::string>> texts(parts, absl::UnknownError(""));
  {
    std::vector<std::jthread> others;
    for (size_t i = 1; i < parts; ++i)
      others.emplace_back([&, i] { texts[i] = compile_part(source, target, i, parts); });
    texts[0] = compile_part(source, target, 0, parts);
  }
  std::vector<std::string> whole;
  for (absl::StatusOr<std::string>& text : texts) {
    if (!text.ok()) return text.status();
    whole.push_back(*std::move(text));
  }
  auto joined = join_ptx(whole);
  if (absl::IsFailedPrecondition(joined.status()) && parts > 1)
    return compile_to_ptx(source, target, 1);
  return joined;
}

absl::StatusOr<std::vector<uint8_t>> compile_to_object(std::string_view source,
                                                       const Target& target) {
  if (family_of(target).ptx) {
    const auto text = compile_to_ptx(source, target, ptx_parts());
    if (!text.ok()) return text.status();
    return std::vector<uint8_t>(text->begin(), text->end());
  }
  auto output = compile(source, target, false);
  if (!output.ok()) return output.status();
  return std::vector<uint8_t>(output->begin(), output->end());
}

absl::StatusOr<std::string> compile_to_assembly(std::string_view source, const Target& target) {
  if (family_of(target).ptx) return compile_to_ptx(source, target, ptx_parts());
  auto output = compile(source, target, true);
  if (!output.ok()) return output.status();
  return std::string(output->begin(), output->end());
}

absl::StatusOr<std::vector<uint8_t>> link_shared(const std::vector<uint8_t>& object,
                                                 const Target& target) {
  const TargetFamily& family = family_of(target);
  if (family.ptx) return object;
  const EndWithoutMemory guard;
  runtime::TemporaryFolder folder;
  if (const int error = folder.create(runtime::temporary_root() + "/sinter", 0700); error != 0)
    return absl::UnavailableError(
        fmt::format("cannot make a temporary folder in {}: {}; set TMPDIR to a writable folder",
                    runtime::temporary_root(), std::strerror(error)));
  const std::string in_path = folder.name() + "/phases.o";
  const std::string out_path = folder.name() + "/phases.so";
  {
    std::error_code error;
    llvm::raw_fd_ostream stream(in_path, error);
    stream.write(reinterpret_cast<const char*>(object.data()), object.size());
    stream.close();
    if (error || stream.has_error()) {
      stream.clear_error();
      return absl::UnavailableError(fmt::format(
          "cannot write {}: the disk may be full; set TMPDIR to another folder", in_path));
    }
  }
  const std::string emulation(family.emulation);
  const std::vector<const char*> args = {
      "ld.lld",         "-shared",         "-m", emulation.c_str(), "--gc-sections",
      "--strip-all",    "--build-id=none", "-z", "noexecstack",     "-o",
      out_path.c_str(), in_path.c_str()};
  std::string errors;
  llvm::raw_string_ostream error_stream(errors);
  const lld::Result result =
      lld::lldMain(args, llvm::nulls(), error_stream, {{lld::Gnu, &lld::elf::link}});
  if (result.retCode != 0) return bug("LLD", errors);
  auto buffer = llvm::MemoryBuffer::getFile(out_path);
  if (!buffer)
    return absl::UnavailableError(
        fmt::format("cannot read {}: {}", out_path, buffer.getError().message()));
  const llvm::StringRef bytes = (*buffer)->getBuffer();
  return std::vector<uint8_t>(bytes.bytes_begin(), bytes.bytes_end());
}

std::string compile_fingerprint(const Target& target) {
  std::string all = CLANG_VERSION_STRING;
  for (const std::string& argument : arguments(target, false)) all += " " + argument;
  return all;
}

void on_llvm_failure(LlvmFailure end) {
  // LLVM takes a pointer for each handler along.
  static LlvmFailure handler = nullptr;
  if (handler == nullptr) {
    llvm::install_fatal_error_handler(
        [](void*, const char* reason, bool) { handler(false, reason); });
    llvm::install_bad_alloc_error_handler(
        [](void*, const char* reason, bool) { handler(true, reason); });
  }
  handler = end;
}

std::string clang_version() { return CLANG_VERSION_STRING; }

}  // namespace sinter::codegen
