// SPDX-License-Identifier: Apache-2.0
// Scratch memory of a Context, which all its plans share: its calls never overlap in time, so
// neither do the times in which two plans use it. Memory is mapped while planning, and only if no
// plan before has needed as much.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "base/memory.h"
#include "weft/status.h"

namespace weft {

/// What scratch is for. Plans share the memory of a purpose, and so do parts of one plan that use
/// it one after the other: what a run has put there is gone when the next one begins.
enum class ScratchFor {
  kPackedRows,
  kWeightBlocks,
  kBiases,
  kRowScales,
  kWireScales,
  kThreadRows,
  kGamma,
  kActivation,
  kQuantScales,
  kOutputRows,
  kIds,
  kPairSums,
  kCount
};

/// A plan's share: whole cache lines with anything in them. It stays where it is for the life of
/// the plan, whatever is planned later.
class Scratch {
 public:
  Scratch() = default;
  std::byte* data() const { return block_ ? block_->data() : nullptr; }
  std::int64_t bytes() const { return bytes_; }  ///< as reserved

 private:
  friend class ScratchPool;
  Scratch(std::shared_ptr<const Buffer> block, std::int64_t bytes)
      : block_(std::move(block)), bytes_(bytes) {}

  std::shared_ptr<const Buffer> block_;
  std::int64_t bytes_ = 0;
};

/// For each purpose the pool keeps one block, as large as a plan has ever needed it, rounded up to
/// a power of two. A larger one takes its place; plans that were made with a smaller one keep that.
class ScratchPool {
 public:
  /// May be called while another plan runs. kOutOfMemory names the size and what it was for.
  Result<Scratch> reserve(ScratchFor purpose, std::int64_t bytes);

 private:
  std::mutex mutex_;
  std::array<std::shared_ptr<const Buffer>, static_cast<std::size_t>(ScratchFor::kCount)> blocks_;
};

}  // namespace weft
