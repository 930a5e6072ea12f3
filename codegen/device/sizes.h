// Sizes that the compiler plans with and kernels rely on, each said once for both: rows of codes,
// shared memory of a GPU's block, buffers of attention. Freestanding, like all code of kernels.
//
// GPUs differ in how many waves their blocks of 256 threads have. A plan is for all of them, so the
// compiler takes the most; a kernel passes its own.
#pragma once

namespace sinter::sizes {

constexpr long round_up(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }
constexpr long larger(long a, long b) { return a > b ? a : b; }
constexpr long smaller(long a, long b) { return a < b ? a : b; }

constexpr long lanes = 16;       // numbers that a host works on at once; rows of a tile of weights
constexpr long gpu_block = 128;  // columns of weights that lie together on GPUs
constexpr long most_waves = 8;   // of 32 lanes

// What sums over a row leave in shared memory: three numbers of each wave.
constexpr long reduce_bytes(long waves = most_waves) { return 3 * waves * 4 + 32; }
// A choice among columns: what makes rows of scores has that; a wave has a score of each group.
constexpr long choice_bytes(long groups = 1, long waves = most_waves) {
  return larger(reduce_bytes(waves), waves * groups * 4);
}

// ---- Rows of codes with the scales and sums of their groups, 8 bytes for each.

constexpr long group_scale_bytes = 8;
// Codes in memory, of one plane: on GPUs whole blocks of columns.
constexpr long gpu_row_codes(long cols) { return round_up(cols, gpu_block); }
constexpr long prepared_row_bytes(long codes, long groups, long planes) {
  return codes * planes + groups * group_scale_bytes;
}
// In shared memory blocks lie such that lanes which read the same place of different ones use
// different banks.
constexpr long shared_block_stride = gpu_block + 16;
constexpr long shared_row_codes(long cols) {
  return (cols + gpu_block - 1) / gpu_block * shared_block_stride;
}
constexpr long shared_row_bytes(long cols, long groups, long planes) {
  return shared_row_codes(cols) * planes + groups * group_scale_bytes;
}
// Room for whole chunks of every element type.
constexpr long shared_floats_bytes(long cols) { return round_up(cols, 16) * 4; }

// ---- Shared memory of products, by the rows that they multiply at once.

constexpr long behind_row(long row_bytes) { return row_bytes / 16 * 16 + 16; }
// One row, then partial sums of two parts and what prologues need.
constexpr long one_row_shared_bytes(long row_bytes, long waves = most_waves) {
  return behind_row(row_bytes) + 2 * waves * 2 * lanes * 4 + 256;
}
// Few rows, as many as the form has: every lane leaves its sums.
constexpr long few_rows_shared_bytes(long form, long parts) {
  return 4 * 256 * parts * larger(form, 16) / 2;
}
// Many: two blocks of columns of 64 rows.
constexpr long tile_tokens = 64;
constexpr long tile_stride = gpu_block + 32;  // eight lanes' reads of 8 bytes use different banks
constexpr long tile_bytes(long planes, long block_groups) {
  return tile_tokens * (planes * tile_stride + block_groups * group_scale_bytes);
}
constexpr long tile_shared_bytes(long planes, long block_groups) {
  return 2 * tile_bytes(planes, block_groups);
}
// Dense weights: so many rows, fewer where blocks would be few.
constexpr long dense_tokens(long tiles) { return tiles <= 32 ? 16 : tile_tokens; }
constexpr long dense_stride = 36;  // floats of 32 columns
constexpr long dense_tile_shared_bytes = tile_tokens * dense_stride * 4;
// Experts: rows, and what sums need.
constexpr long shared_rows_bytes(long rows, long row_bytes) {
  return rows * round_up(row_bytes, 16) + 256;
}

// Few rows: blocks that share the columns of a tile where there are so few tiles that some blocks
// would have one more than others. Columns come in pieces, 128 of codes or 16 of dense weights: a
// split has one for every lane of its waves, and bytes enough to be worth that its sums go to
// another block. On an H200, us a call with and without: 320 tiles of 17,408 columns of 2
// bits 13.7, 17.8, of one bit 13.5, 12.6; 160 tiles of 6,912 columns of 2 bits 10 % slower;
// Llama-3.2-1B, 128 tiles of 8,192 columns of 4 bits, makes 3 % more tokens/s. Of dense matrices,
// 48 rows of 5,120 beside a large one (a ternary 27B hybrid) 268 tokens/s for 259; Qwen3.5-35B-A3B
// 564 for 542.
constexpr long piece_of_codes = gpu_block, piece_of_floats = 16;
constexpr long pieces_of(long cols, long piece) { return (cols + piece - 1) / piece; }
constexpr long column_splits(long tiles, long pieces, long tile_bytes) {
  constexpr long wanted = 960, least_pieces = 16, least_bytes = 18 << 10;
  const long most = smaller(pieces / least_pieces, tile_bytes / least_bytes);
  return larger(1, smaller(most, (wanted + tiles - 1) / tiles));
}
// What they hand over: a number of each row of the tiles.
constexpr long column_split_bytes(long rows, long tile_rows_of_all, long splits) {
  return rows * tile_rows_of_all * (splits - 1) * 4;
}

// ---- Attention. Features of heads as they are cached, and how: bits of a number, features that
// share a scale (0: none).

struct Heads {
  long group;  // query heads of a KV head
  long key_dim, value_dim;
  long bits, scale_group;

