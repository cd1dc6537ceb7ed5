// SPDX-License-Identifier: Apache-2.0
// float16 and bfloat16 on AMX for few rows and weights stored as int8 or int4. They are restored on
// their way (x86_restore.h) into tiles that stay in L1, 64 bytes of every column at a time, while
// the 64 bytes before are multiplied.
#include "kernels/gemm/x86_amx.h"
#include "kernels/gemm/x86_amx_narrow.h"
#include "kernels/gemm/x86_amx_split.h"
#include "kernels/gemm/x86_restore.h"

namespace weft::gemm {
namespace {

constexpr int kStep = 32;  // k
constexpr int kQuarters = 4;

/// One k step; between(q) does a quarter of the conversions that go beside it.
template <int kPlanes, bool kLower, class Between>
inline void multiply_step(const std::byte* x, int m, const std::byte* w, Between between) {
  if constexpr (kPlanes == 2) {
    multiply_split_step<kLower>(x, m, w, between);
  } else {
    stores_are_visible();
    _tile_loadd(4, x, 4 * m);
    _tile_loadd(6, w, kLineBytes);
    if constexpr (kLower) _tile_loadd(7, w + kTileBytes, kLineBytes);
    _tile_dpbf16ps(0, 6, 4);
    if constexpr (kLower) _tile_dpbf16ps(1, 7, 4);
#pragma GCC unroll 1
    for (int q = 0; q < kQuarters; ++q) between(q);
  }
}

/// 16 or 32 rows of w, in blocks of two k steps. A block is restored while the one before is
/// multiplied: a tile load of lines that are still in the store buffer waits for them.
template <class Restorer, bool kLower>
class Restored {
 public:
  explicit Restored(const Narrow& p) : p_(p) {}

  bool run() {
    alignas(64) std::byte c[2 * kTileBytes];
    load_narrow_c<kLower>(p_);
    if (!restore_all()) return false;
    store_narrow_c<kLower>(c);
    if constexpr (kPlanes == 2)
      if (any_nan<kRows>(c, p_.m)) return false;
    write_acc<kLower>(p_, c);
    return true;
  }

 private:
  static constexpr int kPlanes = Restorer::Type::kPlanes;
  static constexpr int kRows = (kLower ? 2 : 1) * kTileRows;
  static constexpr int kSteps = 2;
  static constexpr int kParts = kSteps * kQuarters;
  static constexpr std::int64_t kBlock = kSteps * kStep;
  static constexpr std::int64_t kStepBytes = kPlanes * 2 * kTileBytes;
  static constexpr std::int64_t kBlockBytes = kSteps * Restorer::kStepBytes;  // of a row of w

  /// All blocks, group by group. A group is prepared for before the blocks of the one before, or
  /// the first of its own would wait. Where groups begin inside blocks, every step is prepared for
  /// on its own.
  bool restore_all() {
    if (p_.group_size < p_.k && p_.group_size % kBlock != 0) {
      if (!restore_blocks<false>(restorers_[0].any(), p_.k)) return false;
    } else {
      if (!restorers_[0].prepare(p_, 0)) return false;
      for (std::int64_t group = 0; k_ < p_.k; ++group) {
        const std::int64_t end = least(p_.k, (group + 1) * p_.group_size);
        if (end < p_.k && !restorers_[(group + 1) % 2].prepare(p_, group + 1)) return false;
        const auto restore = [&](const auto& way) { return restore_blocks<true>(way, end); };
        if (!restorers_[group % 2].visit(restore)) return false;
      }
    }
    multiply_last();
    return true;
  }

  /// The blocks from k_ to `end`, and beside each of them the products of the one before.
  template <bool kWhole, class Way>
  bool restore_blocks(const Way& way, std::int64_t end) {
    if (k_ == 0) {
      const Source source = source_at(0);
      for (int part = 0; part < kParts; ++part)
        if (!restore<kWhole>(way, source, part, blocks_[0])) return false;
      k_ = kBlock;
    }
    const std::byte* x = x_;
    const std::int64_t x_bytes = x_bytes_;
    for (; k_ < end; k_ += kBlock, now_ ^= 1) {
      const Source source = source_at(k_);
      const std::byte* from = blocks_[now_];
      std::byte* to = blocks_[now_ ^ 1];
      bool good = true;
#pragma GCC unroll 1
      for (int s = 0; s < kSteps; ++s, x += x_bytes)
        multiply_step<kPlanes, kLower>(x, p_.m, from + s * kStepBytes, [&](int quarter) {
          good &= restore<kWhole>(way, source, s * kQuarters + quarter, to);
        });
      if (!good) return false;
    }
    x_ = x;
    return true;
  }

