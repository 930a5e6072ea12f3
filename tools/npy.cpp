#include "tools/npy.h"

#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <cstring>
#include <string_view>

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

Result<NpyMatrix> read_npy(const std::string& path) {
  const Result<std::string> file = read_file(path);
  if (!file.ok()) return file.error();
  const auto refuse = [&](std::string_view why) {
    return Error{fmt::format("{}: {}; expected a NumPy file of a float32 matrix", path, why)};
  };
  // As above, version 1 or 2, which has a length of 4 bytes.
  const std::string_view bytes = *file;
  if (!bytes.starts_with("\x93NUMPY")) return refuse("does not begin as NumPy's files do");
  const size_t length_bytes = bytes.size() > 6 && bytes[6] == 1 ? 2 : 4;
  const size_t prefix = 8 + length_bytes;
  if (bytes.size() < prefix) return refuse("ends within its header");
  size_t length = 0;
  for (size_t i = 0; i < length_bytes; ++i)
    length |= size_t{static_cast<uint8_t>(bytes[8 + i])} << (8 * i);
  if (bytes.size() - prefix < length) return refuse("ends within its header");
  const std::string_view header = bytes.substr(prefix, length);
  const std::string_view data = bytes.substr(prefix + length);
  const auto has = [&](std::string_view text) {
    return header.find(text) != std::string_view::npos;
  };
  if (!has("'descr': '<f4'") || !has("'fortran_order': False"))
    return refuse("is not of '<f4' in C order");
  NpyMatrix matrix;
  constexpr std::string_view kShape = "'shape': (";
  const size_t shape = header.find(kShape);
  if (shape == std::string_view::npos) return refuse("has no shape");
  const char* at = header.data() + shape + kShape.size();
  const char* const end = header.data() + header.size();
  for (int64_t* const size : {&matrix.rows, &matrix.cols}) {
    const auto [next, error] = std::from_chars(at, end, *size);
    if (error != std::errc() || *size < 1) return refuse("has a shape that is not of two sizes");
    const std::string_view rest(next, static_cast<size_t>(end - next));
    const std::string_view between = size == &matrix.rows ? ", " : ")";
    if (!rest.starts_with(between)) return refuse("has a shape that is not of two sizes");
    at = next + between.size();
  }
  const uint64_t values = data.size() / sizeof(float);
  if (data.size() % sizeof(float) != 0 || static_cast<uint64_t>(matrix.rows) > values ||
      values % static_cast<uint64_t>(matrix.rows) != 0 ||
      values / static_cast<uint64_t>(matrix.rows) != static_cast<uint64_t>(matrix.cols))
    return refuse(
        fmt::format("holds {} bytes, not {} x {} numbers", data.size(), matrix.rows, matrix.cols));
  matrix.values.resize(values);
  std::memcpy(matrix.values.data(), data.data(), data.size());
  return matrix;
}

}  // namespace sinter::tools
