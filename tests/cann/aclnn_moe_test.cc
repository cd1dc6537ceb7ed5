// SPDX-License-Identifier: Apache-2.0
// Mixtures through CANN's C interface, every device a thread: rows, counts, sums and norms to the
// last bit, and what must not be written.
#include <map>
#include <vector>

#include "moe_case.h"

namespace weft::cann {
namespace {

class Moe : public RuntimeTest {
 protected:
  static int launch(const EntryCall& call, aclrtStream stream) {
    const int code = call_and_wait(call, stream);
    EXPECT_EQ(code, ACLNN_SUCCESS) << call.op << ": " << text();
    return code;
  }
  /// Dispatch, experts, combine; everything is checked.
  static void run_and_check(MoeCase& c, const MoeGroups& groups) {
    groups.run([&](int device, aclrtStream stream) {
      aclrtStream other = stream;
      if (c.world.two_streams) ASSERT_EQ(aclrtCreateStream(&other), ACL_SUCCESS);
      launch(c.dispatch(device, groups.ep(device), groups.tp(device)), stream);
      c.compute(device);
      launch(c.combine(device, groups.ep(device), groups.tp(device)), other);
      if (c.world.two_streams) EXPECT_EQ(aclrtDestroyStream(other), ACL_SUCCESS);
    });
    for (int device = 0; device < c.world.devices(); ++device) {
      c.check_dispatch(device);
      c.check_combine(device);
    }
  }
  static void run(const MoeWorld& world) {
    const MoeGroups groups(world);
    for (unsigned seed = 1; seed <= 3; ++seed) {
      MoeCase c(world, seed);
      run_and_check(c, groups);
      if (HasFailure()) return;
    }
  }
};

TEST_F(Moe, SecondVersion) { run({.ep = 3, .experts = 6, .tokens = {5}}); }
TEST_F(Moe, FirstVersion) { run({.ep = 3, .experts = 6, .tokens = {5}, .version = 1}); }
TEST_F(Moe, ThirdVersionWithSpecialExperts) {
  run({.zero = 1, .copy = 2, .constants = 2, .k = 5, .tokens = {7}, .version = 3});
}
TEST_F(Moe, Float16) { run({.k = 3, .tokens = {4}, .dtype = ACL_FLOAT16, .ends = true}); }
TEST_F(Moe, AddRmsNorm) { run({.ep = 4, .k = 4, .tokens = {6}, .shared_x = true, .norm = true}); }
TEST_F(Moe, AddRmsNormWithSpecialExperts) {
  run({.zero = 1, .copy = 1, .constants = 1, .k = 4, .version = 3, .norm = true});
}
TEST_F(Moe, MoreTokensThanKeptPlansHave) { run({.experts = 2, .k = 1, .tokens = {300}}); }

TEST_F(Moe, RowsOfInt8) {
  run({.tokens = {4}, .int8 = true});
  run({.ep = 3, .experts = 4, .shared = 1, .shared_ranks = 1, .int8 = true, .scales = true});
  run({.ep = 3,
       .experts = 4,
       .shared = 1,
       .shared_ranks = 1,
       .version = 1,
       .int8 = true,
       .scales = true});
}

TEST_F(Moe, WaysBackAsInt8) {
  run({.hidden = 1027, .tokens = {3}, .int8_way_back = true});
  run({.ep = 3, .experts = 3, .dtype = ACL_FLOAT16, .int8_way_back = true});
  run({.int8_way_back = true, .norm = true});
  run({.version = 1, .int8_way_back = true});
}

TEST_F(Moe, SharedExperts) {
  run({.ep = 6, .experts = 4, .shared = 2, .shared_ranks = 4, .tokens = {3}});
  run({.ep = 5, .experts = 4, .shared = 1, .shared_ranks = 3, .tokens = {4}, .mask_axes = 1});
}

// Their ranks keep their own tokens and get slices of the others', which are not all as long.
TEST_F(Moe, SharedExpertsOfTheFirstVersion) {
  run({.ep = 4, .experts = 6, .shared = 1, .shared_ranks = 2, .tokens = {5}, .version = 1});
  run({.ep = 6, .experts = 3, .shared = 1, .shared_ranks = 3, .tokens = {4}, .version = 1});
  run({.ep = 5, .experts = 2, .shared = 1, .shared_ranks = 3, .tokens = {4}, .version = 1});
}

TEST_F(Moe, Masks) {
  for (int axes : {1, 2}) {
    run({.ep = 3, .experts = 3, .tokens = {5}, .mask_axes = axes});
    run({.ep = 3, .experts = 3, .tokens = {5}, .version = 1, .mask_axes = axes});
    run({.tokens = {5}, .mask_axes = axes, .norm = true});
  }
}

TEST_F(Moe, InputsOfAnyStrides) {
  run({.copy = 1,
       .constants = 2,
       .k = 4,
       .tokens = {5},
       .version = 3,
       .mask_axes = 2,
       .strided = true,
       .shared_x = true});
  run({.int8 = true, .scales = true, .strided = true, .norm = true});
  run({.tp = 2, .experts = 2, .k = 1, .strided = true});
  run({.version = 1, .strided = true});
}

TEST_F(Moe, RanksWithDifferentNumbersOfTokens) {
  run({.ep = 3, .experts = 3, .tokens = {1, 9, 4}, .global_bs = 27});
}

TEST_F(Moe, PairsOfRanks) {
  run({.ep = 3, .tp = 2, .experts = 3, .tokens = {4}});
  run({.ep = 2, .tp = 2, .experts = 2, .k = 1, .tokens = {4}, .norm = true});
  run({.ep = 3,
       .tp = 2,
       .experts = 2,
       .shared = 1,
       .shared_ranks = 1,
       .k = 1,
       .tokens = {3},
       .version = 1});
  run({.ep = 2, .tp = 2, .experts = 2, .tokens = {4}, .int8 = true, .mask_axes = 2});
}

TEST_F(Moe, DispatchAndCombineInStreamsOfTheirOwn) {
  run({.ep = 2, .tp = 2, .experts = 2, .k = 1, .two_streams = true});
  run({.ep = 4, .version = 1, .two_streams = true});
}

// The largest example of CANN's documents: 16 devices, each with two communicators.
TEST_F(Moe, SixteenDevices) {
  run({.ep = 8,
       .tp = 2,
       .experts = 7,
       .shared = 1,
       .shared_ranks = 1,
       .hidden = 1056,
       .k = 3,
       .tokens = {8},
       .global_bs = 64,
       .version = 1,
       .two_streams = true});
  run({.ep = 16, .experts = 32, .hidden = 1024, .k = 4, .tokens = {2}, .norm = true});
}

// A device that is in several calls at a time, each with its own operands, in two streams.
TEST_F(Moe, CallsInARowWithoutWaiting) {
  const MoeWorld world = {.tp = 2, .experts = 2, .k = 1, .tokens = {2}};
  const MoeGroups groups(world);
  std::deque<MoeCase> cases;
  for (unsigned seed = 0; seed < 8; ++seed) cases.emplace_back(world, seed);
  groups.run([&](int device, aclrtStream stream) {
    aclrtStream other = nullptr;
    ASSERT_EQ(aclrtCreateStream(&other), ACL_SUCCESS);
    std::vector<std::vector<std::byte>> workspaces;
    int i = 0;
    for (MoeCase& c : cases) {
      const EntryCall call = c.dispatch(device, groups.ep(device), groups.tp(device));
      uint64_t size = 0;
      aclOpExecutor* executor = nullptr;
      ASSERT_EQ(first_phase(call, &size, &executor), ACLNN_SUCCESS) << text();
      workspaces.emplace_back(size);
      ASSERT_EQ(second_phase(call.op, workspaces.back().data(), size, executor,
                             i++ % 2 == 0 ? stream : other),
                ACLNN_SUCCESS)
          << text();
    }
    EXPECT_EQ(aclrtSynchronizeStream(other), ACL_SUCCESS) << text();
    EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_SUCCESS) << text();
    EXPECT_EQ(aclrtDestroyStream(other), ACL_SUCCESS);
  });
  for (const MoeCase& c : cases)
    for (int device = 0; device < world.devices(); ++device) c.check_dispatch(device);
}

}  // namespace
}  // namespace weft::cann
