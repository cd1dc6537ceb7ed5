// SPDX-License-Identifier: Apache-2.0
// PackedWeight: what it refuses, what it holds, and that it gives the bits that x2 gives.
#include "ops/weights/packed_weight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "operator_call.h"
#include "thread_ranks.h"
#include "weft/weights.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;
constexpr DType kF16 = DType::kFloat16;

Context one_thread(const std::string& isa = "") {
  return Context::create({.threads = 1, .isa = isa}).value();
}

std::string refusal(const ConstTensorRef& x2) {
  Context context = one_thread();
  const auto weight = PackedWeight::pack(context, x2);
  EXPECT_FALSE(weight.ok());
  EXPECT_EQ(weight.status().code(), StatusCode::kInvalidArgument);
  return weight.status().message();
}

TEST(PackedWeight, RefusesWhatItCannotPack) {
  const std::vector<std::uint16_t> memory(4096);
  const void* data = memory.data();
  EXPECT_EQ(refusal({}), "PackedWeight::pack: x2 is missing");
  EXPECT_EQ(refusal({nullptr, kF16, {4, 4}}), "PackedWeight::pack: x2 is missing");
  EXPECT_THAT(refusal({data, kF16, {4}}), HasSubstr("must be a non-empty (k, n)"));
  EXPECT_THAT(refusal({data, kF16, {2, 2, 2, 2}}), HasSubstr("must be a non-empty (k, n)"));
  EXPECT_THAT(refusal({data, kF16, {0, 4}}), HasSubstr("must be a non-empty (k, n)"));
  const std::int64_t dims[] = {4, 4}, strides[] = {8, 2};
  EXPECT_EQ(refusal({data, kF16, dims, strides}),
            "PackedWeight::pack: x2 has strides (8, 2) but one axis must be adjacent; make it "
            "contiguous");
  const std::int64_t backwards[] = {-4, 1};
  EXPECT_THAT(refusal({data, kF16, dims, backwards}), HasSubstr("x2 has strides (-4, 1) but"));
  for (DType dtype : {DType::kFloat32, DType::kInt4, DType::kInt32, DType::kBool})
    EXPECT_THAT(refusal({data, dtype, {4, 4}}), HasSubstr("must be float16, bfloat16 or int8"));
}

TEST(PackedWeight, KnowsWhatItHolds) {
  const std::vector<std::uint16_t> memory(100 * 70);
  Context context = one_thread();
  for (DType dtype : {kF16, DType::kBFloat16, DType::kInt8}) {
    const auto weight = PackedWeight::pack(context, {memory.data(), dtype, {100, 70}});
    ASSERT_TRUE(weight.ok()) << weight.status().to_string();
    EXPECT_EQ(weight->k(), 100);
    EXPECT_EQ(weight->n(), 70);
    EXPECT_EQ(weight->dtype(), dtype);
    // All elements, and not more than rounding k and n up to whole panels explains.
    EXPECT_GE(weight->bytes(), bytes_of(dtype, 100 * 70));
    EXPECT_LE(weight->bytes(), 4 * bytes_of(DType::kFloat32, 128 * 128));
  }
}

std::string panels(const PackedWeight& weight) {
  return {reinterpret_cast<const char*>(weight.state().panels.data()),
          static_cast<std::size_t>(weight.bytes())};
}

TEST(PackedWeight, SaysWhatIsInMemory) {
  const std::vector<std::uint16_t> memory(2048 * 1024);
  Context context = one_thread();
  const auto weight = PackedWeight::pack(context, {memory.data(), kF16, {2048, 1024}});
  ASSERT_TRUE(weight.ok()) << weight.status().to_string();
  const auto use = weight->memory_use();
  ASSERT_TRUE(use.ok()) << use.status().to_string();
  EXPECT_GE(use->bytes, weight->bytes());
  EXPECT_GE(use->resident_bytes, weight->bytes());
  EXPECT_LE(use->huge_page_bytes, use->resident_bytes);
}

