// SPDX-License-Identifier: Apache-2.0
// plan() with random arguments, most of them wrong in some way: it refuses or makes a legal plan,
// and a legal plan gives right results and touches nothing else.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "operator_case.h"
#include "thread_ranks.h"

namespace weft::testing {
namespace {

constexpr int kRanks = 2;
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr DType kDTypes[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16,
                             DType::kInt8,    DType::kInt4,    DType::kInt32,
                             DType::kInt64,   DType::kUInt64,  DType::kBool};

/// Whether the number of elements fits into an int64, which making a view expects.
bool can_be_counted(const std::vector<std::int64_t>& dims) {
  double product = 1;
  for (std::int64_t extent : dims) product *= std::max(1.0, std::fabs(static_cast<double>(extent)));
  return product < 0x1p62;
}

/// Takes legal arguments and breaks some of them, or turns them into other legal ones.
template <typename Args>
class Mutator {
 public:
  explicit Mutator(tools::Random& random) : random_(random) {}

  void mutate(Args& args) {
    const auto changes = random_.next() % 4;
    for (std::uint64_t i = 0; i < changes; ++i) change(args);
  }

 private:
  bool one_in(std::uint64_t n) { return random_.next() % n == 0; }

  void change(Args& a) {
    if (one_in(6)) return resize(a);
    if constexpr (requires { a.antiquant_group_size; })
      if (one_in(10)) a.antiquant_group_size = extent();
    constexpr double kEpsilons[] = {0, -1, 1, 1e-6, 0.5, 1e300};
    if constexpr (requires { a.epsilon; })
      if (one_in(10)) a.epsilon = kEpsilons[random_.next() % 6];
    const auto inputs = Family<Args>::inputs(a);
    const auto outputs = Family<Args>::outputs(a);
    const std::size_t pick = random_.next() % (inputs.size() + outputs.size());
    if (pick >= inputs.size()) return change(*outputs[pick - inputs.size()]);
    // An operand that was left out appears.
    ConstTensorRef& input = *inputs[pick].second;
    if (!input.given()) input = *inputs[random_.next() % inputs.size()].second;
    change(input);
  }

  // Another extent wherever m, k or n was, so that the call stays consistent.
  void resize(Args& a) {
    if (a.x1.rank() < 2 || a.x2.rank() != 2) return;
    const std::int64_t extents[] = {a.x1.dim(a.x1.rank() - 2), a.x2.dim(0), a.x2.dim(1)};
    const std::int64_t old = extents[random_.next() % 3], now = extent();
    for (const auto& [id, tensor] : Family<Args>::inputs(a)) replace(*tensor, old, now);
    for (TensorRef* tensor : Family<Args>::outputs(a)) {
      replace(*tensor, old, now);
      // matmul_reduce_scatter: this rank's share.
      if (!one_in(8)) replace(*tensor, old / kRanks, now / kRanks);
    }
  }
  template <typename Pointer>
  void replace(BasicTensorRef<Pointer>& tensor, std::int64_t old, std::int64_t now) {
    if (!tensor.given() || tensor.format() != Format::kStrided) return;
    std::vector<std::int64_t> dims(tensor.dims().begin(), tensor.dims().end());
    if (std::ranges::find(dims, old) == dims.end()) return;
    const bool transposed = tensor.rank() == 2 && tensor.stride(0) == 1;
    if (transposed) std::swap(dims[0], dims[1]);
    std::ranges::replace(dims, old, now);
    if (!can_be_counted(dims)) return;
    tensor = BasicTensorRef<Pointer>(tensor.data(), tensor.dtype(), dims);
    if (transposed) tensor = tensor.transposed();
  }

