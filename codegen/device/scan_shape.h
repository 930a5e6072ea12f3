// Shapes of a selective scan, as kernels of all devices know them.
#pragma once

#include "sizes.h"
#include "step.h"

namespace sinter {

// Heads of x and their features, groups of b and c and their columns. A channel is a feature of a
// head; it has a row of the state. ByColumn: decay rates are [Heads, Columns], else [Heads]. Skips:
// there is d. SequenceBytes: of all state of a sequence that has no positions.
template <int Heads, int HeadDim, int Groups, int Columns, bool ByColumn, bool Skips,
          index SequenceBytes>
struct ScanShape {
  static constexpr int heads = Heads, head_dim = HeadDim, groups = Groups, columns = Columns;
  static constexpr bool by_column = ByColumn, skips = Skips;
  static constexpr int channels = Heads * HeadDim;
  static constexpr int group_channels = channels / Groups;
  // Numbers of a row of the state; zeros behind its columns.
  static constexpr int run = static_cast<int>(sizes::round_up(Columns, sizes::lanes));
  using State = FixedState<run, SequenceBytes>;  // [channels]

  static SINTER_MEMBER index head(index channel) { return channel / HeadDim; }
};

}  // namespace sinter
