// SPDX-License-Identifier: Apache-2.0
// Random legal calls on all ranks against the references, one after the other on groups that stay.
// TEST_SEED and TEST_ROUNDS ask for others and for more.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "moe_calls.h"

namespace weft::testing {
namespace {

std::uint64_t number(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

TEST(MoeFuzz, LegalCallsAreRight) {
  const std::uint64_t seed = number("TEST_SEED", 20240607), rounds = number("TEST_ROUNDS", 1500);
  SCOPED_TRACE("TEST_SEED=" + std::to_string(seed));
  std::mt19937 rng(static_cast<unsigned>(seed));
  // Of these sizes of windows one takes every case at once, one hardly any.
  constexpr std::int64_t kWindows[] = {64 << 10, 1 << 20};
  std::map<std::tuple<int, bool, std::int64_t>, std::unique_ptr<MoeGroups>> all;
  for (std::uint64_t i = 0; i < rounds; ++i) {
    const MoeCase c = random_case(rng);
    const std::int64_t window_bytes = kWindows[rng() % 2];
    std::unique_ptr<MoeGroups>& groups = all[{c.ranks, c.tp, window_bytes}];
    if (!groups) {
      GroupOptions options = quick_options();
      options.window_bytes = window_bytes;
      groups = std::make_unique<MoeGroups>(c.ranks, c.tp, options);
    }
    MoeData data(c);
    run_and_expect_correct(*groups, data, 1 + static_cast<int>(rng() % 2));
    ASSERT_FALSE(HasFailure()) << "call " << i << ", window " << window_bytes << ": " << c.text();
  }
}

}  // namespace
}  // namespace weft::testing