TEST(PackedWeight, PacksFractalNzToTheSamePanels) {
  std::mt19937 random(3);
  std::vector<std::uint16_t> bits(2300 * 70), image(2304 * 96);
  for (auto& b : bits) b = static_cast<std::uint16_t>(random());
  for (const char* isa : {"", "scalar", "avx2", "avx512"})
    for (const int threads : {1, 3}) {
      auto context = Context::create({.threads = threads, .isa = isa});
      if (!context.ok()) continue;
      for (const DType dtype : {kF16, DType::kBFloat16, DType::kInt8})
        for (const auto& [k, n] : {std::pair{2300, 70}, {70, 2300}, {1, 33}, {33, 1}, {1, 1}})
          for (const bool transposed : {false, true}) {
            // Stored as (rows, columns): (k, n), or (n, k) seen as (k, n).
            const std::int64_t rows = transposed ? n : k, columns = transposed ? k : n;
            const ConstTensorRef stored(bits.data(), dtype, {rows, columns});
            const TensorRef nz = TensorRef::fractal_nz(image.data(), dtype, rows, columns);
            ASSERT_TRUE(pack_fractal_nz(*context, stored, nz).ok());
            const ConstTensorRef x2 = transposed ? stored.transposed() : stored;
            const ConstTensorRef nz_x2 = transposed ? nz.transposed() : nz;
            SCOPED_TRACE(to_string(nz_x2) + " " + isa);
            const PackedWeight one = PackedWeight::pack(*context, x2).value();
            const PackedWeight other = PackedWeight::pack(*context, nz_x2).value();
            EXPECT_TRUE(panels(one) == panels(other));
            EXPECT_EQ(one.source(), to_string(x2));
            EXPECT_EQ(other.source(), to_string(nz_x2));
          }
    }
}

// The stride of an axis with one element says nothing.
TEST(PackedWeight, TakesAnyStrideOfASingleColumnOrRow) {
  std::vector<std::uint16_t> bits(300);
  std::iota(bits.begin(), bits.end(), std::uint16_t{1});
  Context context = one_thread();
  const std::int64_t column[] = {50, 1}, row[] = {1, 50}, strides[] = {3, 5};
  std::vector<std::uint16_t> by_three, by_five;
  for (std::size_t i = 0; i < 50; ++i) {
    by_three.push_back(bits[3 * i]);
    by_five.push_back(bits[5 * i]);
  }
  const auto same = [&](const ConstTensorRef& a, const ConstTensorRef& b) {
    return panels(PackedWeight::pack(context, a).value()) ==
           panels(PackedWeight::pack(context, b).value());
  };
  EXPECT_TRUE(same({bits.data(), kF16, column, strides}, {by_three.data(), kF16, column}));
  EXPECT_TRUE(same({bits.data(), kF16, row, strides}, {by_five.data(), kF16, row}));
}

// row, ISA, x2 transposed
class PackedWeightUse
    : public ::testing::TestWithParam<std::tuple<const char*, const char*, bool>> {};

