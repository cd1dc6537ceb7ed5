// SPDX-License-Identifier: Apache-2.0
// plan() with random arguments, most of them wrong in some way: it refuses or makes a legal plan,
// and a legal plan gives right results.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "operator_case.h"
#include "ops/matmul_allreduce_add_rmsnorm/reference.h"
#include "thread_ranks.h"

namespace weft::testing {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr DType kDTypes[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16,
                             DType::kInt8,    DType::kInt4,    DType::kInt32,
                             DType::kInt64,   DType::kUInt64,  DType::kBool};

/// Takes legal arguments and breaks some of them.
class Mutator {
 public:
  explicit Mutator(tools::Random& random) : random_(random) {}

  void mutate(MatmulAllReduceAddRmsNormArgs& args) {
    const auto changes = random_.next() % 4;
    for (std::uint64_t i = 0; i < changes; ++i) change(args);
  }

 private:
  void change(MatmulAllReduceAddRmsNormArgs& a) {
    if (random_.next() % 8 == 0) return resize(a);
    ConstTensorRef* inputs[] = {
        &a.x1,       &a.x2,   &a.bias, &a.dequant_scale, &a.antiquant_scale, &a.antiquant_offset,
        &a.residual, &a.gamma};
    const auto pick = random_.next() % (std::size(inputs) + 4);
    if (pick < std::size(inputs)) return change(*inputs[pick]);
    if (pick == std::size(inputs)) return change(a.y);
    if (pick == std::size(inputs) + 1) return change(a.norm_out);
    if (pick == std::size(inputs) + 2) a.antiquant_group_size = extent();
    constexpr double kEpsilons[] = {0, -1, 1, 1e-6, 0.5, 1e300};
    if (pick == std::size(inputs) + 3) a.epsilon = kEpsilons[random_.next() % 6];
  }

  // Another m or n everywhere, so that the call stays consistent.
  void resize(MatmulAllReduceAddRmsNormArgs& a) {
    if (a.x1.rank() != 2 || a.residual.rank() != 3 || !a.x2.given()) return;
    if (random_.next() % 2) {
      const std::int64_t m = extent();
      a.x1 = {a.x1.data(), a.x1.dtype(), {m, a.x1.dim(1)}};
      a.residual = {a.residual.data(), a.residual.dtype(), {1, m, a.residual.dim(2)}};
    } else {
      const std::int64_t n = extent();
      a.x2 = {a.x2.data(), a.x2.dtype(), {a.x2.dim(0), n}};
      a.residual = {a.residual.data(), a.residual.dtype(), {1, a.residual.dim(1), n}};
      a.gamma = {a.gamma.data(), a.gamma.dtype(), {n}};
      a.bias = {};
    }
    a.y = {a.y.data(), a.residual.dtype(), a.residual.dims()};
    a.norm_out = {a.norm_out.data(), a.residual.dtype(), a.residual.dims()};
  }

  template <typename Pointer>
  void change(BasicTensorRef<Pointer>& tensor) {
    std::vector<std::int64_t> dims(tensor.dims().begin(), tensor.dims().end());
    std::vector<std::int64_t> strides(tensor.strides().begin(), tensor.strides().end());
    DType dtype = tensor.dtype();
    const auto axis = dims.empty() ? 0 : random_.next() % dims.size();
    switch (random_.next() % 8) {
      case 0:
        tensor = {};
        return;
      case 1:
        dtype = kDTypes[random_.next() % std::size(kDTypes)];
        break;
      case 2:
        dims.resize(random_.next() % (kMaxDims + 1), 1);
        strides.resize(dims.size(), 1);
        break;
      case 3:
        if (tensor.rank() >= 2) tensor = tensor.transposed();
        return;
      case 4:
      case 5:
        if (!strides.empty()) strides[axis] = random_.next() % 8 ? extent() : kMost;
        break;
      default:
        if (!dims.empty()) dims[axis] = extent();
    }
    tensor = BasicTensorRef<Pointer>(tensor.data(), dtype, dims, strides);
  }

  std::int64_t extent() {
    constexpr std::int64_t kExtents[] = {0,          1,          2,  3,   7,     31,    32,
                                         33,         64,         96, 100, 65535, 65536, 1 << 20,
                                         2147483647, 2147483648, -1, -7,  -64};
    return kExtents[random_.next() % std::size(kExtents)];
  }

