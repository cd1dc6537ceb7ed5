// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_combine_add_rmsnorm/reference.h"

#include <cmath>
#include <limits>
#include <vector>

#include "ops/moe_combine/reference.h"
#include "ops/moe_reference.h"

namespace weft::ops {
namespace {

using namespace moe_reference;

std::vector<MoeCombineArgs> combines(std::span<const MoeCombineAddRmsNormArgs> ranks) {
  std::vector<MoeCombineArgs> all;
  for (const MoeCombineAddRmsNormArgs& args : ranks) all.push_back(args.combine);
  return all;
}

// The squares overflow in fp32 where double goes on; 1 / sqrt is 0 then.
double exact_rstd(const std::vector<float>& f, float epsilon) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  double squares = 0, largest = 0;
  for (const float value : f) {
    const double square = static_cast<double>(value) * value;
    squares += square;
    if (square > largest) largest = square;
  }
  const double mean = squares / static_cast<double>(f.size());
  if (std::isnan(mean)) return mean;
  if (largest > kLargest || mean > kLargest) return 0;
  return 1 / std::sqrt(mean + epsilon);
}

}  // namespace

RowError check_row(std::span<const MoeCombineAddRmsNormArgs> ranks, int rank, std::int64_t token,
                   std::span<const MoeCombineAddRmsNormArgs> pair) {
  RowError error;
  const MoeCombineAddRmsNormArgs& args = ranks[static_cast<std::size_t>(rank)];
  if (!reference_active(args.combine, token)) return error;
  std::vector<float> f = reference_sum(combines(ranks), rank, token, combines(pair));
  const ConstTensorRef x = args.combine.x, y = args.y, rstd = args.rstd;
  if (std::ssize(f) != x.dim(x.rank() - 1)) error.add(HUGE_VAL, "assist_info_for_combine");

  const DType type = x.dtype();
  const std::int64_t x_at = row_index(x, token), y_at = row_index(y, token),
                     residual_at = row_index(args.residual_x, token);
  const auto place = [](std::size_t i) { return static_cast<std::int64_t>(i); };
  for (std::size_t i = 0; i < f.size(); ++i) {
    f[i] = fp32(static_cast<double>(f[i]) + element_value(args.residual_x, residual_at + place(i)));
    error.add(difference(element_value(x, x_at + place(i)), round_to(type, f[i])), "x");
  }
  const double root = element_value(rstd, token), want = exact_rstd(f, args.norm_eps);
  error.add(share_of_bound(root, want, 2e-6 * want + 0x1p-149, HUGE_VAL), "rstd");
  for (std::size_t i = 0; i < f.size(); ++i) {
    const double normalised = round_to(type, fp32(f[i] * root));
    const double gamma = element_value(args.gamma, place(i) * args.gamma.stride(0));
    error.add(
        difference(element_value(y, y_at + place(i)), round_to(type, fp32(normalised * gamma))),
        "y");
  }
  return error;
}

}  // namespace weft::ops
