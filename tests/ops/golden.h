// SPDX-License-Identifier: Apache-2.0
// Calls whose operands are written out, small enough to compute the results by hand.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "operator_call.h"
#include "thread_ranks.h"

namespace weft::testing {

using Values = std::vector<double>;

/// One call of a row and a shape. Operands that no test sets are random.
class Golden {
 public:
  Golden(std::string_view row, std::string_view shape, int ranks, tools::OperandSet with = {})
      : cases_(static_cast<std::size_t>(ranks), plain_case(row, shape)) {
    for (OperatorCase& c : cases_) c.operands.with = with;
  }

  /// How rank `rank` calls; to be changed before the first set(). Ranks may differ.
  OperatorCase& of(int rank) { return cases_[static_cast<std::size_t>(rank)]; }
  template <typename Change>
  Golden& change(const Change& change) {
    for (OperatorCase& c : cases_) change(c);
    return *this;
  }

  /// On one rank, or on all.
  Golden& set(int rank, OperandId id, const Values& values) {
    data(rank)[id].set(values);
    return *this;
  }
  Golden& set(OperandId id, const Values& values) {
    for (int rank = 0; rank < ranks(); ++rank) set(rank, id, values);
    return *this;
  }
  RankData& data(int rank) {
    while (std::ssize(data_) < ranks())
      data_.push_back(std::make_unique<RankData>(cases_[data_.size()],
                                                 static_cast<int>(data_.size()), ranks()));
    return *data_[static_cast<std::size_t>(rank)];
  }

  /// Calls, and expects the reference to find the results right, too.
  Golden& run() {
    data(0);
    std::vector<Group> groups = make_groups("loopback", ranks(), operator_group_options());
    on_all(groups, [&](Group& group) {
      Context context = Context::create({.threads = 1}).value();
      const Status status = call(context, group, of(group.rank()), data(group.rank()));
      EXPECT_TRUE(status.ok()) << status.to_string();
    });
    for (int rank = 0; rank < ranks(); ++rank) expect_correct(of(rank), data_, rank, 1e6);
    return *this;
  }
  Values output(int rank, std::size_t i = 0) { return data(rank).output(i).values(); }

 private:
  int ranks() const { return static_cast<int>(cases_.size()); }

  std::vector<OperatorCase> cases_;
  Ranks data_;
};

}  // namespace weft::testing