  void multiply_last() {
    std::int64_t k = k_ - kBlock;
    for (int s = 0; s < kSteps && k < p_.k; ++s, k += kStep, x_ += x_bytes_)
      multiply_step<kPlanes, kLower>(x_, p_.m, blocks_[now_] + s * kStepBytes, [](int) {});
  }

  /// The block of w that starts at k, and what to fetch beside it: a line for every row, because
  /// several at once take the fill buffers that the loads need.
  struct Source {
    std::int64_t k;
    const std::byte* w;
    std::int64_t stride;
    NarrowFetch fetch;
  };
  Source source_at(std::int64_t k) {
    const std::int64_t done = k / kStep * Restorer::kStepBytes;
    const std::int64_t row_bytes = (p_.k * Restorer::kStepBytes + kStep - 1) / kStep;
    Source source{k, bytes(p_.w) + done, p_.stride_bytes,
                  fetch_beside<kLower>(p_, done, row_bytes, kBlockBytes)};
    if (p_.n != kRows || done + kBlockBytes > row_bytes) {
      copy_edge<kLower>(p_, done, row_bytes, edge_);
      source.w = edge_;
      source.stride = kLineBytes;
    }
    return source;
  }

  /// One of kParts equal parts of a block: some columns of both steps, or (not kWhole) a quarter of
  /// the columns of one.
  template <bool kWhole, class Way>
  bool restore(const Way& way, const Source& source, int part, std::byte* block) {
    constexpr int kCount = kRows / (kWhole ? kParts : kQuarters);
    const int step = kWhole ? 0 : part / kQuarters;
    const int first = kCount * (kWhole ? part : part % kQuarters);
    if constexpr (!kWhole) {
      const std::int64_t k = source.k + step * kStep;
      if (first == 0 && k < p_.k && k % p_.group_size == 0 &&
          !restorers_[0].prepare(p_, k / p_.group_size))
        return false;
    }
    const std::byte* w = source.w + first * source.stride + step * Restorer::kStepBytes;
    // What is restored two parts later, from L2 into L1: further ahead the lines, which share few
    // sets, would push each other out. 10 % faster than without.
    constexpr int kNear = 2;
    const std::byte* near = part < kParts - kNear
                                ? w + kNear * kCount * source.stride
                                : w - (kParts - kNear) * kCount * source.stride + kBlockBytes;
    const std::byte* far = source.fetch.at + first * source.fetch.stride;
    std::byte* to = block + step * kStepBytes + first * kLineBytes;
#pragma GCC unroll 1  // unrolled, the loop over a block is too long for the cache of decoded code
    for (int j = 0; j < kCount; ++j) {
      if constexpr (kWhole) _mm_prefetch(reinterpret_cast<const char*>(near), _MM_HINT_T0);
      fetch_narrow(far);
      way.template column<kWhole ? kSteps : 1>(first + j, w, to, kStepBytes);
      w += source.stride;
      near += source.stride;
      far += source.fetch.stride;
      to += kLineBytes;
    }
    return true;
  }

  const Narrow& p_;
  const std::byte* x_ = bytes(p_.x);
  const std::int64_t x_bytes_ = kPlanes * kTileRows * 4 * p_.m;  // of a k step
  std::int64_t k_ = 0;                                           // of the block to be restored
  int now_ = 0;                                                  // the block to be multiplied
  Restorer restorers_[2];
  alignas(64) std::byte blocks_[2][kSteps * kStepBytes];
  alignas(64) std::byte edge_[2 * kTileBytes];
};

template <class Restorer>
bool multiply_restored(const Narrow& p) {
  stores_are_visible();
  return p.n <= kTileRows ? Restored<Restorer, false>(p).run() : Restored<Restorer, true>(p).run();
}

}  // namespace

bool narrow_f16_int8_amxbf16(const Narrow& p) { return multiply_restored<Int8<ToFp16>>(p); }
bool narrow_f16_int4_amxbf16(const Narrow& p) { return multiply_restored<Int4<ToFp16>>(p); }
bool narrow_bf16_int8_amxbf16(const Narrow& p) { return multiply_restored<Int8<ToBf16>>(p); }
bool narrow_bf16_int4_amxbf16(const Narrow& p) { return multiply_restored<Int4<ToBf16>>(p); }

}  // namespace weft::gemm
