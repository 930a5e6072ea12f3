// A matrix as a checkpoint stores it, and the plain host decoder: the judge of every repacking and
// kernel.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "ir/type.h"

namespace sinter::ir {

struct Matrix;

// Some bits of the codes of a block. Codes lie beside one another in `lanes` bytes, first the
// lowest bits of all of them: code k is in byte k % lanes, k / lanes fields above bit 0; when the
// bytes are full the next `lanes` bytes follow. One lane is a plain LSB-first stream.
struct CodeField {
  int64_t offset = 0;  // of the first byte in the block
  int bits = 0;        // 1, 2, 4 or 8
  int64_t lanes = 1;
};

// Rows that are stored as blocks of codes and scales together, one after another. All that the
// block stores once (a scale of scale_type, a bias) is for scale_cols() columns, which divide
// `cols` or are equal to it.
struct BlockLayout {
  int64_t cols = 0;
  int64_t bytes = 0;
  std::array<CodeField, 2> fields = {};  // low bits of a code first; the second may have no bits
  int64_t scale = 0;                     // offset in the block
  int64_t bias = 0;                      // offset in the block; affine only
  uint8_t flip = 0;                      // code = stored bits ^ flip: 0x80 for signed bytes
  // Codes that no fields describe: out[cols].
  void (*codes)(const uint8_t* block, uint8_t* out) = nullptr;
  // The integers of two levels: out[cols / group].
  void (*sub_scales)(const uint8_t* block, uint8_t* out) = nullptr;
  void (*sub_biases)(const uint8_t* block, uint8_t* out) = nullptr;
};

// Where a checkpoint orders a matrix in a way of its own. The reader that makes the matrix has
// checked that all bytes are there. Functions that are null: as without an order.
struct MatrixOrder {
  // out[cols]: the codes of a row.
  void (*codes)(const Matrix& matrix, int64_t row, uint8_t* out) = nullptr;
  // Where the scale of a group is.
  const uint8_t* (*scale)(const Matrix& matrix, int64_t row, int64_t group) = nullptr;
  // out[cols / group]: shifts of a row.
  void (*shifts)(const Matrix& matrix, int64_t row, uint8_t* out) = nullptr;
};

// Where rows (elements of a vector) are stored, when not one after another.
struct RowPlaces {
  // Rows are tables [outer][inner] of runs of `unit` rows, whose columns are stored one after
  // another: [inner][outer].
  int64_t outer = 1;
  int64_t inner = 1;
  int64_t unit = 1;
  int64_t kept = 0;  // rows before the tables, which are where they are
  // `run` of every `stored_run` stored rows are rows: each `step`-th, from `first` on. 0: all are.
  int64_t run = 0;
  int64_t stored_run = 0;
  int64_t first = 0;
  int64_t step = 1;
  // Of dense matrices: not 0 where they are stored transposed, each with so many columns, which are
  // its rows.
  int64_t transposed = 0;

  // Heads of so many rows whose two halves are stored interleaved, as RoPE on adjacent pairs wants
  // them. Row numbers are those of RoPE on halves.
  static RowPlaces interleaved(int64_t head) { return {.outer = 2, .inner = head / 2}; }
  bool in_order() const { return *this == RowPlaces(); }
  int64_t stored(int64_t row) const;
  // Stored rows up to the last of `rows`; nothing when they are no whole tables and runs.
  std::optional<int64_t> stored_rows(int64_t rows) const;
  bool operator==(const RowPlaces&) const = default;
};

// Borrowed bytes (usually a memory-mapped file). Without `blocks`, codes form one little-endian,
// LSB-first bit stream per row, rows starting at whole bytes; scales and biases are
// [rows, cols/group] of type.format.scale_type; shifts, a byte each, are in `biases`. With
// `blocks`, `codes` holds the blocks, scales and biases are empty. Dense: `codes` holds the
// elements, scales and biases are empty. 1-D weights have rows() == 1; experts' rows follow one
// another.
struct Matrix {
  WeightType type;  // what is stored, before anything is proven about it
  absl::Span<const uint8_t> codes;
  absl::Span<const uint8_t> scales;
  absl::Span<const uint8_t> biases;
  const BlockLayout* blocks = nullptr;  // a static table's
  const MatrixOrder* order = nullptr;   // likewise
  RowPlaces places = {};
  float tensor_scale = 1;  // where the format has one
};

float read_element(DType dtype, const uint8_t* bytes, int64_t index);

// Where a row's elements, codes or blocks begin; where the scale and the bias are that stand at
// `index` in the row, counted in scale_cols().
const uint8_t* row_data(const Matrix& matrix, int64_t row);
const uint8_t* scale_bytes(const Matrix& matrix, int64_t row, int64_t index);
const uint8_t* bias_bytes(const Matrix& matrix, int64_t row, int64_t index);

// Whether the bytes hold what the type says, so that decoding stays inside them.
bool is_complete(const Matrix& matrix);

// out[cols]: the elements of a row of a dense matrix, as bytes of its type.
void copy_row(const Matrix& matrix, int64_t row, uint8_t* out);
// out[cols]: the numbers of a row.
void decode_row(const Matrix& matrix, int64_t row, float* out);
// out[cols]: the codes of a row (not for dense).
void decode_codes(const Matrix& matrix, int64_t row, uint8_t* out);
// out[cols / group]: the integers of a row's groups, as stored: of scales, and of biases or shifts.
void decode_sub_scales(const Matrix& matrix, int64_t row, uint8_t* out);
void decode_sub_biases(const Matrix& matrix, int64_t row, uint8_t* out);
// scales[groups], offsets[groups] of a row, one of each where only the tensor has a scale: offsets
// are the biases, what shifts make of them, and else 0. The tensor's scale is not in them.
void decode_scales(const Matrix& matrix, int64_t row, float* scales, float* offsets);
// What a code stands for before it is scaled.
float level_of(const WeightFormat& format, uint8_t code);

// Gives a module's numbers by name; implemented by checkpoints and by tests.
class MatrixSource {
 public:
  virtual ~MatrixSource() = default;
  virtual absl::StatusOr<Matrix> matrix(std::string_view name) const = 0;
  // The caller is done with this matrix: memory that can be had again from a file may be given
  // back.
  virtual void release(std::string_view /*name*/) const {}
};

}  // namespace sinter::ir
