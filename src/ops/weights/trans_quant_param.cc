// SPDX-License-Identifier: Apache-2.0
// Packed dequantisation scales. The word is what CANN's hardware reads:
//   bits 0 - 31: an fp32 with 10 bits of mantissa   37 - 45: the offset, two's complement   46: one
#include "ops/weights/trans_quant_param.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "ops/contract.h"
#include "ops/weights/fractal_nz.h"

namespace weft {
namespace {

using ops::invalid;

constexpr std::string_view kOp = "trans_quant_param";
constexpr std::uint32_t kDroppedBits = 0x1fff;  // the low 13 of 23 bits of mantissa
constexpr std::uint32_t kExponent = 0x7f800000, kSign = 0x80000000;
constexpr std::uint64_t kAlwaysOne = std::uint64_t{1} << 46;
constexpr int kOffsetBit = 37;
constexpr float kLeastOffset = -256, kMostOffset = 255;  // nine bits

std::uint32_t shorten(float scale, QuantParamRound round) {
  const auto bits = std::bit_cast<std::uint32_t>(scale);
  const std::uint32_t exponent = bits & kExponent;
  if (round == QuantParamRound::kTruncate || exponent == kExponent) return bits & ~kDroppedBits;
  if (exponent == 0) return bits & kSign;
  // Half of the last place kept, ties to even; a carry goes on into the exponent, up to infinity.
  const std::uint32_t lowest_kept = bits >> 13 & 1;
  return (bits + (kDroppedBits >> 1) + lowest_kept) & ~kDroppedBits;
}

std::uint64_t pack_offset(float offset) {
  if (std::isnan(offset)) return 0;
  const auto nearest =
      static_cast<std::int64_t>(std::nearbyint(std::clamp(offset, kLeastOffset, kMostOffset)));
  return (static_cast<std::uint64_t>(nearest) & 0x1ff) << kOffsetBit;
}

// The last axis of (t) or (1, t).
std::int64_t length(const ConstTensorRef& t) { return t.dim(t.rank() - 1); }

Status check_vector(std::string_view name, const ConstTensorRef& t) {
  if (!t.given()) return invalid(kOp, fmt::format("{} is missing", name));
  if (t.format() != Format::kStrided || t.rank() < 1 || t.rank() > 2 ||
      (t.rank() == 2 && t.dim(0) != 1))
    return invalid(kOp, fmt::format("{} is {} but must be (t) or (1, t)", name, to_string(t)));
  if (length(t) < 1)
    return invalid(
        kOp, fmt::format("{} is {} but must have at least one element", name, ops::shape_text(t)));
  return {};
}

Status check_memory(std::string_view name, const ConstTensorRef& t) {
  if (!t.given() || t.data()) return {};
  return invalid(kOp, fmt::format("{} has no memory", name));
}

Status check_float32(std::string_view name, const ConstTensorRef& t) {
  if (t.dtype() == DType::kFloat32) return {};
  return invalid(kOp, fmt::format("{} is {} but must be float32", name, to_string(t.dtype())));
}

// Element j of a vector whose single element may stand for all.
float value_at(const ConstTensorRef& vector, std::int64_t j) {
  const std::int64_t index = length(vector) == 1 ? 0 : j * vector.stride(vector.rank() - 1);
  float value;
  std::memcpy(&value, static_cast<const std::byte*>(vector.data()) + index * 4, sizeof(value));
  return value;
}

}  // namespace

Status ops::check_trans_quant_param(const ConstTensorRef& scale, const ConstTensorRef& offset,
                                    const ConstTensorRef& out, QuantParamRound round) {
  WEFT_RETURN_IF_ERROR(check_vector("scale", scale));
  WEFT_RETURN_IF_ERROR(check_float32("scale", scale));
  std::int64_t t = length(scale);
  if (offset.given()) {
    WEFT_RETURN_IF_ERROR(check_vector("offset", offset));
    WEFT_RETURN_IF_ERROR(check_float32("offset", offset));
    if (length(offset) != t && length(offset) != 1 && t != 1)
      return invalid(kOp, fmt::format("scale is {} but offset is {}; give both the same length, or "
                                      "one of them one element",
                                      ops::shape_text(scale), ops::shape_text(offset)));
    t = std::max(t, length(offset));
  }
  WEFT_RETURN_IF_ERROR(check_vector("out", out));
  if (out.dtype() != DType::kUInt64 && out.dtype() != DType::kInt64)
    return invalid(kOp,
                   fmt::format("out is {} but must be uint64 or int64", to_string(out.dtype())));
  if (length(out) != t)
    return invalid(
        kOp, fmt::format("out is {} but must be ({}) or (1, {})", ops::shape_text(out), t, t));
  if (t > 1 && out.stride(out.rank() - 1) == 0)
    return invalid(kOp, fmt::format("out has stride 0 over {} elements; give it memory for each of "
                                    "them",
                                    t));
  for (const auto& [name, in] : {std::pair{"scale", scale}, std::pair{"offset", offset}})
    if (ops::overlap(in, out))
      return invalid(kOp, fmt::format("{} and out overlap in memory; give out its own", name));
  if (round != QuantParamRound::kTruncate && round != QuantParamRound::kNearest)
    return invalid(kOp, fmt::format("round is {} but must be 0 (truncate) or 1 (nearest)",
                                    static_cast<int>(round)));
  return {};
}

Status trans_quant_param(const ConstTensorRef& scale, const ConstTensorRef& offset,
                         const TensorRef& out, QuantParamRound round) {
  WEFT_RETURN_IF_ERROR(ops::check_trans_quant_param(scale, offset, out, round));
  WEFT_RETURN_IF_ERROR(check_memory("scale", scale));
  WEFT_RETURN_IF_ERROR(check_memory("offset", offset));
  WEFT_RETURN_IF_ERROR(check_memory("out", out));
  const std::int64_t t = length(out), stride = out.stride(out.rank() - 1);
  for (std::int64_t j = 0; j < t; ++j) {
    const std::uint64_t word = shorten(value_at(scale, j), round) | kAlwaysOne |
                               (offset.given() ? pack_offset(value_at(offset, j)) : 0);
    std::memcpy(static_cast<std::byte*>(out.data()) + j * stride * 8, &word, sizeof(word));
  }
  return {};
}

}  // namespace weft
