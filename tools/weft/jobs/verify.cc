// SPDX-License-Identifier: Apache-2.0
#include "jobs/verify.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "base/topology.h"

namespace weft::tools {
namespace {

/// The operands of one rank and its results, of which only the rows at home hold anything. Pages of
/// the others are never touched, so they cost no memory.
Status restore_rank(const Operator& op, const OperandSource& source, const RankReport& report,
                    int rank, int ranks, const std::vector<std::int64_t>& rows,
                    Operands* operands) {
  WEFT_ASSIGN_OR_RETURN(*operands, source.make(rank, ranks));
  std::vector<OutputSpec> specs = op.outputs(*operands, ranks, OutputForm::kSeparate);
  std::vector<const OutputReport*> kept;
  for (OutputSpec& spec : specs) {
    const auto found = std::ranges::find(report.outputs, spec.name, &OutputReport::name);
    kept.push_back(found == report.outputs.end() ? nullptr : &*found);
    if (kept.back() == nullptr) spec.like = {};
  }
  WEFT_RETURN_IF_ERROR(operands->make_outputs(specs));
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] == nullptr || rows.empty()) continue;
    const std::size_t row_bytes = kept[i]->rows.size() / rows.size();
    auto* to = static_cast<std::byte*>(operands->output(static_cast<int>(i)).data());
    for (std::size_t j = 0; j < rows.size(); ++j)
      std::memcpy(to + static_cast<std::size_t>(rows[j]) * row_bytes,
                  kept[i]->rows.data() + j * row_bytes, row_bytes);
  }
  return {};
}

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

std::vector<std::int64_t> rows_to_check(const Operator& op, const Shape& shape, int ranks,
                                        double multiplies) {
  const double of_a_row = shape.multiplies_of_row(ranks);
  const std::int64_t m = op.result_rows(shape, ranks);
  std::int64_t count = m;
  if (of_a_row * static_cast<double>(m) * ranks > multiplies)
    count = std::min(
        m, std::max<std::int64_t>(ranks, static_cast<std::int64_t>(multiplies / of_a_row)));
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < count; ++i)
    rows.push_back(count == 1 ? 0 : i * (m - 1) / (count - 1));
  return rows;
}

Result<Verdict> verify(const Operator& op, const OperandSource& source,
                       const std::vector<RankReport>& reports,
                       const std::vector<std::int64_t>& rows, bool every_rank) {
  const int ranks = static_cast<int>(reports.size());
  std::vector<Operands> made(reports.size());
  std::vector<Status> statuses(reports.size());
  on_all_cores(ranks, [&](int rank) {
    const auto index = static_cast<std::size_t>(rank);
    statuses[index] = restore_rank(op, source, reports[index], rank, ranks, rows, &made[index]);
  });
  for (const Status& status : statuses) WEFT_RETURN_IF_ERROR(status);
  const int per_row = every_rank ? ranks : 1;
  std::vector<ops::RowError> errors(rows.size() * static_cast<std::size_t>(per_row));
  const auto rank_of = [&](std::size_t i) {
    return static_cast<int>(
        (i / static_cast<std::size_t>(per_row) + i % static_cast<std::size_t>(per_row)) %
        reports.size());
  };
  on_all_cores(static_cast<int>(errors.size()), [&](int i) {
    const auto index = static_cast<std::size_t>(i);
    errors[index] = op.check_row(made, rank_of(index), rows[static_cast<std::size_t>(i / per_row)]);
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
