// SPDX-License-Identifier: Apache-2.0
#include "ops/collectives/contract.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <type_traits>

#include "ops/collectives/reducer.h"
#include "ops/collectives/run.h"
#include "ops/contract.h"

namespace weft::ops {
namespace {

using Counts = std::span<const std::int64_t>;

// A buffer, and an offset as far again, can be counted in bits.
constexpr std::int64_t kMostBytes = std::int64_t{1} << 58;

/// For blocks with one row of every rank, the least that an exchange can do with.
std::int64_t least_window_bytes(int ranks) {
  return tile::Layout::kSlots * round_up(ranks * CollectiveRun::kRow, 4096);
}

/// Memory of the caller.
struct Memory {
  const void* data;
  std::int64_t bytes;
};

std::uintptr_t address(const void* data) { return reinterpret_cast<std::uintptr_t>(data); }

/// `part` begins `bytes` behind the beginning of `whole`; either may be null.
bool begins(const void* part, const void* whole, std::int64_t bytes) {
  return address(part) == address(whole) + static_cast<std::uintptr_t>(bytes);
}

/// `part` is one of `parts` equal parts of `whole`.
bool is_part(const void* part, const void* whole, std::int64_t bytes, int parts) {
  for (int q = 0; q < parts; ++q)
    if (begins(part, whole, q * bytes)) return true;
  return false;
}

bool overlap(const Memory& a, const Memory& b) {
  if (a.bytes == 0 || b.bytes == 0) return false;
  return address(a.data) < address(b.data) + static_cast<std::uintptr_t>(b.bytes) &&
         address(b.data) < address(a.data) + static_cast<std::uintptr_t>(a.bytes);
}

/// Bytes of a buffer that has a part for every rank.
struct Extent {
  std::int64_t all = 0;  ///< to the end of the last part
  std::int64_t own = 0, own_begin = 0;
};

/// The rules that the contracts below are made of. Once one is broken the others do nothing, and
/// all numbers of bytes are 0.
class CollectiveContract {
 public:
  /// The type can be moved.
  CollectiveContract(const Caller& caller, DType dtype)
      : caller_(caller),
        dtype_(dtype),
        most_(kMostBytes / ((info(dtype).bits + 7) / 8)),
        contract_(caller.op, caller.group.rank()) {
    const std::int64_t window = caller.group.window_bytes(), least = least_window_bytes(ranks());
    contract_.rule(Rule::kWindow, window >= least,
                   "the window of {} bytes per rank is too small; set HCCL_BUFFSIZE to 1 or "
                   "GroupOptions::window_bytes to {} at least",
                   window, least);
    contract_.rule(Rule::kElement, info(dtype).bits % 8 == 0,
                   "dtype is {} but its elements must be whole bytes; send them as int8",
                   to_string(dtype));
  }

  int rank() const { return contract_.rank(); }
  int ranks() const { return caller_.group.ranks(); }
  bool ok() const { return contract_.ok(); }

  /// The type can be reduced.
  void reduces(ReduceOp op) {
    const bool known = static_cast<unsigned>(op) < reduction::kOps;
    contract_.rule(Rule::kOperation, known, "op is {} but must be kSum to kBxor",
                   static_cast<unsigned>(op));
    contract_.rule(Rule::kReduced, !known || Reducer::reducible(dtype_, op),
                   "dtype is {}, which has no {}; convert it to another type", to_string(dtype_),
                   known ? to_string(op) : "operation");
  }

  void root(int rank) { within(Rule::kNoRank, names().root, rank, ranks() - 1); }
  void peer(int rank) { within(Rule::kNoRank, names().peer, rank, ranks() - 1); }
  /// A message to itself alone would never be taken: the rank is busy sending it.
  void other_peer(int rank) {
    peer(rank);
    contract_.rule(Rule::kSelf, rank != this->rank(),
                   "{} is this rank itself; give {} both messages", names().peer, names().batch);
  }

  /// Bytes of so many elements, if `parts` of them stay below 2^58.
  std::int64_t bytes(std::int64_t count, int parts = 1) {
    within(Rule::kCount, names().count, count, most_ / parts);
    return ok() ? bytes_of(dtype_, count) : 0;
  }

