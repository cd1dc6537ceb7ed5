// SPDX-License-Identifier: Apache-2.0
#include "aclnn_moe_first_version.h"

#include <fmt/core.h>

#include "ops/contract.h"
#include "ops/moe_dispatch/contract.h"

namespace weft::cann {

void write_places(const MoeDispatchArgs& a, std::int32_t* places) {
  const std::int64_t tokens = a.expert_ids.dim(0), k = a.expert_ids.dim(1);
  const ConstTensorRef& mask = a.x_active_mask;
  const auto set = [&](std::int64_t t, std::int64_t slot) {
    const std::int64_t at = t * mask.stride(0) + (mask.rank() == 2 ? slot * mask.stride(1) : 0);
    return static_cast<const std::uint8_t*>(mask.data())[at] != 0;
  };
  std::int64_t first = tokens;  // tokens of a mask with one axis that are active
  if (mask.given() && mask.rank() == 1) {
    first = 0;
    for (std::int64_t t = 0; t < tokens; ++t) first += set(t, 0);
  }
  const auto* ids = static_cast<const std::int32_t*>(a.expert_ids.data());
  std::vector<std::int32_t> sent(static_cast<std::size_t>(a.experts.moe_expert_num));
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t slot = 0; slot < k; ++slot) {
      const std::int64_t id = ids[t * a.expert_ids.stride(0) + slot * a.expert_ids.stride(1)];
      const bool known = id >= 0 && id < a.experts.moe_expert_num;
      std::int32_t none = 0;
      std::int32_t& before = known ? sent[static_cast<std::size_t>(id)] : none;
      *places++ = before;
      if (mask.given() && mask.rank() == 2 ? set(t, slot) : t < first) ++before;
    }
}

void cut_own_tokens(std::int32_t* counts, std::int64_t slices, std::int64_t rank) {
  const std::int64_t own = counts[slices - 1];
  for (std::int64_t i = 0; i < slices; ++i)
    counts[i] = static_cast<std::int32_t>((i + 1 + rank) * own / slices - rank * own / slices);
}

void Route::prepare(MoeCombineArgs& combine, std::int64_t local_experts, int ranks, bool tp) {
  const std::int64_t rows = combine.expand_x.dim(0), halves = tp ? 2 : 1;
  const std::int64_t sums = ranks * local_experts;
  const DType dtype = combine.expand_x.dtype();
  const auto room = [](auto& vector, std::int64_t elements, DType of) {
    vector.resize(static_cast<std::size_t>(elements));
    return TensorRef(vector.data(), of, {elements});
  };
  rows_at_ = static_cast<std::size_t>(sums) - 1;
  MoeDispatchArgs& a = native_.args;
  a.x = ConstTensorRef(nullptr, dtype, {combine.expert_ids.dim(0), 0});
  a.expert_ids = combine.expert_ids;
  a.x_active_mask = combine.x_active_mask;
  a.experts = combine.experts;
  a.expand_x = TensorRef(nullptr, dtype, {rows, 0});
  a.assist_info_for_combine = room(assist_, 3 * rows, DType::kInt32);
  a.expert_token_nums = room(nums_, local_experts, DType::kInt64);
  a.ep_recv_counts = room(counts_, halves * sums, DType::kInt32);
  if (tp) a.tp_recv_counts = room(tp_counts_, 2, DType::kInt32);
  combine.assist_info_for_combine = a.assist_info_for_combine;
  combine.ep_send_counts = a.ep_recv_counts;
  combine.tp_send_counts = a.tp_recv_counts;
}

Status Route::check_plan(int rank, int ranks, bool tp) const {
  return ops::check_plan(native_.args, rank, ranks, tp);
}

Status Route::check_run(int rank) const {
  ops::Contract contract(ops::kMoeDispatch, rank);
  contract.rule(ops::Rule::kMissing, ep_send_counts.data() != nullptr,
                "epSendCounts has no data (null pointer)");
  return contract.status();
}

Status Route::plan(const MoeTask& task) {
  return native_.plan(task, native_.args.expert_ids.dim(0));
}

Status Route::run() {
  WEFT_RETURN_IF_ERROR(native_.run());
  const std::int32_t rows = counts_[rows_at_];
  const std::int32_t given = static_cast<const std::int32_t*>(ep_send_counts.data())[rows_at_];
  if (given == rows) return {};
  return Status(
      StatusCode::kInvalidArgument,
      fmt::format("combine: epSendCounts says that this rank has {} rows, but by expertIds "
                  "of all ranks it has {}; pass what the same dispatch was given and gave",
                  given, rows));
}

}  // namespace weft::cann
