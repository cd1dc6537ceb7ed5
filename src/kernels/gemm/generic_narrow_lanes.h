// SPDX-License-Identifier: Apache-2.0
// The narrow form along k for as many rows as a vector or two has lanes: a lane is a row of x, and
// a column of the weight is broadcast word by word. So nothing is transposed, and every word is
// multiplied by all rows in one or two instructions; the order of each sum is that of the tile
// kernel.
//
//   for each few columns
//     for each chunk of k                  of a group at most
//       each column's chunk                widened or restored to words that lie in L1
//       for each word of the chunk         a vector of x, times this word of every column
//
// Beyond what generic.h and generic_narrow.h ask of an instruction set:
//
//   Source       along(p)             kLanes words from adjacent elements
//   Float : Vec  integers<bits>(p)    kLanes adjacent integers of int8 or int4, as fp32
#pragma once

#include "kernels/gemm/generic_narrow.h"

namespace weft::gemm {
namespace {

/// A column of a weight in the kernel's own type.
template <class Source>
struct PlainRun : Unrestored<Source> {
  template <typename Unrestored<Source>::Way>
  typename Source::Vec words(const char* w) const {
    return Source::along(w);
  }
};

/// A column of integers of kBits, to be restored to T, one value a word.
template <class Isa, DType T, int kBits_>
class StoredRun : public Restored<Isa, T> {
 public:
  using Vec = typename Isa::Vec;
  using F = typename Isa::F;
  using Way = Restoring;
  static constexpr int kStep = 1, kBits = kBits_;

  void prepare(const Narrow& p, std::int64_t group, int column) {
    scale_ = scale_of<Isa, T>(p, p.scale, group, column);
    offset_ = scale_of<Isa, T>(p, p.offset, group, column);
  }
  template <Way kWay>
  Vec words(const char* w) const {
    F x = Isa::template integers<kBits>(w);
    if constexpr (kWay == Way::kScaled) return Isa::template round_normal<T>(Isa::mul(x, scale_));
    x = Isa::add(x, offset_);
    if constexpr (kWay == Way::kRoundedSum && T == DType::kFloat16)
      x = Isa::as_float(Isa::template round<T>(x));
    return Isa::template round<T>(Isa::mul(x, scale_));
  }

 private:
  F scale_, offset_;
};

/// The product of some columns, `columns` at a time; `rows` of x are packed together.
template <class Dot, class Weights, typename Weights::Way kWay, int rows, int columns>
class RowLanes {
 public:
  explicit RowLanes(const Narrow& p) : p_(p) {}

  [[gnu::noinline]] void run() {
    for (int done = 0; done < p_.n; done += columns) {
      // The last columns together with some that are done already.
      const int column = done + columns <= p_.n || p_.n < columns ? done : p_.n - columns;
      valid_ = p_.n < columns ? p_.n : columns;
      begin(column);
      const char* w = first_ = static_cast<const char*>(p_.w) + column * p_.stride_bytes;
      const char* x = static_cast<const char*>(p_.x);
      for (std::int64_t k = 0, count, group = 0; k < p_.k; k += count, ++group) {
        count = Weights::kRestored ? least(p_.k - k, p_.group_size) : p_.k;
        for (int c = 0; c < valid_; ++c) weights_[c].prepare(p_, group, column + c);
        const std::int64_t blocks = valid_ == columns ? count / kBlock : 0;
        if (blocks > 0) multiply(x + k / kStep * kStepBytes, w + k * kBits / 8, blocks);
        for (std::int64_t at = k + blocks * kBlock; at < k + count; at += kBlock)
          multiply_part(x + at / kStep * kStepBytes, w + at * kBits / 8,
                        static_cast<int>(least(k + count - at, kBlock)));
      }
      finish(column);
    }
  }

 private:
  using Vec = typename Dot::Vec;
  static constexpr int kLanes = Dot::kLanes, kVectorBytes = kLanes * kWord, kStep = Dot::kStep;
  static constexpr int kVectors = (rows + kLanes - 1) / kLanes, kStepBytes = rows * kWord;
  // A block is a line of each column, or what groups are multiples of.
  static constexpr int kBits = Weights::kBits;
  static constexpr int kBlock = Weights::kRestored ? kGroupUnit : kLineBytes * 8 / kBits;
  static constexpr int kBlockWords = kBlock / kStep, kBlockBytes = kBlock * kBits / 8;
  static constexpr int kRunLanes = Weights::kLanes, kRuns = kBlockWords / kRunLanes;
  static constexpr int kRunBytes = kBlockBytes / kRuns;
  static constexpr int kColumnBytes = kBlockWords * kWord;
  using Sums = typename Dot::Acc[columns][kVectors];

  void begin(int column) {
    for (int c = 0; c < columns; ++c) {
      const char* bias = static_cast<const char*>(p_.bias) + (column + c) * kWord;
      const Vec first = p_.bias && c < valid_ ? Dot::broadcast(bias) : Dot::zero();
      for (int v = 0; v < kVectors; ++v) Dot::store(acc_[c] + v * kVectorBytes, first);
      if constexpr (Weights::kHeaderBytes > 0) sums_[c] = Weights::zero();
    }
  }
  void load(Sums& acc) const {
    WEFT_UNROLL
    for (int c = 0; c < columns; ++c) WEFT_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[c][v] = Dot::load_acc(acc_[c] + v * kVectorBytes);
  }
  void store(const Sums& acc) {
    WEFT_UNROLL
    for (int c = 0; c < columns; ++c) WEFT_UNROLL
    for (int v = 0; v < kVectors; ++v) Dot::store_acc(acc_[c] + v * kVectorBytes, acc[c][v]);
  }

