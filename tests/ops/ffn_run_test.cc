// SPDX-License-Identifier: Apache-2.0
// Plans of ffn and their runs: what expert_tokens may say and when it is read, other pointers,
// memory, names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <climits>
#include <string>
#include <utility>
#include <vector>

#include "counted_memory.h"
#include "ffn_case.h"
#include "weft/packed_weight.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;

FfnCase experts(const Dims& tokens, std::string_view row = "F16", std::int64_t m = 20) {
  FfnCase c{.row = ffn_row(row), .m = m, .k1 = 12, .k2 = 10, .n2 = 14};
  c.tokens = tokens;
  return c;
}

TEST(FfnTokens, ValuesThatDoNotFitWriteNothing) {
  struct Bad {
    Dims tokens;
    bool are_ends;
    const char* message;
  };
  for (const auto& [tokens, are_ends, message] :
       {Bad{{5, -1, 3}, false, "ffn: expert_tokens[1] is -1 but can't be negative"},
        Bad{{5, 10, 6}, false, "ffn: expert_tokens[2] is 6, which makes 15 + 6 rows, but x has 20"},
        Bad{{INT64_MAX, 1, 1},
            false,
            "ffn: expert_tokens[0] is 9223372036854775807, which makes 0 + 9223372036854775807 "
            "rows, but x has 20"},
        Bad{{5, INT64_MIN, 3},
            true,
            "ffn: expert_tokens[1] is -9223372036854775808 but can't be negative"},
        Bad{{5, 4, 20},
            true,
            "ffn: expert_tokens[1] is 4, less than the 5 before it; ends can't fall"},
        Bad{{5, 20, 21}, true, "ffn: expert_tokens[2] is 21, which makes 21 rows, but x has 20"}}) {
    FfnCase c = experts(tokens);
    c.tokens_are_ends = are_ends;
    const FfnData data(c);
    const Status status = ffn(context_of(2), data.args());
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), message);
    EXPECT_TRUE(data.y.unchanged());
    EXPECT_TRUE(data.guards_intact());
  }
}

// A plan that refused once runs again; its tokens are those at the time of the run.
TEST(FfnTokens, AreReadByRun) {
  FfnData data(experts({5, 0, 15}));
  FfnArgs planned = data.args();
  planned.expert_tokens = planned.expert_tokens.with_data(nullptr);
  Ffn plan = Ffn::plan(context_of(2), planned).value();
  for (const Dims& tokens :
       {Dims{5, 0, 15}, {0, 20, 0}, {1, 2, 3}, {30, 0, 0}, {0, 0, 0}, {18, 1, 1}}) {
    data.expert_tokens.set_words(words_of(tokens));
    data.y.reset();
    const Status status = plan.run(data.args());
    if (tokens[0] == 30) {
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
      EXPECT_TRUE(data.y.unchanged());
      continue;
    }
    ASSERT_TRUE(status.ok()) << status.to_string();
    expect_correct(data);
  }
}

TEST(FfnTokens, RowsBeyondTheLastExpertStayAsTheyAre) {
  for (const bool ends : {false, true})
    for (const RowLayout layout :
         {RowLayout::kPadded, RowLayout::kSwapped, RowLayout::kBackwards}) {
      FfnCase c = experts(ends ? Dims{2, 9, 9, 12} : Dims{2, 7, 0, 3});
      c.tokens_are_ends = ends;
      c.y = layout;
      const FfnData data(c);
      ASSERT_TRUE(ffn(context_of(2), data.args()).ok());
      expect_correct(data);
      const auto bits = data.bits();
      EXPECT_EQ(std::count(bits.begin(), bits.end(), 0xffff), 8 * c.n2);
    }
}

TEST(FfnPlan, RunsAgainWithOtherPointers) {
  for (const FfnRow& row : kFfnRows) {
    FfnCase c = experts({3, 0, 17}, row.name);
    const FfnData first(c);
    ++c.seed;
    const FfnData second(c);
    FfnArgs shapes = first.args();
    Ffn plan = Ffn::plan(context_of(2), shapes).value();
    for (const FfnData* data : {&first, &second, &first}) {
      ASSERT_TRUE(plan.run(data->args()).ok());
      expect_correct(*data);
    }
  }
}

TEST(FfnPlan, NeedsNoData) {
  const FfnData data(experts({3, 0, 17}, "Q16_int64"));
  FfnArgs shapes = data.args();
  for (ConstTensorRef* t :
       {&shapes.x, &shapes.weight1, &shapes.weight2, &shapes.expert_tokens, &shapes.bias1,
        &shapes.bias2, &shapes.scale, &shapes.offset, &shapes.deq_scale1, &shapes.deq_scale2})
    *t = t->with_data(nullptr);
  shapes.y = shapes.y.with_data(nullptr);
  Ffn plan = Ffn::plan(context_of(2), shapes).value();
  EXPECT_THAT(plan.run(shapes).message(), HasSubstr("x has no data"));
  ASSERT_TRUE(plan.run(data.args()).ok());
  expect_correct(data);
  Ffn moved = std::move(plan);
  ASSERT_TRUE(moved.run(data.args()).ok());
}

TEST(FfnPlan, RunRefusesAnotherCall) {
  const FfnData data(experts({3, 0, 17}));
  Ffn plan = Ffn::plan(context_of(1), data.args()).value();
  FfnArgs args = data.args();
  args.activation = Activation::kRelu;
  EXPECT_THAT(plan.run(args).message(), HasSubstr("activation is relu but gelu was planned"));
  args = data.args();
  args.y = TensorRef(const_cast<void*>(args.x.data()), args.y.dtype(), args.y.dims());
  EXPECT_THAT(plan.run(args).message(), HasSubstr("y overlaps x"));
  EXPECT_TRUE(data.y.unchanged() && data.x.unchanged());
}

