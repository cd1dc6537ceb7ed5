// SPDX-License-Identifier: Apache-2.0
#include "unfused/unfused_moe.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/context_state.h"
#include "ops/row_work.h"
#include "weft/collectives.h"

namespace weft::bench {
namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

/// What the steps below do not know of.
Status check(const MoeDispatchArgs& dispatch, const MoeCombineAddRmsNormArgs& combine, int ranks) {
  const MoeExperts& e = dispatch.experts;
  const MoeExperts routed{.moe_expert_num = e.moe_expert_num};
  const auto dense = [](const ConstTensorRef& t) { return t.dense() || !t.given(); };
  if (e != routed || e.moe_expert_num % ranks != 0)
    return Status(StatusCode::kInvalidArgument,
                  "separate steps: every rank must have as many routed experts, and no others");
  if (dispatch.x_active_mask.given() || dispatch.expand_x.dtype() != dispatch.x.dtype())
    return Status(StatusCode::kInvalidArgument, "separate steps: no masks, no int8");
  const std::int64_t most =
      ranks * dispatch.x.dim(0) * std::min(e.moe_expert_num / ranks, dispatch.expert_ids.dim(1));
  if (dispatch.expand_x.dim(0) < most)
    return Status(StatusCode::kInvalidArgument,
                  "separate steps: expand_x must take the rows of any routing");
  for (const ConstTensorRef& tensor :
       {dispatch.x, dispatch.expert_ids, ConstTensorRef(dispatch.expand_x),
        combine.combine.expand_x, combine.combine.expert_scales, combine.combine.shared_expert_x,
        combine.residual_x, combine.gamma, ConstTensorRef(combine.combine.x),
        ConstTensorRef(combine.y), ConstTensorRef(combine.rstd)})
    if (!dense(tensor))
      return Status(StatusCode::kInvalidArgument, "separate steps: tensors must be dense");
  return {};
}

/// The add of the residual and the norm are one pass, as in most libraries.
AddRmsNormArgs norm_args(const MoeCombineAddRmsNormArgs& args) {
  const TensorRef& x = args.combine.x;
  const std::int64_t tokens = args.combine.expert_ids.dim(0), hidden = args.gamma.dim(0);
  const DType dtype = x.dtype();
  return {.x1 = {x.data(), dtype, {tokens, hidden}},
          .x2 = {args.residual_x.data(), dtype, {tokens, hidden}},
          .gamma = args.gamma,
          .epsilon = args.norm_eps,
          .y = {args.y.data(), dtype, {tokens, hidden}},
          .rstd = {args.rstd.data(), DType::kFloat32, {tokens, 1}},
          .x = {x.data(), dtype, {tokens, hidden}}};
}

void offsets_of(const std::vector<std::int64_t>& counts, std::vector<std::int64_t>& offsets) {
  std::exclusive_scan(counts.begin(), counts.end(), offsets.begin(), std::int64_t{0});
}

}  // namespace

Result<UnfusedMoe> UnfusedMoe::plan(Context& context, Group& group, const MoeDispatchArgs& dispatch,
                                    const MoeCombineAddRmsNormArgs& combine) {
  WEFT_RETURN_IF_ERROR(check(dispatch, combine, group.ranks()));
  WEFT_ASSIGN_OR_RETURN(AddRmsNorm norm, AddRmsNorm::plan(context, norm_args(combine)));
  UnfusedMoe moe(context, group, std::move(norm));
  moe.tokens_ = dispatch.x.dim(0);
  moe.hidden_ = dispatch.x.dim(1);
  moe.top_k_ = dispatch.expert_ids.dim(1);
  moe.row_bytes_ = bytes_of(dispatch.x.dtype(), moe.hidden_);
  moe.local_experts_ = dispatch.experts.moe_expert_num / group.ranks();
  moe.kernels_ = &rows::select(dispatch.x.dtype(), context.state().isa);
  moe.copy_ = reduction::select_copy(context.state().isa);
  WEFT_RETURN_IF_ERROR(moe.allocate(dispatch));
  return moe;
}

Status UnfusedMoe::allocate(const MoeDispatchArgs& args) {
  const std::int64_t entries = tokens_ * top_k_, rows = args.expand_x.dim(0);
  WEFT_ASSIGN_OR_RETURN(sent_, Buffer::allocate(entries * row_bytes_, "rows sent"));
  WEFT_ASSIGN_OR_RETURN(arrived_, Buffer::allocate(rows * row_bytes_, "rows that arrive"));
  sent_place_.resize(size(entries));
  expand_place_.resize(size(rows));
  for (auto* counts : {&sent_counts_, &arrived_counts_, &next_})
    counts->resize(size(args.experts.moe_expert_num));
  for (auto* parts : {&send_, &send_offsets_, &recv_, &recv_offsets_})
    parts->resize(size(group_->ranks()));
  terms_.resize(size(top_k_ * context_->threads()));
  return {};
}

template <typename Body>
void UnfusedMoe::for_rows(std::int64_t rows, const Body& body) const {
  ops::for_batches(*context_, rows, row_bytes_, body);
}

