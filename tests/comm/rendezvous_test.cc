// SPDX-License-Identifier: Apache-2.0
// Forming a group of processes: who may join, who disagrees, who is missing, and strangers.
#include "comm/rendezvous/rendezvous.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "processes.h"
#include "thread_ranks.h"

namespace weft {
namespace {

using internal::Hello;
using internal::RendezvousAddress;
using internal::UniqueFd;
using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::monotonic_ns;
using testing::Outcome;
using testing::Processes;
using testing::quick_options;
using testing::Rank;
using testing::run_ranks;

constexpr std::int64_t kSecond = 1'000'000'000;

std::string join_text(const UniqueId& id, int rank, int ranks, const GroupOptions& options) {
  const auto group = Group::join(id, rank, ranks, options);
  return group.status().to_string();
}

GroupOptions impatient(double seconds) {
  GroupOptions options = quick_options();
  options.connect_timeout_s = seconds;
  return options;
}

UniqueId with_other_secret(const UniqueId& id) {
  internal::IdContents contents = internal::read_id(id).value();
  contents.secret[1] ^= 1;
  return internal::make_id(contents);
}

/// A connection to the rendezvous, or none while nobody listens.
UniqueFd connect_to(const UniqueId& id) {
  const RendezvousAddress address(internal::read_id(id).value());
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (connect(socket.get(), address.get(), address.length) != 0) return UniqueFd();
  return socket;
}

TEST(Rendezvous, RefusesBadArguments) {
  const UniqueId id = UniqueId::create().value();
  EXPECT_EQ(join_text(id, 2, 2, quick_options()),
            "invalid argument: group: rank is 2 but must be 0 to 1");
  EXPECT_EQ(join_text(id, 0, 0, quick_options()),
            "invalid argument: group: ranks is 0 but must be 1 to 4096");
  EXPECT_THAT(join_text(UniqueId(), 0, 1, quick_options()), HasSubstr("was not made by UniqueId"));
  GroupOptions options = quick_options();
  options.name = std::string(128, 'n');
  EXPECT_THAT(join_text(id, 0, 1, options), HasSubstr("name has 128 characters"));
  options = quick_options();
  options.window_bytes = -1;
  EXPECT_THAT(join_text(id, 0, 1, options), HasSubstr("window_bytes is -1"));
}

TEST(Rendezvous, GroupOfOneMeetsNobody) {
  auto group = Group::join(UniqueId::create().value(), 0, 1, quick_options());
  ASSERT_TRUE(group.ok()) << group.status().to_string();
  EXPECT_TRUE(group->barrier().ok());
  EXPECT_EQ(group->transport(), "shm");
}

TEST(Rendezvous, IdSurvivesHex) {
  const UniqueId id = UniqueId::create().value();
  EXPECT_EQ(UniqueId::from_hex(id.to_hex()).value().bytes, id.bytes);
  EXPECT_NE(UniqueId::create().value().bytes, id.bytes);
  EXPECT_THAT(UniqueId::from_hex("12").status().message(), HasSubstr("2 characters"));
  std::string broken = id.to_hex();
  broken[17] = 'x';
  EXPECT_THAT(UniqueId::from_hex(broken).status().message(), HasSubstr("position 16"));
  EXPECT_THAT(UniqueId::from_hex(std::string(256, '0')).status().message(),
              HasSubstr("was not made"));
}

TEST(Rendezvous, NameDoesNotGiveTheSecretAway) {
  const internal::IdContents contents = internal::read_id(UniqueId::create().value()).value();
  for (const std::uint64_t word : contents.secret) {
    char hex[17];
    snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(word));
    EXPECT_EQ(internal::rendezvous_name(contents).find(hex), std::string::npos);
  }
}

TEST(Rendezvous, AnyOrderOfArrival) {
  run_ranks(4, [](Rank& rank) {
    // Rank 0 comes last but one.
    std::this_thread::sleep_for(milliseconds(rank.rank == 0 ? 80 : rank.rank == 3 ? 160 : 0));
    auto group = Group::join(rank.id, rank.rank, rank.ranks, quick_options());
    EXPECT_TRUE(group.ok()) << group.status().to_string();
    return group.ok() ? group->barrier().to_string() : "";
  });
}

TEST(Rendezvous, MissingRanksAreNamed) {
  const auto outcomes = run_ranks(2, [](Rank& rank) {
    return join_text(rank.id, rank.rank == 0 ? 0 : 2, 4, impatient(rank.rank == 0 ? 0.8 : 0.5));
  });
  EXPECT_THAT(outcomes[0].text,
              AllOf(HasSubstr("timeout: group: 3 of 4 ranks have not joined: 1, 2, 3"),
                    HasSubstr("HCCL_CONNECT_TIMEOUT")));  // rank 2 had given up
  EXPECT_THAT(outcomes[1].text, HasSubstr("timeout: group: 2 of 4 ranks have not joined: 1, 3"));
}

TEST(Rendezvous, MissingRankZeroIsNamed) {
  const std::int64_t begin = monotonic_ns();
  EXPECT_THAT(join_text(UniqueId::create().value(), 1, 2, impatient(0.3)),
              HasSubstr("timeout: group: rank 1 could not join within 0.3 s: rank 0 has not come"));
  EXPECT_LT(monotonic_ns() - begin, kSecond);
}

TEST(Rendezvous, WrongSecretIsKeptOutAndTheGroupForms) {
  const auto outcomes = run_ranks(4, [](Rank& rank) {
    if (rank.rank == 3) return join_text(with_other_secret(rank.id), 2, 3, impatient(0.6));
    std::this_thread::sleep_for(milliseconds(rank.rank == 2 ? 300 : 0));  // the intruder is first
    auto group = Group::join(rank.id, rank.rank, 3, quick_options());
    return group.ok() ? group->barrier().to_string() : group.status().to_string();
  });
  for (std::size_t rank = 0; rank < 3; ++rank) EXPECT_EQ(outcomes[rank].text, "ok");
  EXPECT_THAT(outcomes[3].text, HasSubstr("timeout: group: rank 2 could not join"));
}

TEST(Rendezvous, DuplicateRankIsRefusedAndTheGroupForms) {
  Processes processes(4, [](Rank& rank) {
    rank.await_go();
    const int claimed = rank.rank == 3 ? 1 : rank.rank;
    auto group = Group::join(rank.id, claimed, 3, quick_options());
    return group.ok() ? group->barrier().to_string() : group.status().to_string();
  });
  processes.go(0);
  processes.go(1);
  std::this_thread::sleep_for(milliseconds(150));
  processes.go(3);
  EXPECT_THAT(processes.finish(3).text, HasSubstr("group: rank 1 has joined already"));
  processes.go(2);
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(processes.finish(rank).text, "ok");
}

TEST(Rendezvous, SecondRankZeroIsRefused) {
  Processes processes(3, [](Rank& rank) {
    rank.await_go();
    auto group = Group::join(rank.id, rank.rank % 2, 2, quick_options());
    return group.ok() ? group->barrier().to_string() : group.status().to_string();
  });
  processes.go(0);
  std::this_thread::sleep_for(milliseconds(100));
  processes.go(2);
  EXPECT_THAT(processes.finish(2).text, HasSubstr("another rank 0 is forming"));
  processes.go(1);
  EXPECT_EQ(processes.finish(0).text, "ok");
  EXPECT_EQ(processes.finish(1).text, "ok");
}

TEST(Rendezvous, DisagreementIsNamedOnAllRanks) {
  const auto sizes = run_ranks(4, [](Rank& rank) {
    return join_text(rank.id, rank.rank, rank.rank == 2 ? 5 : 4, quick_options());
  });
  const auto windows = run_ranks(3, [](Rank& rank) {
    GroupOptions options = quick_options();
    if (rank.rank == 1) options.window_bytes *= 2;
    return join_text(rank.id, rank.rank, 3, options);
  });
  const auto names = run_ranks(2, [](Rank& rank) {
    GroupOptions options = quick_options();
    options.name = rank.rank ? "tp" : "ep";
    return join_text(rank.id, rank.rank, 2, options);
  });
  for (const Outcome& outcome : sizes)
    EXPECT_EQ(outcome.text,
              "mismatch: group: ranks is 4 on rank 0 but 5 on rank 2. Give it the same value on "
              "every rank and join again with a new unique id.");
  for (const Outcome& outcome : windows)
    EXPECT_THAT(outcome.text, HasSubstr("mismatch: group: window_bytes is 1048576 on rank 0 but "
                                        "2097152 on rank 1."));
  for (const Outcome& outcome : names)
    EXPECT_THAT(outcome.text,
                HasSubstr("mismatch: group: name is \"ep\" on rank 0 but \"tp\" on rank 1."));
}

TEST(Rendezvous, RankThatDiesWhileFormingMayComeAgain) {
  Processes processes(4, [](Rank& rank) {
    rank.await_go();
    if (rank.rank == 3) rank.tell("joining");
    auto group = Group::join(rank.id, rank.rank == 3 ? 1 : rank.rank, 3, quick_options());
    return group.ok() ? group->barrier().to_string() : group.status().to_string();
  });
  processes.go(0);
  processes.go(3);
  ASSERT_TRUE(processes.await(3, "joining"));
  std::this_thread::sleep_for(milliseconds(150));
  processes.kill(3);
  (void)processes.finish(3);
  processes.go(1);
  processes.go(2);
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(processes.finish(rank).text, "ok");
}

TEST(Rendezvous, DeathOfRankZeroWhileFormingIsSeen) {
  Processes processes(2, [](Rank& rank) {
    rank.tell("joining");
    return join_text(rank.id, rank.rank, 3, quick_options());
  });
  ASSERT_TRUE(processes.await(1, "joining"));
  ASSERT_TRUE(processes.await(0, "joining"));
  std::this_thread::sleep_for(milliseconds(200));
  const std::int64_t killed_ns = processes.kill(0);
  const Outcome outcome = processes.finish(1);
  EXPECT_THAT(outcome.text,
              HasSubstr("peer lost: group: rank 0 ended while the group was forming"));
  EXPECT_LT(outcome.finished_ns - killed_ns, kSecond);
}

/// Two ranks come 0.4 s after rank 0; the strangers have it for themselves until then and go on.
void expect_forms_despite(
    const std::function<void(const UniqueId&, const std::atomic<bool>&)>& stranger) {
  Processes processes(3, [](Rank& rank) {
    if (rank.rank > 0) rank.await_go();
    const std::int64_t begin = monotonic_ns();
    auto group = Group::join(rank.id, rank.rank, 3, quick_options());
    const std::int64_t took = monotonic_ns() - begin;
    // 0.4 s of waiting for the others, which no stranger may stretch.
    EXPECT_LT(took, 2 * kSecond) << "rank " << rank.rank;
    return group.ok() ? group->barrier().to_string() : group.status().to_string();
  });
  std::atomic<bool> stop{false};
  std::thread thread([&] { stranger(processes.id(), stop); });
  std::this_thread::sleep_for(milliseconds(400));
  processes.go(1);
  processes.go(2);
  for (int rank = 0; rank < 3; ++rank) {
    const Outcome outcome = processes.finish(rank);
    EXPECT_TRUE(outcome.clean()) << "rank " << rank;
    EXPECT_EQ(outcome.text, "ok") << "rank " << rank;
  }
  stop = true;
  thread.join();
}

TEST(Strangers, Garbage) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  expect_forms_despite([&](const UniqueId& id, const std::atomic<bool>& stop) {
    std::mt19937 random(seed);
    std::vector<char> bytes(8192);
    while (!stop) {
      UniqueFd socket = connect_to(id);
      if (!socket) {
        std::this_thread::sleep_for(milliseconds(1));
        continue;
      }
      for (char& byte : bytes) byte = static_cast<char>(random());
      // Also the right size, and the right size and magic.
      const std::size_t size = random() % 3 ? sizeof(Hello) : random() % bytes.size();
      if (random() % 2) std::memcpy(bytes.data(), &Hello::kMagic, sizeof Hello::kMagic);
      (void)send(socket.get(), bytes.data(), size, MSG_NOSIGNAL);
    }
  });
}

