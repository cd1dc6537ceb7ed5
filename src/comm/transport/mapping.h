// SPDX-License-Identifier: Apache-2.0
// Owned memory of one segment: anonymous pages (loopback) or a memfd (shm).
#pragma once

#include "base/memory.h"
#include "comm/control_block.h"
#include "comm/transport/transport.h"
#include "comm/unique_fd.h"
#include "weft/status.h"

namespace weft::internal {

/// Unmaps when it goes. Move-only.
class Mapping {
 public:
  Mapping() = default;
  /// Zero pages of this process, control block constructed.
  static Result<Mapping> anonymous(const SegmentLayout& layout);
  /// Maps the file of a segment. kInvalidArgument if its size or seals are not those of
  /// create_segment_file: a file that can shrink could kill its readers with SIGBUS.
  static Result<Mapping> of_file(int fd, const SegmentLayout& layout);

  Segment segment() const;

 private:
  /// fd -1: anonymous pages.
  static Result<Mapping> map(int fd, int flags, const SegmentLayout& layout);

  Addresses addresses_;
  std::int64_t mail_offset_ = 0;
};

/// A sparse memfd of the layout's size, sealed against any change of size. It has no name in any
/// file system, so nothing can be left behind, and no limit of /dev/shm applies.
Result<UniqueFd> create_segment_file(const SegmentLayout& layout);

/// Puts a fresh control block, and what there is for each of the ranks, into a zeroed segment; its
/// owner does this before any peer sees it.
void construct_control_block(const Mapping& mapping, int ranks);

}  // namespace weft::internal
