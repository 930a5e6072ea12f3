// How attention of many rows is dealt out to blocks.
#pragma once

#include "gpu/platform.h"

namespace sinter {

// What a block takes at a time: rows first .. last - 1 of the step with a KV head, of whose group a
// pass takes as many as fit a tile. Later rows of a sequence have more to do, so they come first.
struct TileUnit {
  index kv_head;
  int pass;
  int first, last;

  template <class Tile>
  static SINTER_MEMBER int of_tokens(int tokens) {
    return (tokens + Tile::tokens - 1) / Tile::tokens;
  }
  template <class C, class Tile>
  static SINTER_MEMBER index count(int tokens) {
    return index{C::kv_heads} * of_tokens<Tile>(tokens) * Tile::passes;
  }
  template <class C, class Tile>
  static SINTER_MEMBER TileUnit of(index unit, int tokens) {
    const int from_end = static_cast<int>(unit / C::kv_heads / Tile::passes);
    const int first = (of_tokens<Tile>(tokens) - 1 - from_end) * Tile::tokens;
    return {unit % C::kv_heads, static_cast<int>(unit / C::kv_heads % Tile::passes), first,
            first + Tile::tokens < tokens ? first + Tile::tokens : tokens};
  }
};

}  // namespace sinter