TEST(Strangers, GarbageWithFiles) {
  expect_forms_despite([&](const UniqueId& id, const std::atomic<bool>& stop) {
    const UniqueFd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
    Hello hello;  // wrong secret
    while (!stop) {
      UniqueFd socket = connect_to(id);
      if (socket)
        (void)internal::send_packet(socket.get(), &hello, sizeof hello, {file.get(), file.get()},
                                    {monotonic_ns()});
      else
        std::this_thread::sleep_for(milliseconds(1));
    }
  });
}

TEST(Strangers, FloodOfConnections) {
  expect_forms_despite([](const UniqueId& id, const std::atomic<bool>& stop) {
    std::vector<UniqueFd> held;
    while (!stop) {
      held.push_back(connect_to(id));
      if (held.size() >= 500) held.clear();
    }
  });
}

TEST(Strangers, SilentAndOneByteAtATime) {
  expect_forms_despite([](const UniqueId& id, const std::atomic<bool>& stop) {
    std::vector<UniqueFd> held;
    for (int i = 0; !stop; ++i) {
      if (held.size() < 200)
        if (UniqueFd socket = connect_to(id)) held.push_back(std::move(socket));
      if (!held.empty() && i % 2)
        (void)send(held[static_cast<std::size_t>(i) % held.size()].get(), &Hello::kMagic, 1,
                   MSG_NOSIGNAL);
      std::this_thread::sleep_for(milliseconds(1));
    }
  });
}

