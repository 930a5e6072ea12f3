#include "runtime/plan/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/plan/check.h"
#include "runtime/plan/checksum.h"
#include "runtime/plan/head.h"
#include "runtime/support/mapped_range.h"

namespace sinter::runtime {

struct PlanFile::Impl {
  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    range = MappedRange();
    if (data != nullptr) ::munmap(data, size);
  }

  Error fail(std::string_view what) const { return Error{fmt::format("{}: {}", path, what)}; }
  Error damaged(std::string_view what) const {
    return Error{fmt::format("{}: {}: the plan is damaged; compile it again", path, what)};
  }

  Error wrong_checksum(std::string_view section) const {
    return damaged(fmt::format("section {} has a wrong checksum", section));
  }

  Status map();
  Status read_header();
  Status check_padding() const;
  Status check_checksum(const NamedSection& named,
                        const std::function<void(double)>& progress) const;

  std::span<const uint8_t> at(uint64_t offset, uint64_t bytes) const {
    return {data + offset, bytes};
  }

  std::string path;
  uint8_t* data = nullptr;
  uint64_t size = 0;
  MappedRange range;
  PlanHead head;
  Plan plan;
};

namespace {

// A piece of the checksum's work between two calls of `progress`.
constexpr uint64_t progress_bytes = 64ull << 20;

bool all_zero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

}  // namespace

Status PlanFile::Impl::map() {
  // O_NONBLOCK: a pipe by that name must not make the reader wait.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail(fmt::format("cannot open the plan: {}", std::strerror(errno)));
  struct stat info{};
  const bool regular = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  size = regular ? static_cast<uint64_t>(info.st_size) : 0;
  void* address = nullptr;
  if (size >= 8) address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  const int error = errno;
  ::close(fd);
  if (!regular) return fail("not a sinter plan: not a regular file");
  if (size < 8) return fail("not a sinter plan: too short");
  if (address == MAP_FAILED) {
    return fail(fmt::format("cannot map the plan: {}", std::strerror(error)));
  }
  data = static_cast<uint8_t*>(address);
  range = MappedRange({data, size}, path);
  return Done{};
}

Status PlanFile::Impl::read_header() {
  if (std::memcmp(data, plan_magic.data(), plan_magic.size()) != 0) {
    return fail("not a sinter plan: it does not start with \"SINTERPL\"");
  }
  if (size < plan_alignment) {
    return fail(fmt::format("truncated: {} bytes; copy or compile it again", size));
  }
  head = decode_head(at(0, plan_head_bytes));
  if (head.major != plan_major || head.minor > plan_minor) {
    const bool newer =
        head.major > plan_major || (head.major == plan_major && head.minor > plan_minor);
    return fail(fmt::format(
        "made by {} sinter: plan version {}.{}, this reader supports {}.0 to {}.{}; {}",
        newer ? "a newer" : "an older", head.major, head.minor, plan_major, plan_major, plan_minor,
        newer ? "update sinter-run or compile the plan again" : "compile the plan again"));
  }
  if (head.header_offset < plan_alignment || head.header_offset % plan_alignment != 0 ||
      head.header_bytes > largest_header) {
    return damaged("the header's offset or size is impossible");
  }
  if (head.header_offset > size || head.header_bytes > size - head.header_offset) {
    return fail(
        fmt::format("truncated: {} bytes, but the header is at {}+{}; copy or compile it again",
                    size, head.header_offset, head.header_bytes));
  }
  if (head.header_offset + head.header_bytes != size) {
    return damaged("there are bytes after the header");
  }
  const std::span<const uint8_t> header = at(head.header_offset, head.header_bytes);
  if (head_checksum(head, header) != head.header_checksum) {
    return damaged("the header's checksum is wrong");
  }

  Result<Plan> read = plan_from_json({reinterpret_cast<const char*>(header.data()), header.size()});
  if (!read.ok()) return fail(read.error().message);
  plan = std::move(*read);
  plan.minor = head.minor;
  if (Status status = check_sections(plan, head.header_offset); !status.ok()) {
    return fail(status.error().message);
  }
  if (Status status = check_contents(plan); !status.ok()) return fail(status.error().message);
  return Done{};
}

