// SPDX-License-Identifier: Apache-2.0
// The algorithm. Super-block s passes three stages, one iteration apart, so that a rank has work to
// do while its peers finish theirs and never waits while it has a product left to compute:
//
// - compute(s): this rank's partial sums of all rows, published.
// - reduce(s - 1): the tile this rank owns. Its partials are added in rank order and published;
// then its epilogue.
// - finish(s - 2): the tiles of the others. Their reduced rows, this rank's residual and gamma.
#include "ops/dense.h"
#include "ops/matmul_allreduce_add_rmsnorm/plan.h"

namespace weft::ops {
namespace {

using Args = MatmulAllReduceAddRmsNormArgs;
using Plan = internal::MatmulAllReduceAddRmsNormPlan;

// Rows of a (b, s, n) tensor with adjacent n.
template <typename Byte>
class RowView {
 public:
  template <typename Tensor>
  explicit RowView(const Tensor& t)
      : base_(static_cast<Byte*>(t.data())),
        s_(t.dim(1)),
        batch_bytes_(t.stride(0) * 2),
        row_bytes_(t.stride(1) * 2) {}
  Byte* operator[](std::int64_t row) const {
    return base_ + row / s_ * batch_bytes_ + row % s_ * row_bytes_;
  }

 private:
  Byte* base_;
  std::int64_t s_, batch_bytes_, row_bytes_;
};

// One run: the plan, the tiles, and the rows of this call's tensors.
class Run {
 public:
  Run(Plan& plan, const Args& args)
      : plan_(plan),
        tiles_(plan.group, plan.layout),
        residual_(args.residual),
        y_(args.y),
        norm_out_(args.norm_out),
        epsilon_(static_cast<float>(args.epsilon)) {}

  Status compute(std::int64_t s);
  Status reduce(std::int64_t s);
  Status finish(std::int64_t s);
  Status one_shot();

 private:
  struct RowScratch {
    std::byte* y;
    std::byte* sum;
    const void** partials;  // of the row at hand, one per rank
    const void** ahead;  // what the next row will read: its partials or its sum, and its residual
  };
  RowScratch row_scratch(int thread) const {
    std::byte* base = plan_.row_scratch.data() + thread * plan_.row_scratch_bytes;
    return {base, base + tiles_.row_bytes(),
            reinterpret_cast<const void**>(base + 2 * tiles_.row_bytes()),
            reinterpret_cast<const void**>(base + 2 * tiles_.row_bytes()) + tiles_.ranks()};
  }
  // Adds the partials of one row in rank order.
  void sum(std::int64_t s, std::int64_t row, const RowScratch& scratch, std::byte* to) const {
    for (int r = 0; r < tiles_.ranks(); ++r) scratch.partials[r] = tiles_.partial(s, r, row);
    plan_.local.row_kernels().sum_rows(
        {scratch.partials, tiles_.ranks(), plan_.local.n(), to, rows::Store::kPlain});
  }
  // Notes what the row after `row` will read, if the tile has one. Returns how many pointers that
  // is.
  int partials_ahead(std::int64_t s, std::int64_t row, std::int64_t end,
                     const RowScratch& scratch) const {
    if (row + 1 == end) return 0;
    for (int r = 0; r < tiles_.ranks(); ++r) scratch.ahead[r] = tiles_.partial(s, r, row + 1);
    scratch.ahead[tiles_.ranks()] = residual_[row + 1];
    return tiles_.ranks() + 1;
  }
  int reduced_ahead(std::int64_t s, int owner, std::int64_t row, std::int64_t end,
                    const RowScratch& scratch) const {
    if (row + 1 == end) return 0;
    scratch.ahead[0] = tiles_.reduced(s, owner, row + 1);
    scratch.ahead[1] = residual_[row + 1];
    return 2;
  }
  // y and norm_out of one row from its reduced sum.
  void add_rmsnorm(std::int64_t row, const std::byte* reduced, const RowScratch& scratch,
                   int ahead) const {
    rows::AddRmsNormRow args{};
    args.n = plan_.local.n();
    args.m = reduced;
    args.residual = residual_[row];
    args.gamma = plan_.gamma.data();
    args.epsilon = epsilon_;
    args.y = y_[row];
    args.out = norm_out_[row];
    args.scratch = scratch.y;
    args.store = large_store();
    args.ahead = scratch.ahead;
    args.ahead_count = ahead;
    plan_.local.row_kernels().add_rmsnorm_row(args);
  }
  // Partials and outputs larger than a cache are written past it; those of a decode step are read
  // again at once.
  rows::Store large_store() const {
    return plan_.layout.pattern == tile::Pattern::kOneShot ? rows::Store::kPlain
                                                           : rows::Store::kStream;
  }
  template <typename Body>
  void for_rows(tile::Rows rows, const Body& body);
  // Notes what this rank does until the end of the scope, if the call is traced.
  class Traced {
   public:
    Traced(const Run& run, TraceKind kind, std::int64_t s, int peer = -1)
        : trace_(run.plan_.options.trace),
          event_{kind, static_cast<int>(s), peer, trace_ ? trace_now_ns() : 0, 0} {}
    ~Traced() {
      if (!trace_) return;
      event_.end_ns = trace_now_ns();
      trace_->add(event_);
    }
    Traced(const Traced&) = delete;
    Traced& operator=(const Traced&) = delete;

