// SPDX-License-Identifier: Apache-2.0
// A decode step through CANN's C interface, and the same step through weft's function.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "aclnn/aclnn_base.h"
#include "communicator.h"
#include "operators/args.h"
#include "operators/cases.h"

namespace weft::bench {

/// One rank with one thread, so that no other rank and no other core is measured.
class CDoor {
 public:
  explicit CDoor(const tools::Case& c);
  ~CDoor();
  CDoor(const CDoor&) = delete;
  CDoor& operator=(const CDoor&) = delete;

  /// Seconds of one of many calls: plan() and run() in this thread.
  double native();
  /// run() alone, of a plan that is kept.
  double run_again();
  /// Both phases and a synchronise; the call runs in the stream's thread.
  double both_phases();
  /// Handing an empty task to a stream and waiting for it, which is in both_phases().
  double hand_off();

 private:
  aclTensor* describe(const ConstTensorRef& tensor);

  tools::Operands operands_;
  MatmulAllReduceArgs args_;
  std::vector<aclTensor*> tensors_;
  void* handle_ = nullptr;
  std::string group_;
  aclrtStream stream_ = nullptr;
  std::vector<std::byte> workspace_;
};

}  // namespace weft::bench
