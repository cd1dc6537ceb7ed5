// SPDX-License-Identifier: Apache-2.0
// One call of a collective with random elements, and what it must leave behind, bit for bit: plain
// loops over the ranks in their order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "weft/collectives.h"

namespace weft::testing {

enum class Function {
  kAllReduce,
  kReduce,
  kReduceScatter,
  kReduceScatterV,
  kAllGather,
  kAllGatherV,
  kBroadcast,
  kScatter,
  kAllToAll,
  kAllToAllV,
  kAllToAllVC,
};
inline constexpr int kFunctions = 11;
bool reduces(Function function);
/// The type has the operation.
bool reducible(DType dtype, ReduceOp op);

struct CollectiveCase {
  Function function = Function::kAllReduce;
  DType dtype = DType::kFloat32;
  ReduceOp op = ReduceOp::kSum;
  int ranks = 2;
  std::int64_t count = 1;
  int root = 0;
  bool in_place = false;  ///< where the function allows it
  int misaligned = 0;     ///< bytes between a cache line and the start of a buffer
  std::uint64_t seed = 1;

  std::string text() const;

  /// Parts of the functions with counts: about `count` elements, some none, other offsets on every
  /// rank, with gaps.
  std::vector<std::int64_t> counts() const;
  std::vector<std::int64_t> offsets(int rank) const;
  /// Row r: what rank r sends to each.
  std::vector<std::int64_t> matrix() const;
  /// The arguments of alltoallv and, but for the offsets, alltoallvc.
  struct Exchanged {
    std::vector<std::int64_t> send_counts, send_offsets, recv_counts, recv_offsets;
  };
  Exchanged exchanged(int rank) const;

  /// Elements in a rank's buffers.
  std::int64_t send_elements(int rank) const;
  std::int64_t recv_elements(int rank) const;
  std::vector<std::byte> input(int rank) const;
};

/// A rank's buffers between guards, in one block.
class CollectiveMemory {
 public:
  CollectiveMemory(const CollectiveCase& c, int rank);

  Status call(Context& context, Group& group);
  /// Keeps what is in the buffers for the comparison and spoils them, as who frees memory does.
  void give_up();
  /// A test failure if any byte of the block, guards, gaps and inputs included, is not as it should
  /// be after the call.
  void expect_correct() const;
  /// The same if the call must have left everything alone.
  void expect_untouched() const;
  const std::byte* send() const { return send_; }
  std::byte* recv() const { return recv_; }

 private:
  std::vector<std::byte> expected() const;
  void expect_equal(const std::vector<std::byte>& wanted) const;

  const CollectiveCase case_;
  const int rank_;
  std::vector<std::byte> memory_, before_, given_up_;
  std::byte *block_, *send_, *recv_;
  std::int64_t block_bytes_;
};

}  // namespace weft::testing
