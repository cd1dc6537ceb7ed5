// SPDX-License-Identifier: Apache-2.0
// The narrow form of the kernels of generic.h for a weight whose rows are whole: w[p, j] with
// adjacent j. A word of every column is what pack_b makes, kStep rows interleaved in registers, and
// is multiplied there and then, in the order of the tile kernel.
//
//   for each block of kBlockWords words of k        a few rows of the whole strip of columns
//     for each group of columns                     sums: from acc into registers
//       for each word                               multiplied, while lines of the next block come
//                                                   sums: back to acc, which stays in L1 or L2
//
// Many rows of x are taken by turns: the first turn keeps the words that it makes, in L1, and the
// others load them, so that each turn has sums enough to hide their latency and each word is made
// once.
//
// Going down a group's columns to the end would need no sums in memory, but it reads a line or two
// of every row, and rows are pages apart.
#pragma once

#include "kernels/gemm/generic_narrow.h"

namespace weft::gemm {
namespace {

/// A weight in the kernel's own type.
template <class Source>
struct PlainRows : Unrestored<Source> {
  /// A word of kLanes columns, from kStep rows.
  template <typename Unrestored<Source>::Way>
  typename Source::Vec word(const char* w, std::int64_t stride_bytes) const {
    return Source::load_n(w, stride_bytes);
  }
};

/// The lines of the next block, in the order of their addresses.
class NextBlock {
 public:
  NextBlock(const char* row, std::int64_t rows, std::int64_t row_bytes, std::int64_t stride_bytes)
      : row_(row), line_(row), rows_(rows), row_bytes_(row_bytes), stride_bytes_(stride_bytes) {}
  void fetch_line() {
    if (rows_ == 0) return;
    __builtin_prefetch(line_, 0, 2);
    line_ += kLineBytes;
    if (line_ < row_ + row_bytes_) return;
    row_ += stride_bytes_;
    line_ = row_;
    --rows_;
  }

 private:
  const char *row_, *line_;
  std::int64_t rows_, row_bytes_, stride_bytes_;
};

/// How many sums there are at a time: rows and vectors of columns.
struct Sums {
  int most;          ///< that leave enough registers for the rest
  int most_vectors;  ///< of columns
  int most_rows;     ///< more rows are multiplied by turns with words that were made once
};

/// Where the sums of a group of columns are.
struct Place {
  char* acc;
  std::int64_t stride_bytes;
  const char* bias;
};

/// Sums of turn_rows rows of x, of `rows` of which the first m matter, with a group of columns;
/// however its words are made.
template <class Dot, int rows, int turn_rows, int vectors>
struct Products {
  using Vec = typename Dot::Vec;
  static constexpr int kVectorBytes = Dot::kLanes * kWord;

  const char* x;  // of the block
  int m, words;
  bool first;  // of the blocks
  Place place;
  const char* header;

  // Adds what take() gives, row by row of words.
  template <class Take, class Finish>
  [[gnu::always_inline]] void add(int first_row, Take take, Finish finish) const {
    typename Dot::Acc acc[turn_rows][vectors];
    const char* in = first ? place.bias : place.acc;
    WEFT_UNROLL
    for (int i = 0; i < turn_rows; ++i) {
      const int r = first_row + i < m ? first_row + i : m - 1;
      const char* row = first ? in : in + r * place.stride_bytes;
      WEFT_UNROLL
      for (int v = 0; v < vectors; ++v)
        acc[i][v] = in ? Dot::load_acc(row + v * kVectorBytes) : Dot::zero_acc();
    }
    const char* xs = x + first_row * kWord;
#pragma GCC unroll 1
    for (int word = 0; word < words; ++word) {
      Vec w[vectors];
      take(word, w);
      WEFT_UNROLL
      for (int i = 0; i < turn_rows; ++i) {
        const Vec xv = Dot::broadcast(xs + i * kWord);
        WEFT_UNROLL
        for (int v = 0; v < vectors; ++v) acc[i][v] = Dot::dot(acc[i][v], xv, w[v]);
      }
      xs += rows * kWord;
    }
    finish();
    WEFT_UNROLL
    for (int i = 0; i < turn_rows; ++i) {
      if (first_row + i >= m) break;
      WEFT_UNROLL
      for (int v = 0; v < vectors; ++v)
        Dot::store_acc(place.acc + (first_row + i) * place.stride_bytes + v * kVectorBytes,
                       Dot::correct(acc[i][v], header + v * kVectorBytes));
    }
  }

