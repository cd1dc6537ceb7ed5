// SPDX-License-Identifier: Apache-2.0
// Results against the reference in double precision, for as many rows as a budget allows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/job.h"
#include "operators/cases.h"

namespace weft::tools {

/// Rows of the results of a rank to check. All of them if the reference needs at most `multiplies`;
/// else as many as fit, at least one per rank, spread over the rows, first and last included. Ranks
/// with fewer rows check those that they have.
std::vector<std::int64_t> rows_to_check(const Case& made, int ranks, double multiplies);

struct Verdict {
  double worst = 0;   ///< largest error as a share of its bound: at most 1 is right
  std::string where;  ///< "y, rank 2, row 17"
  std::int64_t rows = 0;

  bool ok() const { return worst <= 1; }
};

/// `reports` hold `rows` of every rank. Row rows[i] is checked on rank i modulo their number, and
/// on every rank if `every_rank`; outputs without rows on every rank. The operands are made again,
/// row-major.
Result<Verdict> verify(const Operator& op, const OperandSource& source,
                       const std::vector<RankReport>& reports,
                       const std::vector<std::int64_t>& rows, bool every_rank);

}  // namespace weft::tools