/// What a process that knows the secret is told if it sends this as rank 1 of 2.
internal::Forming rank_one(const UniqueId& id) {
  internal::Forming forming;
  forming.id = internal::read_id(id).value();
  forming.rank = 1;
  forming.ranks = 2;
  forming.options = quick_options();
  forming.options.name = internal::rendezvous_name(forming.id);
  return forming;
}

std::string answer_to(const UniqueId& id, const Hello& hello, const UniqueFd& file) {
  UniqueFd socket;
  while (!(socket = connect_to(id))) poll(nullptr, 0, 1);
  const std::int64_t deadline = monotonic_ns() + 5 * kSecond;
  EXPECT_TRUE(
      internal::send_packet(socket.get(), &hello, sizeof hello, {file.get()}, {deadline}).ok());
  internal::Message message;
  internal::Packet packet;
  do {
    const Status status = internal::receive_message(socket.get(), {deadline}, message, packet);
    if (!status.ok()) return status.to_string();
  } while (message.kind != internal::Kind::kFail);
  return internal::status_of(message).to_string();
}

TEST(Members, ShrinkableFileIsRefused) {
  // It could be cut under its readers, who would die of SIGBUS.
  const auto outcomes = run_ranks(2, [](Rank& rank) {
    if (rank.rank == 0) return join_text(rank.id, 0, 2, quick_options());
    const internal::Forming forming = rank_one(rank.id);
    const UniqueFd file(memfd_create("unsealed", MFD_CLOEXEC));
    EXPECT_EQ(ftruncate(file.get(), forming.layout().total_bytes()), 0);
    return answer_to(rank.id, internal::make_hello(forming), file);
  });
  EXPECT_THAT(outcomes[0].text, HasSubstr("sealed against a change of size"));
  EXPECT_EQ(outcomes[1].text, outcomes[0].text);
}

