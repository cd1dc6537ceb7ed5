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
  // `rows` rise; the rank has the first of them.
  const auto end = std::ranges::lower_bound(rows, report.extents.rows);
  const auto count = static_cast<std::size_t>(end - rows.begin());
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] == nullptr || kept[i]->rows.empty()) continue;
    auto* to = static_cast<std::byte*>(operands->output(static_cast<int>(i)).data());
    if (op.traits().outputs[i].whole) {
      std::memcpy(to, kept[i]->rows.data(), kept[i]->rows.size());
      continue;
    }
    const std::size_t row_bytes = kept[i]->rows.size() / count;
    for (std::size_t j = 0; j < count; ++j)
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

/// Something to compare with the reference, and how far it is from it.
struct Checked {
  int rank;
  std::int64_t row;  ///< -1: the outputs without rows
  ops::RowError error = {};
};

std::vector<Checked> list_checks(const std::vector<RankReport>& reports,
                                 const std::vector<std::int64_t>& rows, bool every_rank) {
  std::vector<Checked> checks;
  if (rows.empty()) return checks;
  const std::size_t ranks = reports.size();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t r = 0; r < (every_rank ? ranks : 1); ++r) {
      const std::size_t rank = (i + r) % ranks;
      if (rows[i] < reports[rank].extents.rows) checks.push_back({static_cast<int>(rank), rows[i]});
    }
  }
  for (std::size_t rank = 0; rank < ranks; ++rank) checks.push_back({static_cast<int>(rank), -1});
  return checks;
}

}  // namespace

std::vector<std::int64_t> rows_to_check(const Case& made, int ranks, double multiplies) {
  const double of_a_row = made.op().multiplies_of_row(made, ranks);
  const std::int64_t m = made.op().result_rows(made, ranks);
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
  std::vector<Checked> checks = list_checks(reports, rows, every_rank);
  const std::unique_ptr<Checker> checker = op.checker(made);
  on_all_cores(static_cast<int>(checks.size()), [&](int i) {
    Checked& check = checks[static_cast<std::size_t>(i)];
    check.error = check.row < 0 ? checker->whole(check.rank) : checker->row(check.rank, check.row);
  });
  Verdict verdict;
  verdict.rows = static_cast<std::int64_t>(rows.size());
  for (const Checked& check : checks) {
    // Also true for nan, which no comparison accepts.
    if (check.error.worst <= verdict.worst) continue;
    verdict.worst = check.error.worst;
    verdict.where = fmt::format("{}, rank {}", check.error.where, check.rank);
    if (check.row >= 0) verdict.where += fmt::format(", row {}", check.row);
  }
  return verdict;
}

}  // namespace weft::tools
