// SPDX-License-Identifier: Apache-2.0
#include "base/scratch.h"

#include <bit>
#include <utility>

namespace weft {
namespace {

const char* name_of(ScratchFor purpose) {
  switch (purpose) {
    case ScratchFor::kPackedRows:
      return "packed rows";
    case ScratchFor::kWeightBlocks:
      return "blocks of weights";
    case ScratchFor::kBiases:
      return "biases and scales";
    case ScratchFor::kRowScales:
      return "scales of the rows";
    case ScratchFor::kWireScales:
      return "communication scales";
    case ScratchFor::kThreadRows:
      return "rows of the threads";
    case ScratchFor::kGamma:
      return "gamma";
    case ScratchFor::kActivation:
      return "the activation";
    case ScratchFor::kQuantScales:
      return "quantisation scales";
    case ScratchFor::kOutputRows:
      return "rows of y";
    case ScratchFor::kIds:
      return "ids to sort";
    case ScratchFor::kPairSums:
      return "sums of a TP pair";
    case ScratchFor::kCount:
      break;
  }
  return "scratch";
}

// Powers of two: however many plans grow a block little by little, few blocks are made, and those
// that older plans keep are together no larger than the last.
Result<Buffer> allocate(std::int64_t bytes, const char* what_for) {
  const auto rounded = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(bytes)));
  Result<Buffer> block = Buffer::allocate(rounded, what_for);
  return block.ok() ? std::move(block) : Buffer::allocate(bytes, what_for);
}

}  // namespace

Result<Scratch> ScratchPool::reserve(ScratchFor purpose, std::int64_t bytes) {
  if (bytes <= 0) return Scratch();
  const std::lock_guard lock(mutex_);
  std::shared_ptr<const Buffer>& block = blocks_[static_cast<std::size_t>(purpose)];
  if (!block || block->bytes() < bytes) {
    WEFT_ASSIGN_OR_RETURN(Buffer larger, allocate(bytes, name_of(purpose)));
    block = std::make_shared<const Buffer>(std::move(larger));
  }
  return Scratch(block, bytes);
}

}  // namespace weft
