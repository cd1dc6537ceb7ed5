// SPDX-License-Identifier: Apache-2.0
// A test that runs once per transport of transports.inc.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "thread_ranks.h"

namespace weft::testing {

inline std::vector<std::string> transports() {
  return {
#define WEFT_TRANSPORT(name) #name,
#include "transports.inc"
#undef WEFT_TRANSPORT
  };
}

inline std::string transport_name(const ::testing::TestParamInfo<std::string>& info) {
  return info.param;
}

class OverTransports : public ::testing::TestWithParam<std::string> {
 protected:
  std::vector<Group> make(int ranks, const GroupOptions& options = quick_options()) {
    return make_groups(GetParam(), ranks, options);
  }
};

}  // namespace weft::testing
