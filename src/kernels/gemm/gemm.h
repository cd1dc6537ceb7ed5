// SPDX-License-Identifier: Apache-2.0
// The gemm family: micro-kernels over packed panels, and the packing of their operands.
//
//   acc[i, j] = (first ? (bias ? bias[j] : 0) : acc[i, j]) + sum over p < k of a[i, p] · b[p, j]
//
// The sum over p is taken in rising order of p in blocks of k_step, and a later call continues
// exactly where an earlier one stopped (acc holds everything). So the bits of an element depend on
// the kernel only: not on m, n, the blocking of k, or the thread.
//
// Packed A: panels of mr rows.    [header a_header_bytes][k / k_step][mr][k_step] elements of
// a_bytes Packed B: panels of nr columns. [header b_header_bytes][k / k_step][nr][k_step] elements
// of b_bytes Rows, columns and k beyond the matrix are zero. A kernel may order the bytes inside
// one k_step as it likes; the size per k_step and "k_step blocks one after the other" are what
// callers rely on. Panels are 64-byte aligned (headers are multiples of 64 bytes).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/isa.h"
#include "weft/dtype.h"

namespace weft::gemm {

/// One micro-tile.
struct Tile {
  int m;                 ///< rows that matter, 1..mr; the others may be skipped or written
  std::int64_t k;        ///< > 0, multiple of k_step
  const void* a_header;  ///< the A panel's header (its start)
  const void* a;         ///< the A panel's elements at this block's first k
  const void* b;         ///< the B panel of this k block, header first
  void* acc;             ///< f32 or s32, room for mr x nr, 64-byte aligned rows
  std::int64_t acc_stride_bytes;
  const void* bias;  ///< nr values of acc's type, or null; used when first
  bool first;
  /// What the caller will load soon from further away than L2, usually its share of the next block
  /// of A; or null. A hint: kernels may fetch it while they compute, or not.
  const void* ahead = nullptr;
  std::int64_t ahead_bytes = 0;
};
using TileFn = void (*)(const Tile&);

/// Packs one panel of at most mr rows: src[i, p] for i < m, p < k, elements adjacent along p.
/// dst: header, then round_up(k, k_step) steps.
struct PackA {
  const void* src;
  std::int64_t stride_bytes;  ///< between rows
  int m;                      ///< 1..mr
  std::int64_t k;
  void* dst;
};
using PackAFn = void (*)(const PackA&);

/// Packs a strip of k of as many panels as n needs.
/// pack_b:  src[p, j] with adjacent j (row-major x2); walks whole rows of the strip.
/// pack_bt: src[j, p] with adjacent p (x2 is the transposed view of a dense (n, k) weight).
struct PackB {
  const void* src;
  std::int64_t stride_bytes;        ///< between rows of p (pack_b) or rows of j (pack_bt)
  std::int64_t k, n;                ///< valid extents of the strip
  void* dst;                        ///< start (header) of the first panel of this k block
  std::int64_t panel_stride_bytes;  ///< from panel to panel
  std::int64_t k_begin;             ///< where in the panel the strip goes, multiple of k_step.
                                    ///< 0 initialises the header, later strips add to it.
};
using PackBFn = void (*)(const PackB&);

/// The product of few rows with some columns of a weight, and nothing is packed but the rows: as
/// fast as the weight can be read. The bits are those of the tile kernel on the weight, which may
/// be stored in fewer bits and restored to the kernel's type T on its way, rounded as
/// rows::AntiquantRow says. Reads nothing of the weight but these columns, and their scales. Two
/// forms:
///
///   along k   a panel: n is 1..narrow.columns, w[j, p] has adjacent p, as for pack_bt
///             acc has room for m x narrow.columns and columns from n on may be written; bias has
///             values up to the next multiple of nr
///   along n   a strip of any n, a few hundred (whole rows of w are read, and m x n sums should
///             stay in L1): w[p, j] has adjacent j, as for pack_b, and begins with a whole byte
///             acc is m x n, dense rows acc_stride_bytes apart; bias has n values
struct Narrow {
  int m;                      ///< 1..narrow.rows
  int n;                      ///< > 0: columns
  std::int64_t k;             ///< > 0
  const void* x;              ///< what pack_x made of the m rows: all of k; the same for both forms
  const void* w;              ///< any alignment
  std::int64_t stride_bytes;  ///< between rows of w, which are columns along k
  void* acc;                  ///< f32 or s32, any alignment
  std::int64_t acc_stride_bytes;
  const void* bias;  ///< of acc's type, or null
  /// Panels (strips) are multiplied in their order; this one begins (ends) a run of neighbours on a
  /// thread.
  bool first = true, last = true;

