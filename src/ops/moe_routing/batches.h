// SPDX-License-Identifier: Apache-2.0
// Rows dealt out to the threads of a rank, a few at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/context_state.h"
#include "base/memory.h"
#include "kernels/rows/rows.h"
#include "weft/context.h"

namespace weft::ops {

/// body(row, thread) for every row; `row_bytes` are what one costs to read and write.
template <typename Body>
void for_batches(Context& context, std::int64_t rows, std::int64_t row_bytes, const Body& body) {
  // Less is not worth waking a thread for.
  constexpr std::int64_t kBatchBytes = 16 << 10;
  const std::int64_t batch =
      std::max<std::int64_t>(1, kBatchBytes / std::max<std::int64_t>(row_bytes, 1));
  context.state().pool.parallel_for(ceil_div(rows, batch), [&](std::int64_t i, int thread) {
    for (std::int64_t row = i * batch; row < std::min(rows, (i + 1) * batch); ++row)
      body(row, thread);
    rows::stream_fence();
  });
}

}  // namespace weft::ops
