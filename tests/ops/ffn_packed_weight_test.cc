// SPDX-License-Identifier: Apache-2.0
// Weights of experts packed by the caller: the bits of ffn, from memory and from a file; refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "ffn_case.h"
#include "temporary_folder.h"
#include "weft/packed_weight.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;
using Bits = std::vector<std::uint16_t>;

constexpr const char* kRows[] = {"F16", "BF16", "Q16_float32", "QBF16"};

Bits run(Context& context, FfnData& data, const FfnArgs& args) {
  data.y.reset();
  const Status status = ffn(context, args, data.options());
  EXPECT_TRUE(status.ok()) << status.to_string();
  EXPECT_TRUE(data.guards_intact());
  return data.bits();
}
FfnArgs with_packed(FfnArgs args, const PackedWeight& first, const PackedWeight& second) {
  args.weight1 = args.weight2 = {};
  args.packed_weight1 = &first, args.packed_weight2 = &second;
  return args;
}

// row, ISA
class FfnPackedWeight : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(FfnPackedWeight, GivesTheBitsOfTheWeights) {
  const auto& [row, isa] = GetParam();
  if (!Context::create({.threads = 1, .isa = isa}).ok()) GTEST_SKIP() << "no " << isa << " here";
  Context& context = context_of(1, isa);
  const TemporaryFolder folder;
  // N1 / 2 is not a multiple of a panel's columns; several chunks of k.
  for (const auto& [k1, k2] : {std::array{30, 45}, {64, 16}, {1, 1}, {1100, 17}, {20, 1100}})
    for (const Activation activation : {Activation::kGelu, Activation::kSwiglu})
      for (const bool experts : {false, true}) {
        FfnCase c{.row = ffn_row(row), .m = 23, .k1 = k1, .k2 = k2, .n2 = 35};
        if (experts) c.tokens = Dims{0, 2, 17, 0, 3};
        c.activation = activation;
        SCOPED_TRACE(c.text());
        FfnData data(c);
        const Bits want = run(context, data, data.args());
        for (const WeightLayout layout : kWeightLayouts) {
          if (layout == WeightLayout::kScattered || layout == WeightLayout::kPadded) continue;
          FfnCase laid_out = c;
          laid_out.weight1 = laid_out.weight2 = layout;
          auto source = std::make_unique<FfnData>(laid_out);
          const PackedWeight first = PackedWeight::pack(context, source->weight1.view()).value();
          const PackedWeight second = PackedWeight::pack(context, source->weight2.view()).value();
          source.reset();
          EXPECT_EQ(first.experts(), experts ? 5 : 0);
          EXPECT_EQ(first.k(), k1);
          EXPECT_EQ(second.n(), 35);
          EXPECT_EQ(run(context, data, with_packed(data.args(), first, second)), want);
          if (layout != WeightLayout::kTransposed) continue;
          ASSERT_TRUE(first.save(folder / "first").ok());
          ASSERT_TRUE(second.save(folder / "second").ok());
          const PackedWeight loaded1 = PackedWeight::load(context, folder / "first").value();
          const PackedWeight loaded2 = PackedWeight::load(context, folder / "second").value();
          EXPECT_EQ(loaded1.experts(), first.experts());
          EXPECT_EQ(loaded1.source(), first.source());
          EXPECT_EQ(loaded1.bytes(), first.bytes());
          EXPECT_EQ(run(context, data, with_packed(data.args(), loaded1, loaded2)), want);
        }
      }
}

INSTANTIATE_TEST_SUITE_P(All, FfnPackedWeight,
                         ::testing::Combine(::testing::ValuesIn(kRows),
                                            ::testing::Values("", "scalar", "avx2", "avx512")));

// Of the calls that differ in one thing from a legal one.
class FfnPackedRefusals : public ::testing::Test {
 protected:
  FfnPackedRefusals() : data_(legal()) {
    first_.emplace_back(PackedWeight::pack(context_of(1), data_.weight1.view()).value());
    second_.emplace_back(PackedWeight::pack(context_of(1), data_.weight2.view()).value());
  }
  static FfnCase legal() {
    FfnCase c{.row = ffn_row("F16"), .m = 6, .k1 = 12, .k2 = 10, .n2 = 14};
    c.tokens = Dims{1, 2, 3};
    return c;
  }
  FfnArgs args() const { return with_packed(data_.args(), first_[0], second_[0]); }
  static std::string refusal(const FfnArgs& args, Context& context = context_of(1)) {
    const auto plan = Ffn::plan(context, args);
    EXPECT_FALSE(plan.ok());
    if (plan.ok()) return "";
    EXPECT_EQ(plan.status().code(), StatusCode::kInvalidArgument);
    return plan.status().message();
  }

  FfnData data_;
  std::vector<PackedWeight> first_, second_;
};

