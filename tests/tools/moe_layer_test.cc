// SPDX-License-Identifier: Apache-2.0
// The mixture-of-experts layer of weft demo at sizes that take no time, and what its checks find.
#include "jobs/moe_layer.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/float16.h"
#include "operators/random.h"

namespace weft::tools {
namespace {

TEST(MoeLayerTest, BothKindsAreRightAndAllStagesAreTimed) {
  LaunchOptions launch;
  launch.ranks = 3;
  launch.kind = RankKind::kThreads;
  const MoeSizes sizes{.tokens = 17, .hidden = 96, .inner = 32, .experts = 6, .top_k = 3};
  const Result<std::vector<MoeReport>> reports = run_moe_layer(launch, sizes, 1, 2);
  ASSERT_TRUE(reports.ok()) << reports.status().to_string();
  ASSERT_EQ(reports->size(), 3u);
  std::int64_t sent = 0, received = 0;
  for (const MoeReport& report : *reports) {
    EXPECT_LE(report.errors.gate, 1);
    EXPECT_LE(report.errors.token, 1);
    EXPECT_LE(report.errors.separate, 1);
    EXPECT_TRUE(report.errors.same_rows);
    EXPECT_EQ(report.rows, 17 * 3);
    EXPECT_LE(report.remote, report.rows);
    EXPECT_FALSE(report.events.empty());
    sent += report.rows;
    received += report.received;
  }
  EXPECT_EQ(sent, received);
  for (std::size_t stage = 0; stage < kMoeStages.size(); ++stage)
    for (const auto kind : {&MoeReport::fused, &MoeReport::separate}) {
      const std::vector<double> seconds = stage_seconds(*reports, kind, stage);
      ASSERT_EQ(seconds.size(), 2u) << kMoeStages[stage];
      for (double one : seconds) EXPECT_GT(one, 0) << kMoeStages[stage];
    }
}

TEST(MoeLayerTest, SeparateStepsNeedEqualRanks) {
  LaunchOptions launch;
  launch.ranks = 2;
  launch.kind = RankKind::kThreads;
  const MoeSizes sizes{.tokens = 4, .hidden = 64, .inner = 32, .experts = 3, .top_k = 2};
  EXPECT_EQ(run_moe_layer(launch, sizes, 0, 1).status().code(), StatusCode::kInvalidArgument);
}

/// Values of one token of a layer, none of them a result.
struct WrongToken {
  static constexpr MoeSizes kSizes{
      .tokens = 1, .hidden = 64, .inner = 32, .experts = 4, .top_k = 2};
  std::vector<std::uint16_t> x, residual, router, gamma, sum, y;
  std::vector<std::int32_t> ids = {0, 1};
  std::vector<float> scales = {0.4f, 0.3f};

  WrongToken() {
    Random random(1, 0, 0);
    for (auto* values : {&x, &residual, &gamma, &sum, &y}) values->resize(64);
    router.resize(64 * 4);
    for (auto* values : {&x, &residual, &router, &gamma})
      fill_floats(random, DType::kBFloat16, -1, 1, static_cast<std::int64_t>(values->size()),
                  values->data());
  }
  MoeToken token() const {
    return {x.data(),   residual.data(), router.data(), gamma.data(),
            ids.data(), scales.data(),   sum.data(),    y.data()};
  }
};

TEST(MoeLayerTest, ChecksFindWhatIsWrong) {
  WrongToken wrong;
  EXPECT_GT(gate_error(WrongToken::kSizes, wrong.token()), 1);
  EXPECT_GT(token_error(WrongToken::kSizes, wrong.token()), 1);
  wrong.sum.assign(64, f64_to_bf16(std::numeric_limits<double>::quiet_NaN()));
  EXPECT_GT(token_error(WrongToken::kSizes, wrong.token()), 1);
}

TEST(MoeLayerTest, RowsThatDifferMoreThanByRoundingsAreFound) {
  const WrongToken values;
  std::vector<std::uint16_t> other = values.x;
  const auto error = [&] {
    return difference(
        64, {values.x.data(), values.residual.data(), other.data(), values.residual.data(),
             values.gamma.data(), values.residual.data(), values.gamma.data()});
  };
  EXPECT_EQ(error(), 0);
  other[5] = static_cast<std::uint16_t>(other[5] ^ 1);  // one last place of one element
  EXPECT_LE(error(), 1);
  for (std::uint16_t& bits : other) bits = f64_to_bf16(1.1 * bf16_to_f32(bits));
  EXPECT_GT(error(), 1);
  other[7] = f64_to_bf16(std::numeric_limits<double>::quiet_NaN());
  EXPECT_GT(error(), 1);
}

}  // namespace
}  // namespace weft::tools