  tools::Random& random_;
};

bool same_operands(const MatmulAllReduceAddRmsNormArgs& a, const MatmulAllReduceAddRmsNormArgs& b) {
  const auto same = [](const ConstTensorRef& x, const ConstTensorRef& y) {
    return x.given() == y.given() && x.dtype() == y.dtype() &&
           std::ranges::equal(x.dims(), y.dims()) && std::ranges::equal(x.strides(), y.strides());
  };
  return same(a.x1, b.x1) && same(a.x2, b.x2) && same(a.bias, b.bias) &&
         same(a.dequant_scale, b.dequant_scale) && same(a.antiquant_scale, b.antiquant_scale) &&
         same(a.antiquant_offset, b.antiquant_offset) && same(a.residual, b.residual) &&
         same(a.gamma, b.gamma) && same(a.y, b.y) && same(a.norm_out, b.norm_out) &&
         a.antiquant_group_size == b.antiquant_group_size;
}

TEST(Fuzz, PlanRefusesOrIsRight) {
  const char* text = std::getenv("TEST_SEED");
  const std::uint64_t seed = text ? std::strtoull(text, nullptr, 10) : 20240607;
  SCOPED_TRACE(fmt::format("TEST_SEED={}", seed));
  const char* kRows[] = {"A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9"};
  const char* kShapes[] = {"3x64:64x32", "2x5x100:100x48", "1x34:34x2", "40x33:33x64"};
  tools::Random random(seed, 0, 0);
  std::vector<Group> groups = make_groups("loopback", 1, operator_group_options());
  Context context = Context::create({.threads = 1}).value();
  int refused = 0, run = 0;
  for (int i = 0; i < 4000; ++i) {
    const OperatorCase c =
        random_case(kRows[random.next() % std::size(kRows)],
                    kShapes[random.next() % std::size(kShapes)], 1, random.next());
    const RankData data(c, 0, 1);
    MatmulAllReduceAddRmsNormArgs args = data.args();
    Mutator(random).mutate(args);
    auto plan = MatmulAllReduceAddRmsNorm::plan(
        context, groups[0], args,
        {.super_block_rows = static_cast<std::int64_t>(random.next() % 5) - 1});
    if (!plan.ok()) {
      EXPECT_NE(plan.status().code(), StatusCode::kInternal) << plan.status().to_string();
      EXPECT_FALSE(plan.status().message().empty());
      ++refused;
      continue;
    }
    (void)plan->describe();
    // What was mutated no longer fits the memory; what was not must be right.
    if (!same_operands(args, data.args()) || i % 4 != 0) continue;
    MatmulAllReduceAddRmsNormArgs legal = data.args();
    legal.epsilon = args.epsilon;
    ASSERT_TRUE(plan->run(legal).ok());
    MatmulAllReduceAddRmsNormArgs reference = data.reference_args();
    reference.epsilon = args.epsilon;
    for (std::int64_t row = 0; row < c.operands.shape.m(); row += 7)
      ASSERT_LE(ops::check_row({&reference, 1}, 0, row).worst, 1) << c.text(1) << ", row " << row;
    EXPECT_TRUE(data.guards_intact()) << c.text(1);
    ++run;
  }
  // Both ways were taken often.
  EXPECT_GT(refused, 400);
  EXPECT_GT(run, 100);
}

/// What plan() says to a dense (b, s, k) = (2, 3, 64) call changed by `change`.
std::string refusal(const std::function<void(MatmulAllReduceAddRmsNormArgs&)>& change) {
  const RankData data(plain_case("A1", "2x3x64:64x32"), 0, 1);
  std::vector<Group> groups = make_groups("loopback", 1, operator_group_options());
  Context context = Context::create({.threads = 1}).value();
  MatmulAllReduceAddRmsNormArgs args = data.args();
  change(args);
  const auto plan = MatmulAllReduceAddRmsNorm::plan(context, groups[0], args);
  return plan.ok() ? "accepted" : plan.status().message();
}

TEST(Layouts, NegativeExtentsAreRefused) {
  EXPECT_EQ(refusal([](MatmulAllReduceAddRmsNormArgs& args) {
              args.x1 = {nullptr, DType::kFloat16, {-2, -3, 64}};
            }),
            "matmul_allreduce_add_rmsnorm (rank 0): x1 is (-2, -3, 64) but no extent can be "
            "negative");
}

TEST(Layouts, OutputsWhoseRowsOverlapAreRefused) {
  const std::int64_t dims[] = {2, 3, 32};
  const auto with_strides = [&](std::int64_t batch, std::int64_t row) {
    return refusal([&](MatmulAllReduceAddRmsNormArgs& args) {
      const std::int64_t strides[] = {batch, row, 1};
      args.norm_out = {nullptr, DType::kFloat16, dims, strides};
    });
  };
  EXPECT_EQ(
      with_strides(0, 32),
      "matmul_allreduce_add_rmsnorm (rank 0): norm_out has strides (0, 32, 1) that put several "
      "of its rows at the same place; make it contiguous");
  EXPECT_NE(with_strides(96, 31), "accepted");
  EXPECT_NE(with_strides(95, 32), "accepted");
  EXPECT_EQ(with_strides(96, 32), "accepted");
  EXPECT_EQ(with_strides(32, 64), "accepted");    // (s, b, n) in memory
  EXPECT_EQ(with_strides(-96, -32), "accepted");  // backwards
}

}  // namespace
}  // namespace weft::testing