  /// The words of one of the runs of a block.
  [[gnu::always_inline]] void restore(int c, int run, const char* w, char* block) {
    const auto words = weights_[c].template words<kWay>(w + run * kRunBytes);
    Weights::store(block + c * kColumnBytes + run * kRunLanes * kWord, words);
    if constexpr (Weights::kHeaderBytes > 0) sums_[c] = Weights::add_header(sums_[c], words);
  }
  [[gnu::always_inline]] static void multiply_word(const char* x, const char* word, Sums& acc) {
    Vec xv[kVectors];
    WEFT_UNROLL
    for (int v = 0; v < kVectors; ++v) xv[v] = Dot::load(x + v * kVectorBytes);
    WEFT_UNROLL
    for (int c = 0; c < columns; ++c) {
      const Vec wv = Dot::broadcast(word + c * kColumnBytes);
      WEFT_UNROLL
      for (int v = 0; v < kVectors; ++v) acc[c][v] = Dot::dot(acc[c][v], xv[v], wv);
    }
  }

  /// While the words of a block are multiplied those of the next are made.
  [[gnu::noinline]] void multiply(const char* x, const char* w, std::int64_t blocks) {
    const std::int64_t stride_bytes = p_.stride_bytes;
    Sums acc;
    load(acc);
    for (int c = 0; c < columns; ++c)
      for (int run = 0; run < kRuns; ++run) restore(c, run, w + c * stride_bytes, words_[0]);
    int now = 0;
    for (std::int64_t block = 1; block <= blocks; ++block, now ^= 1) {
      w += kBlockBytes;
      const char *word = words_[now], *from = w;
      Fetch next = fetch_beside(w);
      const bool more = block < blocks;
#pragma GCC unroll 1
      for (int turn = 0; turn < kRunLanes; ++turn, from += stride_bytes) {
        WEFT_UNROLL
        for (int c = 0; c < columns; c += kRunLanes, next.at += next.step)
          __builtin_prefetch(next.at, 0, 2);
        WEFT_UNROLL
        for (int run = 0; run < kRuns; ++run) {
          WEFT_UNROLL
          for (int c = 0; c < columns; c += kRunLanes)
            if (more && turn + c < columns)
              restore(turn + c, run, from + c * stride_bytes, words_[now ^ 1]);
          multiply_word(x, word, acc);
          x += kStepBytes;
          word += kWord;
        }
      }
    }
    store(acc);
  }

  /// What to fetch in a block's turns: the next columns, in the order of their addresses if they
  /// follow each other.
  struct Fetch {
    const char* at;
    std::int64_t step;
  };
  Fetch fetch_beside(const char* w) const {
    constexpr int kFetches = (columns + kRunLanes - 1) / kRunLanes * kRunLanes;
    const char* next = first_ + columns * p_.stride_bytes;
    if (p_.stride_bytes == (p_.k * kBits + 7) / 8)
      return {next + (w - first_) * columns, (columns * kBlockBytes + kFetches - 1) / kFetches};
    return {next + (w - first_), p_.stride_bytes};
  }

  // Less than a block of all columns: zeros beyond. They are no words, but may be part of the last.
  [[gnu::noinline]] void multiply_part(const char* x, const char* w, int count) {
    __builtin_memset(words_[0], 0, sizeof(words_[0]));
    for (int c = 0; c < valid_; ++c) {
      char part[kBlockBytes] = {};
      __builtin_memcpy(part, w + c * p_.stride_bytes, (count * kBits + 7) / 8);
      for (int run = 0; run < kRuns; ++run) restore(c, run, part, words_[0]);
      __builtin_memset(words_[0] + c * kColumnBytes + count * kWord / kStep, 0,
                       (kBlock - count) * kWord / kStep);
    }
    Sums acc;
    load(acc);
    const char* word = words_[0];
    for (int done = 0; done < count; done += kStep, x += kStepBytes, word += kWord)
      multiply_word(x, word, acc);
    store(acc);
  }

  void finish(int column) {
    char* out = static_cast<char*>(p_.acc) + column * kWord;
    for (int c = 0; c < valid_; ++c) {
      if constexpr (Weights::kHeaderBytes > 0) correct(c);
      for (int i = 0; i < p_.m; ++i)
        __builtin_memcpy(out + i * p_.acc_stride_bytes + c * kWord, acc_[c] + i * kWord, kWord);
    }
  }
  // The header of a column is a sum over lanes here, and the same for all rows.
  void correct(int c) {
    unsigned lanes[kRunLanes], sum = 0;
    Weights::store(reinterpret_cast<char*>(lanes), sums_[c]);
    for (const unsigned lane : lanes) sum += lane;
    char header[kVectorBytes];
    Dot::store(header, Dot::broadcast(reinterpret_cast<const char*>(&sum)));
    for (int v = 0; v < kVectors; ++v) {
      char* acc = acc_[c] + v * kVectorBytes;
      Dot::store_acc(acc, Dot::correct(Dot::load_acc(acc), header));
    }
  }

  const Narrow& p_;
  int valid_ = 0;
  const char* first_ = nullptr;  // column
  alignas(64) char acc_[columns][kVectors * kVectorBytes];
  alignas(64) char words_[2][columns * kColumnBytes];
  Weights weights_[columns];
  typename Weights::Vec sums_[columns];
};

template <class Dot, class Weights, int rows, int columns>
struct NarrowLanes {
  template <typename Weights::Way kWay>
  using Product = RowLanes<Dot, Weights, kWay, rows, columns>;
};
template <class Dot, class Weights, int rows, int columns>
bool narrow_lanes(const Narrow& p) {
  return run_chosen<Weights, NarrowLanes<Dot, Weights, rows, columns>::template Product>(p);
}

}  // namespace
}  // namespace weft::gemm