   private:
    Trace* trace_;
    TraceEvent event_;
  };

  Plan& plan_;
  tile::TileComm tiles_;
  RowView<const std::byte> residual_;
  RowView<std::byte> y_, norm_out_;
  float epsilon_;
};

// Rows dealt out to the threads in batches: large enough that taking one costs nothing beside the
// work.
template <typename Body>
void Run::for_rows(tile::Rows rows, const Body& body) {
  constexpr std::int64_t kBatch = 8;
  plan_.context.pool.parallel_for(
      ceil_div(rows.count(), kBatch), [&](std::int64_t batch, int thread) {
        const std::int64_t begin = rows.begin + batch * kBatch;
        const RowScratch scratch = row_scratch(thread);
        for (std::int64_t row = begin; row < std::min(rows.end, begin + kBatch); ++row)
          body(row, scratch);
        rows::stream_fence();
      });
}

Status Run::compute(std::int64_t s) {
  {
    const Traced wait(*this, TraceKind::kWait, s);
    WEFT_RETURN_IF_ERROR(tiles_.acquire(s));
  }
  {
    const Traced gemm(*this, TraceKind::kGemm, s);
    const tile::Rows rows = tiles_.grid().super_block(s);
    plan_.local.compute(rows.begin, rows.end, tiles_.partial(s, tiles_.rank(), rows.begin),
                        tiles_.row_bytes(), large_store());
  }
  const Traced publish(*this, TraceKind::kPublish, s);
  tiles_.publish_partials(s);
  return {};
}

Status Run::reduce(std::int64_t s) {
  {
    const Traced wait(*this, TraceKind::kWait, s);
    // Before anything of a peer is used, all ranks have said what they are doing.
    if (s == 0) WEFT_RETURN_IF_ERROR(plan_.group.check_peers());
    WEFT_RETURN_IF_ERROR(tiles_.wait_partials(s));
  }
  {
    const Traced reduce_norm(*this, TraceKind::kReduceNorm, s, tiles_.rank());
    const tile::Rows own = tiles_.grid().tile(s, tiles_.rank());
    for_rows(own, [&](std::int64_t row, const RowScratch& scratch) {
      std::byte* reduced = tiles_.reduced(s, tiles_.rank(), row);
      sum(s, row, scratch, reduced);
      add_rmsnorm(row, reduced, scratch, partials_ahead(s, row, own.end, scratch));
    });
  }
  const Traced publish(*this, TraceKind::kPublish, s);
  tiles_.publish_reduced(s);
  return {};
}

Status Run::finish(std::int64_t s) {
  // Starting behind the own tile, so that ranks do not all read the same owner first.
  for (int i = 1; i < tiles_.ranks(); ++i) {
    const int owner = (tiles_.rank() + i) % tiles_.ranks();
    {
      const Traced wait(*this, TraceKind::kWait, s, owner);
      WEFT_RETURN_IF_ERROR(tiles_.wait_reduced(s, owner));
    }
    const Traced copy(*this, TraceKind::kCopy, s, owner);
    const tile::Rows theirs = tiles_.grid().tile(s, owner);
    for_rows(theirs, [&](std::int64_t row, const RowScratch& scratch) {
      const int ahead = reduced_ahead(s, owner, row, theirs.end, scratch);
      add_rmsnorm(row, tiles_.reduced(s, owner, row), scratch, ahead);
    });
  }
  tiles_.consumed(s);
  return {};
}

Status Run::one_shot() {
  WEFT_RETURN_IF_ERROR(compute(0));
  {
    const Traced wait(*this, TraceKind::kWait, 0);
    WEFT_RETURN_IF_ERROR(plan_.group.check_peers());
    WEFT_RETURN_IF_ERROR(tiles_.wait_partials(0));
  }
  const Traced reduce_norm(*this, TraceKind::kReduceNorm, 0);
  for_rows(tiles_.grid().super_block(0), [&](std::int64_t row, const RowScratch& scratch) {
    sum(0, row, scratch, scratch.sum);
    add_rmsnorm(row, scratch.sum, scratch, 0);
  });
  return {};
}

Status run_pipeline(Run& run, std::int64_t super_blocks) {
  for (std::int64_t s = 0; s < super_blocks + 2; ++s) {
    if (s < super_blocks) WEFT_RETURN_IF_ERROR(run.compute(s));
    if (s >= 1 && s - 1 < super_blocks) WEFT_RETURN_IF_ERROR(run.reduce(s - 1));
    if (s >= 2) WEFT_RETURN_IF_ERROR(run.finish(s - 2));
  }
  return {};
}

}  // namespace

Status run_tiles(Plan& plan, const Args& args) {
  WEFT_RETURN_IF_ERROR(plan.group.begin_call(plan.header));
  if (plan.empty) {
    WEFT_RETURN_IF_ERROR(plan.group.check_peers());
  } else {
    plan.local.bind(operands_of(args));
    copy_dense(args.gamma, plan.gamma.data());
    Run run(plan, args);
    const tile::Layout& layout = plan.layout;
    WEFT_RETURN_IF_ERROR(layout.pattern == tile::Pattern::kOneShot
                             ? run.one_shot()
                             : run_pipeline(run, layout.grid.super_blocks()));
  }
  plan.group.end_call();
  return {};
}

}  // namespace weft::ops
