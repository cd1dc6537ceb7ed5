// SPDX-License-Identifier: Apache-2.0
// Which rank waited for which in a traced call, and how long.
#pragma once

#include <vector>

#include "files/timeline.h"

namespace weft::tools {

class Waits {
 public:
  explicit Waits(const Timeline& timeline);

  int ranks() const { return ranks_; }
  /// Milliseconds that `rank` waited for `peer`; -1: for no one in particular.
  double ms(int rank, int peer) const { return ms_[index(rank, peer)]; }
  double total_ms(int rank) const;
  double most_ms() const;  ///< of all pairs

 private:
  std::size_t index(int rank, int peer) const {
    return static_cast<std::size_t>(rank * (ranks_ + 1) + peer + 1);
  }

  int ranks_ = 0;
  std::vector<double> ms_;
};

}  // namespace weft::tools