  /// `wanted` counts, none negative, that all together stay below 2^58 bytes.
  void counts(std::string_view name, Counts counts, int wanted) {
    entries(name, counts, wanted);
    std::int64_t left = most_;
    for (std::size_t i = 0; ok() && i < counts.size(); ++i) {
      within(Rule::kCount, name, counts[i], left, i);
      left -= counts[i];
    }
  }

  /// A count and an offset for each rank.
  Extent extent(std::string_view counts_name, Counts counts, std::string_view offsets_name,
                Counts offsets) {
    this->counts(counts_name, counts, ranks());
    entries(offsets_name, offsets, ranks());
    for (std::size_t i = 0; ok() && i < offsets.size(); ++i)
      within(Rule::kOffset, offsets_name, offsets[i], most_, i);
    if (!ok()) return {};
    std::int64_t end = 0;
    for (std::size_t i = 0; i < counts.size(); ++i)
      if (counts[i] > 0) end = std::max(end, offsets[i] + counts[i]);
    const auto own = static_cast<std::size_t>(rank());
    return {bytes_of(dtype_, end), bytes_of(dtype_, counts[own]), bytes_of(dtype_, offsets[own])};
  }

  /// Not null, unless there is nothing in it.
  const Status& given(std::string_view name, const Memory& memory) {
    contract_.rule(Rule::kNull, memory.data || memory.bytes == 0, "{} is null but has {} bytes",
                   name, memory.bytes);
    return contract_.status();
  }

  const Status& apart(std::string_view name, const Memory& memory, std::string_view other_name,
                      const Memory& other) {
    contract_.rule(Rule::kOverlap, !overlap(memory, other), "{} overlaps {}; give it other memory",
                   name, other_name);
    return contract_.status();
  }

  /// Both given, and apart unless they overlap as the collective allows.
  const Status& buffers(const Memory& send, const Memory& recv, bool in_place = false) {
    given(names().send, send);
    given(names().recv, recv);
    return in_place ? contract_.status() : apart(names().recv, recv, names().send, send);
  }

 private:
  static constexpr std::size_t kAlone = ~std::size_t{0};

  const CollectiveNames& names() const { return caller_.names; }

  void entries(std::string_view name, Counts numbers, int wanted) {
    contract_.rule(Rule::kEntries, std::ssize(numbers) == wanted,
                   "{} has {} entries but must have {}", name, numbers.size(), wanted);
  }

  /// 0 to most; alone, or number `index` of an array.
  template <typename Number>
  void within(Rule rule, std::string_view name, Number value, Number most,
              std::size_t index = kAlone) {
    if (value >= 0 && value <= most) return;
    const std::string place = index == kAlone ? "" : fmt::format("[{}]", index);
    const std::string text = caller_.unsigned_numbers
                                 ? fmt::to_string(static_cast<std::make_unsigned_t<Number>>(value))
                                 : fmt::to_string(value);
    contract_.rule(rule, false, "{}{} is {} but must be 0 to {}", name, place, text, most);
  }