// Counting sort by expert; each entry gets a copy of its token.
void UnfusedMoe::sort(const MoeDispatchArgs& args) {
  const auto* const ids = static_cast<const std::int32_t*>(args.expert_ids.data());
  const std::int64_t entries = tokens_ * top_k_;
  std::ranges::fill(sent_counts_, 0);
  for (std::int64_t i = 0; i < entries; ++i) ++sent_counts_[size(ids[i])];
  offsets_of(sent_counts_, next_);
  for (std::int64_t i = 0; i < entries; ++i) sent_place_[size(i)] = next_[size(ids[i])]++;
  const auto* const x = static_cast<const std::byte*>(args.x.data());
  for_rows(tokens_, [&](std::int64_t t, int) {
    for (std::int64_t k = 0; k < top_k_; ++k)
      copy_(x + t * row_bytes_, sent_row(sent_place_[size(t * top_k_ + k)]), row_bytes_, false);
  });
}

void UnfusedMoe::count_parts() {
  for (int q = 0; q < group_->ranks(); ++q) {
    const auto rows = [&](const std::vector<std::int64_t>& counts) {
      const auto first = counts.begin() + q * local_experts_;
      return std::accumulate(first, first + local_experts_, std::int64_t{0});
    };
    send_[size(q)] = rows(sent_counts_) * hidden_;
    recv_[size(q)] = rows(arrived_counts_) * hidden_;
  }
  offsets_of(send_, send_offsets_);
  offsets_of(recv_, recv_offsets_);
  arrived_rows_ = (recv_offsets_.back() + recv_.back()) / hidden_;
}

Status UnfusedMoe::exchange(bool back, DType dtype) {
  if (back)
    return alltoallv(*context_, *group_, arrived_.data(), sent_.data(),
                     {recv_, recv_offsets_, send_, send_offsets_}, dtype);
  return alltoallv(*context_, *group_, sent_.data(), arrived_.data(),
                   {send_, send_offsets_, recv_, recv_offsets_}, dtype);
}

// From rows by source and expert to rows by expert and source.
void UnfusedMoe::sort_arrived(const MoeDispatchArgs& args) {
  auto* const nums = static_cast<std::int64_t*>(args.expert_token_nums.data());
  std::int64_t place = 0;
  for (std::int64_t local = 0; local < local_experts_; ++local) {
    const std::int64_t before = place;
    for (int s = 0; s < group_->ranks(); ++s) {
      const std::size_t block = size(s * local_experts_ + local);
      next_[block] = place;
      place += arrived_counts_[block];
    }
    nums[local] = args.tokens_are_ends ? place : place - before;
  }
  std::int64_t row = 0;
  for (std::size_t block = 0; block < next_.size(); ++block)
    for (std::int64_t i = 0; i < arrived_counts_[block]; ++i)
      expand_place_[size(row++)] = next_[block] + i;
  auto* const to = static_cast<std::byte*>(args.expand_x.data());
  const bool stream = arrived_rows_ * row_bytes_ >= ops::kStreamBytes;
  for_rows(arrived_rows_, [&](std::int64_t i, int) {
    copy_(arrived_row(i), to + expand_place_[size(i)] * row_bytes_, row_bytes_, stream);
  });
}

Status UnfusedMoe::dispatch(const MoeDispatchArgs& args) {
  sort(args);
  WEFT_RETURN_IF_ERROR(alltoall(*context_, *group_, sent_counts_.data(), arrived_counts_.data(),
                                local_experts_, DType::kInt64));
  count_parts();
  WEFT_RETURN_IF_ERROR(exchange(false, args.x.dtype()));
  sort_arrived(args);
  return {};
}

void UnfusedMoe::weighted_sum(const MoeCombineArgs& args) {
  const auto* const scales = static_cast<const float*>(args.expert_scales.data());
  auto* const x = static_cast<std::byte*>(args.x.data());
  for_rows(tokens_, [&](std::int64_t t, int thread) {
    rows::Term* const terms = terms_.data() + thread * top_k_;
    for (std::int64_t k = 0; k < top_k_; ++k)
      terms[k] = {sent_row(sent_place_[size(t * top_k_ + k)]), scales[t * top_k_ + k]};
    kernels_->weighted_sum_row({.terms = terms,
                                .count = static_cast<int>(top_k_),
                                .n = hidden_,
                                .dst = x + t * row_bytes_,
                                .store = rows::Store::kPlain});
  });
}

void UnfusedMoe::add_shared(const MoeCombineArgs& args) {
  auto* const x = static_cast<std::byte*>(args.x.data());
  const auto* const shared = static_cast<const std::byte*>(args.shared_expert_x.data());
  for_rows(tokens_, [&](std::int64_t t, int) {
    const void* const both[] = {x + t * row_bytes_, shared + t * row_bytes_};
    kernels_->sum_rows({both, 2, hidden_, x + t * row_bytes_, rows::Store::kPlain});
  });
}

Status UnfusedMoe::combine(const MoeCombineAddRmsNormArgs& args) {
  const auto* const from = static_cast<const std::byte*>(args.combine.expand_x.data());
  for_rows(arrived_rows_, [&](std::int64_t i, int) {
    copy_(from + expand_place_[size(i)] * row_bytes_, arrived_row(i), row_bytes_, false);
  });
  WEFT_RETURN_IF_ERROR(exchange(true, args.combine.expand_x.dtype()));
  weighted_sum(args.combine);
  if (args.combine.shared_expert_x.given()) add_shared(args.combine);
  return norm_.run(norm_args(args));
}

}  // namespace weft::bench
