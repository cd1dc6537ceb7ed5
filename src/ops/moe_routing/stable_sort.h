// SPDX-License-Identifier: Apache-2.0
// Sorting by expert id: any int32 is one, and equal ids keep their order.
#pragma once

#include <cstdint>

namespace weft::ops {

struct IdAndPayload {
  std::int32_t id, payload;
};

/// Ascending by id, stable; `other` has room for as many. The result is where the returned pointer
/// says: items or other. O(count): counting sorts by 11 bits of the distance from the least id, and
/// no more of them than the largest distance has bits. Below 2048 that is one.
IdAndPayload* stable_sort_by_id(IdAndPayload* items, IdAndPayload* other, std::int64_t count);

}  // namespace weft::ops
