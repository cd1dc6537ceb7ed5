// SPDX-License-Identifier: Apache-2.0
#include "unfused/unfused.h"

#include <algorithm>
#include <cstring>

namespace weft::bench {
namespace {

// Rows that travel at once: the slots of a ring of three stay within a few MiB, which was the
// fastest all-reduce of 64 MiB between two ranks
// (docs/measurements/matmul_collectives.md).
constexpr std::int64_t kRingRows = 256;
constexpr std::int64_t kBatch = 8;

template <typename Body>
void for_rows(ThreadPool& pool, tile::Rows rows, const Body& body) {
  pool.parallel_for(ceil_div(rows.count(), kBatch), [&](std::int64_t batch, int thread) {
    const std::int64_t begin = rows.begin + batch * kBatch;
    for (std::int64_t row = begin; row < std::min(rows.end, begin + kBatch); ++row)
      body(row, thread);
    rows::stream_fence();
  });
}

}  // namespace

Result<Unfused> Unfused::plan(Context& context, Group& group,
                              const MatmulAllReduceAddRmsNormArgs& args) {
  Unfused unfused(context, group);
  WEFT_ASSIGN_OR_RETURN(unfused.gemm_,
                        LocalGemm::plan(context, ops::operands_of(args), args.residual.dtype()));
  const std::int64_t m = ops::rows_of(args.x1), row_bytes = unfused.gemm_.row_bytes();
  WEFT_ASSIGN_OR_RETURN(
      unfused.layout_,
      tile::Layout::make(tile::Collective::kAllReduce, tile::Pattern::kRing, m, group.ranks(),
                         row_bytes, kRingRows, group.window_bytes()));
  unfused.scratch_bytes_ = row_bytes + round_up(group.ranks() * 8, kCacheLine);
  WEFT_ASSIGN_OR_RETURN(unfused.scratch_,
                        Buffer::allocate(unfused.scratch_bytes_ * context.threads(), "rows"));
  return unfused;
}

Status Unfused::allreduce() {
  const ops::LocalMatmul& local = gemm_.local();
  internal::CallHeader header("unfused allreduce");
  header.add("m", local.m()).add("n", local.n());
  WEFT_RETURN_IF_ERROR(group_->begin_call(header));
  tile::TileComm tiles(*group_, layout_);
  const auto bytes = static_cast<size_t>(local.n() * 2);
  const auto send = [&](std::int64_t s) -> Status {
    WEFT_RETURN_IF_ERROR(tiles.acquire(s));
    for_rows(context_->pool, tiles.grid().super_block(s), [&](std::int64_t i, int) {
      std::memcpy(tiles.partial(s, tiles.rank(), i), gemm_.row(i), bytes);
    });
    tiles.publish_partials(s);
    return {};
  };
  const auto reduce = [&](std::int64_t s) -> Status {
    if (s == 0) WEFT_RETURN_IF_ERROR(group_->check_peers());
    WEFT_RETURN_IF_ERROR(tiles.wait_partials(s));
    for_rows(context_->pool, tiles.grid().tile(s, tiles.rank()), [&](std::int64_t i, int thread) {
      auto** partials = reinterpret_cast<const void**>(scratch_.data() + thread * scratch_bytes_ +
                                                       gemm_.row_bytes());
      for (int r = 0; r < tiles.ranks(); ++r) partials[r] = tiles.partial(s, r, i);
      std::byte* reduced = tiles.reduced(s, tiles.rank(), i);
      local.row_kernels().sum_rows(
          {partials, tiles.ranks(), local.n(), reduced, rows::Store::kPlain});
      std::memcpy(gemm_.row(i), reduced, bytes);
    });
    tiles.publish_reduced(s);
    return {};
  };
  const auto receive = [&](std::int64_t s) -> Status {
    for (int i = 1; i < tiles.ranks(); ++i) {
      const int owner = (tiles.rank() + i) % tiles.ranks();
      WEFT_RETURN_IF_ERROR(tiles.wait_reduced(s, owner));
      for_rows(context_->pool, tiles.grid().tile(s, owner), [&](std::int64_t j, int) {
        std::memcpy(gemm_.row(j), tiles.reduced(s, owner, j), bytes);
      });
    }
    tiles.consumed(s);
    return {};
  };
  const std::int64_t super_blocks = tiles.grid().super_blocks();
  for (std::int64_t s = 0; s < super_blocks + 2; ++s) {
    if (s < super_blocks) WEFT_RETURN_IF_ERROR(send(s));
    if (s >= 1 && s - 1 < super_blocks) WEFT_RETURN_IF_ERROR(reduce(s - 1));
    if (s >= 2) WEFT_RETURN_IF_ERROR(receive(s - 2));
  }
  return {};
}

void Unfused::add_rmsnorm(const MatmulAllReduceAddRmsNormArgs& args) {
  const ops::LocalMatmul& local = gemm_.local();
  const std::int64_t tensor_row = local.n() * 2;
  for_rows(context_->pool, {0, local.m()}, [&](std::int64_t i, int thread) {
    rows::AddRmsNormRow norm{};
    norm.n = local.n();
    norm.m = gemm_.row(i);
    norm.residual = static_cast<const std::byte*>(args.residual.data()) + i * tensor_row;
    norm.gamma = args.gamma.data();
    norm.epsilon = static_cast<float>(args.epsilon);
    norm.y = static_cast<std::byte*>(args.y.data()) + i * tensor_row;
    norm.out = static_cast<std::byte*>(args.norm_out.data()) + i * tensor_row;
    norm.scratch = scratch_.data() + thread * scratch_bytes_;
    norm.store = rows::Store::kStream;
    const void* next[] = {gemm_.row(i + 1), static_cast<const std::byte*>(args.residual.data()) +
                                                (i + 1) * tensor_row};
    norm.ahead = next;
    norm.ahead_count = i + 1 < local.m() ? 2 : 0;
    local.row_kernels().add_rmsnorm_row(norm);
  });
}

Status Unfused::run(const MatmulAllReduceAddRmsNormArgs& args) {
  gemm(args);
  WEFT_RETURN_IF_ERROR(allreduce());
  add_rmsnorm(args);
  return {};
}

}  // namespace weft::bench
