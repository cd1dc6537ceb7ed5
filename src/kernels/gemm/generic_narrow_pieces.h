// SPDX-License-Identifier: Apache-2.0
// The narrow form along k for few rows. A piece of every column of the weight is transposed in
// registers, so that each lane is a column, and then multiplied word by word as in the tile kernel,
// in the same order. Integers are restored after the transposition: scales are vectors then.
//
// Beyond what generic.h and generic_narrow.h ask of an instruction set:
//
//   Vec          transpose4(src, stride, x)   16 bytes of kLanes columns -> the four dwords of each
#pragma once

#include "kernels/gemm/generic_narrow.h"

namespace weft::gemm {
namespace {

constexpr int kPieces = kLineBytes / kPieceBytes;
constexpr int kTileColumns = 32;  // twice as many are a tenth slower: their lines fill L1

/// What to fetch beside every column of a block of lines: the next columns in the order of their
/// addresses, if they are few pages; else, and where that has not been done, what comes soon in the
/// column.
struct Fetch {
  const char* at;
  std::int64_t stride;
};
inline Fetch fetch_beside(const Narrow& p, const char* w, int columns, std::int64_t done,
                          std::int64_t row_bytes) {
  constexpr std::int64_t kAheadBytes = 512, kLinearBytes = 64 << 10;
  const bool first = p.first && w == p.w;
  if (!first && p.stride_bytes == row_bytes && columns * row_bytes <= kLinearBytes)
    return {w + columns * (row_bytes + done), kLineBytes};
  if (done + kAheadBytes < row_bytes) return {w + done + kAheadBytes, p.stride_bytes};
  return {w + done + kAheadBytes - row_bytes + columns * p.stride_bytes, p.stride_bytes};
}

/// Lines of columns, side by side and zero beyond the valid ones: in place they may share few sets
/// of L1, and each is needed for a while.
template <class Isa, int columns>
struct Lines {
  char of[columns][kLineBytes];

  /// Some of the columns of the block that begins `done` bytes from w.
  void copy(const Narrow& p, const char* w, int valid, std::int64_t done, std::int64_t row_bytes,
            int begin, int end) {
    constexpr int kBytes = Isa::kLanes * kWord;
    const int bytes = static_cast<int>(least(row_bytes - done, kLineBytes));
    const Fetch fetch = fetch_beside(p, w, columns, done, row_bytes);
#pragma GCC unroll 2
    for (int j = begin; j < end; ++j) {
      __builtin_prefetch(fetch.at + j * fetch.stride, 0, 2);
      const char* from = w + j * p.stride_bytes + done;
      WEFT_UNROLL
      for (int b = 0; b < kLineBytes; b += kBytes) {
        const int count = bytes - b < kBytes ? bytes - b : kBytes;
        if (j < valid && count == kBytes)
          Isa::store(of[j] + b, Isa::load(from + b));
        else
          Isa::store(of[j] + b,
                     j < valid && count > 0 ? Isa::load_part(from + b, count) : Isa::zero());
      }
    }
  }
};

/// The product of some columns, a few vectors of them at a time; `rows` of x are packed together.
template <class Dot, class Weights, typename Weights::Way kWay, int rows>
class TransposedPieces {
 public:
  explicit TransposedPieces(const Narrow& p) : p_(p) {}

  [[gnu::noinline]] void run() {
    for (int column = 0; column < p_.n; column += kColumns) {
      valid_ = static_cast<int>(least(p_.n - column, kColumns));
      groups_ = (valid_ + kGroup - 1) / kGroup;
      begin(column);
      multiply(column);
      finish(column);
    }
  }

 private:
  using Vec = typename Dot::Vec;
  static constexpr int kLanes = Dot::kLanes, kVectorBytes = kLanes * kWord;
  // Two vectors share what is loaded of x, and those of a tile are enough independent sums.
  static constexpr int kVectors = 2, kGroup = kVectors * kLanes, kGroups = kTileColumns / kGroup;
  static constexpr int kColumns = kTileColumns;
  static constexpr int kWords = Weights::kWords, kPieceSteps = kPieceDwords * kWords;
  static constexpr int kPieceWeights = kPieceDwords * Weights::kPerDword;
  // Sums of one group stay in registers from piece to piece; several take turns with each piece,
  // because one alone would wait for its own additions.
  static constexpr bool kTogether = kGroups == 1;

