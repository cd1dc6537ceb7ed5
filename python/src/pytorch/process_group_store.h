// SPDX-License-Identifier: Apache-2.0
// How the ranks of a process group meet: rank 0 makes the secret ids of the groups to form and
// hands them to the others through the store that PyTorch has set up.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "runtime/communicator.h"
#include "weft/group.h"

namespace weft::python {

/// One forming. A store may serve several, one after the other, if every rank takes part in each:
/// their keys differ. What was handed out is gone when it ends; one that failed may be repeated.
class Meeting {
 public:
  Meeting(c10::intrusive_ptr<c10d::Store> store, int rank, int ranks,
          std::chrono::milliseconds timeout);
  ~Meeting();
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;

  /// The same on every rank. Collective. Errors: those of UniqueId; kTimeout if rank 0 does not
  /// come. Throws what the store throws.
  Result<std::vector<UniqueId>> ids(int count);
  /// All have joined the groups with these ids.
  void succeeded() { succeeded_ = true; }

 private:
  const c10::intrusive_ptr<c10d::Store> store_;
  const int rank_;
  const std::chrono::milliseconds timeout_;
  std::string key_;
  bool succeeded_ = false;
};

/// A group of the ranks of that store, with PyTorch's threads. Collective. Errors: those of the
/// above, of Group::join, Context::create and Communicator::create.
Result<std::shared_ptr<Communicator>> join_by_store(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int ranks, const std::string& name,
                                                    std::chrono::milliseconds timeout);

/// As GroupOptions has it; 0 or less, which c10d calls no timeout, is for ever.
double seconds(std::chrono::milliseconds timeout);

}  // namespace weft::python