  template <typename Pointer>
  void change(BasicTensorRef<Pointer>& tensor) {
    std::vector<std::int64_t> dims(tensor.dims().begin(), tensor.dims().end());
    std::vector<std::int64_t> strides(tensor.strides().begin(), tensor.strides().end());
    DType dtype = tensor.dtype();
    const auto axis = dims.empty() ? 0 : random_.next() % dims.size();
    switch (random_.next() % 10) {
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
        if (tensor.rank() == 2 && std::ranges::all_of(dims, [](auto d) { return d < 1000; }))
          tensor = BasicTensorRef<Pointer>::fractal_nz(tensor.data(), dtype, dims[0], dims[1]);
        return;
      case 5:
        dims.insert(dims.begin(), 1);  // (n) as (1, n)
        strides.insert(strides.begin(), extent());
        if (dims.size() > kMaxDims) return;
        break;
      case 6:
      case 7:
        if (!strides.empty()) strides[axis] = one_in(8) ? kMost : extent();
        break;
      default:
        if (!dims.empty()) dims[axis] = extent();
    }
    if (can_be_counted(dims)) tensor = BasicTensorRef<Pointer>(tensor.data(), dtype, dims, strides);
  }

  std::int64_t extent() {
    constexpr std::int64_t kExtents[] = {
        0,  1,  2,   3,     7,     31,      32,         33,  64,   96, 100, 200,
        -1, -7, -64, 65535, 65536, 1 << 20, 2147483647, 512, 1000, 10, 6,   2147483648};
    return kExtents[random_.next() % std::size(kExtents)];
  }

