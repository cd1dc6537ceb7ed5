// SPDX-License-Identifier: Apache-2.0
// The right-hand operand of a blocked gemm: where a weight lies, how it is restored, and how a
// block of it becomes packed panels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/gemm.h"
#include "kernels/rows/rows.h"
#include "weft/tensor.h"

namespace weft::gemm {

/// A (k, n) weight in the caller's memory. If neither stride is 1 (int4: one always is), its
/// elements are brought together one by one while it is packed.
struct Weight {
  DType stored = DType::kFloat16;  ///< the kernel's type, or int8 / int4 to be restored to it
  const void* data = nullptr;
  std::int64_t k_stride = 0, n_stride = 1;  ///< elements (int4: nibbles); unused with nz_rows

  /// FRACTAL_NZ (base/fractal_nz.h), float16, bfloat16 or int8: rows of a chunk, padding included.
  /// 0: by strides. What the padding holds does not matter.
  std::int64_t nz_rows = 0;
  bool nz_transposed = false;  ///< the image is that of the (n, k) matrix: chunks run along k

  /// Restoring (stored differs from the kernel's type): element (p, j) uses scale
  /// [p / group_size][j] of a dense [groups][n] matrix of T, or the single value if per_tensor.
  const void* scale = nullptr;
  const void* offset = nullptr;  ///< laid out like scale, or null
  bool per_tensor = false;
  std::int64_t group_size = 0;  ///< rows of k that share a scale row; 0: all
  std::int64_t n = 0;           ///< columns of the scale matrix

  /// Packed by the caller: blocks of packed_kc rows of k, each with all its panels. Null: not
  /// packed.
  const std::byte* packed = nullptr;
  std::int64_t packed_kc = 0;

  /// By strides, and k is the adjacent axis: a column can be read in place. Never for FRACTAL_NZ.
  bool k_is_adjacent() const { return !nz_rows && k_stride == 1 && n_stride != 1; }
  /// By strides, and neither axis is.
  bool is_scattered() const { return !nz_rows && k_stride != 1 && n_stride != 1; }
};

/// How and where a (k, n) view lies, of more axes the last two at their first place: stored, data
/// and strides or the FRACTAL_NZ fields, the rest as by default. An axis of extent 1 may have any
/// stride.
Weight weight_of(const ConstTensorRef& x2);

/// Bytes of scratch that pack_block needs for a block of kc x nc.
std::int64_t pack_scratch_bytes(const Kernel& kernel, const Weight& weight, std::int64_t kc,
                                std::int64_t nc);

/// Packs rows [k0, k0 + kc) and columns [n0, n0 + nc) into consecutive panels at dst,
/// panel_stride_bytes apart. k0 is a multiple of k_step, n0 of nr if the weight is FRACTAL_NZ.
struct BlockRange {
  std::int64_t k0, kc, n0, nc;
};
void pack_block(const Kernel& kernel, const rows::Kernels& rows, const Weight& weight,
                const BlockRange& range, std::byte* dst, std::int64_t panel_stride_bytes,
                std::byte* scratch);

}  // namespace weft::gemm
