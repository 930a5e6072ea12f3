// The layouts of packed weights: a row says everything about one. codegen/layouts/layouts.def lists
// them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "codegen/layouts/layout.h"
#include "codegen/targets/target.h"

namespace sinter::codegen {

struct LayoutRow {
  Layout layout = Layout::plain;  // this and the name are those of layouts.def
  std::string_view name = {};     // in plans
  // Whose kernels read it, and which types (in the form of kernel_type) they read in it.
  std::vector<Device> devices;
  bool (*serves)(const ir::WeightType& type);
  // Elements and floats of 8 bits: bytes of a row that lie side by side; at least an element.
  int64_t run_bytes = 1;
  // Of vectors there are no tiles: what follows is absent. One tile of codes that are no floats;
  // `codes` has 16 rows of all columns, one to a byte. Codes in base 3 are packed alike everywhere.
  void (*pack_codes)(const ir::WeightType& type, const uint8_t* codes, uint8_t* out) = nullptr;
  // Where number `index` of row `row` of a tile is among the tile's scales, in elements.
  int64_t (*scale_index)(const ir::WeightType& type, int64_t row, int64_t index) = nullptr;
  // Of two levels of scales, what belongs to a block is one record of each row; else there are
  // pieces of their own for the numbers and for the integers of scales and of biases.
  bool block_records = false;
  // The struct of codegen/device/*/weights.h that reads bit fields, before its parameters.
  std::string_view codes_struct = {};
};

// Where several rows serve a weight, the first is taken.
const std::vector<LayoutRow>& layouts();
const LayoutRow& row_of(Layout layout);

// The layout that a device's kernels read a weight of the graph in.
Layout layout_for(Device device, const ir::WeightType& type);

// For LayoutRow::serves.
bool serves_every_type(const ir::WeightType& type);

// The rows, each in a file of its name.
#define SINTER_LAYOUT(name) LayoutRow layout_##name();
#include "codegen/layouts/layouts.def"

}  // namespace sinter::codegen
