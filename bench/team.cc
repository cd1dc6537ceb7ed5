// SPDX-License-Identifier: Apache-2.0
#include "team.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "base/topology.h"
#include "jobs/job.h"
#include "kernels/peak/peak.h"
#include "operators/args.h"
#include "operators/operator.h"

namespace weft::bench {

void require(const Status& status) {
  if (status.ok()) return;
  fmt::print(stderr, "weft_bench: {}\n", status.to_string());
  std::exit(1);
}

namespace {

std::vector<Group> join(int ranks) {
  const UniqueId id = require(UniqueId::create());
  std::vector<std::optional<Group>> joined(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back(
        [&, rank] { joined[static_cast<size_t>(rank)] = require(Group::join(id, rank, ranks)); });
  for (std::thread& thread : threads) thread.join();
  std::vector<Group> groups;
  for (auto& group : joined) groups.push_back(std::move(*group));
  return groups;
}

}  // namespace

Team::Team(int ranks, int threads_per_rank, Windows windows)
    : cores_(std::min(ranks * threads_per_rank, topology().usable_cpus)),
      groups_(windows == Windows::kShared ? join(ranks) : require(Group::local(ranks))),
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

namespace {

using tools::OperandId;

ops::MatmulOperands matmul_operands(const tools::Operands& from) {
  ops::MatmulOperands o;
  o.x1 = from.tensor(OperandId::kX1);
  o.x2 = from.tensor(OperandId::kX2);
  o.bias = from.tensor(OperandId::kBias);
  const bool scatter = from.tensor(OperandId::kX2Scale).given();
  o.dequant_scale = from.tensor(scatter ? OperandId::kX2Scale : OperandId::kDequantScale);
  o.pertoken_scale = from.tensor(scatter ? OperandId::kX1Scale : OperandId::kPertokenScale);
  o.antiquant_scale = from.tensor(OperandId::kAntiquantScale);
  o.antiquant_offset = from.tensor(OperandId::kAntiquantOffset);
  o.antiquant_group_size = from.group_size;
  o.x3 = from.tensor(OperandId::kX3);
  return o;
}

double stored_bytes(DType dtype, std::int64_t elements) {
  return static_cast<double>(bytes_of(dtype, elements));
}
double stored_bytes(const ConstTensorRef& t) { return stored_bytes(t.dtype(), t.elements()); }

}  // namespace

Job::Job(Team& team, const tools::Case& c, Options options)
    : team_(team), options_(options), ranks_(static_cast<size_t>(team.ranks())) {
  if (options.link_bytes_per_s > 0)
    link_ = std::make_unique<ThrottledLink>(team.ranks(), options.link_bytes_per_s);
  team_.run([&](int rank) { prepare(rank, c); });
  const tools::Extents e = c.op().extents(of(0).operands, team.ranks());
  work_.flops =
      2.0 * static_cast<double>(e.m) * static_cast<double>(e.k) * static_cast<double>(e.n);
  work_.bytes = c.op().bytes_moved(of(0).operands, team.ranks());
  work_.ranks = team.ranks();
  work_.cores = team.cores();
  if (work_.flops > 0) {
    product_bytes_ = stored_bytes(of(0).operands.io, e.m * e.n);
    work_.memory_bytes = stored_bytes(of(0).operands.tensor(OperandId::kX1)) +
                         stored_bytes(of(0).operands.tensor(OperandId::kX2));
  }
  // Two calls fault in the memory and fill the caches.
  for (int i = 0; i < 2; ++i) {
    if (options.fused) fused();
    if (options.gemm) gemm();
    if (options.unfused) unfused();
  }
}

// What the operator moves beside its product begins with writing the product, its partial sums.
Work Job::work(bool product_alone) const {
  Work work = work_;
  if (work.flops > 0) work.memory_bytes += product_alone ? product_bytes_ : work.bytes;
  return work;
}

void Job::prepare(int rank, const tools::Case& c) {
  RankJob& job = of(rank);
  Context& context = team_.context(rank);
  Group& group = team_.group(rank);
  job.operands = require(tools::RandomSource(c).make(rank, team_.ranks()));
  if (options_.nz) require(job.operands.store_x2_as_nz(context));
  require(job.operands.make_outputs(
      c.op().outputs(job.operands, team_.ranks(), tools::OutputForm::kSeparate)));
  if (options_.weights > 1) {
    const std::int64_t bytes = weight_bytes(job);
    job.weights = require(Buffer::allocate(options_.weights * bytes, "weights"));
    for (int i = 0; i < options_.weights; ++i)
      std::memcpy(job.weights.data() + i * bytes, job.operands.tensor(OperandId::kX2).data(),
                  static_cast<size_t>(bytes));
  }
  if (options_.fused) job.fused = require(c.op().plan(context, group, job.operands, nullptr));
  if (options_.exchange) {
    job.trace = std::make_unique<Trace>();
    job.traced = require(c.op().plan(context, group, job.operands, job.trace.get()));
  }
  if (options_.gemm)
    job.gemm = std::make_unique<LocalGemm>(
        require(LocalGemm::plan(context, matmul_operands(job.operands), job.operands.io)));
  if (options_.unfused)
    job.unfused = std::make_unique<Unfused>(
        require(Unfused::plan(context, group, job.operands.args<MatmulAllReduceAddRmsNormArgs>())));
}

std::int64_t Job::weight_bytes(const RankJob& job) {
  const ConstTensorRef& x2 = job.operands.tensor(OperandId::kX2);
  return bytes_of(x2.dtype(), x2.elements());
}

void Job::choose_weight(RankJob& job, int i) const {
  if (options_.weights == 1) return;
  ConstTensorRef& x2 = job.operands[OperandId::kX2].tensor;
  x2 = x2.with_data(job.weights.data() + i % options_.weights * weight_bytes(job));
}

double Job::fused_steps(int count) {
  return team_.run([&](int rank) {
    team_.group(rank).state().set_link(link_.get());
    for (int i = 0; i < count; ++i) {
      choose_weight(of(rank), i);
      require(of(rank).fused->run(of(rank).operands));
    }
    team_.group(rank).state().set_link(nullptr);
  }) / count;
}

double Job::unfused() {
  return team_.run([&](int rank) {
    require(of(rank).unfused->run(of(rank).operands.args<MatmulAllReduceAddRmsNormArgs>()));
  });
}

double Job::gemm_steps(int count) {
  return team_.run([&](int rank) {
    for (int i = 0; i < count; ++i) {
      choose_weight(of(rank), i);
      of(rank).gemm->run(matmul_operands(of(rank).operands));
    }
  }) / count;
}

double Job::exchange(int count) {
  struct Ends {
    std::int64_t product = 0, call = 0;
  };
  // Few rows pass in one go: a call has one product, and one sum at its end.
  std::vector<Ends> last(static_cast<size_t>(count));  // of all ranks
  team_.run([&](int rank) {
    of(rank).trace->clear();
    for (int i = 0; i < count; ++i) {
      choose_weight(of(rank), i);
      require(of(rank).traced->run(of(rank).operands));
    }
  });
  for (const RankJob& job : ranks_) {
    auto product = last.begin(), call = last.begin();
    for (const TraceEvent& event : job.trace->events()) {
      std::int64_t* const end = event.kind == TraceKind::kGemm         ? &product++->product
                                : event.kind == TraceKind::kReduceNorm ? &call++->call
                                                                       : nullptr;
      if (end) *end = std::max(*end, event.end_ns);
    }
  }
  std::vector<double> seconds;
  for (const Ends& ends : last)
    seconds.push_back(static_cast<double>(ends.call - ends.product) * 1e-9);
  return tools::median(std::move(seconds));
}

double Job::gemm_of(int wanted) {
  return team_.run([&](int rank) {
    if (rank == wanted) of(rank).gemm->run(matmul_operands(of(rank).operands));
  });
}

double Job::read_weight() {
  std::vector<double> seconds(ranks_.size());
  team_.run([&](int rank) {
    seconds[static_cast<size_t>(rank)] =
        peak::measure_read_of(of(rank).weights.data(), options_.weights * weight_bytes(of(rank))) /
        options_.weights;
  });
  return *std::ranges::max_element(seconds);
}

double Job::conversions() {
  const double as_float16 = team_.run([&](int rank) { store_product(rank, false); });
  return team_.run([&](int rank) {
    store_product(rank, true);
    requantise(rank);
  }) - as_float16;
}

void Job::store_product(int rank, bool as_int8) {
  constexpr int kRows = 32, kColumns = 512;  // of a tile: 64 KiB
  const LocalGemm& gemm = *of(rank).gemm;
  const std::vector<float> scale(kColumns, 0.37f);
  const std::vector<std::int32_t> product(kRows * kColumns, 1234567);
  std::vector<std::uint16_t> tile(kRows * kColumns);
  rows::StoreTile store{};
  store.m = kRows;
  store.n = kColumns;
  store.acc = product.data();
  store.acc_stride_bytes = kColumns * 4;
  store.dst = tile.data();
  store.dst_stride_bytes = kColumns * 2;
  store.scale = scale.data();
  store.scale_step = 1;
  store.quant_scale = as_int8 ? scale.data() : nullptr;
  for (std::int64_t i = 0; i < gemm.local().m() * gemm.local().n(); i += kRows * kColumns)
    gemm.local().row_kernels().store_tile_s32(store);
}

void Job::requantise(int rank) {
  const rows::Kernels& kernels = of(rank).gemm->local().row_kernels();
  const std::int64_t m = of(rank).gemm->local().m(), n = of(rank).gemm->local().n();
  const std::vector<float> scale(static_cast<size_t>(n), 0.37f);
  const std::vector<std::int8_t> row(static_cast<size_t>(n), 77);
  const std::vector<const void*> partials(static_cast<size_t>(team_.ranks()), row.data());
  std::vector<std::int8_t> sum(static_cast<size_t>(n));
  for (std::int64_t i = 0; i < m / team_.ranks(); ++i)
    kernels.requant_row(
        {partials.data(), team_.ranks(), n, scale.data(), sum.data(), rows::Store::kPlain});
}

}  // namespace weft::bench
