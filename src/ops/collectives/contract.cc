// SPDX-License-Identifier: Apache-2.0
#include "ops/collectives/contract.h"

#include "ops/collectives/reducer.h"
#include "ops/collectives/run.h"

namespace weft::ops {
namespace {

// A buffer, and an offset as far again, can be counted in bits.
constexpr std::int64_t kMostBytes = std::int64_t{1} << 58;

/// For blocks with one row of every rank, the least that an exchange can do with.
std::int64_t least_window_bytes(int ranks) {
  return tile::Layout::kSlots * round_up(ranks * CollectiveRun::kRow, 4096);
}

std::uintptr_t address(const void* data) { return reinterpret_cast<std::uintptr_t>(data); }

}  // namespace

std::int64_t most_elements(DType dtype) { return kMostBytes / ((info(dtype).bits + 7) / 8); }

std::int64_t extent(std::span<const std::int64_t> counts, std::span<const std::int64_t> offsets,
                    DType dtype) {
  std::int64_t end = 0;
  for (std::size_t i = 0; i < counts.size() && i < offsets.size(); ++i)
    if (counts[i] > 0) end = std::max(end, offsets[i] + counts[i]);
  return bytes_of(dtype, end);
}

bool begins(const void* part, const void* whole, std::int64_t bytes) {
  return address(part) == address(whole) + static_cast<std::uintptr_t>(bytes);
}

bool is_part(const void* part, const void* whole, std::int64_t bytes, int parts) {
  for (int q = 0; q < parts; ++q)
    if (begins(part, whole, q * bytes)) return true;
  return false;
}

bool overlap(const Bytes& a, const Bytes& b) {
  if (a.size == 0 || b.size == 0) return false;
  return address(a.data) < address(b.data) + static_cast<std::uintptr_t>(b.size) &&
         address(b.data) < address(a.data) + static_cast<std::uintptr_t>(a.size);
}

CollectiveContract::CollectiveContract(std::string_view op, const Group& group, DType dtype)
    : contract_(op, group.rank()), ranks_(group.ranks()), dtype_(dtype) {
  const std::int64_t least = least_window_bytes(ranks_);
  contract_.rule(group.window_bytes() >= least,
                 "the window of {} bytes per rank is too small; set HCCL_BUFFSIZE to 1 or "
                 "GroupOptions::window_bytes to {} at least",
                 group.window_bytes(), least);
}

CollectiveContract& CollectiveContract::moves() {
  contract_.rule(info(dtype_).bits % 8 == 0,
                 "dtype is {} but its elements must be whole bytes; send them as int8",
                 to_string(dtype_));
  return *this;
}

CollectiveContract& CollectiveContract::reduces(ReduceOp op) {
  const bool known = static_cast<unsigned>(op) < reduction::kOps;
  contract_.rule(known, "op is {} but must be kSum to kMin", static_cast<unsigned>(op))
      .rule(Reducer::reducible(dtype_), "dtype is {}, which has no {}; convert it to another type",
            to_string(dtype_), known ? to_string(op) : "operation");
  return *this;
}

CollectiveContract& CollectiveContract::rank(std::string_view name, int value) {
  contract_.rule(value >= 0 && value < ranks_, "{} is {} but must be 0 to {}", name, value,
                 ranks_ - 1);
  return *this;
}

CollectiveContract& CollectiveContract::other_rank(std::string_view name, int value) {
  contract_.rule(value != contract_.rank(),
                 "{} is this rank itself; give batch_send_recv both messages", name);
  return *this;
}

CollectiveContract& CollectiveContract::count(std::int64_t count, int parts) {
  const std::int64_t most = most_elements(dtype_) / parts;
  contract_.rule(count >= 0 && count <= most, "count is {} but must be 0 to {}", count, most);
  return *this;
}

CollectiveContract& CollectiveContract::counts(std::string_view name,
                                               std::span<const std::int64_t> counts,
                                               std::int64_t wanted) {
  contract_.rule(std::ssize(counts) == wanted, "{} has {} entries but must have {}", name,
                 counts.size(), wanted);
  std::int64_t left = most_elements(dtype_);
  for (std::size_t i = 0; i < counts.size() && contract_.ok(); ++i) {
    contract_.rule(counts[i] >= 0 && counts[i] <= left, "{}[{}] is {} but must be 0 to {}", name, i,
                   counts[i], left);
    left -= counts[i];
  }
  return *this;
}

CollectiveContract& CollectiveContract::offsets(std::string_view name,
                                                std::span<const std::int64_t> offsets) {
  contract_.rule(std::ssize(offsets) == ranks_, "{} has {} entries but must have {}", name,
                 offsets.size(), ranks_);
  const std::int64_t most = most_elements(dtype_);
  for (std::size_t i = 0; i < offsets.size(); ++i)
    contract_.rule(offsets[i] >= 0 && offsets[i] <= most, "{}[{}] is {} but must be 0 to {}", name,
                   i, offsets[i], most);
  return *this;
}

CollectiveContract& CollectiveContract::given(const Bytes& buffer) {
  contract_.rule(buffer.data || buffer.size == 0, "{} is null but has {} bytes", buffer.name,
                 buffer.size);
  return *this;
}

CollectiveContract& CollectiveContract::apart(const Bytes& a, const Bytes& b) {
  contract_.rule(!overlap(a, b), "{} overlaps {}; give it other memory", a.name, b.name);
  return *this;
}

}  // namespace weft::ops