  /// Restoring: the weight at column j and p uses scale[p / group_size * group_stride + j *
  /// scale_step], the same of offset; both T.
  const void* scale = nullptr;
  const void* offset = nullptr;   ///< or null
  int scale_step = 0;             ///< 0: one for all columns, 1: one per column
  std::int64_t group_size = 0;    ///< >= k, or a multiple of kGroupUnit
  std::int64_t group_stride = 0;  ///< elements
};
constexpr std::int64_t kGroupUnit = 32;
/// False: acc was not written, because a value (an inf or a nan in a split type or in a scale)
/// needs the tile kernel.
using NarrowFn = bool (*)(const Narrow&);

/// One form, for each type that a weight is stored in; null where there is none.
struct NarrowFns {
  NarrowFn run = nullptr;       ///< the kernel's type
  NarrowFn run_int8 = nullptr;  ///< int8 to be restored
  NarrowFn run_int4 = nullptr;  ///< int4 to be restored, two in a byte, the even one lower
};

/// The narrow forms of a kernel, from narrow.inc; rows is 0 if there is none.
struct NarrowForm {
  int rows = 0;                    ///< of x1 at most
  int columns = 0;                 ///< of a panel along k at most
  int x_bytes = 0;                 ///< per packed element of x1
  void (*enter)(int m) = nullptr;  ///< in place of the kernel's enter, for calls with this m; or
                                   ///< null if there is nothing to do; leave is the kernel's
  PackAFn pack_x = nullptr;        ///< m 1..rows; dst is 64-byte aligned and has x_panel_bytes(k)
  NarrowFns along_k, along_n;
};

/// State that a thread's tile calls need and that costs something to hold (the shape of the AMX
/// tiles): enter before the first tile or narrow call, leave after the last, once each per gemm and
/// thread.
using ThreadFn = void (*)();

/// One row of kernels.inc.
struct Kernel {
  std::string_view name;  ///< gemm_<a>_<b>_<acc>_<mr>x<nr>x<k_step>_<isa>
  isa::Set isa;           ///< the bit of its row in isa.inc
  DType a, b;  ///< what pack_a and pack_b read: float16, bfloat16 or int8, the same for both
  DType acc;   ///< float32 or int32
  int mr, nr, k_step;
  int a_bytes, b_bytes;                ///< per packed element
  int a_header_bytes, b_header_bytes;  ///< multiples of 64
  TileFn tile;
  PackAFn pack_a;
  PackBFn pack_b, pack_bt;
  ThreadFn enter, leave;  ///< null if there is nothing to do
  NarrowForm narrow;

  std::int64_t padded_k(std::int64_t k) const { return (k + k_step - 1) / k_step * k_step; }
  std::int64_t a_panel_bytes(std::int64_t k) const {
    return a_header_bytes + padded_k(k) * mr * a_bytes;
  }
  std::int64_t b_panel_bytes(std::int64_t k) const {
    return b_header_bytes + padded_k(k) * nr * b_bytes;
  }
  std::int64_t x_panel_bytes(std::int64_t k) const {
    return padded_k(k) * narrow.rows * narrow.x_bytes;
  }
  /// The narrow form for a weight stored in this type, or null.
  NarrowFn narrow_for(DType stored, bool along_n = false) const {
    const NarrowFns& form = along_n ? narrow.along_n : narrow.along_k;
    if (stored == b) return form.run;
    if (stored == DType::kInt8) return form.run_int8;
    return stored == DType::kInt4 ? form.run_int4 : nullptr;
  }
};

/// All rows, best first within a type.
std::span<const Kernel> kernels();

/// The first row for these types whose ISA is in `available`, or null.
const Kernel* select(DType type, isa::Set available);

/// acc = bias + a · b in the plainest way (double accumulation for floats): the reference of the
/// tests. a [m, k], b [k, n] of `type` with strides in elements; acc [m, n] double (integers
/// exact).
struct Reference {
  DType type;
  std::int64_t m, n, k;
  const void* a;
  std::int64_t a_row, a_col;
  const void* b;
  std::int64_t b_row, b_col;
  const double* bias;  ///< n values or null
  double* acc;         ///< dense m x n
  double* acc_abs;     ///< dense m x n or null: sum of |a|·|b| (+ |bias|), for error bounds
};
void reference(const Reference& args);

}  // namespace weft::gemm