  const Caller& caller_;
  const DType dtype_;
  const std::int64_t most_;  // elements of a buffer
  Contract contract_;
};

Memory memory_of(const Message& message) {
  return {message.data, bytes_of(message.dtype, message.count)};
}

}  // namespace

Status check_allreduce(const Caller& caller, const void* send, const void* recv, std::int64_t count,
                       DType dtype, ReduceOp op) {
  CollectiveContract c(caller, dtype);
  c.reduces(op);
  const std::int64_t bytes = c.bytes(count);
  return c.buffers({send, bytes}, {recv, bytes}, send == recv);
}

Status check_reduce(const Caller& caller, const void* send, const void* recv, std::int64_t count,
                    DType dtype, ReduceOp op, int root) {
  CollectiveContract c(caller, dtype);
  c.reduces(op);
  c.root(root);
  const std::int64_t bytes = c.bytes(count);
  return c.buffers({send, bytes}, {recv, c.rank() == root ? bytes : 0}, send == recv);
}

Status check_reduce_scatter(const Caller& caller, const void* send, const void* recv,
                            std::int64_t count, DType dtype, ReduceOp op) {
  CollectiveContract c(caller, dtype);
  c.reduces(op);
  const std::int64_t bytes = c.bytes(count, c.ranks());
  return c.buffers({send, bytes * c.ranks()}, {recv, bytes}, is_part(recv, send, bytes, c.ranks()));
}

Status check_reduce_scatterv(const Caller& caller, const void* send, Counts counts, Counts offsets,
                             const void* recv, DType dtype, ReduceOp op) {
  CollectiveContract c(caller, dtype);
  c.reduces(op);
  const Extent parts = c.extent(caller.names.counts, counts, caller.names.offsets, offsets);
  return c.buffers({send, parts.all}, {recv, parts.own}, begins(recv, send, parts.own_begin));
}

Status check_allgather(const Caller& caller, const void* send, const void* recv, std::int64_t count,
                       DType dtype) {
  CollectiveContract c(caller, dtype);
  const std::int64_t bytes = c.bytes(count, c.ranks());
  return c.buffers({send, bytes}, {recv, bytes * c.ranks()}, begins(send, recv, c.rank() * bytes));
}

Status check_allgatherv(const Caller& caller, const void* send, const void* recv, Counts counts,
                        Counts offsets, DType dtype) {
  CollectiveContract c(caller, dtype);
  const Extent parts = c.extent(caller.names.counts, counts, caller.names.offsets, offsets);
  return c.buffers({send, parts.own}, {recv, parts.all}, begins(send, recv, parts.own_begin));
}

Status check_broadcast(const Caller& caller, const void* buffer, std::int64_t count, DType dtype,
                       int root) {
  CollectiveContract c(caller, dtype);
  c.root(root);
  return c.given(caller.names.buffer, {buffer, c.bytes(count)});
}

Status check_scatter(const Caller& caller, const void* send, const void* recv, std::int64_t count,
                     DType dtype, int root) {
  CollectiveContract c(caller, dtype);
  c.root(root);
  const std::int64_t bytes = c.bytes(count, c.ranks());
  const std::int64_t sent = c.rank() == root ? bytes * c.ranks() : 0;
  return c.buffers({send, sent}, {recv, bytes}, is_part(recv, send, bytes, c.ranks()));
}

Status check_alltoall(const Caller& caller, const void* send, const void* recv, std::int64_t count,
                      DType dtype) {
  CollectiveContract c(caller, dtype);
  const std::int64_t bytes = c.bytes(count, c.ranks()) * c.ranks();
  return c.buffers({send, bytes}, {recv, bytes}, send == recv);
}

Status check_alltoallv(const Caller& caller, const void* send, const void* recv,
                       const AlltoallvParts& parts, DType dtype) {
  const CollectiveNames& names = caller.names;
  CollectiveContract c(caller, dtype);
  const Extent sent =
      c.extent(names.send_counts, parts.send_counts, names.send_offsets, parts.send_offsets);
  const Extent received =
      c.extent(names.recv_counts, parts.recv_counts, names.recv_offsets, parts.recv_offsets);
  return c.buffers({send, sent.all}, {recv, received.all});
}

Status check_alltoallvc(const Caller& caller, const void* send, const void* recv, Counts counts,
                        DType dtype) {
  CollectiveContract c(caller, dtype);
  const int rank = c.rank(), ranks = c.ranks();
  c.counts(caller.names.counts, counts, ranks * ranks);
  const auto count = [&](int from, int to) {
    return counts[static_cast<std::size_t>(from * ranks + to)];
  };
  std::int64_t sent = 0, received = 0;
  for (int peer = 0; c.ok() && peer < ranks; ++peer) {
    sent += count(rank, peer);
    received += count(peer, rank);
  }
  return c.buffers({send, bytes_of(dtype, sent)}, {recv, bytes_of(dtype, received)});
}

Status check_message(const Caller& caller, const void* data, std::int64_t count, DType dtype,
                     int peer) {
  CollectiveContract c(caller, dtype);
  c.other_peer(peer);
  return c.given(caller.names.data, {data, c.bytes(count)});
}

Status check_batch_send_recv(const Caller& caller, std::span<const Message> messages) {
  const CollectiveNames& names = caller.names;
  for (const Message& m : messages) {
    CollectiveContract c(caller, m.dtype);
    c.peer(m.peer);
    WEFT_RETURN_IF_ERROR(c.given(names.data, {m.data, c.bytes(m.count)}));
  }
  for (const Message& m : messages)
    for (const Message& other : messages) {
      if (m.kind != Message::Kind::kRecv || &m == &other) continue;
      CollectiveContract c(caller, m.dtype);
      WEFT_RETURN_IF_ERROR(c.apart(names.received, memory_of(m), names.other, memory_of(other)));
    }
  return {};
}

}  // namespace weft::ops
