// SPDX-License-Identifier: Apache-2.0
// The algorithm. Super-block s passes three stages, one iteration apart, so that a rank has work to
// do while its peers finish theirs and never waits while it has a product left to compute:
//
// - compute(s): this rank's partial sums of all rows, published.
// - reduce(s - 1): the tile this rank owns. Its partials are added in rank order; then its
// epilogue.
// - finish(s - 2), all-reduce only: the tiles of the others, whose sums their owners published.
#include <algorithm>

#include "ops/matmul_collective/matmul_collective.h"
#include "ops/row_work.h"
#include "ops/traced.h"

namespace weft::ops {

using tile::Collective;
using tile::Pattern;

class CollectiveRun {
 public:
  CollectiveRun(MatmulCollective& plan, const Epilogue& epilogue)
      : plan_(plan), epilogue_(epilogue), tiles_(*plan.group_, plan.layout_) {}

  Status run() { return plan_.layout_.pattern == Pattern::kOneShot ? one_shot() : ring(); }

 private:
  Status one_shot();
  Status ring();
  Status compute(std::int64_t s);
  Status wait_partials(std::int64_t s);
  Status reduce(std::int64_t s);
  Status finish(std::int64_t s);

  bool allreduce() const { return tiles_.collective() == Collective::kAllReduce; }
  /// What to compute of super-block s, and where the partials go.
  void list_runs(std::int64_t s);
  void add_run(std::int64_t s, tile::Rows rows);

  struct RowScratch {
    std::byte* row;         // of T
    const void** partials;  // of the row at hand, one per rank
    const void** ahead;     // what the next row will read
  };
  RowScratch row_scratch(int thread) const {
    std::byte* const base = plan_.row_scratch_.data() + thread * plan_.row_scratch_bytes_;
    const std::int64_t row = round_up(2 * plan_.local_.n(), kCacheLine);
    auto* const pointers = reinterpret_cast<const void**>(base + row);
    return {base, pointers, pointers + tiles_.ranks()};
  }
  template <typename Body>
  void for_rows(tile::Rows rows, const Body& body);

  // Adds the partials of one row in rank order, publishes the sum if `published` is given, and
  // finishes it.
  void sum_and_finish(std::int64_t s, std::int64_t row, std::int64_t end, std::byte* published,
                      const RowScratch& scratch) const {
    for (int r = 0; r < tiles_.ranks(); ++r) scratch.partials[r] = tiles_.partial(s, r, row);
    int ahead = 0;
    if (row + 1 < end) {
      while (ahead < tiles_.ranks()) {
        scratch.ahead[ahead] = tiles_.partial(s, ahead, row + 1);
        ++ahead;
      }
      scratch.ahead[ahead++] = epilogue_.reads(row + 1);
    }
    epilogue_.finish({row,
                      {scratch.partials, tiles_.ranks(), false, published, scratch.row},
                      store(),
                      scratch.ahead,
                      ahead});
  }
  // A row whose sum its owner published.
  void read_and_finish(std::int64_t s, int owner, std::int64_t row, std::int64_t end,
                       const RowScratch& scratch) const {
    const void* const sum[] = {tiles_.reduced(s, owner, row)};
    int ahead = 0;
    if (row + 1 < end) {
      scratch.ahead[ahead++] = tiles_.reduced(s, owner, row + 1);
      scratch.ahead[ahead++] = epilogue_.reads(row + 1);
    }
    epilogue_.finish({row, {sum, 1, true, nullptr, scratch.row}, store(), scratch.ahead, ahead});
  }
  // Partials and outputs larger than a cache are written past it; those of a decode step are read
  // again at once.
  rows::Store store() const {
    return plan_.layout_.pattern == Pattern::kOneShot ? rows::Store::kPlain : rows::Store::kStream;
  }

  /// This rank does it until the end of the scope.
  Traced traced(TraceKind kind, std::int64_t s, int peer = -1) const {
    return {plan_.trace_, kind, s, peer};
  }