  constexpr long widest() const { return larger(key_dim, value_dim); }
  constexpr bool coded() const { return scale_group > 0; }
  constexpr long groups(long dim) const {
    return coded() ? (dim + scale_group - 1) / scale_group : 0;
  }
  // Whether matrix units for float16 can multiply, where there are any.
  constexpr bool on_halves() const { return widest() <= 128 && bits <= 16; }

  // Few rows. A wave has a place for 16 keys, of codes also values, as they are cached; a row of
  // them begins in another bank than the one before.
  constexpr long heads_at_once(bool halves) const {
    return halves && group > 4 && group <= 8 ? 8 : 4;
  }
  static constexpr long positions_at_once = 16;
  constexpr long cached_stride(long dim) const { return dim * bits / 8 + (bits == 8 ? 32 : 16); }
  constexpr long cached_bytes(long dim) const {
    return positions_at_once * (cached_stride(dim) + 2 * groups(dim));
  }
  constexpr long cached_tile_bytes() const {
    return cached_bytes(key_dim) + (coded() ? cached_bytes(value_dim) : 0);
  }
  // Codes of 4 bits come while others are multiplied.
  constexpr long cached_place_bytes() const { return cached_tile_bytes() * (bits == 4 ? 2 : 1); }
  // Queries as two numbers of float16: rows that begin in different banks, and a factor of each.
  constexpr long query_stride() const { return ((key_dim + 31) / 32 + 1) / 2 * 128 + 64; }
  constexpr long query_bytes() const {
    return heads_at_once(true) / 4 * 8 * query_stride() + heads_at_once(true) * 4;
  }
  // A wave's place has its results afterwards.
  constexpr long place_bytes(bool halves) const {
    return larger(heads_at_once(halves) * (value_dim + 2) * 4, halves ? cached_place_bytes() : 0);
  }
  constexpr long few_rows_shared_bytes(bool halves, long waves = most_waves) const {
    const long floats =
        group * widest() + (1 + waves) * key_dim + value_dim + round_up(group, 4) + 2 * waves;
    return waves * place_bytes(halves) + (halves ? query_bytes() : 0) + floats * 4;
  }

