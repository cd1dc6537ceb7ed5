// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_reference.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "ops/reference_bounds.h"

namespace weft::ops::moe_reference {
namespace {

template <typename Number>
Number load(const void* data, std::int64_t index) {
  Number number;
  std::memcpy(
      &number,
      static_cast<const std::byte*>(data) + index * static_cast<std::int64_t>(sizeof(Number)),
      sizeof(Number));
  return number;
}

std::int64_t load_integer(const ConstTensorRef& tensor, std::int64_t index) {
  return tensor.dtype() == DType::kInt64 ? load<std::int64_t>(tensor.data(), index)
                                         : load<std::int32_t>(tensor.data(), index);
}

}  // namespace

Activity::Activity(const ConstTensorRef& mask, const ConstTensorRef& expert_ids)
    : k_(expert_ids.dim(1)) {
  const std::int64_t tokens = expert_ids.dim(0);
  entries_.assign(static_cast<std::size_t>(tokens * k_), !mask.given());
  tokens_.assign(static_cast<std::size_t>(tokens), !mask.given());
  if (!mask.given()) return;
  std::int64_t ones = 0;
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t k = 0; k < (mask.rank() == 1 ? 1 : k_); ++k) {
      const std::int64_t at = t * mask.stride(0) + (mask.rank() == 1 ? 0 : k * mask.stride(1));
      if (element_value(mask, at) == 0) continue;
      ++ones;
      if (mask.rank() == 1) continue;
      entries_[static_cast<std::size_t>(t * k_ + k)] = true;
      tokens_[static_cast<std::size_t>(t)] = true;
    }
  if (mask.rank() != 1) return;
  for (std::int64_t t = 0; t < ones; ++t) {
    tokens_[static_cast<std::size_t>(t)] = true;
    for (std::int64_t k = 0; k < k_; ++k) entries_[static_cast<std::size_t>(t * k_ + k)] = true;
  }
}

std::int64_t first_expert(const MoeExperts& experts, std::int64_t i, std::int64_t count) {
  return i * experts.moe_expert_num / count;
}

std::int64_t local_experts(const MoeExperts& experts, int rank, std::int64_t ranks) {
  const std::int64_t shared = experts.shared_expert_rank_num;
  if (rank < shared) return 1;
  return first_expert(experts, rank - shared + 1, ranks - shared) -
         first_expert(experts, rank - shared, ranks - shared);
}

bool goes_to_shared(const MoeExperts& experts, std::int64_t source, std::int64_t token,
                    std::int64_t tokens, std::int64_t rank) {
  const std::int64_t shared = experts.shared_expert_rank_num;
  if (experts.shared_tokens == SharedTokens::kBySource) {
    const std::int64_t replicas = shared / experts.shared_expert_num;
    return source % replicas == rank % replicas;
  }
  if (source < shared) return source == rank;
  const std::int64_t before = source * tokens / shared;
  return token >= (rank + source) * tokens / shared - before &&
         token < (rank + 1 + source) * tokens / shared - before;
}

Expert expert_of(const MoeExperts& experts, std::int64_t id) {
  const std::pair<Kind, std::int64_t> kinds[] = {{Kind::kRouted, experts.moe_expert_num},
                                                 {Kind::kZero, experts.zero_expert_num},
                                                 {Kind::kCopy, experts.copy_expert_num},
                                                 {Kind::kConst, experts.const_expert_num}};
  if (id < 0) return {Kind::kNone, 0};
  for (const auto& [kind, count] : kinds) {
    if (id < count) return {kind, id};
    id -= count;
  }
  return {Kind::kNone, 0};
}

std::int64_t integer_at(const ConstTensorRef& vector, std::int64_t index) {
  return load_integer(vector, index * vector.stride(0));
}
std::int64_t integer_at(const ConstTensorRef& matrix, std::int64_t i, std::int64_t j) {
  return load_integer(matrix, i * matrix.stride(0) + j * matrix.stride(1));
}
float float_at(const ConstTensorRef& tensor, std::int64_t element) {
  return static_cast<float>(element_value(tensor, element));
}
std::uint16_t bits_at(const ConstTensorRef& tensor, std::int64_t element) {
  return load<std::uint16_t>(tensor.data(), element);
}

float fp32(double value) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  if (std::fabs(value) >= kLargest + 0x1p103)  // half a step above it
    return std::copysign(std::numeric_limits<float>::infinity(),
                         static_cast<float>(value > 0) - 0.5f);
  return static_cast<float>(value);
}

double difference(double got, double want) {
  const bool same =
      std::isnan(got) ? std::isnan(want) : got == want && std::signbit(got) == std::signbit(want);
  return same ? 0 : HUGE_VAL;
}

}  // namespace weft::ops::moe_reference
