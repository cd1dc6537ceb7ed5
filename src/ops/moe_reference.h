// SPDX-License-Identifier: Apache-2.0
// What the references of moe_dispatch and moe_combine share: which entries are active, where
// experts live, and fp32 arithmetic of which every operation is rounded. Slow, and nothing of the
// operators.
#pragma once

#include <cstdint>
#include <vector>

#include "weft/dtype.h"
#include "weft/ops/moe_experts.h"
#include "weft/tensor.h"

namespace weft::ops::moe_reference {

/// Of the entries and tokens of one rank. `mask` is (Bs), (Bs, K) or not given.
class Activity {
 public:
  Activity(const ConstTensorRef& mask, const ConstTensorRef& expert_ids);
  bool entry(std::int64_t token, std::int64_t k) const {
    return entries_[static_cast<std::size_t>(token * k_ + k)];
  }
  bool token(std::int64_t token) const { return tokens_[static_cast<std::size_t>(token)]; }

 private:
  std::int64_t k_;
  std::vector<bool> entries_, tokens_;
};

/// The first routed expert of the i-th rank without a shared one, of `count` such ranks.
std::int64_t first_expert(const MoeExperts& experts, std::int64_t i, std::int64_t count);
/// Experts whose rows the rank gets.
std::int64_t local_experts(const MoeExperts& experts, int rank, std::int64_t ranks);
/// Whether a token of `source`, which has `tokens`, goes to `rank` for a shared expert there.
bool goes_to_shared(const MoeExperts& experts, std::int64_t source, std::int64_t token,
                    std::int64_t tokens, std::int64_t rank);

/// Ids of special experts follow those of the routed ones.
enum class Kind { kNone, kRouted, kZero, kCopy, kConst };
struct Expert {
  Kind kind;
  std::int64_t index;  ///< among those of its kind
};
Expert expert_of(const MoeExperts& experts, std::int64_t id);

std::int64_t integer_at(const ConstTensorRef& vector, std::int64_t index);
/// Of a matrix with any strides.
std::int64_t integer_at(const ConstTensorRef& matrix, std::int64_t i, std::int64_t j);
float float_at(const ConstTensorRef& tensor, std::int64_t element);
std::uint16_t bits_at(const ConstTensorRef& tensor, std::int64_t element);

/// value to the nearest fp32. The double sum, product, quotient or root of fp32 values that is
/// rounded so is the fp32 one: with 53 bits the second rounding changes nothing.
float fp32(double value);

/// 0 if both are the same number or both nan, otherwise infinite; zeros have signs.
double difference(double got, double want);

}  // namespace weft::ops::moe_reference
