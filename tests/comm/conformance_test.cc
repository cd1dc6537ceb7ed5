// SPDX-License-Identifier: Apache-2.0
// What every transport must do, whatever it is made of. Ranks are threads here; processes_test.cc
// has the same ranks as processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "comm/group_state.h"
#include "thread_ranks.h"

namespace weft {
namespace {

using internal::CallHeader;
using internal::CounterId;
using internal::GroupState;
using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::make_groups;
using testing::on_all;
using testing::quick_options;

class Conformance : public ::testing::TestWithParam<const char*> {
 protected:
  std::vector<Group> make(int ranks, const GroupOptions& options = quick_options()) {
    return make_groups(GetParam(), ranks, options);
  }
};

const std::vector<const char*> kTransports = {
#define WEFT_TRANSPORT(name) #name,
#include "transports.inc"
#undef WEFT_TRANSPORT
};

INSTANTIATE_TEST_SUITE_P(Transports, Conformance, ::testing::ValuesIn(kTransports),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(Conformance, KnowsItself) {
  GroupOptions options = quick_options();
  options.name = "a name";
  options.window_bytes = 5000;  // rounded up to pages
  std::vector<Group> groups = make(3, options);
  ASSERT_EQ(groups.size(), 3u);
  for (int rank = 0; rank < 3; ++rank) {
    const Group& group = groups[static_cast<std::size_t>(rank)];
    EXPECT_EQ(group.rank(), rank);
    EXPECT_EQ(group.ranks(), 3);
    EXPECT_EQ(group.name(), "a name");
    EXPECT_EQ(group.window_bytes(), 8192);
    EXPECT_EQ(group.transport(), GetParam());
    EXPECT_TRUE(group.health().ok());
  }
}

TEST_P(Conformance, ManyRanksMeetInBarriers) {
  for (const int ranks : {1, 2, 3, 8, 16, 64}) {
    std::vector<Group> groups = make(ranks);
    ASSERT_EQ(static_cast<int>(groups.size()), ranks);
    std::atomic<int> inside{0};
    on_all(groups, [&](Group& group) {
      for (int round = 1; round <= 3; ++round) {
        inside.fetch_add(1);
        const Status status = group.barrier();
        EXPECT_TRUE(status.ok()) << status.to_string();
        EXPECT_GE(inside.load(), round * ranks);
      }
    });
  }
}

TEST_P(Conformance, TenThousandBarriersOfTwo) {
  std::vector<Group> groups = make(2);
  on_all(groups, [](Group& group) {
    for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(group.barrier().ok());
  });
}

TEST_P(Conformance, HundredBarriersOfSixteen) {
  std::vector<Group> groups = make(16);
  on_all(groups, [](Group& group) {
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(group.barrier().ok());
  });
}

}  // namespace
}  // namespace weft
