// SPDX-License-Identifier: Apache-2.0
// Random operands of a mixture-of-experts layer in bfloat16, and what its results may differ from
// double precision.
//
//   p  = softmax(x · router), the top_k largest with their experts
//   f  = sum over those of p_e · P_e + P_shared + residual,
//        P = (left half · silu(right half) of x · up) · down
//   y  = f / sqrt(mean(f²) + epsilon) · gamma
#pragma once

#include <cstdint>
#include <vector>

namespace weft::tools {

/// `tokens` of one rank; `inner` is between the products of an expert.
struct MoeSizes {
  std::int64_t tokens, hidden, inner, experts, top_k;
};

inline constexpr float kMoeEpsilon = 1e-6f;

/// Weights of one expert, or of the shared one (number `experts`), the same on every rank: `up` is
/// (hidden, 2 · inner), `down` (inner, hidden).
void fill_expert(const MoeSizes& sizes, std::int64_t expert, std::uint16_t* up,
                 std::uint16_t* down);

/// One token: operands, what the gate chose, results.
struct MoeToken {
  const std::uint16_t *x, *residual, *router, *gamma;
  const std::int32_t* ids;
  const float* scales;
  const std::uint16_t *sum, *y;
};

/// Shares of bounds; at most 1 is right.
struct MoeErrors {
  double gate = 0, token = 0;  ///< of a fused result, from double precision
  double separate = 0;         ///< of all results of the separate steps, from the fused ones
  bool same_rows = true;       ///< experts got the same bits in the same order
};

/// The gate's choice and weights. Each logit is rounded to bfloat16 once.
double gate_error(const MoeSizes& sizes, const MoeToken& token);
/// sum and y, given the choice and its weights. Counts roundings: of the activation and of each
/// expert's result, of the sum, and two more of y. Makes the experts' weights anew.
double token_error(const MoeSizes& sizes, const MoeToken& token);

/// One row of the separate steps and of the fused ones.
struct MoeRowPair {
  const std::uint16_t *sum, *y, *separate_sum, *separate_y;
  const std::uint16_t *shared, *residual, *gamma;
};
/// In the norm of a row: the separate steps round twice more.
double difference(std::int64_t hidden, const MoeRowPair& row);

}  // namespace weft::tools
