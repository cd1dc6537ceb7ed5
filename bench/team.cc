// SPDX-License-Identifier: Apache-2.0
#include "team.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/peak/peak.h"
#include "operators/operator.h"

namespace weft::bench {

void require(const Status& status) {
  if (status.ok()) return;
  fmt::print(stderr, "weft_bench: {}\n", status.to_string());
  std::exit(1);
}

Team::Team(int ranks, int threads_per_rank)
    : groups_(require(Group::local(ranks))),
      contexts_(static_cast<size_t>(ranks)),
      begin_ns_(static_cast<size_t>(ranks)),
      end_ns_(static_cast<size_t>(ranks)),
      barrier_(ranks + 1) {
  for (int rank = 0; rank < ranks; ++rank)
    threads_.emplace_back([this, rank, threads_per_rank] { serve(rank, threads_per_rank); });
  barrier_.arrive_and_wait();  // contexts are there
}

Team::~Team() {
  stop_ = true;
  barrier_.arrive_and_wait();
  for (std::thread& thread : threads_) thread.join();
}

void Team::serve(int rank, int threads_per_rank) {
  ContextOptions options;
  options.threads = threads_per_rank;
  options.local_ranks = static_cast<int>(groups_.size());
  options.local_rank = rank;
  options.pin_threads = true;
  auto context = std::make_unique<Context>(require(Context::create(options)));
  contexts_[static_cast<size_t>(rank)] = std::move(context);
  barrier_.arrive_and_wait();
  while (true) {
    barrier_.arrive_and_wait();
    if (stop_) return;
    begin_ns_[static_cast<size_t>(rank)] = trace_now_ns();
    (*body_)(rank);
    end_ns_[static_cast<size_t>(rank)] = trace_now_ns();
    barrier_.arrive_and_wait();
  }
}

double Team::run(const std::function<void(int)>& body) {
  body_ = &body;
  barrier_.arrive_and_wait();
  barrier_.arrive_and_wait();
  const std::int64_t begin = *std::ranges::min_element(begin_ns_);
  return static_cast<double>(*std::ranges::max_element(end_ns_) - begin) * 1e-9;
}

Job::Job(Team& team, const tools::OperandSource& source, Options options)
    : team_(team), options_(options), ranks_(static_cast<size_t>(team.ranks())) {
  team_.run([&](int rank) { prepare(rank, source, options); });
  const MatmulAllReduceAddRmsNormArgs args =
      ranks_[0].operands.args<MatmulAllReduceAddRmsNormArgs>();
  flops_ =
      2.0 * static_cast<double>(args.residual.elements()) * static_cast<double>(args.x2.dim(0));
  // Two calls fault in the memory and fill the caches.
  for (int i = 0; i < 2; ++i) {
    if (options.fused) fused();
    if (options.unfused) unfused();
  }
}

void Job::prepare(int rank, const tools::OperandSource& source, Options options) {
  RankJob& job = ranks_[static_cast<size_t>(rank)];
  job.operands = require(source.make(rank, team_.ranks()));
  require(job.operands.make_outputs(tools::matmul_allreduce_add_rmsnorm_operator().outputs(
      job.operands, team_.ranks(), tools::OutputForm::kSeparate)));
  const MatmulAllReduceAddRmsNormArgs args = job.operands.args<MatmulAllReduceAddRmsNormArgs>();
  const std::int64_t weight_bytes = bytes_of(args.x2.dtype(), args.x2.elements());
  job.weights = require(Buffer::allocate(options.weights * weight_bytes, "weights"));
  for (int i = 0; i < options.weights; ++i)
    std::memcpy(job.weights.data() + i * weight_bytes, args.x2.data(),
                static_cast<size_t>(weight_bytes));
  Context& context = team_.context(rank);
  Group& group = team_.group(rank);
  if (options.fused)
    job.fused = std::make_unique<MatmulAllReduceAddRmsNorm>(
        require(MatmulAllReduceAddRmsNorm::plan(context, group, args)));
  if (options.unfused)
    job.unfused = std::make_unique<Unfused>(require(Unfused::plan(context, group, args)));
}

MatmulAllReduceAddRmsNormArgs Job::args_of(int rank, int weight) const {
  const RankJob& job = ranks_[static_cast<size_t>(rank)];
  MatmulAllReduceAddRmsNormArgs args = job.operands.args<MatmulAllReduceAddRmsNormArgs>();
  const std::int64_t bytes = bytes_of(args.x2.dtype(), args.x2.elements());
  args.x2 = args.x2.with_data(job.weights.data() + weight * bytes);
  return args;
}

double Job::fused() { return fused_steps(1); }

double Job::fused_steps(int count) {
  return team_.run([&](int rank) {
    for (int i = 0; i < count; ++i)
      require(ranks_[static_cast<size_t>(rank)].fused->run(args_of(rank, i % options_.weights)));
  }) / count;
}

double Job::unfused() {
  return team_.run([&](int rank) {
    RankJob& job = ranks_[static_cast<size_t>(rank)];
    require(job.unfused->run(job.operands.args<MatmulAllReduceAddRmsNormArgs>()));
  });
}

double Job::gemm() {
  return team_.run([&](int rank) {
    RankJob& job = ranks_[static_cast<size_t>(rank)];
    job.unfused->gemm(job.operands.args<MatmulAllReduceAddRmsNormArgs>());
  });
}

double Job::gemm_of(int wanted) {
  return team_.run([&](int rank) {
    RankJob& job = ranks_[static_cast<size_t>(rank)];
    if (rank == wanted) job.unfused->gemm(job.operands.args<MatmulAllReduceAddRmsNormArgs>());
  });
}

double Job::read_weight() {
  std::vector<double> seconds(ranks_.size());
  team_.run([&](int rank) {
    const RankJob& job = ranks_[static_cast<size_t>(rank)];
    const ConstTensorRef x2 = job.operands.args<MatmulAllReduceAddRmsNormArgs>().x2;
    const std::int64_t bytes = options_.weights * bytes_of(x2.dtype(), x2.elements());
    seconds[static_cast<size_t>(rank)] =
        peak::measure_read_of(job.weights.data(), bytes) / options_.weights;
  });
  return *std::ranges::max_element(seconds);
}

}  // namespace weft::bench
