// SPDX-License-Identifier: Apache-2.0
#include "ops/collectives/reducer.h"

#include <algorithm>
#include <iterator>

namespace weft {

std::string_view to_string(ReduceOp op) {
  constexpr std::string_view kNames[] = {"sum", "prod", "max", "min", "avg", "band", "bor", "bxor"};
  static_assert(std::size(kNames) == reduction::kOps);
  return kNames[static_cast<int>(op)];
}

}  // namespace weft

namespace weft::ops {
namespace {

constexpr bool equal(ReduceOp a, reduction::Op b) {
  return static_cast<int>(a) == static_cast<int>(b);
}
static_assert(
    equal(ReduceOp::kSum, reduction::Op::kSum) && equal(ReduceOp::kProd, reduction::Op::kProd) &&
    equal(ReduceOp::kMax, reduction::Op::kMax) && equal(ReduceOp::kMin, reduction::Op::kMin) &&
    equal(ReduceOp::kAvg, reduction::Op::kAvg) && equal(ReduceOp::kBand, reduction::Op::kBand) &&
    equal(ReduceOp::kBor, reduction::Op::kBor) && equal(ReduceOp::kBxor, reduction::Op::kBxor));

bool is_half(DType type) { return type == DType::kFloat16 || type == DType::kBFloat16; }

// Whose arithmetic it is.
const reduction::Kernels* kernels_of(DType type, isa::Set isa) {
  return reduction::select(is_half(type) ? DType::kFloat32 : type, isa);
}

}  // namespace

bool Reducer::reducible(DType type, ReduceOp op) {
  const reduction::Kernels* kernels = kernels_of(type, isa::kScalar);
  return kernels && kernels->reduce[static_cast<int>(op)];
}

Reducer::Reducer(DType type, ReduceOp op, isa::Set isa)
    : element_bytes_(info(type).bits / 8), op_(op) {
  if (is_half(type)) rows_ = &rows::select(type, isa);
  reduce_ = kernels_of(type, isa)->reduce[static_cast<int>(op)];
}

void Reducer::operator()(const void* const* src, int count, std::int64_t bytes, void* dst,
                         bool stream) const {
  const std::int64_t n = bytes / element_bytes_;
  if (!rows_) return reduce_({src, count, n, dst, stream});
  if (op_ != ReduceOp::kSum && op_ != ReduceOp::kAvg) return reduce_widened(src, count, n, dst);
  rows_->sum_rows({.src = src,
                   .count = count,
                   .n = n,
                   .dst = dst,
                   .store = stream ? rows::Store::kStream : rows::Store::kPlain,
                   .factor = op_ == ReduceOp::kAvg ? 1.0f / static_cast<float>(count) : 1.0f});
}

// Stays in the first-level cache: two blocks of floats, and as many elements of every rank.
void Reducer::reduce_widened(const void* const* src, int count, std::int64_t n, void* dst) const {
  constexpr std::int64_t kBlock = 1024;
  alignas(64) float sum[kBlock];
  alignas(64) float next[kBlock];
  const void* const both[] = {sum, next};
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t size = std::min(kBlock, n - begin);
    const auto at = [&](int r) { return static_cast<const std::uint16_t*>(src[r]) + begin; };
    rows_->widen(at(0), sum, size);
    for (int r = 1; r < count; ++r) {
      rows_->widen(at(r), next, size);
      reduce_({both, 2, size, sum, false});
    }
    rows_->narrow(sum, static_cast<std::uint16_t*>(dst) + begin, size);
  }
}

}  // namespace weft::ops
