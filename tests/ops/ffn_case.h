// SPDX-License-Identifier: Apache-2.0
// One call of ffn with random operands in any layout, for its tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "guarded_tensor.h"
#include "weft/context.h"
#include "weft/ops/ffn.h"

namespace weft::testing {

using Dims = std::vector<std::int64_t>;

/// The dtypes of a call. `bias` is the one that CANN takes.
struct FfnRow {
  const char* name;
  DType x, weight, y, bias;
  DType deq_scale = DType::kFloat32;  ///< int8 · int8 only

  bool quant() const { return x == DType::kInt8; }
  bool restored() const { return x != weight; }
};
inline void PrintTo(const FfnRow& row, std::ostream* out) { *out << row.name; }
inline constexpr FfnRow kFfnRows[] = {
    {"F16", DType::kFloat16, DType::kFloat16, DType::kFloat16, DType::kFloat16},
    {"BF16", DType::kBFloat16, DType::kBFloat16, DType::kBFloat16, DType::kFloat32},
    {"Q16_uint64", DType::kInt8, DType::kInt8, DType::kFloat16, DType::kInt32, DType::kUInt64},
    {"Q16_int64", DType::kInt8, DType::kInt8, DType::kFloat16, DType::kInt32, DType::kInt64},
    {"Q16_float32", DType::kInt8, DType::kInt8, DType::kFloat16, DType::kInt32, DType::kFloat32},
    {"QBF16", DType::kInt8, DType::kInt8, DType::kBFloat16, DType::kInt32, DType::kBFloat16},
    {"F16_int8", DType::kFloat16, DType::kInt8, DType::kFloat16, DType::kFloat16},
    {"F16_int4", DType::kFloat16, DType::kInt4, DType::kFloat16, DType::kFloat16},
    {"BF16_int8", DType::kBFloat16, DType::kInt8, DType::kBFloat16, DType::kFloat32},
    {"BF16_int4", DType::kBFloat16, DType::kInt4, DType::kBFloat16, DType::kFloat32},
};
const FfnRow& ffn_row(std::string_view name);

/// Scales of restored weights: more than 0 groups, or
inline constexpr std::int64_t kOneScale = -1, kPerColumn = 0;

/// How x and y lie.
enum class RowLayout {
  kDense,
  kPadded,     ///< gaps between rows
  kSwapped,    ///< columns are the outermost axis
  kBackwards,  ///< the last row comes first
};
enum class WeightLayout {
  kRowMajor,
  kTransposed,        ///< (k, n) views of (n, k)
  kPadded,            ///< row-major, with gaps between rows and between experts
  kTransposedPadded,  ///< the same of (n, k)
  kInterleaved,       ///< row p of all experts, then row p + 1
  kScattered,         ///< no axis is adjacent; not int4
};
inline constexpr WeightLayout kWeightLayouts[] = {
    WeightLayout::kRowMajor,         WeightLayout::kTransposed,  WeightLayout::kPadded,
    WeightLayout::kTransposedPadded, WeightLayout::kInterleaved, WeightLayout::kScattered};

struct FfnCase {
  FfnRow row = kFfnRows[0];
  std::int64_t m = 1, k1 = 1, k2 = 1, n2 = 1;  ///< N1 is k2, with a gate 2·k2
  Dims leading = {};                           ///< axes of x but the last; empty: (m)
  Activation activation = Activation::kGelu;
  InnerPrecise inner_precise = InnerPrecise::kHighPrecision;
  bool gate_is_left = false;
  std::optional<Dims> tokens = {};  ///< rows of each expert, or the ends
  bool tokens_are_ends = false;
  bool bias1 = true, bias2 = true, float_bias = false;
  bool scale_per_channel = false;
  std::int64_t groups1 = kPerColumn, groups2 = kPerColumn;
  bool antiquant_offsets = true;
  RowLayout x = RowLayout::kDense, y = RowLayout::kDense;
  WeightLayout weight1 = WeightLayout::kRowMajor, weight2 = WeightLayout::kRowMajor;
  bool vectors_strided = false;  ///< everything of one row or less
  unsigned seed = 1;

  std::int64_t n1() const { return has_gate(activation) ? 2 * k2 : k2; }
  Dims x_dims(std::int64_t columns) const;
  std::string text() const;
};

/// The operands, which tests may change before the call, and y.
struct FfnData {
  explicit FfnData(const FfnCase& c);

  /// For plan() and run().
  FfnArgs args() const;
  FfnOptions options() const { return {.gate_is_left = fields.gate_is_left}; }
  std::vector<std::uint16_t> bits() const { return y.bits(); }
  /// Those of one row.
  std::vector<std::uint16_t> bits_of_row(std::int64_t row) const;
  /// Nothing but the elements of y has changed.
  bool guards_intact() const;

  FfnCase fields;
  GuardedTensor x, weight1, weight2, expert_tokens, bias1, bias2, scale, offset, deq_scale1,
      deq_scale2, antiquant_scale1, antiquant_scale2, antiquant_offset1, antiquant_offset2, y;
};

/// Counts, or the same as ends.
std::vector<std::uint64_t> words_of(const Dims& tokens);

/// Rows of y within the bounds of the reference: all, or, if that needs more than `multiplies`,
/// some spread over all; rows of no expert as they were; inputs and guards untouched.
void expect_correct(const FfnData& data, double multiplies = 2e6);
/// Calls on `threads` threads and expects that.
void run_and_expect_correct(const FfnCase& c, int threads = 1, double multiplies = 2e6);

/// One for each number of threads and instruction set, kept for the whole program.
Context& context_of(int threads, const std::string& isa = "");

}  // namespace weft::testing
