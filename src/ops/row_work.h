// SPDX-License-Identifier: Apache-2.0
// How work on rows is dealt out to the threads of a rank, and when its results go past the caches.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/context_state.h"
#include "base/memory.h"
#include "kernels/rows/rows.h"
#include "weft/context.h"

namespace weft::ops {

// What a thread takes at a time, so that taking it costs little beside the work.
inline constexpr std::int64_t kPieceBytes = 16 << 10;

/// What passes over so many bytes take on one thread, for ThreadPool::parallel_for.
inline double ns_of_bytes(std::int64_t bytes) {
  constexpr double kBytesPerNs = 20;  // in a cache
  return static_cast<double>(bytes) / kBytesPerNs;
}

// Outputs from here on do not fit the caches in which their readers would look, so they go past
// them and save reading the memory they overwrite.
inline constexpr std::int64_t kStreamBytes = 4 << 20;

// The same where a row is one short pass. Where outputs are cold, stores that pass by take two
// thirds of the time at any size, because they do not first fetch the lines they replace; where
// they are warm and read again at once, plain stores take three quarters. Results of this size, a
// decode step's, can stay warm in an L2 from call to call.
inline constexpr std::int64_t kStreamBytesOfPasses = 1 << 20;

/// Rows that a thread takes at a time of such a pass: enough bytes (read and written) that taking
/// them costs nothing beside the work, and few enough rows that the threads end together.
inline std::int64_t batch_of_rows(std::int64_t rows, std::int64_t row_bytes, int threads) {
  constexpr std::int64_t kLeastBatchBytes = 64 << 10, kMostBatchRows = 16;
  const std::int64_t least = ceil_div(kLeastBatchBytes, std::max<std::int64_t>(row_bytes, 1));
  return std::max(least, std::min(rows / (8 * threads), kMostBatchRows));
}

/// body(row, thread) for every row; `row_bytes` are what one costs to read and write.
template <typename Body>
void for_batches(Context& context, std::int64_t rows, std::int64_t row_bytes, const Body& body) {
  const std::int64_t batch =
      std::max<std::int64_t>(1, kPieceBytes / std::max<std::int64_t>(row_bytes, 1));
  const auto one = [&](std::int64_t i, int thread) {
    for (std::int64_t row = i * batch; row < std::min(rows, (i + 1) * batch); ++row)
      body(row, thread);
    rows::stream_fence();
  };
  context.state().pool.parallel_for(ceil_div(rows, batch), one, ns_of_bytes(rows * row_bytes));
}

}  // namespace weft::ops
