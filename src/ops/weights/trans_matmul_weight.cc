// SPDX-License-Identifier: Apache-2.0
// The size of a weight's FRACTAL_NZ image, and rewriting a weight as its image.
#include "ops/weights/trans_matmul_weight.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/context_state.h"
#include "base/fractal_nz.h"
#include "base/memory.h"
#include "ops/contract.h"
#include "ops/weights/fractal_nz.h"

namespace weft {
namespace {

using ops::invalid;

constexpr std::string_view kOp = "trans_matmul_weight";
constexpr int kMostAxes = 6;         // of a weight with an image
constexpr int kMostAxesOf16Bit = 3;  // that trans_matmul_weight takes; CANN's limits

Status check_weight(const ConstTensorRef& weight) {
  if (!weight.given()) return invalid(kOp, "weight is missing");
  if (!ops::has_fractal_nz(weight.dtype()))
    return invalid(kOp, fmt::format("weight is {} but must be float16, bfloat16 or int8",
                                    to_string(weight.dtype())));
  if (weight.format() != Format::kStrided)
    return invalid(kOp,
                   fmt::format("weight is {} already; pass it on as it is", to_string(weight)));
  if (std::ranges::any_of(weight.dims(), [](std::int64_t dim) { return dim < 0; }))
    return invalid(
        kOp, fmt::format("weight is {} but no dimension may be negative", ops::shape_text(weight)));
  if (weight.elements() == 0) return {};
  const int most = weight.dtype() == DType::kInt8 ? kMostAxes : kMostAxesOf16Bit;
  if (weight.rank() < 2 || weight.rank() > most)
    return invalid(
        kOp, fmt::format("weight is {} {}, {} axes, but must have 2 to {}; reshape it",
                         to_string(weight.dtype()), ops::shape_text(weight), weight.rank(), most));
  return {};
}

// The images of a tensor with more than two axes as one dense tensor: (…, chunks, rows / 16, 16,
// c0).
TensorRef storage_view(const TensorRef& weight) {
  const int last = weight.rank() - 1;
  const FractalNz layout(weight.dtype(), weight.dim(last - 1), weight.dim(last));
  std::vector<std::int64_t> dims(weight.dims().begin(), weight.dims().end() - 2);
  dims.insert(dims.end(), {layout.chunks, layout.rows / FractalNz::kRowMultiple,
                           FractalNz::kRowMultiple, layout.c0});
  return TensorRef(weight.data(), weight.dtype(), dims);
}

void copy(ThreadPool& pool, const std::byte* from, std::byte* to, std::int64_t bytes) {
  constexpr std::int64_t kPart = 1 << 20;
  pool.parallel_for(ceil_div(bytes, kPart), [&](std::int64_t part, int) {
    const std::int64_t begin = part * kPart;
    std::memcpy(to + begin, from + begin, static_cast<size_t>(std::min(kPart, bytes - begin)));
  });
}

}  // namespace

Result<std::int64_t> calculate_matmul_weight_size(std::span<const std::int64_t> dims, DType dtype) {
  constexpr std::string_view kSizeOp = "calculate_matmul_weight_size";
  if (dims.size() < 2 || dims.size() > kMostAxes)
    return invalid(kSizeOp,
                   fmt::format("dims has {} axes but must have 2 to {}; the last two are the "
                               "rows and columns of the weight",
                               dims.size(), kMostAxes));
  for (std::size_t i = 0; i < dims.size(); ++i)
    if (dims[i] <= 0)
      return invalid(kSizeOp,
                     fmt::format("dims[{}] is {} but must be at least 1; an empty weight has "
                                 "no image",
                                 i, dims[i]));
  if (!ops::has_fractal_nz(dtype))
    return invalid(kSizeOp, fmt::format("dtype is {} but must be float16, bfloat16 or int8",
                                        to_string(dtype)));
  return ops::fractal_nz_elements(kSizeOp, "dims", dims, dtype);
}

Result<std::int64_t> ops::check_trans_matmul_weight(const ConstTensorRef& weight) {
  WEFT_RETURN_IF_ERROR(check_weight(weight));
  if (is_empty(weight)) return 0;
  return fractal_nz_elements(kOp, "weight", weight.dims(), weight.dtype());
}

Result<TensorRef> trans_matmul_weight(Context& context, const TensorRef& weight,
                                      std::int64_t capacity) {
  WEFT_ASSIGN_OR_RETURN(const std::int64_t elements, ops::check_trans_matmul_weight(weight));
  if (elements == 0) return weight;
  if (!weight.data()) return invalid(kOp, "weight is missing");
  if (capacity < elements)
    return invalid(kOp, fmt::format("capacity is {} elements but the image of {} takes {}; "
                                    "allocate what calculate_matmul_weight_size says",
                                    capacity, to_string(ConstTensorRef(weight)), elements));
  // The image of one row overwrites other rows of the source, so it is made elsewhere first.
  const std::int64_t bytes = bytes_of(weight.dtype(), elements);
  WEFT_ASSIGN_OR_RETURN(const Buffer image,
                        Buffer::allocate(bytes, "the FRACTAL_NZ image of a weight"));
  ops::copy_to_fractal_nz(context.state().pool, weight, image.data());
  copy(context.state().pool, image.data(), static_cast<std::byte*>(weight.data()), bytes);
  if (weight.rank() > 2) return storage_view(weight);
  return TensorRef::fractal_nz(weight.data(), weight.dtype(), weight.dim(0), weight.dim(1));
}

}  // namespace weft