TEST(FfnPlan, DescribesItself) {
  FfnCase c = experts({3, 0, 17});
  c.activation = Activation::kSwiglu;
  const FfnData data(c);
  const Ffn plan = Ffn::plan(context_of(2, "scalar"), data.args(), {.gate_is_left = true}).value();
  const std::string text = plan.describe();
  EXPECT_THAT(text, HasSubstr("20 rows: 12 -> 20 -> 14, 3 experts\n"));
  EXPECT_THAT(text, HasSubstr("swiglu (the left half is the gate), activation_scalar\n"));
  EXPECT_THAT(text, HasSubstr("weight1   row-major (k, n)\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex(
                        "blocks    12 x [0-9]+ of weight1, packed per thread: [0-9]+ KiB of L2"));
  EXPECT_THAT(text, HasSubstr("chunks    12 rows of k: 1 KiB of 4 rows for L1"));
  c.m = 0;
  c.tokens = Dims{0, 0, 0};
  const FfnData none(c);
  EXPECT_EQ(Ffn::plan(context_of(2), none.args()).value().describe(),
            "nothing to compute: there are no rows\n");
}

class FfnAllocation : public ::testing::TestWithParam<FfnRow> {
 protected:
  static void expect_none(const FfnCase& c, bool packed = false) {
    SCOPED_TRACE(c.text());
    const FfnData data(c);
    FfnArgs args = data.args();
    std::vector<PackedWeight> weights;
    if (packed) {
      for (const GuardedTensor* weight : {&data.weight1, &data.weight2})
        weights.push_back(PackedWeight::pack(context_of(1), weight->view()).value());
      args.weight1 = args.weight2 = {};
      args.packed_weight1 = &weights[0], args.packed_weight2 = &weights[1];
    }
    for (const int threads : {1, 3}) {
      Ffn plan = Ffn::plan(context_of(threads), args, data.options()).value();
      const MemoryRequests before = memory_requests();
      for (int i = 0; i < 3; ++i) ASSERT_TRUE(plan.run(args).ok());
      const MemoryRequests after = memory_requests();
      EXPECT_EQ(after.heap - before.heap, 0) << threads << " threads";
      EXPECT_EQ(after.maps - before.maps, 0) << threads << " threads";
    }
  }
};

TEST_P(FfnAllocation, RunAsksForNothing) {
  if (!counts_memory()) GTEST_SKIP() << "a sanitizer has the allocator";
  for (const std::int64_t m : {0, 3, 40})
    for (const bool has_experts : {false, true})
      for (const WeightLayout layout : kWeightLayouts)
        for (const Activation activation : {Activation::kGelu, Activation::kGeglu}) {
          FfnCase c{.row = GetParam(), .m = m, .k1 = 70, .k2 = 50, .n2 = 66};
          if (c.row.weight == DType::kInt4 && layout == WeightLayout::kScattered) continue;
          if (has_experts) c.tokens = Dims{m / 2, 0, m - m / 2, 0};
          c.activation = activation;
          c.weight1 = c.weight2 = layout;
          c.scale_per_channel = m == 3;
          c.groups1 = 5, c.groups2 = m == 3 ? kOneScale : 2;
          c.vectors_strided = layout == WeightLayout::kPadded;
          c.x = layout == WeightLayout::kScattered ? RowLayout::kSwapped : RowLayout::kPadded;
          c.y = layout == WeightLayout::kInterleaved ? RowLayout::kSwapped : RowLayout::kPadded;
          expect_none(c);
          if (!c.row.restored() && layout == WeightLayout::kRowMajor) expect_none(c, true);
        }
}

TEST_P(FfnAllocation, NorWithExtentsOfZero) {
  if (!counts_memory()) GTEST_SKIP() << "a sanitizer has the allocator";
  for (const auto& [k1, k2, n2] : {std::array{0, 8, 8}, {8, 0, 8}, {8, 8, 0}})
    for (const bool has_experts : {false, true}) {
      FfnCase c{.row = GetParam(), .m = 9, .k1 = k1, .k2 = k2, .n2 = n2};
      if (has_experts) c.tokens = Dims{4, 0, 5};
      expect_none(c);
    }
}

INSTANTIATE_TEST_SUITE_P(Rows, FfnAllocation, ::testing::ValuesIn(kFfnRows),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(FfnActivation, Names) {
  constexpr std::pair<Activation, const char*> kNames[] = {
      {Activation::kFastGelu, "fastgelu"}, {Activation::kRelu, "relu"},
      {Activation::kSilu, "silu"},         {Activation::kGelu, "gelu"},
      {Activation::kGeglu, "geglu"},       {Activation::kSwiglu, "swiglu"},
      {Activation::kReglu, "reglu"}};
  for (const auto& [activation, name] : kNames) {
    EXPECT_EQ(to_string(activation), name);
    EXPECT_EQ(activation_from_name(name), activation);
    std::string upper = name;
    for (char& letter : upper) letter = static_cast<char>(std::toupper(letter));
    EXPECT_EQ(activation_from_name(upper), activation);
    EXPECT_EQ(has_gate(activation), upper.ends_with("GLU"));
  }
  for (const char* name : {"", "gel", "geluu", "gelu ", "tanh", "fast_gelu"})
    EXPECT_EQ(activation_from_name(name), std::nullopt) << name;
}

}  // namespace
}  // namespace weft::testing
