#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>

#include "runtime/plan/check.h"
#include "runtime/plan/checksum.h"
#include "runtime/plan/file.h"
#include "runtime/plan/head.h"
#include "runtime/support/temporary_file.h"

namespace sinter::runtime {

struct PlanWriter::Impl {
  Error fail(std::string_view what, int error) const {
    return Error{fmt::format("{}: {}: {}", path, what, std::strerror(error))};
  }

  Status write(std::span<const uint8_t> bytes);
  Status write_at(std::span<const uint8_t> bytes, uint64_t offset);
  Status align();
  Result<uint64_t> finish(const Plan& plan);

  std::string path;
  TemporaryFile file;
  uint64_t size = plan_alignment;  // written so far; the head is written last
  bool in_section = false;
  uint64_t section_offset = 0;
  Checksum checksum;
};

Status PlanWriter::Impl::write_at(std::span<const uint8_t> bytes, uint64_t offset) {
  const int error = file.write_at(bytes, offset);
  return error == 0 ? Status(Done{}) : fail("cannot write the plan", error);
}

Status PlanWriter::Impl::write(std::span<const uint8_t> bytes) {
  if (Status status = write_at(bytes, size); !status.ok()) return status;
  size += bytes.size();
  return Done{};
}

Status PlanWriter::Impl::align() {
  static constexpr std::array<uint8_t, plan_alignment> zeros{};
  return write(std::span(zeros).first((plan_alignment - size % plan_alignment) % plan_alignment));
}

Result<uint64_t> PlanWriter::Impl::finish(const Plan& plan) {
  if (in_section) return Error{path + ": a section was begun and not ended"};
  if (Status status = align(); !status.ok()) return status.error();
  const std::string json = plan_to_json(plan, -1);
  const std::span<const uint8_t> header(reinterpret_cast<const uint8_t*>(json.data()), json.size());

  // What the reader would refuse is not written.
  const Result<Plan> read = plan_from_json(json);
  const auto refuse = [&](const Error& error) {
    return Error{
        fmt::format("{}: the plan is inconsistent (a bug of the compiler, please report it): {}",
                    path, error.message)};
  };
  if (!read.ok()) return refuse(read.error());
  if (json.size() > largest_header) {
    return refuse({fmt::format("a header of {} bytes", json.size())});
  }
  if (Status status = check_sections(*read, size); !status.ok()) return refuse(status.error());
  if (Status status = check_contents(*read); !status.ok()) return refuse(status.error());

  PlanHead head;
  head.header_offset = size;
  head.header_bytes = json.size();
  head.header_checksum = head_checksum(head, header);
  if (Status status = write(header); !status.ok()) return status.error();
  std::array<uint8_t, plan_alignment> first{};
  std::ranges::copy(encode_head(head), first.begin());
  if (Status status = write_at(first, 0); !status.ok()) return status.error();
  if (const int error = file.finish(); error != 0) return fail("cannot write the plan", error);
  return size;
}

PlanWriter::PlanWriter() : impl_(std::make_unique<Impl>()) {}
PlanWriter::~PlanWriter() = default;

Result<std::unique_ptr<PlanWriter>> PlanWriter::create(const std::string& path) {
  std::unique_ptr<PlanWriter> writer(new PlanWriter());
  Impl& impl = *writer->impl_;
  impl.path = path;
  const size_t slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  struct stat info{};
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (name.empty() || (exists && S_ISDIR(info.st_mode))) {
    return Error{fmt::format("{}: is a directory; name a file to write the plan to", path)};
  }
  if (exists && !S_ISREG(info.st_mode)) {
    return Error{path + ": exists and is not a regular file; name another"};
  }
  if (const int error = impl.file.create(path); error != 0)
    return impl.fail("cannot create the plan", error);
  return writer;
}

Result<Section> PlanWriter::add(std::span<const uint8_t> bytes) {
  if (Status status = begin(); !status.ok()) return status.error();
  if (Status status = append(bytes); !status.ok()) return status.error();
  return end();
}

Result<Section> PlanWriter::add(std::string_view text) {
  return add(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

Status PlanWriter::begin() {
  if (impl_->in_section) return Error{impl_->path + ": a section was begun inside another"};
  if (Status status = impl_->align(); !status.ok()) return status;
  impl_->in_section = true;
  impl_->section_offset = impl_->size;
  impl_->checksum = Checksum();
  return Done{};
}

Status PlanWriter::append(std::span<const uint8_t> bytes) {
  if (!impl_->in_section) return Error{impl_->path + ": bytes were appended outside a section"};
  impl_->checksum.update(bytes);
  return impl_->write(bytes);
}

Result<Section> PlanWriter::end() {
  if (!impl_->in_section) return Error{impl_->path + ": a section was ended that was not begun"};
  impl_->in_section = false;
  const uint64_t bytes = impl_->size - impl_->section_offset;
  if (bytes == 0) return Section{};
  return Section{impl_->section_offset, bytes, impl_->checksum.value()};
}

Result<uint64_t> PlanWriter::finish(const Plan& plan) {
  try {
    return impl_->finish(plan);
  } catch (const std::exception& exception) {  // out of memory
    return Error{fmt::format("{}: cannot write the plan: {}", impl_->path, exception.what())};
  }
}

}  // namespace sinter::runtime
