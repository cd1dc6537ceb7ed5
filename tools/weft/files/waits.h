// SPDX-License-Identifier: Apache-2.0
// Which rank waited for which in a traced call, and how long.
#pragma once

#include <string>
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
  /// A row for each rank and a column for each that it waited for; with more than 16 ranks the one
  /// that each waited for most.
  std::string text() const;

 private:
  std::size_t index(int rank, int peer) const {
    return static_cast<std::size_t>(rank * (ranks_ + 1) + peer + 1);
  }
  std::string matrix_text() const;
  std::string longest_text() const;

  int ranks_ = 0;
  std::vector<double> ms_;
};

}  // namespace weft::tools