  // The same with words that were made before.
  [[gnu::noinline]] void add_kept(int first_row, const char* kept) const {
    add(
        first_row,
        [&](int, Vec(&w)[vectors]) {
          WEFT_UNROLL
          for (int v = 0; v < vectors; ++v) w[v] = Dot::load(kept + v * kVectorBytes);
          kept += vectors * kVectorBytes;
        },
        [] {});
  }
};

/// A strip, `rows` rows of x of which the first m matter, some vectors of columns at a time.
template <class Dot, class Weights, typename Weights::Way kWay, int rows, Sums kSums>
class RowStrip {
 public:
  explicit RowStrip(const Narrow& p) : p_(p), x_(static_cast<const char*>(p.x)) {}

  [[gnu::noinline]] void run() {
    const std::int64_t whole = p_.n / kColumns * kColumns;
    const std::int64_t row_bytes = (p_.n * Weights::kBits + 7) / 8;
    const char* w = static_cast<const char*>(p_.w);
    for (std::int64_t k = 0, count; k < p_.k; k += count) {
      // What does not fill a word is a block of its own.
      const std::int64_t group = Weights::kRestored ? k / p_.group_size : 0;
      const std::int64_t end = Weights::kRestored ? (group + 1) * p_.group_size : p_.k;
      count = least(least(p_.k, end) - k, kBlockRows);
      if (count >= Dot::kStep) count = count / Dot::kStep * Dot::kStep;
      const Block block{
          w + k * p_.stride_bytes, static_cast<int>((count + Dot::kStep - 1) / Dot::kStep),
          static_cast<int>(count), k == 0,
          k + count == p_.k,       group};
      NextBlock next(block.last && !p_.last ? w + row_bytes : block.w + count * p_.stride_bytes,
                     count, row_bytes, p_.stride_bytes);
      for (std::int64_t column = 0; column < p_.n;) {
        const char* at = block.w + column * Weights::kBits / 8;
        const bool full = count % Dot::kStep == 0;
        if (kCopied && p_.stride_bytes % 1024 == 0 && full && column + kLineColumns <= whole) {
          multiply_copy(block, column, at, next);
          column += kLineColumns;
          continue;
        }
        if (full && column < whole)
          multiply(block, column, at, p_.stride_bytes, place_at(column), next);
        else
          multiply_edge(block, column, at, next);
        column += kColumns;
      }
      x_ += block.words * rows * kWord;
    }
    if (whole < p_.n) {
      const Place out = place_at(whole);
      for (int i = 0; i < p_.m; ++i)
        __builtin_memcpy(out.acc + i * out.stride_bytes, edge_acc_[i], (p_.n - whole) * kWord);
    }
  }

 private:
  using Vec = typename Dot::Vec;
  static constexpr int kTurns = (rows + kSums.most_rows - 1) / kSums.most_rows;
  static constexpr int kTurnRows = rows / kTurns;
  static constexpr int kLanes = Dot::kLanes;
  static constexpr int kVectors = [] {
    constexpr int kFit = kSums.most / kTurnRows;
    if (kFit >= kSums.most_vectors) return kSums.most_vectors;
    // Three vectors of 512 bits straddle lines, which shows where words are made quickly.
    if (kFit == 3 && kTurns == 1 && kLanes == 16 && !Weights::kRestored) return 2;
    return kFit < 4 ? kFit : 4;
  }();
  static constexpr int kColumns = kVectors * kLanes;
  static constexpr int kVectorBytes = kLanes * kWord, kRowBytes = kColumns * kWord;
  static constexpr int kGroupBytes = kColumns * Weights::kBits / 8;
  // One or two rows have little to add: few rows of w at a time are nearly one stream, which comes
  // up to a fifth faster. More rows (and restoring) keep the units busy as long as sums are loaded
  // and stored seldom. But with rows a power of two apart this block and the next must fit into few
  // sets of L2.
  static constexpr int kBlockWords = [] {
    if (rows <= 2 && !Weights::kRestored) return Weights::kBits == 8 ? 16 : 8 / Dot::kStep;
    if (rows < 8) return 32;
    return Weights::kRestored || Dot::kStep == 1 ? 64 : 32;
  }();
  static constexpr int kBlockRows = kBlockWords * Dot::kStep;
  static constexpr int kLines = kBlockRows * kGroupBytes / kLineBytes;
  // Several groups share a line of int8. Where rows are a multiple of 1 KiB apart, the many lines
  // of a block share few sets of L1 and would be gone before the next group: a copy is up to 1.7
  // times as fast (VNNI), but up to 10 % slower at other strides and for wider elements.
  static constexpr bool kCopied = kTurns == 1 && rows >= 8 && Dot::kStep == 4 &&
                                  kLineBytes % kGroupBytes == 0 && kGroupBytes < kLineBytes;
  static constexpr int kLineColumns = kLineBytes * 8 / Weights::kBits;

  struct Block {
    const char* w;
    int words, count;  // rows of k: count
    bool first, last;
    std::int64_t group;
  };