  tools::Random& random_;
};

/// The elements between the first and the last that a view reaches, roughly. The stride of an axis
/// with one element may be anything that counts in bytes.
double reach(const ConstTensorRef& tensor) {
  double elements = 1;
  if (!tensor.given()) return 0;
  for (int i = 0; i < tensor.rank(); ++i) {
    const double stride = std::fabs(static_cast<double>(tensor.stride(i)));
    if (stride > 0x1p50) return HUGE_VAL;
    elements += static_cast<double>(tensor.dim(i) - 1) * stride;
  }
  return elements;
}

/// A call of this size takes milliseconds.
template <typename Args>
bool affordable(Args args) {
  double most = 0;
  for (const auto& [id, tensor] : Family<Args>::inputs(args)) most = std::max(most, reach(*tensor));
  for (const TensorRef* tensor : Family<Args>::outputs(args)) most = std::max(most, reach(*tensor));
  const double m =
      static_cast<double>(args.x1.elements()) / std::max(1.0, static_cast<double>(args.x2.dim(0)));
  return most < 1e6 && m * static_cast<double>(args.x2.elements()) < 1e7;
}

struct Counts {
  int refused = 0, run = 0, changed = 0;
};

/// Calls over memory of exactly the layouts in `args`, and expects right results, or none if there
/// is nothing to compute.
template <typename Args>
void run_over_own_memory(std::vector<Group>& groups, Context& context, const Args& args,
                         std::int64_t super_block_rows, std::uint64_t seed, bool empty) {
  Ranks data;
  for (int rank = 0; rank < kRanks; ++rank)
    data.push_back(std::make_unique<RankData>(args, seed, rank));
  on_all(groups, [&](Group& group) {
    const RankData& mine = *data[static_cast<std::size_t>(group.rank())];
    const Args own = mine.args<Args>();
    // One of the ranks has the context of the test.
    Context other = Context::create({.threads = 1}).value();
    const Status status = Family<Args>::kCall(group.rank() == 0 ? context : other, group, own,
                                              {.super_block_rows = super_block_rows});
    EXPECT_TRUE(status.ok()) << status.to_string();
  });
  for (int rank = 0; rank < kRanks; ++rank) {
    if (empty)
      EXPECT_TRUE(data[static_cast<std::size_t>(rank)]->guards_intact() &&
                  data[static_cast<std::size_t>(rank)]->outputs_untouched());
    else
      expect_correct<Args>(data, rank, 2e5);
  }
}

template <typename Args>
std::string text_of(Args args) {
  std::string text;
  for (const auto& [id, tensor] : Family<Args>::inputs(args))
    if (tensor->given()) text += fmt::format("{} {}; ", tools::to_string(id), to_string(*tensor));
  for (const TensorRef* tensor : Family<Args>::outputs(args))
    text += fmt::format("output {}; ", to_string(*tensor));
  if constexpr (requires { args.antiquant_group_size; })
    text += fmt::format("groups of {}", args.antiquant_group_size);
  return text;
}

template <typename Args>
bool same_layouts(Args a, Args b) {
  return text_of(a) == text_of(b);
}

template <typename Args>
Counts fuzz(const tools::Operator& op, std::uint64_t seed, int rounds) {
  using Op = typename Family<Args>::Op;
  constexpr const char* kShapes[] = {"4x64:64x32", "2x5x100:100x48", "2x34:34x2", "40x33:33x64",
                                     "6x40:40x10"};
  tools::Random random(seed, 0, 0);
  std::vector<Group> groups = make_groups("loopback", kRanks, operator_group_options());
  Context context = Context::create({.threads = 1}).value();
  Counts counts;
  for (int i = 0; i < rounds && !::testing::Test::HasFailure(); ++i) {
    const auto rows = op.traits().rows;
    OperatorCase c =
        random_case(rows[random.next() % rows.size()].name,
                    kShapes[random.next() % std::size(kShapes)], kRanks, random.next());
    const RankData legal(c, 0, kRanks);
    Args args = legal.args<Args>();
    Mutator<Args>(random).mutate(args);
    SCOPED_TRACE(fmt::format("round {}: {}", i, text_of(args)));
    const std::int64_t super_block_rows = static_cast<std::int64_t>(random.next() % 5) - 1;
    const auto planned = Op::plan(context, groups[0], args, {.super_block_rows = super_block_rows});
    if (!planned.ok()) {
      EXPECT_NE(planned.status().code(), StatusCode::kInternal) << planned.status().to_string();
      EXPECT_FALSE(planned.status().message().empty());
      ++counts.refused;
      continue;
    }
    const bool empty = planned->describe().starts_with("nothing to compute");
    const bool changed = !same_layouts(args, legal.args<Args>());
    if ((!changed && i % 4 != 0) || !affordable(args)) continue;
    run_over_own_memory(groups, context, args, super_block_rows, random.next(), empty);
    ++counts.run;
    counts.changed += changed;
  }
  return counts;
}

class Fuzz : public ::testing::TestWithParam<const tools::Operator*> {};

TEST_P(Fuzz, PlanRefusesOrIsRight) {
  const char* text = std::getenv("TEST_SEED");
  const char* rounds = std::getenv("TEST_ROUNDS");
  const std::uint64_t seed = text ? std::strtoull(text, nullptr, 10) : 20240607;
  SCOPED_TRACE(fmt::format("TEST_SEED={}", seed));
  const int count = rounds ? std::atoi(rounds) : 4000;
  const Counts counts = with_args_of(
      *GetParam(), [&](auto args) { return fuzz<decltype(args)>(*GetParam(), seed, count); });
  // All ways were taken often.
  EXPECT_GT(counts.refused, count / 10);
  EXPECT_GT(counts.run, count / 40);
  EXPECT_GT(counts.changed, count / 80);
}

INSTANTIATE_TEST_SUITE_P(Operators, Fuzz,
                         ::testing::Values(&tools::matmul_allreduce_operator(),
                                           &tools::matmul_allreduce_add_rmsnorm_operator(),
                                           &tools::matmul_reduce_scatter_operator()),
                         [](const auto& test) { return std::string(test.param->name()); });

/// What plan() says to a dense (b, s, k) = (2, 3, 64) call changed by `change`.
std::string refusal(const std::function<void(MatmulAllReduceAddRmsNormArgs&)>& change) {
  const RankData data(plain_case("A1", "2x3x64:64x32"), 0, 1);
  std::vector<Group> groups = make_groups("loopback", 1, operator_group_options());
  Context context = Context::create({.threads = 1}).value();
  auto args = data.args<MatmulAllReduceAddRmsNormArgs>();
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
