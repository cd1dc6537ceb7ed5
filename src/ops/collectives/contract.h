// SPDX-License-Identifier: Apache-2.0
// What a rank can get wrong by itself in a collective.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "ops/contract.h"
#include "weft/collectives.h"

namespace weft::ops {

/// Memory of a caller.
struct Bytes {
  std::string_view name;
  const void* data;
  std::int64_t size;
};

/// The most elements of a buffer; an offset may be as far again.
std::int64_t most_elements(DType dtype);
/// Bytes from the start of a buffer to the end of its last part.
std::int64_t extent(std::span<const std::int64_t> counts, std::span<const std::int64_t> offsets,
                    DType dtype);
/// `part` begins `bytes` behind the beginning of `whole`; either may be null.
bool begins(const void* part, const void* whole, std::int64_t bytes);
/// `part` is one of `parts` equal parts of `whole`.
bool is_part(const void* part, const void* whole, std::int64_t bytes, int parts);
bool overlap(const Bytes& a, const Bytes& b);

class CollectiveContract {
 public:
  CollectiveContract(std::string_view op, const Group& group, DType dtype);

  /// The type can be moved, or reduced.
  CollectiveContract& moves();
  CollectiveContract& reduces(ReduceOp op);
  CollectiveContract& rank(std::string_view name, int value);
  CollectiveContract& other_rank(std::string_view name, int value);
  /// One count; `parts` of them stay below 2^58 bytes.
  CollectiveContract& count(std::int64_t count, int parts);
  /// `wanted` counts, none negative, that all together stay below 2^58 bytes.
  CollectiveContract& counts(std::string_view name, std::span<const std::int64_t> counts,
                             std::int64_t wanted);
  /// One for each rank, none negative.
  CollectiveContract& offsets(std::string_view name, std::span<const std::int64_t> offsets);
  /// Not null, unless there is nothing in it.
  CollectiveContract& given(const Bytes& buffer);
  CollectiveContract& apart(const Bytes& a, const Bytes& b);

  const Status& status() const { return contract_.status(); }
  bool ok() const { return contract_.ok(); }

 private:
  Contract contract_;
  int ranks_;
  DType dtype_;
};

}  // namespace weft::ops
