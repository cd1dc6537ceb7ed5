// SPDX-License-Identifier: Apache-2.0
// One pass: a row is read, normalised while it is in the cache, and written; meanwhile the next one
// is fetched.
#include <algorithm>

#include "ops/add_rmsnorm/plan.h"
#include "ops/dense.h"
#include "ops/row_work.h"

namespace weft::ops {
namespace {

const std::byte* bytes(const ConstTensorRef& t) { return static_cast<const std::byte*>(t.data()); }
std::byte* bytes(const TensorRef& t) { return static_cast<std::byte*>(t.data()); }

}  // namespace

void run_rows(internal::AddRmsNormPlan& plan, const AddRmsNormArgs& args) {
  const void* gamma = args.gamma.data();
  if (!args.gamma.dense()) {
    copy_dense(args.gamma, plan.gamma.data());
    gamma = plan.gamma.data();
  }
  const auto body = [&](std::int64_t batch, int thread) {
    const std::int64_t begin = batch * plan.batch, end = std::min(begin + plan.batch, plan.rows);
    const void* ahead[2];
    rows::AddRmsNormRow row{};
    row.n = plan.n;
    row.gamma = gamma;
    row.epsilon = static_cast<float>(args.epsilon);
    row.scratch = plan.scratch.data() + thread * plan.scratch_row_bytes;
    row.store = plan.store;
    row.ahead = ahead;
    for (std::int64_t i = begin; i < end; ++i) {
      row.m = bytes(args.x1) + plan.x1[i];
      row.residual = bytes(args.x2) + plan.x2[i];
      row.y = bytes(args.x) + plan.x[i];
      row.out = bytes(args.y) + plan.y[i];
      if (args.rstd.given())
        row.rstd = static_cast<float*>(static_cast<void*>(bytes(args.rstd) + plan.rstd[i]));
      if (i + 1 < end) {
        ahead[0] = bytes(args.x1) + plan.x1[i + 1];
        ahead[1] = bytes(args.x2) + plan.x2[i + 1];
      }
      row.ahead_count = i + 1 < end ? 2 : 0;
      plan.kernels.add_rmsnorm_row(row);
    }
    rows::stream_fence();
  };
  const std::int64_t bytes = 4 * bytes_of(args.x1.dtype(), plan.rows * plan.n);
  plan.context.pool.parallel_for(ceil_div(plan.rows, plan.batch), body, ns_of_bytes(bytes));
}

}  // namespace weft::ops
