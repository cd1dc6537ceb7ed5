// SPDX-License-Identifier: Apache-2.0
// Random calls: refused with a message, or right to the last bit, and never a byte written beside
// the outputs; and shapes without memory behind them.
#include "moe_routing_case.h"
#include "ops/moe_finalize_routing/contract.h"
#include "ops/moe_gating_topk_softmax/contract.h"
#include "ops/moe_init_routing/contract.h"

namespace weft::testing {
namespace {

class MoeRoutingFuzz : public ::testing::Test {
 protected:
  Random random_{seed_of_this_run()};
  ::testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(seed_of_this_run())};

  DType type() { return kFloats[random_.below(3)]; }
  unsigned seed() { return static_cast<unsigned>(random_.engine()()); }
  bool flag() { return random_.one_in(2); }
  std::int64_t up_to(std::int64_t most) { return random_.below(most + 1); }
};

TEST_F(MoeRoutingFuzz, Gating) {
  for (int i = 0; i < 1000; ++i) {
    GatingCase c = {.type = type(), .tokens = {up_to(9)}, .experts = up_to(70)};
    while (random_.one_in(3)) c.tokens.push_back(1 + up_to(3));
    if (c.tokens.size() > 7) c.tokens.resize(7);
    c.k = random_.one_in(3) ? c.experts : std::min(c.experts, up_to(9));
    c.finished = flag(), c.strided = flag(), c.special = flag();
    c.deviation = flag() ? 1 : 30;
    c.seed = seed();
    SCOPED_TRACE(c.text());
    const GatingData data(c);
    const Status status = moe_gating_topk_softmax(context_of(1 + i % 3), data.args());
    ASSERT_TRUE(status.ok()) << status.to_string();
    data.expect_correct();
    if (HasFatalFailure()) return;
  }
}

TEST_F(MoeRoutingFuzz, InitRouting) {
  for (int i = 0; i < 1000; ++i) {
    const InitCase c = {.type = type(),
                        .n = up_to(12),
                        .h = up_to(40),
                        .k = up_to(5),
                        .active_num = up_to(15),
                        .ids = static_cast<Ids>(random_.below(3)),
                        .strided = flag(),
                        .shuffled = flag(),
                        .seed = seed()};
    SCOPED_TRACE(c.text());
    const InitData data(c);
    const Status status = moe_init_routing(context_of(1 + i % 3), data.args());
    ASSERT_TRUE(status.ok()) << status.to_string();
    data.expect_correct();
    if (HasFatalFailure()) return;
  }
}

TEST_F(MoeRoutingFuzz, FinalizeRouting) {
  for (int i = 0; i < 1000; ++i) {
    FinalizeCase c = {.type = type(), .n = up_to(12), .h = up_to(70), .k = up_to(5)};
    c.x1 = flag(), c.x2 = flag(), c.bias = flag(), c.scales = flag(), c.padded = flag();
    c.strided = flag(), c.special = flag();
    c.float_scales = c.type == DType::kBFloat16 && flag();
    c.in_place = c.x1 && flag();
    c.order = flag() ? ExpandedRowOrder::kRowMajor : ExpandedRowOrder::kColumnMajor;
    c.seed = seed();
    SCOPED_TRACE(c.text());
    const FinalizeData data(c);
    const Status status = moe_finalize_routing(context_of(1 + i % 3), data.args());
    ASSERT_TRUE(status.ok()) << status.to_string();
    data.expect_correct();
    if (HasFatalFailure()) return;
  }
}

// Numbers out of range are refused before anything is written; whatever they are, nothing outside
// the operands is touched.
TEST_F(MoeRoutingFuzz, AnyIndices) {
  int refused = 0, right = 0;
  const auto expect_untouched_if = [&](const Status& status, const auto& data) {
    ++(status.ok() ? right : refused);
    ASSERT_TRUE(status.ok() || data.outputs_untouched()) << status.to_string();
    if (status.ok()) return;
    ASSERT_EQ(status.code(), StatusCode::kInvalidArgument);
  };
  for (int i = 0; i < 1000; ++i) {
    const InitData init({.n = 4, .k = 3, .active_num = 4, .seed = seed()});
    const FinalizeData finalize({.n = 4, .k = 3, .padded = flag(), .seed = seed()});
    std::vector<std::int32_t> numbers(12);
    const bool large = random_.one_in(3);
    for (std::int32_t& number : numbers)
      number = large && random_.one_in(4) ? static_cast<std::int32_t>(random_.engine()())
                                          : static_cast<std::int32_t>(random_.below(8));
    MoeInitRoutingArgs a = init.args();
    a.row_idx = a.row_idx.with_data(numbers.data());
    expect_untouched_if(moe_init_routing(context_of(1), a), init);
    MoeFinalizeRoutingArgs f = finalize.args();
    if (flag())
      f.expert_idx = f.expert_idx.with_data(numbers.data());
    else
      f.expanded_row_idx = f.expanded_row_idx.with_data(numbers.data());
    expect_untouched_if(moe_finalize_routing(context_of(1), f), finalize);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(refused, 200);
  EXPECT_GT(right, 200);
}

// The contract alone decides, whatever the numbers.
TEST_F(MoeRoutingFuzz, ContractsTakeAnything) {
  const auto any = [&] {
    constexpr std::int64_t kOdd[] = {INT64_MIN, INT64_MAX, -1, 0, 1, 2, 3, 1LL << 31, 1LL << 62};
    if (random_.one_in(8)) return TensorRef();
    Dims dims(static_cast<std::size_t>(random_.one_in(4) ? up_to(kMaxDims) : 1 + up_to(1)));
    Dims strides(dims.size());
    for (auto& stride : strides) stride = kOdd[random_.below(9)];
    for (auto& extent : dims) extent = random_.below(4) - (random_.one_in(20) ? 2 : 0);
    // One axis alone: the dense strides that the constructor begins with are a product.
    if (dims.size() == 1 && random_.one_in(3)) dims[0] = kOdd[random_.below(9)];
    const DType type = random_.one_in(2) ? DType::kInt32 : static_cast<DType>(random_.below(9));
    if (random_.one_in(3)) return TensorRef(nullptr, type, dims);
    return TensorRef(nullptr, type, dims, strides);
  };
  const auto expect_message = [](const Status& status, const char* op) {
    if (status.ok()) return;
    ASSERT_EQ(status.code(), StatusCode::kInvalidArgument);
    ASSERT_EQ(status.message().rfind(op, 0), 0u) << status.message();
  };
  for (int i = 0; i < 20000; ++i) {
    // A call that is right but for an operand or two, so that all rules are reached.
    MoeGatingTopkSoftmaxArgs g = GatingData({.finished = flag()}).args();
    MoeInitRoutingArgs r = InitData({}).args();
    MoeFinalizeRoutingArgs f = FinalizeData({.padded = flag()}).args();
    ConstTensorRef* const in[] = {&g.x,          &g.finished,   &r.x,         &r.row_idx,
                                  &r.expert_idx, &f.x1,         &f.x2,        &f.bias,
                                  &f.scales,     &f.expert_idx, &f.expanded_x};
    TensorRef* const out[] = {&g.y,          &g.expert_idx,       &g.row_idx,
                              &r.expanded_x, &r.expanded_row_idx, &f.out};
    for (int change = 0; change < 4; ++change) {
      *in[random_.below(std::ssize(in))] = any();
      if (random_.one_in(3)) *out[random_.below(std::ssize(out))] = any();
    }
    if (flag()) g.k = random_.below(12) - 2;
    if (flag()) r.active_num = random_.one_in(2) ? INT64_MAX : random_.below(9) - 2;
    expect_message(ops::check_plan(g), "moe_gating_topk_softmax: ");
    expect_message(ops::check_plan(r), "moe_init_routing: ");
    expect_message(ops::check_plan(f), "moe_finalize_routing: ");
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace weft::testing
