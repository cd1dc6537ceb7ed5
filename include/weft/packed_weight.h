// SPDX-License-Identifier: Apache-2.0
// PackedWeight: a weight the caller packed once, for calls that reuse it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "weft/context.h"
#include "weft/export.h"
#include "weft/memory_use.h"
#include "weft/status.h"
#include "weft/tensor.h"

namespace weft {

namespace internal {
struct PackedWeightState;
}

/// Owns a copy of x2 in the order of the micro-kernel this Context selects. It does not follow
/// later changes of the source: packing again is the caller's decision, never weft's. Immutable and
/// shareable between threads once made.
class WEFT_API PackedWeight {
 public:
  /// x2 (k, n), or (experts, k, n) for ffn: float16, bfloat16 or int8 (for int8·int8); row-major,
  /// transposed view or, without experts, FRACTAL_NZ. Errors: kInvalidArgument, kUnimplemented,
  /// kOutOfMemory.
  static Result<PackedWeight> pack(Context& context, const ConstTensorRef& x2);

  /// Writes a file that load() reads: version, kernel, shape, checksums, the panels. It is written
  /// beside `path` and renamed, so a file of that name is always whole; an earlier one is replaced.
  /// Errors: kInvalidArgument (the path, or the disk is full).
  Status save(const std::string& path) const;
  /// Reads what save() wrote. Everything is checked before it is used. Errors: kInvalidArgument
  /// (not such a file, another version, damaged, packed for a kernel that this weft does not have
  /// or this Context may not use), kOutOfMemory.
  static Result<PackedWeight> load(Context& context, const std::string& path);

  std::int64_t experts() const;  ///< 0: one (k, n) weight
  std::int64_t k() const;
  std::int64_t n() const;
  DType dtype() const;
  /// Of the panels.
  std::int64_t bytes() const;
  /// Of the panels, in whole pages. Errors: kUnimplemented if the kernel doesn't say.
  Result<MemoryUse> memory_use() const;
  /// What it was packed from: "float16 (1024, 8192) strides (1, 1024)". A loaded weight knows it,
  /// too.
  const std::string& source() const;

  PackedWeight(PackedWeight&&) noexcept;
  PackedWeight& operator=(PackedWeight&&) noexcept;
  ~PackedWeight();

  const internal::PackedWeightState& state() const { return *state_; }

 private:
  explicit PackedWeight(std::unique_ptr<internal::PackedWeightState> state);
  std::unique_ptr<internal::PackedWeightState> state_;
};

}  // namespace weft