  // The words of a group of columns, one row of them after the other: made from the weight.
  struct Made {
    Weights weights[kVectors];
    const char* w;
    std::int64_t stride_bytes;

    [[gnu::always_inline]] void take(Vec (&words)[kVectors]) {
      WEFT_UNROLL
      for (int v = 0; v < kVectors; ++v)
        words[v] =
            weights[v].template word<kWay>(w + v * kLanes * Weights::kBits / 8, stride_bytes);
      w += Dot::kStep * stride_bytes;
    }
  };
  Place place_at(std::int64_t column) const {
    return {static_cast<char*>(p_.acc) + column * kWord, p_.acc_stride_bytes,
            p_.bias ? static_cast<const char*>(p_.bias) + column * kWord : nullptr};
  }

  void fetch(NextBlock& next, int word) const {
    if constexpr (kLines >= kBlockWords) {
      WEFT_UNROLL
      for (int i = 0; i < (kLines + kBlockWords - 1) / kBlockWords; ++i) next.fetch_line();
    } else {
      if (word % (kBlockWords / kLines) == 0) next.fetch_line();
    }
  }

  [[gnu::noinline]] void multiply(const Block& block, std::int64_t column, const char* w,
                                  std::int64_t stride_bytes, const Place& place,
                                  NextBlock& next_block) {
    Made made{{}, w, stride_bytes};
    WEFT_UNROLL
    for (int v = 0; v < kVectors; ++v)
      made.weights[v].prepare(p_, block.group, static_cast<int>(column) + v * kLanes, block.count);
    NextBlock next = next_block;
    Vec sum[kVectors];
    WEFT_UNROLL
    for (int v = 0; v < kVectors; ++v) sum[v] = Dot::zero();
    alignas(kLineBytes) char header[kRowBytes];
    alignas(kLineBytes) char kept[kTurns > 1 ? kBlockWords : 1][kRowBytes];
    const auto take = [&](int word, Vec(&words)[kVectors]) {
      fetch(next, word);
      made.take(words);
      WEFT_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        sum[v] = Weights::add_header(sum[v], words[v]);
        if constexpr (kTurns > 1) Dot::store(kept[word] + v * kVectorBytes, words[v]);
      }
    };
    const Products<Dot, rows, kTurnRows, kVectors> products{x_,          p_.m,  block.words,
                                                            block.first, place, header};
    products.add(0, take, [&] {
      WEFT_UNROLL
      for (int v = 0; v < kVectors; ++v) Dot::store(header + v * kVectorBytes, sum[v]);
    });
    if constexpr (kTurns > 1) {
      for (int i = kTurnRows; i < p_.m; i += kTurnRows) products.add_kept(i, kept[0]);
    }
    next_block = next;
  }

  [[gnu::noinline]] void multiply_copy(const Block& block, std::int64_t column, const char* w,
                                       NextBlock& next) {
    char lines[kBlockRows][kLineBytes];
    for (int r = 0; r < block.count; ++r)
      __builtin_memcpy(lines[r], w + r * p_.stride_bytes, kLineBytes);
    for (int i = 0; i < kLineColumns; i += kColumns)
      multiply(block, column + i, lines[0] + i * Weights::kBits / 8, kLineBytes,
               place_at(column + i), next);
  }

  // Columns that do not fill a group, or rows that do not fill a word: a copy, with zeros.
  [[gnu::noinline]] void multiply_edge(const Block& block, std::int64_t column, const char* w,
                                       NextBlock& next) {
    const std::int64_t columns = least(p_.n - column, kColumns);
    const std::int64_t bytes = (columns * Weights::kBits + 7) / 8;
    char edge[kBlockRows][kGroupBytes] = {};
    for (int r = 0; r < block.count; ++r) __builtin_memcpy(edge[r], w + r * p_.stride_bytes, bytes);
    Place place = place_at(column);
    char bias[kColumns * kWord] = {};
    if (columns < kColumns) {
      if (place.bias) __builtin_memcpy(bias, place.bias, columns * kWord);
      place = {edge_acc_[0], kColumns * kWord, place.bias ? bias : nullptr};
    }
    multiply(block, column, edge[0], kGroupBytes, place, next);
  }

  const Narrow& p_;
  const char* x_;
  char edge_acc_[rows][kColumns * kWord];
};

template <class Dot, class Weights, int rows, Sums kSums>
struct NarrowRows {
  template <typename Weights::Way kWay>
  using Product = RowStrip<Dot, Weights, kWay, rows, kSums>;
};
template <class Dot, class Weights, class Counts, Sums kSums>
bool narrow_rows(const Narrow& p) {
  return Counts::with(p.m, [&]<int rows>() {
    return run_chosen<Weights, NarrowRows<Dot, Weights, rows, kSums>::template Product>(p);
  });
}

}  // namespace
}  // namespace weft::gemm
