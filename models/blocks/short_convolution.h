// A gated short convolution in the place of attention, as LFM2 has it.
#pragma once

#include <string>

#include "models/importer.h"

namespace sinter::models {

struct ShortConvolution {
  int64_t taps = 0;
  bool bias = false;  // of the convolution and both projections

  // Modules, below that of the layer.
  std::string in = "conv.in_proj", taps_name = "conv.conv", out = "conv.out_proj";
};

// x [T,hidden] -> [T,hidden]: [b|c|x] = in(x); out(c * conv(b * x)).
ir::ValueId short_convolution(Importer& m, const ShortConvolution& s, ir::ValueId x,
                              const std::string& layer, int64_t hidden);

}  // namespace sinter::models