  void begin(int column) {
    for (int g = 0; g < groups_; ++g)
      for (int v = 0; v < kVectors; ++v) {
        const int at = g * kGroup + v * kLanes;
        const char* bias = static_cast<const char*>(p_.bias) + (column + at) * kWord;
        const Vec first = p_.bias && at < valid_ ? Dot::load(bias) : Dot::zero();
        for (int i = 0; i < rows; ++i) Dot::store(acc_[g][i][v], first);
        if constexpr (Weights::kHeaderBytes > 0) sums_[g][v] = Dot::zero();
      }
  }

  void multiply(int column) {
    const char* w = static_cast<const char*>(p_.w) + column * p_.stride_bytes;
    const char* x = static_cast<const char*>(p_.x);
    const std::int64_t row_bytes = (p_.k * kWord + Weights::kPerDword - 1) / Weights::kPerDword;
    std::int64_t steps = (p_.k + Weights::kStep - 1) / Weights::kStep, group = 0, group_end = 0;
    blocks_[0].copy(p_, w, valid_, 0, row_bytes, 0, kColumns);
    int now = 0;
    for (std::int64_t done = 0; done < row_bytes; done += kLineBytes, now ^= 1) {
      const Ahead ahead{w, done + kLineBytes, row_bytes, blocks_[now ^ 1]};
      for (int piece = 0, count; piece < kPieces && steps > 0; piece += count) {
        const std::int64_t at = (done / kPieceBytes + piece) * kPieceWeights;
        if (Weights::kRestored && at == group_end) {
          for (int g = 0; g < groups_; ++g)
            for (int v = 0; v < kVectors; ++v)
              weights_[g][v].prepare(p_, group, column + g * kGroup + v * kLanes);
          ++group;
          group_end += p_.group_size;
        }
        count = 1;
        if (kTogether && Weights::kRestored)
          count = static_cast<int>(
              least(kPieces - piece, (group_end - at + kPieceWeights - 1) / kPieceWeights));
        else if (kTogether)
          count = kPieces - piece;
        const char* lines = blocks_[now].of[0] + piece * kPieceBytes;
        const Pieces pieces{lines, x, piece, count};
        if (steps >= count * kPieceSteps) {
          multiply_pieces<true>(pieces, kPieceSteps, ahead);
        } else {
          count = 1;
          // What is left of k, even if that is more than the piece: it tells whether k ends here.
          multiply_pieces<false>({lines, x, piece, count},
                                 static_cast<int>(least(steps, 2 * kPieceSteps)), ahead);
        }
        steps -= count * kPieceSteps;
        x += count * kPieceSteps * rows * kWord;
      }
    }
  }

  /// The block that is copied beside the pieces of the one before, a quarter beside each: bursts of
  /// loads and fetches would take the fill buffers of each other.
  struct Ahead {
    const char* w;
    std::int64_t done, row_bytes;
    Lines<Dot, kColumns>& block;
  };
  struct Pieces {
    const char *lines, *x;
    int first, count;
  };

