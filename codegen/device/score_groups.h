// Groups of columns that a choice is limited to: the best of them by their best columns.
#pragma once

#include "step.h"

namespace sinter {

// The sum of the Best largest of Size numbers, the largest first. A NaN counts as the smallest.
template <int Size, int Best>
SINTER_INLINE float group_score(const float* x) {
  float best[Best];
  for (int j = 0; j < Best; ++j) best[j] = -__builtin_inff();
  for (int i = 0; i < Size; ++i) {
    float value = x[i];
    for (int j = 0; j < Best; ++j) {
      const bool larger = value > best[j];
      const float smaller = larger ? best[j] : value;
      best[j] = larger ? value : best[j];
      value = smaller;
    }
  }
  float sum = 0;
  for (int j = 0; j < Best; ++j) sum += best[j];
  return sum == sum ? sum : -__builtin_inff();
}

// Whether a group is one of the `Kept` of the largest scores; of equal ones the lower comes first.
template <int Groups, int Kept>
SINTER_INLINE bool is_kept(const float* scores, int group) {
  int before = 0;
  for (int g = 0; g < Groups; ++g)
    before += scores[g] > scores[group] || (scores[g] == scores[group] && g < group) ? 1 : 0;
  return before < Kept;
}

}  // namespace sinter