  MatmulCollective& plan_;
  const Epilogue& epilogue_;
  tile::TileComm tiles_;
};

// Rows dealt out to the threads in batches: large enough that taking one costs nothing beside the
// work.
template <typename Body>
void CollectiveRun::for_rows(tile::Rows rows, const Body& body) {
  constexpr std::int64_t kBatch = 8;
  const auto one = [&](std::int64_t batch, int thread) {
    const std::int64_t begin = rows.begin + batch * kBatch;
    const RowScratch scratch = row_scratch(thread);
    for (std::int64_t row = begin; row < std::min(rows.end, begin + kBatch); ++row)
      body(row, scratch);
    rows::stream_fence();
  };
  const std::int64_t bytes = rows.count() * tiles_.row_bytes() * (tiles_.ranks() + 1);
  plan_.context_->pool.parallel_for(ceil_div(rows.count(), kBatch), one, ns_of_bytes(bytes));
}

void CollectiveRun::add_run(std::int64_t s, tile::Rows rows) {
  if (rows.count() == 0) return;
  std::vector<PartialRun>& runs = plan_.runs_;
  if (!runs.empty() && runs.back().rows.end == rows.begin)
    runs.back().rows.end = rows.end;
  else
    runs.push_back({{rows.begin, rows.end}, tiles_.partial(s, tiles_.rank(), rows.begin)});
}

// The rows of the next rank first and the own ones last: what peers wait for leaves early, and what
// this rank reads next is the warmest. One shot publishes all at once, in the order of memory.
void CollectiveRun::list_runs(std::int64_t s) {
  plan_.runs_.clear();
  if (plan_.layout_.pattern == Pattern::kOneShot) return add_run(0, {0, plan_.local_.m()});
  for (int i = 1; i <= tiles_.ranks(); ++i)
    add_run(s, tiles_.grid().tile(s, (tiles_.rank() + i) % tiles_.ranks()));
}

Status CollectiveRun::compute(std::int64_t s) {
  {
    const Traced wait = traced(TraceKind::kWait, s);
    WEFT_RETURN_IF_ERROR(tiles_.acquire(s));
  }
  {
    const Traced gemm = traced(TraceKind::kGemm, s);
    list_runs(s);
    plan_.local_.compute({plan_.runs_, tiles_.row_bytes(), store(), plan_.wire_.quant_scale()});
  }
  const Traced publish = traced(TraceKind::kPublish, s);
  tiles_.publish_partials(s);
  return {};
}

// The wait for each rank apart, so that a trace shows the slow one.
Status CollectiveRun::wait_partials(std::int64_t s) {
  if (s == 0) {  // before anything of a peer is used, all ranks have said what they are doing
    const Traced wait = traced(TraceKind::kWait, s);
    WEFT_RETURN_IF_ERROR(plan_.group_->check_peers());
  }
  for (int i = 1; i < tiles_.ranks(); ++i) {
    const int peer = (tiles_.rank() + i) % tiles_.ranks();
    const Traced wait = traced(TraceKind::kWait, s, peer);
    WEFT_RETURN_IF_ERROR(tiles_.wait_partial(s, peer));
  }
  return {};
}

Status CollectiveRun::reduce(std::int64_t s) {
  WEFT_RETURN_IF_ERROR(wait_partials(s));
  {
    const Traced reduce_norm = traced(TraceKind::kReduceNorm, s, tiles_.rank());
    const tile::Rows own = tiles_.grid().tile(s, tiles_.rank());
    for_rows(own, [&](std::int64_t row, const RowScratch& scratch) {
      std::byte* const published = allreduce() ? tiles_.reduced(s, tiles_.rank(), row) : nullptr;
      sum_and_finish(s, row, own.end, published, scratch);
    });
  }
  if (!allreduce()) {
    tiles_.consumed(s);
    return {};
  }
  const Traced publish = traced(TraceKind::kPublish, s);
  tiles_.publish_reduced(s);
  return {};
}

Status CollectiveRun::finish(std::int64_t s) {
  // Starting behind the own tile, so that ranks do not all read the same owner first.
  for (int i = 1; i < tiles_.ranks(); ++i) {
    const int owner = (tiles_.rank() + i) % tiles_.ranks();
    {
      const Traced wait = traced(TraceKind::kWait, s, owner);
      WEFT_RETURN_IF_ERROR(tiles_.wait_reduced(s, owner));
    }
    const Traced copy = traced(TraceKind::kCopy, s, owner);
    const tile::Rows theirs = tiles_.grid().tile(s, owner);
    for_rows(theirs, [&](std::int64_t row, const RowScratch& scratch) {
      read_and_finish(s, owner, row, theirs.end, scratch);
    });
  }
  tiles_.consumed(s);
  return {};
}

Status CollectiveRun::ring() {
  const std::int64_t super_blocks = plan_.layout_.grid.super_blocks();
  for (std::int64_t s = 0; s < super_blocks + 2; ++s) {
    if (s < super_blocks) WEFT_RETURN_IF_ERROR(compute(s));
    if (s >= 1 && s - 1 < super_blocks) WEFT_RETURN_IF_ERROR(reduce(s - 1));
    if (s >= 2 && allreduce()) WEFT_RETURN_IF_ERROR(finish(s - 2));
  }
  return {};
}

Status CollectiveRun::one_shot() {
  WEFT_RETURN_IF_ERROR(compute(0));
  WEFT_RETURN_IF_ERROR(wait_partials(0));
  const Traced reduce_norm = traced(TraceKind::kReduceNorm, 0);
  const tile::Rows needed =
      allreduce() ? tile::Rows{0, plan_.local_.m()} : tiles_.grid().tile(0, tiles_.rank());
  for_rows(needed, [&](std::int64_t row, const RowScratch& scratch) {
    sum_and_finish(0, row, 0, nullptr, scratch);
  });
  return {};
}

Status MatmulCollective::run_empty() {
  WEFT_RETURN_IF_ERROR(group_->begin_call(header_));
  WEFT_RETURN_IF_ERROR(group_->check_peers());
  group_->end_call();
  return {};
}

Status MatmulCollective::run(const MatmulOperands& operands, const CommScales& scales,
                             const Epilogue& epilogue) {
  WEFT_RETURN_IF_ERROR(group_->begin_call(header_));
  local_.bind(operands);
  wire_.bind(scales);
  WEFT_RETURN_IF_ERROR(CollectiveRun(*this, epilogue).run());
  group_->end_call();
  return {};
}

}  // namespace weft::ops
