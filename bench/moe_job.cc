// SPDX-License-Identifier: Apache-2.0
#include "moe_job.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "kernels/reduce/reduce.h"
#include "ops/row_work.h"
#include "random_bytes.h"
#include "report.h"

namespace weft::bench {

std::string MoeProblem::name(const std::string& section, const std::string& what) const {
  return fmt::format("{}/{}/{}/{} ranks {}x{} top-{} of {}", section, what, type, ranks, tokens,
                     hidden, top_k, experts);
}

DType MoeProblem::row_type() const { return dtype_from_name(type).value(); }

MoeJob::MoeJob(Team& team, const MoeProblem& problem, Options options)
    : team_(team), problem_(problem), options_(options), ranks_(static_cast<size_t>(team.ranks())) {
  team_.run([&](int rank) { prepare(rank); });
  // Two calls fault in the memory and fill the caches. The first tells how many rows there are.
  for (int i = 0; i < 2; ++i) {
    dispatch();
    if (options.combine) combine();
  }
  team_.run([&](int rank) { prepare_copy(rank); });
  copy();
}

void MoeJob::prepare(int rank) {
  const MoeProblem& p = problem_;
  RankJob& job = of(rank);
  MoeDispatchArgs& args = job.dispatch_args;
  args.experts.moe_expert_num = p.experts;
  const std::int64_t local = local_expert_num(args.experts, rank, team_.ranks());
  // What would arrive if every token had as many of this rank's experts as it can have.
  const std::int64_t room = team_.ranks() * p.tokens * std::min(p.top_k, local);
  args.x = make_random(job, {p.tokens, p.hidden}, static_cast<unsigned>(rank));
  const TensorRef ids = make(job, DType::kInt32, {p.tokens, p.top_k});
  const std::vector<std::int32_t> chosen = choose_experts(rank);
  std::memcpy(ids.data(), chosen.data(), chosen.size() * sizeof(std::int32_t));
  args.expert_ids = ids;
  args.expand_x = make(job, p.row_type(), {room, p.hidden});
  if (p.row_type() == DType::kInt8) args.dynamic_scales = make(job, DType::kFloat32, {room});
  args.assist_info_for_combine = make(job, DType::kInt32, {3 * room});
  args.expert_token_nums = make(job, DType::kInt64, {local});
  args.ep_recv_counts = make(job, DType::kInt32, {team_.ranks() * local});
  job.dispatch = std::make_unique<MoeDispatch>(
      require(MoeDispatch::plan(team_.context(rank), team_.group(rank), args)));
  if (options_.combine) prepare_combine(rank);
}

void MoeJob::prepare_combine(int rank) {
  const MoeProblem& p = problem_;
  RankJob& job = of(rank);
  MoeCombineArgs& args = job.combine_args.combine;
  args.expand_x = job.dispatch_args.expand_x;
  args.expert_ids = job.dispatch_args.expert_ids;
  args.assist_info_for_combine = job.dispatch_args.assist_info_for_combine;
  args.ep_send_counts = job.dispatch_args.ep_recv_counts;
  args.experts = job.dispatch_args.experts;
  const TensorRef scales = make(job, DType::kFloat32, {p.tokens, p.top_k});
  std::fill_n(static_cast<float*>(scales.data()), scales.elements(),
              1.f / static_cast<float>(p.top_k));
  args.expert_scales = scales;
  args.x = make(job, DType::kBFloat16, {p.tokens, p.hidden});
  job.combine_args.residual_x = make_random(job, {p.tokens, p.hidden}, 1000);
  job.combine_args.gamma = make_random(job, {p.hidden}, 1001);
  job.combine_args.y = make(job, DType::kBFloat16, {p.tokens, p.hidden});
  job.combine_args.rstd = make(job, DType::kFloat32, {p.tokens});
  job.combine = std::make_unique<MoeCombineAddRmsNorm>(require(
      MoeCombineAddRmsNorm::plan(team_.context(rank), team_.group(rank), job.combine_args)));
}

void MoeJob::prepare_copy(int rank) {
  RankJob& job = of(rank);
  const TensorRef& tensor = job.dispatch_args.ep_recv_counts;
  const std::span<const std::int32_t> sums(static_cast<const std::int32_t*>(tensor.data()),
                                           static_cast<size_t>(tensor.elements()));
  const std::int64_t rows = sums.back();
  std::int64_t staying = 0;  // of them, those of this rank's tokens
  for (size_t i = static_cast<size_t>(rank); i < sums.size(); i += ranks_.size())
    staying += sums[i] - (i > 0 ? sums[i - 1] : 0);
  const std::int64_t row_bytes = bytes_of(problem_.row_type(), problem_.hidden);
  const std::int64_t own_rows = problem_.tokens * problem_.top_k;
  job.bytes = options_.combine ? row_bytes * (2 * (rows - staying) + own_rows + 3 * problem_.tokens)
                               : row_bytes * (leaving_tokens(rank) + 2 * rows);
  for (Buffer* buffer : {&job.from, &job.to})
    *buffer = require(Buffer::allocate(job.bytes / 2, "copies"));
  fill_random(job.from.data(), job.bytes / 2, DType::kInt8, static_cast<unsigned>(rank));
}

std::vector<std::int32_t> MoeJob::choose_experts(int rank) const {
  std::mt19937 random(static_cast<unsigned>(rank));
  std::vector<std::int32_t> all(static_cast<size_t>(problem_.experts)), chosen;
  std::iota(all.begin(), all.end(), 0);
  for (std::int64_t token = 0; token < problem_.tokens; ++token) {
    std::ranges::shuffle(all, random);
    chosen.insert(chosen.end(), all.begin(), all.begin() + problem_.top_k);
  }
  return chosen;
}

// Those with an expert on another rank.
std::int64_t MoeJob::leaving_tokens(int rank) const {
  const std::int64_t local = problem_.experts / team_.ranks();
  const std::vector<std::int32_t> chosen = choose_experts(rank);
  std::int64_t leaving = 0;
  for (auto at = chosen.begin(); at != chosen.end(); at += problem_.top_k)
    leaving += std::any_of(at, at + problem_.top_k, [&](auto id) { return id / local != rank; });
  return leaving;
}

TensorRef MoeJob::make(RankJob& job, DType dtype, std::initializer_list<std::int64_t> dims) {
  const TensorRef shape(nullptr, dtype, dims);
  job.buffers.push_back(
      require(Buffer::allocate(bytes_of(dtype, shape.elements()), "operands of an MoE layer")));
  return TensorRef(job.buffers.back().data(), dtype, dims);
}

TensorRef MoeJob::make_random(RankJob& job, std::initializer_list<std::int64_t> dims,
                              unsigned seed) {
  const TensorRef tensor = make(job, DType::kBFloat16, dims);
  fill_random(tensor.data(), bytes_of(DType::kBFloat16, tensor.elements()), DType::kBFloat16, seed);
  return tensor;
}

double MoeJob::dispatch() {
  return team_.run([&](int rank) { require(of(rank).dispatch->run(of(rank).dispatch_args)); });
}

double MoeJob::combine() {
  return team_.run([&](int rank) { require(of(rank).combine->run(of(rank).combine_args)); });
}

double MoeJob::pair_steps(int count) {
  return team_.run([&](int rank) {
    for (int i = 0; i < count; ++i) {
      require(of(rank).dispatch->run(of(rank).dispatch_args));
      require(of(rank).combine->run(of(rank).combine_args));
    }
  }) / count;
}

double MoeJob::copy() {
  const reduction::CopyFn copy = reduction::select_copy(isa_in_use());
  return team_.run([&](int rank) {
    RankJob& job = of(rank);
    const bool stream = job.to.bytes() >= ops::kStreamBytes;
    copy(job.from.data(), job.to.data(), job.to.bytes(), stream);
    if (stream) reduction::stream_fence();
  });
}

Work MoeJob::work() const {
  const auto most = std::ranges::max_element(ranks_, {}, &RankJob::bytes);
  return {
      .bytes = static_cast<double>(most->bytes), .ranks = team_.ranks(), .cores = team_.cores()};
}

}  // namespace weft::bench
