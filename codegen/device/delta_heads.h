// Shapes of a delta rule, as kernels of all devices know them.
#pragma once

#include "sizes.h"
#include "step.h"

namespace sinter {

// Heads of q and k and their features, heads of v and theirs. SequenceBytes: of all state of a
// sequence that has no positions. Tiled: heads of v go round those of q and k.
template <int KeyHeads, int KeyDim, int Heads, int ValueDim, index SequenceBytes,
          bool Tiled = false>
struct DeltaHeads {
  static constexpr int key_heads = KeyHeads, key_dim = KeyDim;
  static constexpr int heads = Heads, value_dim = ValueDim;
  // Numbers of a row of the state, which belongs to a feature of v; zeros behind those of k.
  static constexpr int run = static_cast<int>(sizes::round_up(KeyDim, sizes::lanes));
  using State = FixedState<run, SequenceBytes>;  // [Heads][ValueDim]

  // The head of q and k for head h of v.
  static SINTER_MEMBER index key_head(index h) {
    return Tiled ? h % KeyHeads : h / (Heads / KeyHeads);
  }
  // The row of q and k, which are rows of heads, for head h of v of token t.
  static SINTER_MEMBER index key_row(index t, index h) { return t * KeyHeads + key_head(h); }
};

// What the state of a head is multiplied by: a number for each head of v, or for each feature of k.
template <class LogDecay>
struct DecayOfHeads {
  LogDecay log;  // f(row, head, heads left)
  static constexpr bool by_feature = false;
};
template <class LogDecay>
struct DecayOfFeatures {
  LogDecay log;  // rows of heads
  static constexpr bool by_feature = true;
};
template <class LogDecay>
SINTER_INLINE DecayOfHeads<LogDecay> decay_of_heads(const LogDecay& log) {
  return {log};
}
template <class LogDecay>
SINTER_INLINE DecayOfFeatures<LogDecay> decay_of_features(const LogDecay& log) {
  return {log};
}

// What a phase does with the rows of a head, once all of them are written: nothing.
struct NothingBehind {
  static constexpr bool is_nothing = true;
  SINTER_MEMBER void operator()(index) const {}
};
// Or f(row of heads).
template <class F>
struct Behind {
  F f;
  static constexpr bool is_nothing = false;
  SINTER_MEMBER void operator()(index r) const { f(r); }
};
template <class F>
SINTER_INLINE Behind<F> behind(const F& f) {
  return {f};
}

}  // namespace sinter
