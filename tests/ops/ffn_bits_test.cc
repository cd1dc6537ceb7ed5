// SPDX-License-Identifier: Apache-2.0
// What must never change the bits of a row of ffn: the other rows, how many there are, threads, how
// operands lie, and by which expert's number a weight goes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "base/isa.h"
#include "ffn_case.h"
#include "weft/packed_weight.h"

namespace weft::testing {
namespace {

using Bits = std::vector<std::uint16_t>;

template <typename Pointer>
BasicTensorRef<Pointer> rows_of(const BasicTensorRef<Pointer>& t, std::int64_t begin,
                                std::int64_t count) {
  const std::int64_t dims[] = {count, t.dim(1)};
  auto* data = static_cast<char*>(const_cast<void*>(static_cast<const void*>(t.data())));
  return {data + begin * t.stride(0) * bytes_of(t.dtype(), 1), t.dtype(), dims, t.strides()};
}
/// The call for rows [begin, begin + count) alone. Expects (m, k) operands without experts.
FfnArgs rows_of(FfnArgs args, std::int64_t begin, std::int64_t count) {
  args.x = rows_of(args.x, begin, count);
  args.y = rows_of(args.y, begin, count);
  return args;
}

ConstTensorRef slice(const ConstTensorRef& t, std::int64_t expert) {
  if (!t.given()) return t;
  const auto* data = static_cast<const char*>(t.data());
  const std::int64_t bytes = expert * t.stride(0) * info(t.dtype()).bits / 8;
  // A scale of one value per expert is (1) of one.
  const std::int64_t one[] = {1};
  if (t.rank() == 1) return {data + bytes, t.dtype(), one};
  return {data + bytes, t.dtype(), t.dims().subspan(1), t.strides().subspan(1)};
}
/// The operands that an expert of the call has.
FfnArgs one_expert(FfnArgs args, std::int64_t expert) {
  for (ConstTensorRef* t :
       {&args.weight1, &args.weight2, &args.bias1, &args.bias2, &args.scale, &args.offset,
        &args.deq_scale1, &args.deq_scale2, &args.antiquant_scale1, &args.antiquant_scale2,
        &args.antiquant_offset1, &args.antiquant_offset2})
    *t = slice(*t, expert);
  args.expert_tokens = {};
  return args;
}

class FfnBitsTest : public ::testing::TestWithParam<FfnRow> {
 protected:
  static FfnCase make(std::int64_t m, std::int64_t k1, std::int64_t k2, std::int64_t n2) {
    return {.row = GetParam(),
            .m = m,
            .k1 = k1,
            .k2 = k2,
            .n2 = n2,
            .activation = Activation::kSwiglu,
            .scale_per_channel = true,
            .seed = static_cast<unsigned>(::testing::UnitTest::GetInstance()->random_seed()) + 1};
  }
  static Bits run(Context& context, FfnData& data, const FfnArgs& args) {
    data.y.reset();
    const Status status = ffn(context, args, data.options());
    EXPECT_TRUE(status.ok()) << status.to_string();
    return data.bits();
  }
  static Bits run(Context& context, FfnData& data) { return run(context, data, data.args()); }
  static bool fits(WeightLayout layout) {
    return GetParam().weight != DType::kInt4 || layout != WeightLayout::kScattered;
  }
};

// Few rows against an adjacent k are multiplied in another way than many, and chunks of k differ
// with the shape.
TEST_P(FfnBitsTest, DoNotDependOnTheOtherRows) {
  for (const isa::Row& isa : isa::rows()) {
    if (!isa.available) continue;
    Context& context = context_of(2, std::string(isa.name));
    const std::int64_t deep = isa.name == "scalar" ? 300 : 1300;
    for (FfnCase c : {make(40, deep, 64, 34), make(40, 50, deep, 34)}) {
      Bits want;
      for (const WeightLayout layout : {WeightLayout::kRowMajor, WeightLayout::kTransposed}) {
        c.weight1 = c.weight2 = layout;
        SCOPED_TRACE(c.text() + " " + std::string(isa.name));
        FfnData data(c);
        if (want.empty()) want = run(context, data);
        EXPECT_EQ(run(context, data), want);
        for (const auto& [begin, count] :
             {std::pair{0, 1}, {39, 1}, {3, 2}, {5, 7}, {20, 16}, {1, 17}}) {
          const Bits got = run(context, data, rows_of(data.args(), begin, count));
          const auto at = [&](const Bits& bits, int row) { return bits.begin() + row * c.n2; };
          EXPECT_TRUE(std::equal(at(got, begin), at(got, begin + count), at(want, begin)))
              << count << " rows from " << begin;
          EXPECT_EQ(std::ranges::count(got, 0xffff), (40 - count) * c.n2)
              << "rows beside were written";
        }
      }
    }
  }
}

Bits with_one_nan(Bits bits, DType type) {
  const int infinity = type == DType::kFloat16 ? 0x7c00 : 0x7f80;
  for (std::uint16_t& element : bits)
    if ((element & 0x7fff) > infinity) element = 0xffff;
  return bits;
}

// Kernels that know such values in their own ways.
TEST_P(FfnBitsTest, OfSpecialValuesDoNotEither) {
  if (GetParam().quant()) GTEST_SKIP() << "integers have none";
  FfnCase c = make(40, 70, 66, 50);
  c.activation = Activation::kReglu;
  c.gate_is_left = true;
  for (const isa::Row& isa : isa::rows()) {
    if (!isa.available) continue;
    Bits want;
    for (const WeightLayout layout : {WeightLayout::kRowMajor, WeightLayout::kTransposed}) {
      c.weight1 = c.weight2 = layout;
      SCOPED_TRACE(c.text() + " " + std::string(isa.name));
      FfnData data(c);
      std::vector<double> x = data.x.values();
      constexpr double kSpecial[] = {HUGE_VAL, -HUGE_VAL, NAN, -0.0, 0x1p-24, -0x1p-25,
                                     0x1p-130, 0x1p-126,  6e4, -6e4, 3e38,    0x1p-14};
      // One in each third row, many in the last one.
      for (std::size_t i = 0; i < 12; ++i) x[(3 * i + 1) * 70 + 5 * i] = kSpecial[i];
      for (std::size_t i = 0; i < 70; ++i) x[39 * 70 + i] = kSpecial[3 + i % 4];
      data.x.set(x);
      Context& context = context_of(1, std::string(isa.name));
      if (want.empty()) want = with_one_nan(run(context, data), c.row.y);
      EXPECT_EQ(with_one_nan(run(context, data), c.row.y), want);
      expect_correct(data);
      for (const auto& [begin, count] : {std::pair{1, 1}, {3, 3}, {20, 16}, {25, 15}, {39, 1}}) {
        const Bits got =
            with_one_nan(run(context, data, rows_of(data.args(), begin, count)), c.row.y);
        const auto at = [&](const Bits& bits, int row) { return bits.begin() + row * c.n2; };
        EXPECT_TRUE(std::equal(at(got, begin), at(got, begin + count), at(want, begin)))
            << count << " rows from " << begin;
      }
    }
  }
}

TEST_P(FfnBitsTest, DoNotDependOnThreadsOrLayouts) {
  for (const std::int64_t m : {5, 50}) {
    FfnCase c = make(m, 66, 90, 130);
    FfnData first(c);
    const Bits want = run(context_of(1), first);
    for (const int threads : {1, 2, 3, 5}) {
      EXPECT_EQ(run(context_of(threads), first), want) << threads << " threads";
      for (const WeightLayout layout : kWeightLayouts) {
        if (!fits(layout)) continue;
        c.weight1 = c.weight2 = layout;
        c.x = c.y = layout == WeightLayout::kPadded      ? RowLayout::kPadded
                    : layout == WeightLayout::kScattered ? RowLayout::kSwapped
                                                         : RowLayout::kDense;
        c.vectors_strided = threads == 2;
        SCOPED_TRACE(c.text());
        FfnData data(c);
        EXPECT_EQ(run(context_of(threads), data), want) << threads << " threads";
      }
    }
  }
}

TEST_P(FfnBitsTest, OfARowAreThoseOfItsExpertAlone) {
  const Dims tokens = {1, 0, 16, 17, 6, 40};
  std::int64_t rows = 0;
  FfnCase c = make(80, 150, 120, 40);
  c.tokens = tokens;
  for (const WeightLayout layout : kWeightLayouts) {
    if (!fits(layout)) continue;
    c.weight1 = c.weight2 = layout;
    c.scale_per_channel = layout != WeightLayout::kPadded;
    SCOPED_TRACE(c.text());
    FfnData data(c);
    const Bits want = run(context_of(3), data);
    data.y.reset();
    std::int64_t begin = 0;
    for (std::int64_t e = 0; e < std::ssize(tokens); ++e) {
      const std::int64_t count = tokens[static_cast<std::size_t>(e)];
      const FfnArgs args = rows_of(one_expert(data.args(), e), begin, count);
      const Status status = ffn(context_of(1), args);
      ASSERT_TRUE(status.ok()) << status.to_string();
      begin += count;
    }
    rows = begin;
    EXPECT_EQ(data.bits(), want);
  }
  EXPECT_EQ(rows, 80);
}

// The same weight for all experts, by a stride of 0.
TEST_P(FfnBitsTest, DoNotDependOnWhoHasTheRows) {
  FfnCase c = make(50, 100, 64, 36);
  FfnData data(c);
  const Bits want = run(context_of(2), data);
  for (const Dims& tokens : {Dims{50}, {0, 50, 0}, {1, 1, 48}, {20, 0, 5, 25}, {16, 17, 17}})
    for (const bool ends : {false, true}) {
      FfnArgs args = data.args();
      const auto experts = std::ssize(tokens);
      const auto repeated = [&](const ConstTensorRef& t) {
        if (!t.given()) return t;
        Dims dims = {experts}, strides = {0};
        if (t.rank() > 1 || t.dim(0) > 1) {  // (1) becomes (experts)
          dims.insert(dims.end(), t.dims().begin(), t.dims().end());
          strides.insert(strides.end(), t.strides().begin(), t.strides().end());
        }
        return ConstTensorRef(t.data(), t.dtype(), dims, strides);
      };
      for (ConstTensorRef* t :
           {&args.weight1, &args.weight2, &args.bias1, &args.bias2, &args.scale, &args.offset,
            &args.deq_scale1, &args.deq_scale2, &args.antiquant_scale1, &args.antiquant_scale2,
            &args.antiquant_offset1, &args.antiquant_offset2})
        *t = repeated(*t);
      Dims values = tokens;
      if (ends) std::partial_sum(tokens.begin(), tokens.end(), values.begin());
      args.expert_tokens = {values.data(), DType::kInt64, {experts}};
      args.tokens_are_ends = ends;
      EXPECT_EQ(run(context_of(2), data, args), want) << experts << " experts, ends " << ends;
    }
}

// Another order of experts, each with its rows: the rows go along.
TEST_P(FfnBitsTest, DoNotDependOnTheOrderOfExperts) {
  FfnCase c = make(30, 40, 50, 24);
  c.tokens = Dims{10, 10, 10};
  FfnData data(c);
  const Bits want = run(context_of(2), data);
  FfnArgs args = data.args();
  // Experts and their rows backwards: negative strides, (3, 10) rows.
  const auto backwards = [](const ConstTensorRef& t) {
    if (!t.given()) return t;
    Dims strides(t.strides().begin(), t.strides().end());
    const auto* data = static_cast<const char*>(t.data());
    data += (t.dim(0) - 1) * strides[0] * info(t.dtype()).bits / 8;
    strides[0] = -strides[0];
    return ConstTensorRef(data, t.dtype(), t.dims(), strides);
  };
  const auto three = [](const auto& t) {
    const std::int64_t dims[] = {3, 10, t.dim(1)};
    return std::decay_t<decltype(t)>(t.data(), t.dtype(), dims);
  };
  for (ConstTensorRef* t :
       {&args.weight1, &args.weight2, &args.bias1, &args.bias2, &args.scale, &args.offset,
        &args.deq_scale1, &args.deq_scale2, &args.antiquant_scale1, &args.antiquant_scale2,
        &args.antiquant_offset1, &args.antiquant_offset2})
    *t = backwards(*t);
  args.x = backwards(three(args.x));
  const ConstTensorRef y = backwards(three(args.y));
  args.y = TensorRef(const_cast<void*>(y.data()), y.dtype(), y.dims(), y.strides());
  EXPECT_EQ(run(context_of(2), data, args), want);
}

TEST_P(FfnBitsTest, DoNotDependOnPacking) {
  if (GetParam().restored()) GTEST_SKIP() << "restored weights are not packed by the caller";
  for (const bool experts : {false, true})
    for (const std::int64_t k2 : {40, 70, 96}) {  // N1 / 2: not a multiple of a panel's columns
      FfnCase c = make(45, 90, k2, 50);
      if (experts) c.tokens = Dims{3, 0, 1, 36};
      FfnData data(c);
      const Bits want = run(context_of(2), data);
      SCOPED_TRACE(c.text());
      for (const WeightLayout layout : {WeightLayout::kRowMajor, WeightLayout::kTransposedPadded}) {
        c.weight1 = c.weight2 = layout;
        const FfnData source(c);
        const PackedWeight first = PackedWeight::pack(context_of(2), source.weight1.view()).value();
        const PackedWeight second =
            PackedWeight::pack(context_of(2), source.weight2.view()).value();
        FfnArgs args = data.args();
        args.weight1 = {}, args.packed_weight1 = &first;
        EXPECT_EQ(run(context_of(1), data, args), want);
        args.weight2 = {}, args.packed_weight2 = &second;
        EXPECT_EQ(run(context_of(3), data, args), want);
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Rows, FfnBitsTest, ::testing::ValuesIn(kFfnRows),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace weft::testing
