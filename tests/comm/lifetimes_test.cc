// SPDX-License-Identifier: Apache-2.0
// Groups come and go; nothing may stay: no descriptor, mapping, memory, socket name or process.
#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "comm/group_state.h"
#include "comm/rendezvous/rendezvous.h"
#include "processes.h"
#include "thread_ranks.h"

namespace weft {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::Processes;
using testing::quick_options;
using testing::Rank;
using testing::run_ranks;

/// 300; the program of label slow asks for more.
int lifetimes() {
  const char* text = std::getenv("TEST_LIFETIMES");
  return text ? std::atoi(text) : 300;
}

std::string contents(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Mappings of the beginning of a segment; asking for huge pages in the window may split the rest.
int mapped_segments() {
  int count = 0;
  std::istringstream maps(contents("/proc/self/maps"));
  for (std::string line; std::getline(maps, line);)
    count += line.find("/memfd:weft (deleted)") != std::string::npos &&
             line.find(" 00000000 ") != std::string::npos;
  return count;
}

int open_files() {
  int count = 0;
  DIR* folder = opendir("/proc/self/fd");
  while (readdir(folder)) ++count;
  closedir(folder);
  return count;
}

std::int64_t status_kib(const std::string& key) {
  const std::string text = contents("/proc/self/status");
  return std::stoll(text.substr(text.find(key + ":") + key.size() + 1));
}

struct Held {
  int files, segments;
  std::int64_t address_space_kib, resident_kib;
};

Held held() { return {open_files(), mapped_segments(), status_kib("VmSize"), status_kib("VmRSS")}; }

/// Runs `once` until everything that is made once is made, then lifetimes() times, and compares.
void expect_nothing_stays(const std::function<void(int)>& once) {
  constexpr int kWarmUp = 20;
  for (int i = 0; i < kWarmUp; ++i) once(i);
  const Held before = held();
  for (int i = 0; i < lifetimes(); ++i) once(kWarmUp + i);
  const Held after = held();
  EXPECT_EQ(after.files, before.files);
  EXPECT_EQ(after.segments, before.segments);
  // A leaked segment would be 4 MiB of address space each time; the slack is for the allocator. The
  // resident pages of a leaked one would be at least its control block.
  EXPECT_LT(after.address_space_kib - before.address_space_kib, lifetimes() * 512);
  EXPECT_LT(after.resident_kib - before.resident_kib, lifetimes() * 4);
}

UniqueId id_of_lifetime(const UniqueId& id, int lifetime) {
  internal::IdContents contents = internal::read_id(id).value();
  contents.place[0] += static_cast<std::uint64_t>(lifetime);
  return internal::make_id(contents);
}

TEST(Lifetimes, OfThreadsLeaveNothing) {
  expect_nothing_stays([](int) {
    std::vector<Group> groups = testing::make_groups("loopback", 3);
    for (Group& group : groups) group.state().window(group.rank())[0] = std::byte{1};
  });
}

TEST(Lifetimes, OfProcessesLeaveNothing) {
  run_ranks(
      2,
      [](Rank& rank) {
        expect_nothing_stays([&](int lifetime) {
          auto group =
              Group::join(id_of_lifetime(rank.id, lifetime), rank.rank, 2, quick_options());
          ASSERT_TRUE(group.ok()) << group.status().to_string();
          group->state().window(rank.rank)[0] = std::byte{1};
          ASSERT_TRUE(group->barrier().ok());
        });
        return std::string();
      },
      100);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

TEST(Lifetimes, FailedFormingLeavesNothing) {
  expect_nothing_stays([](int) {
    GroupOptions options = quick_options();
    options.connect_timeout_s = 0.001;
    const UniqueId id = UniqueId::create().value();
    EXPECT_EQ(Group::join(id, 0, 3, options).status().code(), StatusCode::kTimeout);
    EXPECT_EQ(Group::join(id, 1, 3, options).status().code(), StatusCode::kTimeout);
  });
}

TEST(Lifetimes, FormedGroupHoldsOnlyMappingsAndPidfds) {
  run_ranks(3, [](Rank& rank) {
    const int before = open_files();
    auto group = Group::join(rank.id, rank.rank, 3, quick_options());
    EXPECT_TRUE(group.ok()) << group.status().to_string();
    if (!group.ok()) return std::string();
    EXPECT_TRUE(group->barrier().ok());
    EXPECT_EQ(open_files(), before + 2);  // one pidfd per peer process
    const std::string maps = contents("/proc/self/maps");
    EXPECT_EQ(mapped_segments(), 3);
    EXPECT_THAT(maps, Not(HasSubstr("/dev/shm")));
    const std::string name = internal::rendezvous_name(internal::read_id(rank.id).value());
    EXPECT_THAT(contents("/proc/net/unix"), Not(HasSubstr(name)));
    EXPECT_TRUE(group->barrier().ok());
    return std::string();
  });
}

TEST(Lifetimes, KilledFormingLeavesNoName) {
  Processes processes(2, [](Rank& rank) {
    rank.tell("joining");
    return Group::join(rank.id, rank.rank, 3, quick_options()).status().to_string();
  });
  const std::string name = internal::rendezvous_name(internal::read_id(processes.id()).value());
  ASSERT_TRUE(processes.await(0, "joining"));
  for (int i = 0; i < 1000 && contents("/proc/net/unix").find(name) == std::string::npos; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_THAT(contents("/proc/net/unix"), HasSubstr(name));
  for (int rank = 0; rank < 2; ++rank) {
    processes.kill(rank);
    (void)processes.finish(rank);
  }
  EXPECT_THAT(contents("/proc/net/unix"), Not(HasSubstr(name)));
}

TEST(Lifetimes, WindowOutlivesTheRankThatLeft) {
  Processes processes(2, [](Rank& rank) {
    auto group = Group::join(rank.id, rank.rank, 2, quick_options());
    EXPECT_TRUE(group.ok());
    group->state().window(rank.rank)[77] = static_cast<std::byte>(rank.rank + 5);
    EXPECT_TRUE(group->barrier().ok());
    if (rank.rank == 0) rank.await_go();
    return std::to_string(static_cast<int>(group->state().window(1)[77]));
  });
  EXPECT_EQ(processes.finish(1).text, "6");  // its process has ended
  processes.go(0);
  EXPECT_EQ(processes.finish(0).text, "6");
}

}  // namespace
}  // namespace weft