TEST_P(PackedWeightUse, GivesTheBitsOfX2) {
  const auto& [row, isa, transpose] = GetParam();
  if (!Context::create({.threads = 1, .isa = isa}).ok()) GTEST_SKIP() << "no " << isa << " here";
  for (const char* shape :
       {"2x64:64x32", "4x70,1:70,1x33", "40x100:100x1", "18x2200,30:2200,30x50", "130x64:64x300"}) {
    OperatorCase c = plain_case(row, shape, 5);
    add_options(c, true);
    c.operands.transpose_x2 = transpose;
    c.layout.x2_padded = true;
    OperatorCase with_packed = c;
    with_packed.layout.weight = WeightForm::kPacked;
    SCOPED_TRACE(c.text(2));
    const Ranks data = make_ranks(c, 2), packed = make_ranks(with_packed, 2);
    std::vector<Group> groups = make_groups("loopback", 2, operator_group_options());
    on_all(groups, [&, isa = isa](Group& group) {
      const auto me = static_cast<std::size_t>(group.rank());
      Context context = one_thread(isa);
      EXPECT_TRUE(call(context, group, c, *data[me]).ok());
      const Status status = call(context, group, with_packed, *packed[me]);
      EXPECT_TRUE(status.ok()) << status.to_string();
      EXPECT_EQ(packed[me]->bits(), data[me]->bits());
    });
    expect_correct(c, data, 0, 3e5);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, PackedWeightUse,
    ::testing::Combine(::testing::Values("A1", "A2", "A3", "A5", "N2", "Q4", "R1", "R5"),
                       ::testing::Values("", "scalar", "avx2", "avx512"), ::testing::Bool()));

// The weight does not follow its source, which may go.
TEST(PackedWeight, OutlivesItsSource) {
  const OperatorCase c = plain_case("N1", "3x64:64x32");
  const RankData data(c, 0, 1), want(c, 0, 1);
  std::vector<Group> groups = make_groups("loopback", 1, operator_group_options());
  Context context = one_thread();
  auto source = std::make_unique<RankData>(c, 0, 1);
  const PackedWeight weight = PackedWeight::pack(context, (*source)[OperandId::kX2].view()).value();
  source.reset();
  auto args = data.args<MatmulAllReduceArgs>();
  args.x2 = {};
  args.packed_x2 = &weight;
  EXPECT_TRUE(matmul_allreduce(context, groups[0], args).ok());
  EXPECT_TRUE(call(context, groups[0], c, want).ok());
  EXPECT_EQ(data.bits(), want.bits());
}

TEST(PackedWeight, IsRefusedWhereItDoesNotFit) {
  const OperatorCase c = plain_case("A1", "3x64:64x32");
  const RankData data(c, 0, 1);
  std::vector<Group> groups = make_groups("loopback", 1, operator_group_options());
  Context context = one_thread();
  const PackedWeight weight =
      PackedWeight::pack(context, data.args<MatmulAllReduceAddRmsNormArgs>().x2).value();
  const auto refused = [&](const MatmulAllReduceAddRmsNormArgs& args) {
    const auto plan = MatmulAllReduceAddRmsNorm::plan(context, groups[0], args);
    EXPECT_FALSE(plan.ok());
    return plan.status().message();
  };
  auto args = data.args<MatmulAllReduceAddRmsNormArgs>();
  args.packed_x2 = &weight;
  EXPECT_THAT(refused(args), HasSubstr("x2 and packed_x2 are both given"));
  args.x2 = {};
  args.x1 = {args.x1.data(), kF16, {3, 63}};
  EXPECT_THAT(refused(args), HasSubstr("the last dimension of x1 is 63 but x2.dim(0) is 64"));
  // int8 packed for int8 x1 does not restore to float16.
  const std::vector<std::int8_t> bytes(64 * 32);
  const PackedWeight integers =
      PackedWeight::pack(context, {bytes.data(), DType::kInt8, {64, 32}}).value();
  args = data.args<MatmulAllReduceAddRmsNormArgs>();
  args.antiquant_scale = {bytes.data(), kF16, {1}};
  args.x2 = {};
  args.packed_x2 = &integers;
  EXPECT_THAT(refused(args), HasSubstr("pack the restored weight or pass x2"));
}

TEST(PackedWeight, IsRefusedWhereItsInstructionsAreCapped) {
  const OperatorCase c = plain_case("A1", "3x64:64x32");
  const RankData data(c, 0, 1);
  std::vector<Group> groups = make_groups("loopback", 1, operator_group_options());
  Context best = one_thread(), scalar = one_thread("scalar");
  if (best.isa() == scalar.isa()) GTEST_SKIP() << "this machine has only scalar";
  const PackedWeight weight =
      PackedWeight::pack(best, data.args<MatmulAllReduceAddRmsNormArgs>().x2).value();
  auto args = data.args<MatmulAllReduceAddRmsNormArgs>();
  args.x2 = {};
  args.packed_x2 = &weight;
  const auto plan = MatmulAllReduceAddRmsNorm::plan(scalar, groups[0], args);
  ASSERT_FALSE(plan.ok());
  EXPECT_THAT(plan.status().message(), HasSubstr("which this Context may not use (scalar)"));
}

TEST(PackedWeight, RunRefusesAnotherOneThanPlanned) {
  const OperatorCase c = plain_case("A1", "3x64:64x32");
  const RankData data(c, 0, 1);
  std::vector<Group> groups = make_groups("loopback", 1, operator_group_options());
  Context context = one_thread();
  const PackedWeight first =
      PackedWeight::pack(context, data.args<MatmulAllReduceAddRmsNormArgs>().x2).value();
  const PackedWeight second =
      PackedWeight::pack(context, data.args<MatmulAllReduceAddRmsNormArgs>().x2).value();
  auto args = data.args<MatmulAllReduceAddRmsNormArgs>();
  args.x2 = {};
  args.packed_x2 = &first;
  auto plan = MatmulAllReduceAddRmsNorm::plan(context, groups[0], args).value();
  args.packed_x2 = &second;
  EXPECT_THAT(plan.run(args).message(), HasSubstr("packed_x2 is another weight than planned"));
  EXPECT_TRUE(data.outputs_untouched());
}

}  // namespace
}  // namespace weft::testing
