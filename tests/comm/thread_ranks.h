// SPDX-License-Identifier: Apache-2.0
// Ranks as threads of the test, over any transport.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "comm/group_state.h"
#include "weft/group.h"

namespace weft::testing {

/// Small windows, and deadlines that end a hanging test.
inline GroupOptions quick_options() {
  GroupOptions options;
  options.window_bytes = 1 << 20;
  options.connect_timeout_s = 30;
  options.exec_timeout_s = 60;
  return options;
}

/// Calls body(rank) on `ranks` threads and joins them.
inline void run_threads(int ranks, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) threads.emplace_back([&body, rank] { body(rank); });
  for (std::thread& thread : threads) thread.join();
}

/// Forms a group over the transport of this name; element i is rank i.
inline std::vector<Group> make_groups(const std::string& transport, int ranks,
                                      const GroupOptions& options = quick_options()) {
  if (transport == "loopback") {
    auto groups = Group::local(ranks, options);
    EXPECT_TRUE(groups.ok()) << groups.status().to_string();
    return groups.ok() ? std::move(groups).value() : std::vector<Group>();
  }
  const UniqueId id = UniqueId::create().value();
  std::vector<std::optional<Group>> joined(static_cast<std::size_t>(ranks));
  run_threads(ranks, [&](int rank) {
    auto group = Group::join(id, rank, ranks, options);
    EXPECT_TRUE(group.ok()) << "rank " << rank << ": " << group.status().to_string();
    if (group.ok()) joined[static_cast<std::size_t>(rank)] = std::move(group).value();
  });
  std::vector<Group> groups;
  for (auto& group : joined)
    if (group) groups.push_back(std::move(*group));
  return groups;
}

/// Calls body(group) for every rank, each on its thread.
inline void on_all(std::vector<Group>& groups, const std::function<void(Group&)>& body) {
  run_threads(static_cast<int>(groups.size()),
              [&](int rank) { body(groups[static_cast<std::size_t>(rank)]); });
}

}  // namespace weft::testing
