// SPDX-License-Identifier: Apache-2.0
// The local product of an operator alone: what its call is compared with.
#pragma once

#include "base/memory.h"
#include "ops/local_matmul/local_matmul.h"
#include "weft/context.h"

namespace weft::bench {

class LocalGemm {
 public:
  static Result<LocalGemm> plan(Context& context, const ops::MatmulOperands& operands, DType io);
  /// `read_soon`: the product is kept in the caches as far as it fits.
  void run(const ops::MatmulOperands& operands, bool read_soon = false);

  std::byte* row(std::int64_t i) const { return product_.data() + i * row_bytes_; }
  std::int64_t row_bytes() const { return row_bytes_; }
  const ops::LocalMatmul& local() const { return local_; }

 private:
  ops::LocalMatmul local_;
  std::int64_t row_bytes_ = 0;
  Buffer product_;
};

}  // namespace weft::bench