TEST(Members, SenselessRankIsRefusedAndTheGroupForms) {
  const auto outcomes = run_ranks(3, [](Rank& rank) {
    if (rank.rank < 2) {
      std::this_thread::sleep_for(milliseconds(200 * rank.rank));
      return join_text(rank.id, rank.rank, 2, quick_options());
    }
    const internal::Forming forming = rank_one(rank.id);
    const UniqueFd file = internal::create_segment_file(forming.layout()).value();
    std::string answers;
    for (const int claimed : {-1, 2, 1 << 30}) {
      Hello hello = internal::make_hello(forming);
      hello.rank = claimed;
      answers += answer_to(rank.id, hello, file) + "\n";
    }
    return answers;
  });
  EXPECT_EQ(outcomes[0].text, "ok");
  EXPECT_EQ(outcomes[1].text, "ok");
  EXPECT_EQ(outcomes[2].text,
            "invalid argument: group: rank -1 of 2 makes no sense\n"
            "invalid argument: group: rank 2 of 2 makes no sense\n"
            "invalid argument: group: rank 1073741824 of 2 makes no sense\n");
}

TEST(Members, TooFewDescriptorsIsSaid) {
  const auto outcomes = run_ranks(8, [](Rank& rank) {
    if (rank.rank == 0) {
      const rlimit limit{16, 16};
      EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    return join_text(rank.id, rank.rank, 8, impatient(rank.rank == 0 ? 0.5 : 1));
  });
  EXPECT_THAT(outcomes[0].text, AllOf(HasSubstr("timeout: group: "), HasSubstr("ulimit -n")));
}

}  // namespace
}  // namespace weft
