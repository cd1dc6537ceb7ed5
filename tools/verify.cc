// SPDX-License-Identifier: Apache-2.0
#include "verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "base/topology.h"
#include "ops/matmul_allreduce_add_rmsnorm/reference.h"

namespace weft::tools {
namespace {

/// The operands and results of one rank, of the rows that are checked only.
class Rows {
 public:
  Status make(const OperandSource& source, const RankReport& report, int rank, int ranks,
              const std::vector<std::int64_t>& rows) {
    WEFT_ASSIGN_OR_RETURN(operands_, source.make(rank, ranks));
    const auto count = static_cast<std::int64_t>(rows.size());
    const ConstTensorRef x1 = operands_[OperandId::kX1].tensor;
    const ConstTensorRef residual = operands_[OperandId::kResidual].tensor;
    gather(x1, report.k, rows, &x1_);
    gather(residual, report.n, rows, &residual_);
    args_ = operands_.args();
    args_.x1 = ConstTensorRef(x1_.data(), x1.dtype(), {count, report.k});
    args_.residual = ConstTensorRef(residual_.data(), report.io, {1, count, report.n});
    y_ = report.y_rows, norm_out_ = report.norm_rows;
    args_.y = TensorRef(y_.data(), report.io, {1, count, report.n});
    args_.norm_out = TensorRef(norm_out_.data(), report.io, {1, count, report.n});
    return {};
  }
  const MatmulAllReduceAddRmsNormArgs& args() const { return args_; }

 private:
  static void gather(const ConstTensorRef& from, std::int64_t width,
                     const std::vector<std::int64_t>& rows, std::vector<std::byte>* to) {
    const auto bytes = static_cast<std::size_t>(bytes_of(from.dtype(), width));
    to->resize(bytes * rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i)
      std::memcpy(
          to->data() + i * bytes,
          static_cast<const std::byte*>(from.data()) + static_cast<std::size_t>(rows[i]) * bytes,
          bytes);
  }

  Operands operands_;
  std::vector<std::byte> x1_, residual_;
  std::vector<std::uint16_t> y_, norm_out_;
  MatmulAllReduceAddRmsNormArgs args_;
};

/// Calls body(i) for i < count on all usable cores.
template <typename Body>
void on_all_cores(int count, const Body& body) {
  std::atomic<int> next = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < std::min(count, topology().usable_cpus); ++t) {
    threads.emplace_back([&] {
      for (int i = next++; i < count; i = next++) body(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

std::vector<std::int64_t> rows_to_check(const Shape& shape, int ranks, double multiplies) {
  const double of_a_row = static_cast<double>(shape.k_total(ranks)) *
                          static_cast<double>(std::max<std::int64_t>(shape.n, 1));
  const std::int64_t m = shape.m();
  std::int64_t count = m;
  if (of_a_row * static_cast<double>(m) * ranks > multiplies)
    count = std::min(
        m, std::max<std::int64_t>(ranks, static_cast<std::int64_t>(multiplies / of_a_row)));
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < count; ++i)
    rows.push_back(count == 1 ? 0 : i * (m - 1) / (count - 1));
  return rows;
}

Result<Verdict> verify(const OperandSource& source, const std::vector<RankReport>& reports,
                       const std::vector<std::int64_t>& rows, bool every_rank) {
  const int ranks = static_cast<int>(reports.size());
  std::vector<Rows> made(reports.size());
  std::vector<Status> statuses(reports.size());
  on_all_cores(ranks, [&](int rank) {
    const auto index = static_cast<std::size_t>(rank);
    statuses[index] = made[index].make(source, reports[index], rank, ranks, rows);
  });
  std::vector<MatmulAllReduceAddRmsNormArgs> args;
  for (std::size_t rank = 0; rank < made.size(); ++rank) {
    WEFT_RETURN_IF_ERROR(statuses[rank]);
    args.push_back(made[rank].args());
  }
  const int per_row = every_rank ? ranks : 1;
  std::vector<ops::RowError> errors(rows.size() * static_cast<std::size_t>(per_row));
  const auto rank_of = [&](std::size_t i) {
    return static_cast<int>(
        (i / static_cast<std::size_t>(per_row) + i % static_cast<std::size_t>(per_row)) %
        reports.size());
  };
  on_all_cores(static_cast<int>(errors.size()), [&](int i) {
    const auto index = static_cast<std::size_t>(i);
    errors[index] = ops::check_row(args, rank_of(index), i / per_row);
  });
  Verdict verdict;
  verdict.rows = static_cast<std::int64_t>(rows.size());
  for (std::size_t i = 0; i < errors.size(); ++i) {
    // Also true for nan, which no comparison accepts.
    if (errors[i].worst <= verdict.worst) continue;
    verdict.worst = errors[i].worst;
    verdict.where = fmt::format("{}, rank {}, row {}", errors[i].where, rank_of(i),
                                rows[i / static_cast<std::size_t>(per_row)]);
  }
  return verdict;
}

}  // namespace weft::tools
