// SPDX-License-Identifier: Apache-2.0
#include "ops/contract.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "base/fractal_nz.h"

namespace weft::ops {
namespace {

struct ByteRange {
  std::uintptr_t begin = 0, end = 0;
};

std::uintptr_t fractal_nz_bytes(const ConstTensorRef& tensor) {
  const int rows_axis = tensor.fractal_nz_transposed() ? 1 : 0;
  return static_cast<std::uintptr_t>(
      FractalNz(tensor.dtype(), tensor.dim(rows_axis), tensor.dim(1 - rows_axis)).bytes());
}

ByteRange bytes_touched(const ConstTensorRef& tensor) {
  if (!tensor.given() || !tensor.data() || tensor.elements() == 0) return {};
  std::int64_t low = 0, high = 0;  // elements
  for (int i = 0; i < tensor.rank(); ++i) {
    const std::int64_t reach = (tensor.dim(i) - 1) * tensor.stride(i);
    (reach < 0 ? low : high) += reach;
  }
  const auto base = reinterpret_cast<std::uintptr_t>(tensor.data());
  if (tensor.format() == Format::kFractalNz) return {base, base + fractal_nz_bytes(tensor)};
  const int bits = info(tensor.dtype()).bits;
  return {base + static_cast<std::uintptr_t>(low * bits / 8),
          base + static_cast<std::uintptr_t>(((high + 1) * bits + 7) / 8)};
}

}  // namespace

std::string shape_text(const ConstTensorRef& tensor) {
  return fmt::format("({})", fmt::join(tensor.dims(), ", "));
}

bool overlap(const ConstTensorRef& a, const ConstTensorRef& b) {
  const ByteRange x = bytes_touched(a), y = bytes_touched(b);
  return x.begin < y.end && y.begin < x.end;
}

bool same_layout(const ConstTensorRef& a, const ConstTensorRef& b) {
  if (a.given() != b.given()) return false;
  if (!a.given()) return true;
  return a.dtype() == b.dtype() && a.format() == b.format() &&
         std::ranges::equal(a.dims(), b.dims()) && std::ranges::equal(a.strides(), b.strides());
}

bool is_empty(const ConstTensorRef& tensor) {
  return std::ranges::any_of(tensor.dims(), [](std::int64_t extent) { return extent == 0; });
}

// In floating point, where nothing overflows.
bool can_be_addressed(const ConstTensorRef& t) {
  double elements = 1, reach = 1;
  for (int i = 0; i < t.rank(); ++i) {
    const auto extent = static_cast<double>(std::max<std::int64_t>(t.dim(i), 1));
    elements *= extent;
    reach += (extent - 1) * std::fabs(static_cast<double>(t.stride(i)));
  }
  return std::max(elements, reach) < 0x1p57;  // of at most 64 bits
}

bool elements_are_apart(const ConstTensorRef& t) {
  if (is_empty(t)) return true;
  std::vector<std::pair<std::int64_t, std::int64_t>> axes;  // stride, extent
  for (int i = 0; i < t.rank(); ++i)
    if (t.dim(i) != 1) axes.emplace_back(std::abs(t.stride(i)), t.dim(i));
  std::ranges::sort(axes);
  std::int64_t span = 1;  // of the elements so far
  for (const auto& [stride, extent] : axes) {
    if (stride < span) return false;
    std::int64_t reach;
    if (__builtin_mul_overflow(extent - 1, stride, &reach) ||
        __builtin_add_overflow(span, reach, &span))
      return true;  // beyond all memory, and beyond the limits of extents
  }
  return true;
}

bool same_view(const ConstTensorRef& a, const ConstTensorRef& b) {
  return a.given() && a.data() == b.data() && same_layout(a, b);
}

void check_extents(Contract& c, std::span<const NamedTensor> tensors) {
  for (const auto& [name, tensor] : tensors) {
    c.rule(Rule::kNoAxes, !tensor.given() || tensor.rank() > 0, "{} has no dimensions", name);
    if (std::ranges::any_of(tensor.dims(), [](std::int64_t extent) { return extent < 0; }))
      c.rule(Rule::kShape, false, "{} is {} but no extent can be negative", name,
             shape_text(tensor));
  }
}

void check_as_planned(Contract& c, std::span<const NamedTensor> planned,
                      std::span<const NamedTensor> now) {
  for (size_t i = 0; i < now.size(); ++i) {
    const auto& [name, tensor] = now[i];
    // The texts are made only when they are needed: a run that is right allocates nothing.
    if (!same_layout(tensor, planned[i].tensor))
      c.rule(false, "{} is {} but {} was planned; plan again for another layout", name,
             to_string(tensor), to_string(planned[i].tensor));
    c.rule(Rule::kMissing, !tensor.given() || tensor.data() || tensor.elements() == 0,
           "{} has no data (null pointer)", name);
  }
}

void check_apart(Contract& c, const NamedTensor& output, std::span<const NamedTensor> others,
                 std::string_view may_share) {
  for (const auto& [name, tensor] : others) {
    if (name == output.name || !overlap(output.tensor, tensor)) continue;
    if (name == may_share)
      c.rule(same_view(output.tensor, tensor),
             "{} overlaps {}; only exactly {}'s memory may be shared with {}", output.name, name,
             name, output.name);
    else
      c.rule(false, "{} overlaps {}; give it memory of its own", output.name, name);
  }
}

}  // namespace weft::ops
