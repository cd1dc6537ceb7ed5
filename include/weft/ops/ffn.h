// SPDX-License-Identifier: Apache-2.0
// ffn: both products of a feed-forward network and the activation between them, dense or for each
// expert of a mixture; no communication.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "weft/context.h"
#include "weft/export.h"
#include "weft/packed_weight.h"
#include "weft/status.h"
#include "weft/tensor.h"

namespace weft {

namespace internal {
struct FfnPlan;
}

/// f(v) between the products, and with a gate (the GLU forms) value · f(gate):
///
///   relu      max(v, 0)
///   silu      v / (1 + exp(-v))
///   fastgelu  v / (1 + exp(-1.702 v))
///   gelu      v / (1 + exp(-1.5957691216057308 (v + 0.044715 v³)))     the tanh form
///   geglu, swiglu, reglu      value · gelu(gate), value · silu(gate), value · relu(gate)
enum class Activation : std::uint8_t { kFastGelu, kRelu, kSilu, kGelu, kGeglu, kSwiglu, kReglu };

/// "fastgelu" and the like.
WEFT_API std::string_view to_string(Activation activation);
/// The activation of a name, in upper or lower case; nullopt for an unknown name.
WEFT_API std::optional<Activation> activation_from_name(std::string_view name);
/// geglu, swiglu, reglu.
WEFT_API bool has_gate(Activation activation);

/// What float16 · float16 rounds between the products; the other rows round in one way.
enum class InnerPrecise : std::uint8_t {
  kHighPrecision = 0,    ///< the first product and the activation stay in fp32
  kHighPerformance = 1,  ///< the first product is rounded to float16
};

/// Operands. T, the dtype of y, is float16 or bfloat16. M = rows of x (all axes but the last),
/// E = experts, at most 65536; [E,] is an axis that all operands of a call have or all lack.
/// Operands not given are left default-constructed.
///
///   x     weights       bias          scale, offset  deq_scale                 antiquant
///   T     T             T or float32  none           none                      none
///   int8  int8          int32         float32        T float16: uint64, int64  none
///                                                    or float32; T bfloat16:
///                                                    bfloat16
///   T     int8 or int4  T or float32  none           none                      T
struct FfnArgs {
  ConstTensorRef x;  ///< (…, K1), 2 to 8 axes, any strides: T or int8
  /// ([E,] K1, N1) and ([E,] K2, N2), where N1 = K2, with a gate 2·K2: T, int8 or int4; row-major
  /// or transposed views, 16 and 8 bits also with any other strides (slower)
  ConstTensorRef weight1 = {}, weight2 = {};
  /// Instead of a weight: packed once by the caller, with its experts. T · T and int8 · int8 only.
  const PackedWeight* packed_weight1 = nullptr;
  const PackedWeight* packed_weight2 = nullptr;
  /// (E) of int64: which rows of x are whose, in the order of the experts. Counts, or with
  /// tokens_are_ends the row after the last of each expert. Its values are read by run(). Rows
  /// beyond the last expert's are no one's: their rows of y are not written.
  ConstTensorRef expert_tokens = {};
  bool tokens_are_ends = false;
  ConstTensorRef bias1 = {}, bias2 = {};  ///< ([E,] N1), ([E,] N2), each may be left out
  /// int8 · int8: what the activation is quantised with: (1) or (K2), with experts (E) or (E, K2);
  /// offset: (1), with experts (E)
  ConstTensorRef scale = {}, offset = {};
  ConstTensorRef deq_scale1 = {}, deq_scale2 = {};  ///< int8 · int8: ([E,] N1), ([E,] N2)
  /// Weights of int8 or int4 restored to T: ([E,] N), ([E,] G, N) with groups of K / G rows, or
  /// ([E,] 1); offsets like their scales, or left out
  ConstTensorRef antiquant_scale1 = {}, antiquant_scale2 = {};
  ConstTensorRef antiquant_offset1 = {}, antiquant_offset2 = {};
  Activation activation = Activation::kGelu;
  InnerPrecise inner_precise = InnerPrecise::kHighPrecision;
  TensorRef y;  ///< (…, N2) with the leading axes of x, any strides: T; overlaps nothing
};

struct FfnOptions {
  /// Which half of the first product's columns the activation is applied to in the GLU forms. CANN:
  /// the right one. Left: x·W1 split as PyTorch code does with chunk(2): f(first) · second.
  bool gate_is_left = false;
};

/// A planned call. Owns nothing of the operands; its scratch memory is the Context's. Move-only;
/// keep Context alive.
///
///   h = x · W1 + b1
///   a = f(h), or value · f(gate) of the halves of h
///   y = a · W2 + b2
///
/// With experts, the rows of expert e meet W1[e], b1[e] and so on; an expert without rows is not
/// looked at. Sums in fp32 (int8: exact in int32, b1 and b2 in the sum). Roundings, where R is to
/// nearest even and RA half away from zero:
///
///   T · T, float16, kHighPerformance, and restored float16:   R16(h), a = R16(f), y = R16
///   T · T, float16, kHighPrecision:                           h fp32, a = RA16(f), y = R16
///   bfloat16, also restored:                                  h fp32, a = RAbf(f), y = Rbf
///   int8 · int8: h' = h · d1, for float16 R16(h · d1), where d = deq_scale (uint64, int64,
///   float32:
///     the upper 19 bits of the fp32 value); q = int8(R16(R16(R16(f(h')) · R16(scale)) +
///     R16(offset))), to the nearest integer, saturated; y = T((q · W2 + b2) · d2)
///   restored weights: float16 R16(R16(w + offset) · scale), bfloat16 Rbf((w + offset) · scale)
///
/// With a gate both halves are rounded as h is, f and the product are fp32, and a is rounded once.
/// With K2 = 0 y is b2 (bfloat16: rounded half away from zero) or zero.
/// The bits of a row depend on its own x and its expert alone: not on the other rows, on how many
/// there are, on the number of threads or on how the weights lie.
/// The definition is that of CANN's aclnnFFN, aclnnFFNV2 and aclnnFFNV3, which accept less.
class WEFT_API Ffn {
 public:
  /// `args` gives shapes, dtypes and attributes; data pointers may be null. Errors:
  /// kInvalidArgument (operand, both values, what to do), kUnimplemented, kOutOfMemory.
  static Result<Ffn> plan(Context& context, const FfnArgs& args, const FfnOptions& options = {});

  /// `args` must have the planned shapes, dtypes and attributes; pointers are free to change.
  /// Allocates nothing on success. Error: kInvalidArgument (differs from the plan, null data,
  /// overlap, expert_tokens that do not fit M: nothing was written).
  Status run(const FfnArgs& args);

  /// Kernels, blocks, scratch: one fact a line, for people.
  std::string describe() const;

  Ffn(Ffn&&) noexcept;
  Ffn& operator=(Ffn&&) noexcept;
  ~Ffn();

 private:
  using Plan = internal::FfnPlan;
  explicit Ffn(std::unique_ptr<Plan> plan);
  std::unique_ptr<Plan> plan_;
};

/// plan() and run() in one call, for callers that do not repeat a shape.
WEFT_API Status ffn(Context& context, const FfnArgs& args, const FfnOptions& options = {});

}  // namespace weft
