// SPDX-License-Identifier: Apache-2.0
#include "comm/transport/mapping.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>

namespace weft::internal {
namespace {

#ifndef MFD_NOEXEC_SEAL
constexpr unsigned kNoExecSeal = 0x0008U;  // Linux 6.3; where vm.memfd_noexec is 2 it is required
#else
constexpr unsigned kNoExecSeal = MFD_NOEXEC_SEAL;
#endif

constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW;

Status out_of_memory(std::int64_t bytes, int error) {
  return Status(StatusCode::kOutOfMemory,
                fmt::format("{} bytes of address space for the window of a rank: {}. Use a smaller "
                            "window_bytes or HCCL_BUFFSIZE.",
                            bytes, std::strerror(error)));
}

void ask_for_huge_pages(std::byte* data, const SegmentLayout& layout) {
  if (!layout.wants_huge_pages()) return;
  // A refusal (kernel without them) only costs speed.
  madvise(data + SegmentLayout::kWindowOffset, static_cast<std::size_t>(layout.window_room()),
          MADV_HUGEPAGE);
}

}  // namespace

Result<Mapping> Mapping::map(int fd, int flags, const SegmentLayout& layout) {
  const std::int64_t bytes = layout.total_bytes();
  Mapping mapping;
  mapping.addresses_ = Addresses::reserve(bytes);
  mapping.mail_offset_ = layout.mail_offset();
  std::byte* const data = mapping.addresses_.data();
  if (!data || mmap(data, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE,
                    flags | MAP_FIXED, fd, 0) == MAP_FAILED)
    return out_of_memory(bytes, errno);
  ask_for_huge_pages(data, layout);
  return mapping;
}

Result<Mapping> Mapping::anonymous(const SegmentLayout& layout) {
  WEFT_ASSIGN_OR_RETURN(Mapping mapping,
                        map(-1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, layout));
  construct_control_block(mapping, layout.ranks);
  return mapping;
}

Result<Mapping> Mapping::of_file(int fd, const SegmentLayout& layout) {
  const std::int64_t bytes = layout.total_bytes();
  struct stat facts {};
  const int seals = fcntl(fd, F_GET_SEALS);
  if (fstat(fd, &facts) != 0 || facts.st_size != bytes || seals < 0 ||
      (seals & kSizeSeals) != kSizeSeals)
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("the shared memory a rank sent has {} bytes and seals {:#x} but must "
                              "have {} bytes and be sealed against a change of size",
                              facts.st_size, seals, bytes));
  return map(fd, MAP_SHARED, layout);
}

Segment Mapping::segment() const {
  std::byte* const data = addresses_.data();
  return {std::launder(reinterpret_cast<ControlBlock*>(data)),
          std::launder(reinterpret_cast<PairBlock*>(data + SegmentLayout::kPairsOffset)),
          data + SegmentLayout::kWindowOffset, data + mail_offset_};
}

Result<UniqueFd> create_segment_file(const SegmentLayout& layout) {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  UniqueFd file(memfd_create("weft", kFlags | kNoExecSeal));
  if (!file && errno == EINVAL) file = UniqueFd(memfd_create("weft", kFlags));
  if (!file)
    return Status(StatusCode::kOutOfMemory, fmt::format("memfd_create: {}", std::strerror(errno)));
  if (ftruncate(file.get(), layout.total_bytes()) != 0 ||
      fcntl(file.get(), F_ADD_SEALS, kSizeSeals | F_SEAL_SEAL) != 0)
    return out_of_memory(layout.total_bytes(), errno);
  return file;
}

void construct_control_block(const Mapping& mapping, int ranks) {
  const Segment segment = mapping.segment();
  new (static_cast<void*>(segment.control)) ControlBlock();
  for (int peer = 0; peer < ranks; ++peer)
    new (static_cast<void*>(segment.pairs + peer)) PairBlock();
}

}  // namespace weft::internal