  // Many rows by lanes: 32 of them, and keys or values and scores in float32.
  static constexpr long tile = 32;
  constexpr long tile_positions() const { return widest() <= 128 ? 64 : 16; }
  constexpr long lanes_tile_bytes() const {
    return (tile * (key_dim + 4) + tile_positions() * (widest() + 4) +
            tile * (tile_positions() + 4)) *
           4;
  }
  // By matrix units: keys and values of float16, of codes the scales, too.
  constexpr long half_positions() const { return coded() ? 32 : 64; }
  constexpr long half_value_stride() const { return (value_dim / 8 | 1) * 16; }
  constexpr long half_tile_bytes() const {
    return half_positions() *
           (query_stride() + half_value_stride() + (groups(key_dim) + groups(value_dim)) * 4);
  }
  constexpr long many_rows_shared_bytes(bool halves) const {
    return larger(lanes_tile_bytes(), halves ? half_tile_bytes() : 0);
  }
};

// The phase before: a head of each wave.
constexpr long append_shared_bytes(long key_dim, long waves = most_waves) {
  return (waves * key_dim + 2 * waves) * 4;
}

// Positions that a row sees, at most; 0: all.
constexpr long reach(long window, long chunk) {
  return window == 0 || (chunk > 0 && chunk < window) ? chunk : window;
}

// Parts of a row's positions leave [top, total, out...] for each head; on the host they also count
// themselves.
constexpr long split_bytes(long heads, long splits, long value_dim) {
  return heads * splits * (value_dim + 2) * 4;
}
constexpr long host_split_bytes(long heads, long kv_heads, long splits, long value_dim) {
  return split_bytes(heads, splits, value_dim) + kv_heads * 4;
}
constexpr long host_splits = 16;
// On GPUs: of so many positions, at least 128 to a part; of wide heads, which lanes multiply, 64.
// An H200 with 128, 64 and 32 of these, tokens/s after 512: Bonsai-27B 364, 372, 369;
// Qwen3.5-35B-A3B 564, 583, 578. A row sees some positions before its first, up to where parts
// begin.
constexpr long gpu_split_step = 16;
constexpr long gpu_wanted_splits(long positions, long widest) {
  const long least = widest <= 128 ? 128 : 64;
  return (positions + least - 1) / least;
}
constexpr long gpu_splits(long kv_heads, long reach, long widest) {
  const long blocks = 128;  // at once: as many as large GPUs have multiprocessors
  const long even = blocks / kv_heads < 1 ? 1 : blocks / kv_heads < 32 ? blocks / kv_heads : 32;
  const long wanted = reach == 0 ? even : gpu_wanted_splits(reach + gpu_split_step - 1, widest);
  return wanted < even ? wanted : even;
}

// ---- Delta rule on GPUs. So many threads share rows of the state; of a step so many rows are in
// shared memory at once.
constexpr long delta_group = 8;
constexpr long delta_groups = 256 / delta_group;
constexpr long delta_tile = 8;
// Rows of the state of a head that a block has: as few as there are groups in steps of few rows,
// which are read as fast as many blocks can. Of many rows twice that, for which rows of q and k are
// read once, unless the other blocks would have multiprocessors of their own.
constexpr long delta_splits(long value_dim, long height) {
  return (value_dim + height - 1) / height;
}
constexpr long delta_few_height() { return delta_groups; }
constexpr long delta_many_height(long heads, long value_dim) {
  const long multiprocessors = 132;
  const bool few = heads * delta_splits(value_dim, delta_groups) <= multiprocessors;
  return few || value_dim <= delta_groups ? delta_groups : 2 * delta_groups;
}
// Of each row q, k, by feature decays, the block's numbers of v, and two gates.
constexpr long delta_tile_bytes(long run, long height, bool by_feature) {
  return delta_tile * (run * (by_feature ? 3 : 2) + height + 2) * 4;
}
// Few rows: and a flag. Many: two tiles.
constexpr long delta_few_shared_bytes(long run, bool by_feature) {
  return delta_tile_bytes(run, delta_few_height(), by_feature) + 16;
}
constexpr long delta_many_shared_bytes(long run, long height, bool by_feature) {
  return 2 * delta_tile_bytes(run, height, by_feature);
}
// Many rows by matrix units: so many of a sequence at a time, for so many rows of the state to a
// block. Rows of q and k, of v, and of the squares of a chunk lie such that lanes use different
// banks. Of each row also two gates.
constexpr long delta_chunk = 16;
constexpr long delta_chunk_height = 64;
constexpr long most_delta_chunk_run = 128;
constexpr long delta_key_stride(long run) { return round_up(run, 32) + 8; }
constexpr long delta_value_stride = delta_chunk_height + 4;
constexpr long delta_square_stride = delta_chunk + 8;
constexpr long delta_chunk_inputs(long run) {
  return delta_chunk * (2 * delta_key_stride(run) + delta_value_stride + 2);
}
constexpr long delta_chunks_shared_bytes(long run) {
  return (2 * delta_chunk_inputs(run) + 2 * delta_chunk * delta_square_stride) * 4;
}
static_assert(delta_chunks_shared_bytes(most_delta_chunk_run) <= 48 << 10);
// Features of a head that a thread has room for.
constexpr long most_delta_dim = 256;

// ---- Selective scan on GPUs. So many lanes share the state of a channel, whose rows have `run`
// numbers; a block has so many channels, and so many rows of a step are in shared memory at once:
// of each b and c, and of each channel x, what goes into its state, its decay and its result.
constexpr long scan_group(long run) { return run / 4 < 8 ? run / 4 : 8; }
constexpr long scan_height(long run) { return 256 / scan_group(run); }
constexpr long scan_few_rows = 8;
constexpr long scan_many_rows = 16;
constexpr long scan_tile_bytes(long run, long rows) {
  return rows * (2 * run + 4 * scan_height(run)) * 4;
}
// Columns of a state that a thread has room for.
constexpr long most_scan_columns = 256;
static_assert(scan_tile_bytes(most_scan_columns, scan_many_rows) <= 48 << 10);

// Numbers that lie on a host's stack while it attends: queries, a key, and of 8 rows partial
// results and the scores of 64 positions.
constexpr long host_rows_at_once = 8;
constexpr long host_score_block = 64;
constexpr long host_attention_floats(long group, long widest) {
  const long rows = host_rows_at_once;
  return (larger(group, rows) + rows + 4) * widest + rows * (host_score_block + 2) + group * 4;
}
constexpr long most_host_attention_floats = (256 << 10) / 4;

}  // namespace sinter::sizes
