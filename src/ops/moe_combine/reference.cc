// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_combine/reference.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "ops/moe_reference.h"

namespace weft::ops {
namespace {

using namespace moe_reference;

using Row = std::vector<float>;

const MoeCombineArgs& at(std::span<const MoeCombineArgs> ranks, std::int64_t rank) {
  return ranks[static_cast<std::size_t>(rank)];
}

double sum(float a, float b) { return static_cast<double>(a) + static_cast<double>(b); }
double product(float a, float b) { return static_cast<double>(a) * static_cast<double>(b); }

/// Rows that the experts of `rank` got, without those of its pair.
std::int64_t own_rows(const MoeCombineArgs& args, int rank, std::size_t ranks) {
  const auto count = static_cast<std::int64_t>(ranks);
  const std::int64_t blocks = count * local_experts(args.experts, rank, count);
  return blocks == 0 ? 0 : integer_at(args.ep_send_counts, blocks - 1);
}

Row row_of(const ConstTensorRef& tensor, std::int64_t row) {
  Row values;
  const std::int64_t begin = row_index(tensor, row), h = tensor.dim(tensor.rank() - 1);
  for (std::int64_t i = 0; i < h; ++i) values.push_back(float_at(tensor, begin + i));
  return values;
}

float rounded(DType type, double value) { return static_cast<float>(round_to(type, value)); }

/// What a row is after its way as int8.
Row after_int8(const Row& row, DType type) {
  Row result;
  for (std::size_t begin = 0; begin < row.size(); begin += 8) {
    const std::size_t end = std::min(begin + 8, row.size());
    float largest = 0;
    for (std::size_t i = begin; i < end; ++i) largest = std::max(largest, std::fabs(row[i]));
    const float g = fp32(product(largest, 1.0f / 127.0f));
    for (std::size_t i = begin; i < end; ++i) {
      const double quotient = fp32(static_cast<double>(row[i]) / static_cast<double>(g));
      const double q =
          std::isnan(quotient) || largest == 0
              ? 0
              : std::clamp(std::nearbyint(round_to(DType::kFloat16, quotient)), -128.0, 127.0);
      result.push_back(rounded(type, fp32(q * round_to(type, static_cast<double>(g)))));
    }
  }
  return result;
}

/// P: what rank `from` made of its row `row`, as the token's rank gets it.
Row returned(std::span<const MoeCombineArgs> ranks, int from, std::int64_t row,
             std::span<const MoeCombineArgs> pair) {
  const MoeCombineArgs& args = at(ranks, from);
  const DType type = args.expand_x.dtype();
  Row values = row_of(args.expand_x, row);
  if (args.int8_communication) values = after_int8(values, type);
  if (pair.empty()) return values;
  const MoeCombineArgs& other = at(pair, from);
  const Row shard = row_of(other.expand_x, own_rows(other, from, pair.size()) + row);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = rounded(type, fp32(sum(values[i], shard[i])));
  return values;
}

/// Every slot's row of one token; those that no triple names have none.
std::vector<std::optional<Row>> returned_rows(std::span<const MoeCombineArgs> ranks, int rank,
                                              std::int64_t token,
                                              std::span<const MoeCombineArgs> pair) {
  const MoeCombineArgs& args = at(ranks, rank);
  std::vector<std::optional<Row>> slots(
      static_cast<std::size_t>(args.expert_ids.dim(1) + args.experts.shared_expert_num));
  for (int from = 0; from < static_cast<int>(ranks.size()); ++from) {
    const MoeCombineArgs& sender = at(ranks, from);
    const std::int64_t rows = own_rows(sender, from, ranks.size());
    for (std::int64_t row = 0; row < rows; ++row) {
      const ConstTensorRef& triples = sender.assist_info_for_combine;
      if (integer_at(triples, 3 * row) != rank || integer_at(triples, 3 * row + 1) != token)
        continue;
      slots[static_cast<std::size_t>(integer_at(triples, 3 * row + 2))] =
          returned(ranks, from, row, pair);
    }
  }
  return slots;
}

/// What copy and const experts return.
Row returned_by_special(const MoeCombineArgs& args, const Expert& expert, std::int64_t token) {
  Row values = row_of(args.ori_x, token);
  if (expert.kind == Kind::kCopy) return values;
  const std::int64_t h = std::ssize(values);
  const Row v = row_of(args.const_expert_v, expert.index);
  const auto alpha = [&](const ConstTensorRef& t, std::int64_t i) {
    return float_at(t, t.rank() == 1 ? expert.index : expert.index * h + i);
  };
  for (std::int64_t i = 0; i < h; ++i) {
    const auto j = static_cast<std::size_t>(i);
    const float first = fp32(product(alpha(args.const_expert_alpha_1, i), values[j]));
    const float second = fp32(product(alpha(args.const_expert_alpha_2, i), v[j]));
    values[j] = fp32(sum(first, second));
  }
  return values;
}

void add(Row& total, const Row& row) {
  for (std::size_t i = 0; i < total.size(); ++i) total[i] = fp32(sum(total[i], row[i]));
}
void add_weighted(Row& total, const Row& row, float weight) {
  for (std::size_t i = 0; i < total.size(); ++i)
    total[i] = fp32(sum(total[i], fp32(product(row[i], weight))));
}

}  // namespace

bool reference_active(const MoeCombineArgs& args, std::int64_t token) {
  return Activity(args.x_active_mask, args.expert_ids).token(token);
}

std::vector<float> reference_sum(std::span<const MoeCombineArgs> ranks, int rank,
                                 std::int64_t token, std::span<const MoeCombineArgs> pair) {
  const MoeCombineArgs& args = at(ranks, rank);
  const Activity active(args.x_active_mask, args.expert_ids);
  const std::vector<std::optional<Row>> rows = returned_rows(ranks, rank, token, pair);
  const std::int64_t slots = args.expert_ids.dim(1);
  Row total(static_cast<std::size_t>(args.expand_x.dim(1)), 0.0f);
  for (std::int64_t k = 0; k < slots; ++k) {
    const Expert expert = expert_of(args.experts, integer_at(args.expert_ids, token, k));
    if (!active.entry(token, k) || expert.kind == Kind::kNone || expert.kind == Kind::kZero)
      continue;
    const float weight = float_at(args.expert_scales, token * args.expert_scales.stride(0) +
                                                          k * args.expert_scales.stride(1));
    const std::optional<Row>& row = rows[static_cast<std::size_t>(k)];
    if (expert.kind != Kind::kRouted)
      add_weighted(total, returned_by_special(args, expert, token), weight);
    else if (row)
      add_weighted(total, *row, weight);
    else
      return {};
  }
  for (std::size_t j = static_cast<std::size_t>(slots); j < rows.size(); ++j) {
    if (!rows[j]) return {};
    add(total, *rows[j]);
  }
  if (args.shared_expert_x.given()) add(total, row_of(args.shared_expert_x, token));
  return total;
}

RowError check_row(std::span<const MoeCombineArgs> ranks, int rank, std::int64_t token,
                   std::span<const MoeCombineArgs> pair) {
  RowError error;
  const MoeCombineArgs& args = at(ranks, rank);
  if (!reference_active(args, token)) return error;
  const std::vector<float> want = reference_sum(ranks, rank, token, pair);
  const Row got = row_of(args.x, token);
  if (want.size() != got.size()) error.add(HUGE_VAL, "assist_info_for_combine");
  for (std::size_t i = 0; i < want.size(); ++i)
    error.add(difference(got[i], rounded(args.x.dtype(), want[i])), "x");
  return error;
}

}  // namespace weft::ops
