// SPDX-License-Identifier: Apache-2.0
// Shapes on the command line: "4x1024x1024:1024x8192" is x1 (b, s, k) and x2 (k, n);
// "4x1024x8192:8192" is x1 and gamma of a norm; "1024x4096:11008x4096" is x and weight2 of ffn;
// "128x7168" or "5,0,7x7168" are the tokens of a mixture of experts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weft/status.h"

namespace weft::tools {

struct Shape {
  std::vector<std::int64_t> rows;  ///< (m) or (b, s): x1 without its last axis
  std::vector<std::int64_t> k;     ///< rank r holds k[r % k.size()] of the reduction; or empty
  std::int64_t n = 0;
  std::vector<std::int64_t> gamma;  ///< without k: the axes of x1 that make up n
  std::int64_t hidden = -1;         ///< of ffn: the rows of weight2; else -1
  /// Of a mixture: rank r holds tokens[r % tokens.size()] of n elements; else empty.
  std::vector<std::int64_t> tokens;

  std::int64_t m() const;
  std::int64_t k_of(int rank) const {
    return k.empty() ? 0 : k[static_cast<std::size_t>(rank) % k.size()];
  }
  std::int64_t tokens_of(int rank) const {
    return tokens[static_cast<std::size_t>(rank) % tokens.size()];
  }
  std::int64_t most_tokens(int ranks) const;  ///< of one rank
  std::int64_t k_total(int ranks) const;
  double flops(int ranks) const;  ///< of all ranks: 2 m n k_total; not of ffn
  /// At most, for one row of the results.
  double multiplies_of_row(int ranks) const;
  std::string text() const;
};

/// MxK:KxN or BxSxK:KxN; K may be a list of what each rank holds: 48x100,70,30:100,70,30x64.
Result<Shape> parse_shape(std::string_view text);
/// ...xK:HxN, or ...xK:H with N = K: x has 2 to 8 axes, H is the hidden width.
Result<Shape> parse_ffn_shape(std::string_view text);
/// BSxH; BS may be a list of what each rank holds: 5,0,7x7168.
Result<Shape> parse_moe_shape(std::string_view text);
/// ...xN, or ...xN:N and ...xMxN:MxN with the axes of gamma behind the colon; 1 to 8 axes.
Result<Shape> parse_norm_shape(std::string_view text);

}  // namespace weft::tools