  template <bool full>
  [[gnu::noinline]] void multiply_pieces(const Pieces& pieces, int steps, const Ahead& ahead) {
    constexpr int kQuarter = kColumns / kPieces;
#pragma GCC unroll 1
    for (int g = 0; g < groups_; ++g) {
      typename Dot::Acc acc[rows][kVectors];
      WEFT_UNROLL
      for (int i = 0; i < rows; ++i) WEFT_UNROLL
      for (int v = 0; v < kVectors; ++v) acc[i][v] = Dot::load_acc(acc_[g][i][v]);
      const char *lines = pieces.lines + g * kGroup * kLineBytes, *x = pieces.x;
#pragma GCC unroll 1
      for (int piece = 0; piece < pieces.count; ++piece) {
        if (g == 0 && ahead.done < ahead.row_bytes) {
          const int quarter = (pieces.first + piece) * kQuarter;
          ahead.block.copy(p_, ahead.w, valid_, ahead.done, ahead.row_bytes, quarter,
                           quarter + kQuarter);
        }
        multiply_piece<full>(g, lines, x, steps, acc);
        lines += kPieceBytes;
        x += kPieceSteps * rows * kWord;
      }
      WEFT_UNROLL
      for (int i = 0; i < rows; ++i) WEFT_UNROLL
      for (int v = 0; v < kVectors; ++v) Dot::store_acc(acc_[g][i][v], acc[i][v]);
    }
  }
  template <bool full>
  [[gnu::always_inline]] void multiply_piece(int g, const char* lines, const char* x, int steps,
                                             typename Dot::Acc (&acc)[rows][kVectors]) {
    Vec dwords[kVectors][kPieceDwords];
    WEFT_UNROLL
    for (int v = 0; v < kVectors; ++v)
      Dot::transpose4(lines + v * kLanes * kLineBytes, kLineBytes, dwords[v]);
    const auto dword = [&](int d) {
      Vec words[kVectors][kWords];
      WEFT_UNROLL
      for (int v = 0; v < kVectors; ++v)
        weights_[g][v].template words<kWay>(dwords[v][d], words[v]);
      // Weights beyond an odd k would meet zeros of x, but that is not enough for the sign of a
      // sum that is zero.
      if constexpr (!full && Weights::kRestored && Weights::kStep == 2) {
        if (p_.k % 2 != 0) {
          WEFT_UNROLL
          for (int v = 0; v < kVectors; ++v) WEFT_UNROLL
          for (int e = 0; e < kWords; ++e)
            if (d * kWords + e == steps - 1) words[v][e] = Dot::lower_half(words[v][e]);
        }
      }
      WEFT_UNROLL
      for (int e = 0; e < kWords; ++e) {
        if (!full && d * kWords + e >= steps) break;
        if constexpr (Weights::kHeaderBytes > 0) {
          WEFT_UNROLL
          for (int v = 0; v < kVectors; ++v)
            sums_[g][v] = Weights::add_header(sums_[g][v], words[v][e]);
        }
        WEFT_UNROLL
        for (int i = 0; i < rows; ++i) {
          const Vec xv = Dot::broadcast(x + ((d * kWords + e) * rows + i) * kWord);
          WEFT_UNROLL
          for (int v = 0; v < kVectors; ++v) acc[i][v] = Dot::dot(acc[i][v], xv, words[v][e]);
        }
      }
    };
    if constexpr (full && kWords <= 2) {
      WEFT_UNROLL
      for (int d = 0; d < kPieceDwords; ++d) dword(d);
    } else {
#pragma GCC unroll 1
      for (int d = 0; d < kPieceDwords; ++d) {
        if (!full && d * kWords >= steps) break;
        dword(d);
      }
    }
  }

  void finish(int column) {
    for (int g = 0; g < groups_; ++g) {
      char* out = static_cast<char*>(p_.acc) + (column + g * kGroup) * kWord;
      char header[kVectors][kVectorBytes];
      if constexpr (Weights::kHeaderBytes > 0)
        for (int v = 0; v < kVectors; ++v) Dot::store(header[v], sums_[g][v]);
      for (int i = 0; i < p_.m; ++i)
        for (int v = 0; v < kVectors; ++v)
          Dot::store_acc(out + i * p_.acc_stride_bytes + v * kVectorBytes,
                         Dot::correct(Dot::load_acc(acc_[g][i][v]), header[v]));
    }
  }

  const Narrow& p_;
  int valid_ = 0, groups_ = 0;
  alignas(64) Lines<Dot, kColumns> blocks_[2];
  alignas(64) char acc_[kGroups][rows][kVectors][kVectorBytes];
  Weights weights_[kGroups][kVectors] = {};
  Vec sums_[kGroups][kVectors];
};

template <class Dot, class Weights, int rows>
struct NarrowPieces {
  template <typename Weights::Way kWay>
  using Product = TransposedPieces<Dot, Weights, kWay, rows>;
};
template <class Dot, class Weights, int rows>
bool narrow_pieces(const Narrow& p) {
  return run_chosen<Weights, NarrowPieces<Dot, Weights, rows>::template Product>(p);
}

}  // namespace
}  // namespace weft::gemm