Status PlanFile::Impl::check_padding() const {
  if (!all_zero(at(plan_head_bytes, plan_alignment - plan_head_bytes))) {
    return damaged("the first 4096 bytes");
  }
  for (const NamedSection& named : present_sections(plan)) {
    const uint64_t end = named.section->offset + named.section->bytes;
    if (!all_zero(at(end, (plan_alignment - end % plan_alignment) % plan_alignment))) {
      return damaged(fmt::format("the padding after section {}", named.name));
    }
  }
  return Done{};
}

Status PlanFile::Impl::check_checksum(const NamedSection& named,
                                      const std::function<void(double)>& progress) const {
  const Section& section = *named.section;
  Checksum checksum;
  for (uint64_t done = 0; done < section.bytes;) {
    const uint64_t piece = std::min(progress_bytes, section.bytes - done);
    checksum.update(at(section.offset + done, piece));
    done += piece;
    if (progress) progress(static_cast<double>(done) / static_cast<double>(section.bytes));
  }
  return checksum.value() == section.checksum ? Status(Done{}) : wrong_checksum(named.name);
}

PlanFile::PlanFile() : impl_(std::make_unique<Impl>()) {}
PlanFile::~PlanFile() = default;

Result<std::shared_ptr<const PlanFile>> PlanFile::open(const std::string& path, bool deep) {
  const std::shared_ptr<PlanFile> file(new PlanFile());
  Impl& impl = *file->impl_;
  impl.path = path;
  if (Status status = impl.map(); !status.ok()) return status.error();
  if (Status status = impl.read_header(); !status.ok()) return status.error();
  if (Status status = impl.check_padding(); !status.ok()) return status.error();
  for (const NamedSection& named : present_sections(impl.plan)) {
    if (named.is_weights && !deep) continue;
    if (Status status = impl.check_checksum(named, {}); !status.ok()) return status.error();
  }
  return std::shared_ptr<const PlanFile>(file);
}

const Plan& PlanFile::plan() const { return impl_->plan; }
const std::string& PlanFile::path() const { return impl_->path; }

std::span<const uint8_t> PlanFile::bytes(const Section& section) const {
  if (section.offset > impl_->size || section.bytes > impl_->size - section.offset) return {};
  return impl_->at(section.offset, section.bytes);
}

std::string_view PlanFile::text(const Section& section) const {
  const std::span<const uint8_t> all = bytes(section);
  return {reinterpret_cast<const char*>(all.data()), all.size()};
}

Status PlanFile::verify(const Section& section, const std::function<void(double)>& progress) const {
  for (const NamedSection& named : present_sections(impl_->plan)) {
    if (named.section->offset == section.offset) return impl_->check_checksum(named, progress);
  }
  return Done{};  // absent
}

const uint8_t* PlanFile::weights_at(const DevicePlan& device_plan, uint64_t offset) const {
  for (const Section& section : device_plan.weights_sections) {
    if (offset < section.bytes) return impl_->data + section.offset + offset;
    offset -= section.bytes;
  }
  return nullptr;
}

Status PlanFile::verify_weights(const DevicePlan& device_plan,
                                const std::function<void(double)>& progress) const {
  const auto all = static_cast<double>(device_plan.weight_bytes);
  double done = 0;
  for (const Section& section : device_plan.weights_sections) {
    const auto bytes = static_cast<double>(section.bytes);
    const auto of_all = [&](double fraction) { progress((done + fraction * bytes) / all); };
    const Status status = progress ? verify(section, of_all) : verify(section);
    if (!status.ok()) return status;
    done += bytes;
  }
  return Done{};
}

Status PlanFile::check_code(const CodeObject& code) const {
  const std::string_view bytes = text(code.section);
  // The name is in the table of symbols of an ELF file, and in PTX.
  if (bytes.find(code_mark(plan(), code)) != std::string_view::npos) return Done{};
  return impl_->fail(fmt::format(
      "the code for {} was compiled for other schedules than the plan has; compile it again",
      code.target));
}

Error PlanFile::wrong_checksum(const Section& section) const {
  for (const NamedSection& named : present_sections(impl_->plan)) {
    if (named.section->offset == section.offset) return impl_->wrong_checksum(named.name);
  }
  return impl_->wrong_checksum("unknown");
}

void PlanFile::drop_pages(const Section& section, uint64_t offset, uint64_t bytes) const {
  if (offset > section.bytes || bytes > section.bytes - offset) return;
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t first = (section.offset + offset + page - 1) / page * page;
  const uint64_t last = (section.offset + offset + bytes) / page * page;
  if (first < last) ::madvise(impl_->data + first, last - first, MADV_DONTNEED);
}

}  // namespace sinter::runtime