TEST_F(FfnPackedRefusals, BothForms) {
  ASSERT_TRUE(Ffn::plan(context_of(1), args()).ok());
  FfnArgs a = args();
  a.weight1 = data_.weight1.view();
  EXPECT_EQ(refusal(a), "ffn: weight1 and packed_weight1 are both given; give one of them");
  a = args();
  a.weight2 = data_.weight2.view();
  EXPECT_EQ(refusal(a), "ffn: weight2 and packed_weight2 are both given; give one of them");
}

TEST_F(FfnPackedRefusals, AnotherShape) {
  FfnArgs a = args();
  a.packed_weight2 = &first_[0];
  EXPECT_EQ(refusal(a),
            "ffn: weight1 has n = 10 but weight2 has k = 12; they must be the same with gelu");
  a = args();
  a.x = ConstTensorRef(a.x.data(), a.x.dtype(), {6, 11});
  EXPECT_EQ(refusal(a), "ffn: the last dimension of x is 11 but weight1 has k = 12");
  a = args();
  a.expert_tokens = {a.expert_tokens.data(), DType::kInt64, {2}};
  EXPECT_EQ(refusal(a), "ffn: weight1 has 3 experts but expert_tokens has 2 values");
  a.expert_tokens = {};
  EXPECT_EQ(refusal(a), "ffn: weight1 has 3 axes but must have 2 without expert_tokens");
}

TEST_F(FfnPackedRefusals, OneWeightForExperts) {
  const ConstTensorRef one(data_.weight1.view().data(), DType::kFloat16, {12, 10});
  const PackedWeight packed = PackedWeight::pack(context_of(1), one).value();
  FfnArgs a = args();
  a.packed_weight1 = &packed;
  EXPECT_EQ(refusal(a), "ffn: weight1 has 2 axes but must have 3 with expert_tokens");
}

TEST_F(FfnPackedRefusals, WeightsToBeRestored) {
  FfnCase c = legal();
  c.row = ffn_row("F16_int8");
  const FfnData data(c);
  const PackedWeight first = PackedWeight::pack(context_of(1), data.weight1.view()).value();
  FfnArgs a = data.args();
  a.weight1 = {}, a.packed_weight1 = &first;
  EXPECT_EQ(refusal(a),
            "ffn: packed_weight1 is int8 but x is float16; pack the restored weight or pass "
            "weight1");
}

TEST_F(FfnPackedRefusals, InstructionsThatAreCapped) {
  Context& scalar = context_of(1, "scalar");
  if (scalar.isa() == context_of(1).isa()) GTEST_SKIP() << "this machine has only scalar";
  EXPECT_THAT(refusal(args(), scalar), HasSubstr("packed_weight1 was packed for"));
  FfnArgs a = args();
  a.weight1 = data_.weight1.view(), a.packed_weight1 = nullptr;
  EXPECT_THAT(refusal(a, scalar), HasSubstr("packed_weight2 was packed for"));
}

TEST_F(FfnPackedRefusals, AnotherOneThanPlanned) {
  Ffn plan = Ffn::plan(context_of(1), args()).value();
  const PackedWeight same = PackedWeight::pack(context_of(1), data_.weight2.view()).value();
  FfnArgs a = args();
  a.packed_weight2 = &same;
  EXPECT_EQ(plan.run(a).message(),
            "ffn: packed_weight2 is another weight than planned; plan again");
  a = args();
  a.packed_weight1 = nullptr, a.weight1 = data_.weight1.view();
  EXPECT_THAT(plan.run(a).message(), HasSubstr("weight1 is float16 (3, 12, 10) but none"));
  EXPECT_TRUE(data_.y.unchanged());
}

TEST(FfnPacking, RefusesWhatIsNoWeight) {
  const std::vector<std::uint16_t> memory(1000);
  const auto refusal = [&](const Dims& dims, const Dims& strides) {
    const auto weight =
        PackedWeight::pack(context_of(1), {memory.data(), DType::kFloat16, dims, strides});
    EXPECT_FALSE(weight.ok());
    return weight.ok() ? "" : weight.status().message();
  };
  const char* const shape = "but must be a non-empty (k, n) or (experts, k, n)";
  EXPECT_THAT(refusal({0, 4, 4}, {16, 4, 1}), HasSubstr(shape));
  EXPECT_THAT(refusal({2, 0, 4}, {16, 4, 1}), HasSubstr(shape));
  EXPECT_THAT(refusal({2, 4, 0}, {16, 4, 1}), HasSubstr(shape));
  EXPECT_THAT(refusal({-2, -4, 4}, {16, 4, 1}), HasSubstr(shape));
  EXPECT_THAT(refusal({2, -4, -4}, {16, 4, 1}), HasSubstr(shape));
  EXPECT_THAT(refusal({1, 2, 4, 4}, {32, 16, 4, 1}), HasSubstr(shape));
  EXPECT_THAT(refusal({4}, {1}), HasSubstr(shape));
  EXPECT_THAT(refusal({2, 4, 4}, {32, 8, 2}), HasSubstr("one axis must be adjacent"));
}

}  // namespace
}  // namespace weft::testing
