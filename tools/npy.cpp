#include "tools/npy.h"

#include <fmt/format.h>

#include <bit>

namespace sinter::tools {

using runtime::Error;
using runtime::Result;
using runtime::Status;

static_assert(std::endian::native == std::endian::little, "values are written as they lie");

Result<NpyWriter> NpyWriter::create(const std::string& path, int64_t rows, int64_t cols) {
  Result<OutputFile> file = OutputFile::create(path);
  if (!file.ok()) return file.error();
  // Format 1.0: magic, version, u16 length of the text that follows, which ends with a newline at a
  // multiple of 64 (numpy/lib/format.py describes it).
  std::string text =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
  constexpr size_t kPrefix = 10;
  text.resize((kPrefix + text.size() + 1 + 63) / 64 * 64 - kPrefix, ' ');
  text.back() = '\n';
  std::string head("\x93NUMPY\x01\x00", 8);
  head += static_cast<char>(text.size() & 0xff);
  head += static_cast<char>(text.size() >> 8);
  if (Status status = file->append(head + text); !status.ok()) return status.error();
  return NpyWriter(std::move(*file), static_cast<uint64_t>(rows) * static_cast<uint64_t>(cols));
}

Status NpyWriter::append(std::span<const float> values) {
  if (values.size() > missing_) return Error{"more logits were computed than asked for"};
  missing_ -= values.size();
  return file_.append(
      std::span(reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()));
}

Status NpyWriter::finish() {
  if (missing_ != 0) return Error{"fewer logits were computed than asked for"};
  return file_.finish();
}

}  // namespace sinter::tools
