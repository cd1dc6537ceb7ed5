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
constexpr std::int64_t kLinearBytes = 64 << 10;

/// One k step; between(q) does a quarter of the conversions that go beside it.
template <int kPlanes, bool kLower, class Between>
inline void multiply_step(const std::byte* x, const std::byte* w, Between between) {
  if constexpr (kPlanes == 2) {
    multiply_split_step<kLower>(x, w, between);
  } else {
    stores_are_visible();
    _tile_loadd(4, x, kLineBytes);
    _tile_loadd(6, w, kLineBytes);
    if constexpr (kLower) _tile_loadd(7, w + kTileBytes, kLineBytes);
    _tile_dpbf16ps(0, 6, 4);
    if constexpr (kLower) _tile_dpbf16ps(1, 7, 4);
    for (int q = 0; q < kQuarters; ++q) between(q);
  }
}

/// 16 or 32 rows of w. A block is 64 bytes of each row: kSteps k steps.
template <class Restorer, bool kLower>
class Restored {
 public:
  explicit Restored(const Narrow& p) : p_(p) {}

  bool run() {
    alignas(64) std::byte c[2 * kTileBytes];
    load_narrow_c<kLower>(p_);
    const std::byte* x = bytes(p_.x);
    if (!begin(0)) return false;
    for (int part = 0; part < kParts; ++part)
      if (!restore(part, block(0))) return false;
    // One block ahead: a tile load of lines that are still in the store buffer waits for them.
    std::int64_t k = kBlock;
    int now = 0;
    for (; k < p_.k; k += kBlock, now ^= 1) {
      if (!begin(k)) return false;
      bool good = true;
      for (int s = 0; s < kSteps; ++s, x += kXBytes)
        multiply_step<kPlanes, kLower>(x, block(now) + s * kStepBytes, [&](int quarter) {
          good &= restore(s * kQuarters + quarter, block(now ^ 1));
        });
      if (!good) return false;
    }
    k -= kBlock;
    for (int s = 0; s < kSteps && k < p_.k; ++s, k += kStep, x += kXBytes)
      multiply_step<kPlanes, kLower>(x, block(now) + s * kStepBytes, [](int) {});
    store_narrow_c<kLower>(c);
    if constexpr (kPlanes == 2)
      if (any_nan<kRows>(c)) return false;
    write_acc<kLower>(p_, c);
    return true;
  }

 private:
  static constexpr int kPlanes = Restorer::Type::kPlanes;
  static constexpr int kRows = (kLower ? 2 : 1) * kTileRows;
  static constexpr std::int64_t kBlock = Restorer::kPerLine;
  static constexpr int kSteps = kBlock / kStep;
  static constexpr int kParts = kSteps * kQuarters;
  static constexpr std::int64_t kStepBytes = kPlanes * 2 * kTileBytes;
  static constexpr std::int64_t kXBytes = kPlanes * kTileBytes;
  static constexpr std::int64_t kSourceBytes = kLineBytes / kSteps;  // of a k step

  std::byte* block(int i) { return blocks_[i]; }

  /// The block that starts at k is the next to be restored.
  bool begin(std::int64_t k) {
    const std::int64_t done = k * kLineBytes / kBlock, row_bytes = p_.k * kLineBytes / kBlock;
    k_ = k;
    if (p_.n == kRows && done + kLineBytes <= row_bytes) {
      src_ = bytes(p_.w) + done;
      stride_ = p_.stride_bytes;
    } else {
      copy_edge<kLower>(p_, done, row_bytes, edge_);
      src_ = edge_;
      stride_ = kLineBytes;
    }
    if (p_.stride_bytes == row_bytes && kRows * row_bytes <= kLinearBytes && !p_.first) {
      fetch_ = bytes(p_.w) + kRows * (row_bytes + done);
      fetch_stride_ = kLineBytes;
    } else {
      fetch_ = bytes(p_.w) + done + narrow_ahead<kLower>(p_, done, row_bytes);
      fetch_stride_ = p_.stride_bytes;
    }
    const bool new_group = k % p_.group_size == 0;
    return !whole_blocks_ || !new_group || restorer_.prepare(p_, k / p_.group_size);
  }

  /// One of kParts equal parts of the block: some columns, or, where groups begin inside a block, a
  /// quarter of the columns of one step.
  bool restore(int part, std::byte* block) {
    Columns columns;
    if (whole_blocks_) {
      columns.count = kRows / kParts;
      columns.first = part * columns.count;
      columns.src = src_ + columns.first * stride_;
      columns.stride = stride_;
      columns.dst = block + columns.first * kLineBytes;
      columns.step_bytes = kStepBytes;
      columns.fetch = fetch_ + columns.first * fetch_stride_;
      columns.fetch_stride = fetch_stride_;
      restorer_.template restore<kSteps>(columns);
      return true;
    }
    const int step = part / kQuarters, quarter = part % kQuarters;
    const std::int64_t k = k_ + step * kStep;
    if (quarter == 0 && k < p_.k && k % p_.group_size == 0 &&
        !restorer_.prepare(p_, k / p_.group_size))
      return false;
    columns.count = kRows / kQuarters;
    columns.first = quarter * columns.count;
    columns.src = src_ + columns.first * stride_ + step * kSourceBytes;
    columns.stride = stride_;
    columns.dst = block + step * kStepBytes + columns.first * kLineBytes;
    columns.step_bytes = 0;
    columns.fetch = fetch_ + columns.first * fetch_stride_;
    columns.fetch_stride = fetch_stride_;
    restorer_.template restore<1>(columns);
    return true;
  }

  const Narrow& p_;
  const bool whole_blocks_ = p_.group_size >= p_.k || p_.group_size % kBlock == 0;
  const std::byte* src_ = nullptr;
  const std::byte* fetch_ = nullptr;
  std::int64_t stride_ = 0, fetch_stride_ = 0, k_ = 0;
  Restorer restorer_;
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
