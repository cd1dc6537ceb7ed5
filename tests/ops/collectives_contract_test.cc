// SPDX-License-Identifier: Apache-2.0
// What a rank gets wrong by itself: refused before anything is sent, with everything left alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "ops/rules.h"
#include "thread_ranks.h"
#include "weft/collectives.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Counts = std::vector<std::int64_t>;

constexpr DType kFp32 = DType::kFloat32;
constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max() / 4;
constexpr int kRanks = 2;  // all calls are of rank 0

/// What calls are given: parts of 4 elements.
struct Memory {
  std::array<float, 64> all;
  float* const send = all.data();
  float* const recv = all.data() + 32;
  Memory() { all.fill(7); }
  bool untouched() const { return all == Memory().all; }
};

struct Refusal {
  const char* message;
  std::function<Status(Context&, Group&, Memory&)> call;
};

/// A refusal for each wrong value of an argument that several functions have.
std::vector<Refusal> wrong_counts() {
  using C = Context;
  using G = Group;
  using M = Memory;
  std::vector<Refusal> all;
  const auto add = [&](const char* message, auto call) { all.push_back({message, call}); };
  for (const std::int64_t bad : {std::int64_t{-1}, kHuge}) {
    const char* const text =
        bad < 0 ? "count is -1 but must be 0 to " : "count is 2305843009213693951 but";
    add(text, [=](C& c, G& g, M& m) { return allreduce(c, g, m.send, m.recv, bad, kFp32); });
    add(text, [=](C& c, G& g, M& m) {
      return weft::reduce(c, g, m.send, m.recv, bad, kFp32, ReduceOp::kSum, 0);
    });
    add(text, [=](C& c, G& g, M& m) { return reduce_scatter(c, g, m.send, m.recv, bad, kFp32); });
    add(text, [=](C& c, G& g, M& m) { return allgather(c, g, m.send, m.recv, bad, kFp32); });
    add(text, [=](C& c, G& g, M& m) { return broadcast(c, g, m.recv, bad, kFp32, 0); });
    add(text, [=](C& c, G& g, M& m) { return scatter(c, g, m.send, m.recv, bad, kFp32, 0); });
    add(text, [=](C& c, G& g, M& m) { return alltoall(c, g, m.send, m.recv, bad, kFp32); });
    add(text, [=](C& c, G& g, M& m) { return send(c, g, m.send, bad, kFp32, 1); });
    add(text, [=](C& c, G& g, M& m) { return recv(c, g, m.recv, bad, kFp32, 1); });
    add(text, [=](C& c, G& g, M& m) {
      const Message message{Message::Kind::kSend, m.send, bad, kFp32, 0};
      return batch_send_recv(c, g, {&message, 1});
    });
  }
  const struct {
    Counts counts;
    const char* message;
  } lists[] = {
      {{4, -1}, "[1] is -1 but must be 0 to "},
      {{kHuge, 4}, "[0] is 2305843009213693951 but must be 0 to "},
      {{std::int64_t{1} << 55, (std::int64_t{1} << 56) - 3}, "[1] is 72057594037927933 but"},
      {{4}, " has 1 entries but must have "},
      {{4, 4, 4, 4, 4}, " has 5 entries but must have "}};
  for (const auto& list : lists) {
    const Counts& bad = list.counts;
    const char* const text = list.message;
    add(text, [=](C& c, G& g, M& m) {
      return reduce_scatterv(c, g, m.send, bad, Counts{0, 4}, m.recv, kFp32);
    });
    add(text, [=](C& c, G& g, M& m) {
      return allgatherv(c, g, m.send, m.recv, bad, Counts{0, 4}, kFp32);
    });
    add(text, [=](C& c, G& g, M& m) {
      return alltoallv(c, g, m.send, m.recv, {bad, Counts{0, 4}, Counts{4, 4}, Counts{0, 4}},
                       kFp32);
    });
    add(text, [=](C& c, G& g, M& m) {
      return alltoallv(c, g, m.send, m.recv, {Counts{4, 4}, Counts{0, 4}, bad, Counts{0, 4}},
                       kFp32);
    });
    Counts matrix = bad;
    if (bad.size() == kRanks) matrix.insert(matrix.end(), {0, 0});
    add(text, [=](C& c, G& g, M& m) { return alltoallvc(c, g, m.send, m.recv, matrix, kFp32); });
  }
  for (const Counts& bad : {Counts{0, -4}, Counts{0, kHuge}, Counts{0}}) {
    const char* const text = bad.size() == 1 ? " has 1 entries but must have 2"
                             : bad[1] < 0    ? "[1] is -4 but must be 0 to "
                                             : "[1] is 2305843009213693951 but must be 0 to ";
    add(text, [=](C& c, G& g, M& m) {
      return reduce_scatterv(c, g, m.send, Counts{4, 4}, bad, m.recv, kFp32);
    });
    add(text, [=](C& c, G& g, M& m) {
      return allgatherv(c, g, m.send, m.recv, Counts{4, 4}, bad, kFp32);
    });
    add(text, [=](C& c, G& g, M& m) {
      return alltoallv(c, g, m.send, m.recv, {Counts{4, 4}, bad, Counts{4, 4}, Counts{0, 4}},
                       kFp32);
    });
    add(text, [=](C& c, G& g, M& m) {
      return alltoallv(c, g, m.send, m.recv, {Counts{4, 4}, Counts{0, 4}, Counts{4, 4}, bad},
                       kFp32);
    });
  }
  return all;
}

std::vector<Refusal> wrong_ranks_and_types() {
  using C = Context;
  using G = Group;
  using M = Memory;
  std::vector<Refusal> all;
  const auto add = [&](const char* message, auto call) { all.push_back({message, call}); };
  for (const int bad : {-1, kRanks}) {
    const char* const root =
        bad < 0 ? "root is -1 but must be 0 to 1" : "root is 2 but must be 0 to 1";
    const char* const peer =
        bad < 0 ? "peer is -1 but must be 0 to 1" : "peer is 2 but must be 0 to 1";
    add(root, [=](C& c, G& g, M& m) {
      return weft::reduce(c, g, m.send, m.recv, 4, kFp32, ReduceOp::kSum, bad);
    });
    add(root, [=](C& c, G& g, M& m) { return broadcast(c, g, m.recv, 4, kFp32, bad); });
    add(root, [=](C& c, G& g, M& m) { return scatter(c, g, m.send, m.recv, 4, kFp32, bad); });
    add(peer, [=](C& c, G& g, M& m) { return send(c, g, m.send, 4, kFp32, bad); });
    add(peer, [=](C& c, G& g, M& m) { return recv(c, g, m.recv, 4, kFp32, bad); });
    add(peer, [=](C& c, G& g, M& m) {
      const Message message{Message::Kind::kRecv, m.recv, 4, kFp32, bad};
      return batch_send_recv(c, g, {&message, 1});
    });
  }
  const char* const self = "peer is this rank itself; give batch_send_recv both messages";
  add(self, [](C& c, G& g, M& m) { return send(c, g, m.send, 4, kFp32, 0); });
  add(self, [](C& c, G& g, M& m) { return recv(c, g, m.recv, 4, kFp32, 0); });

  const char* const no_sum = "dtype is bool, which has no sum; convert it to another type";
  constexpr DType kBool = DType::kBool;
  add(no_sum, [](C& c, G& g, M& m) { return allreduce(c, g, m.send, m.recv, 4, kBool); });
  add(no_sum, [](C& c, G& g, M& m) {
    return weft::reduce(c, g, m.send, m.recv, 4, kBool, ReduceOp::kSum, 0);
  });
  add(no_sum, [](C& c, G& g, M& m) { return reduce_scatter(c, g, m.send, m.recv, 4, kBool); });
  add(no_sum, [](C& c, G& g, M& m) {
    return reduce_scatterv(c, g, m.send, Counts{4, 4}, Counts{0, 4}, m.recv, kBool);
  });
  add("dtype is int32, which has no avg; convert it to another type", [](C& c, G& g, M& m) {
    return allreduce(c, g, m.send, m.recv, 4, DType::kInt32, ReduceOp::kAvg);
  });
  add("dtype is float32, which has no bor; convert it to another type", [](C& c, G& g, M& m) {
    return reduce_scatter(c, g, m.send, m.recv, 4, kFp32, ReduceOp::kBor);
  });
  add("dtype is float16, which has no bxor; convert it to another type", [](C& c, G& g, M& m) {
    return weft::reduce(c, g, m.send, m.recv, 4, DType::kFloat16, ReduceOp::kBxor, 0);
  });
  add("op is 9 but must be kSum to kBxor", [](C& c, G& g, M& m) {
    return allreduce(c, g, m.send, m.recv, 4, kFp32, static_cast<ReduceOp>(9));
  });
  constexpr DType kInt4 = DType::kInt4;
  const char* const no_bytes =
      "dtype is int4 but its elements must be whole bytes; send them as int8";
  add(no_bytes, [](C& c, G& g, M& m) { return allreduce(c, g, m.send, m.recv, 4, kInt4); });
  add(no_bytes, [](C& c, G& g, M& m) { return allgather(c, g, m.send, m.recv, 4, kInt4); });
  add(no_bytes, [](C& c, G& g, M& m) { return broadcast(c, g, m.recv, 4, kInt4, 0); });
  add(no_bytes, [](C& c, G& g, M& m) { return alltoall(c, g, m.send, m.recv, 4, kInt4); });
  add(no_bytes, [](C& c, G& g, M& m) { return send(c, g, m.send, 4, kInt4, 1); });
  return all;
}

/// Every function with these buffers of parts of 4 elements.
std::vector<Refusal> buffers(const char* message, const std::function<void*(Memory&)>& send_of,
                             const std::function<void*(Memory&)>& recv_of) {
  using C = Context;
  using G = Group;
  using M = Memory;
  const Counts counts{4, 4}, offsets{0, 4};
  std::vector<Refusal> all;
  const auto add = [&](auto call) {
    all.push_back({message, [=](C& c, G& g, M& m) { return call(c, g, send_of(m), recv_of(m)); }});
  };
  add([](C& c, G& g, void* s, void* r) { return allreduce(c, g, s, r, 8, kFp32); });
  add([](C& c, G& g, void* s, void* r) {
    return weft::reduce(c, g, s, r, 8, kFp32, ReduceOp::kMax, 0);
  });
  add([](C& c, G& g, void* s, void* r) { return reduce_scatter(c, g, s, r, 4, kFp32); });
  add([=](C& c, G& g, void* s, void* r) {
    return reduce_scatterv(c, g, s, counts, offsets, r, kFp32);
  });
  add([](C& c, G& g, void* s, void* r) { return allgather(c, g, s, r, 4, kFp32); });
  add([=](C& c, G& g, void* s, void* r) { return allgatherv(c, g, s, r, counts, offsets, kFp32); });
  add([](C& c, G& g, void* s, void* r) { return scatter(c, g, s, r, 4, kFp32, 0); });
  add([](C& c, G& g, void* s, void* r) { return alltoall(c, g, s, r, 4, kFp32); });
  add([=](C& c, G& g, void* s, void* r) {
    return alltoallv(c, g, s, r, {counts, offsets, counts, offsets}, kFp32);
  });
  add([](C& c, G& g, void* s, void* r) {
    return alltoallvc(c, g, s, r, Counts{4, 4, 4, 4}, kFp32);
  });
  add([](C& c, G& g, void* s, void* r) {
    const Message messages[] = {{Message::Kind::kSend, s, 8, kFp32, 1},
                                {Message::Kind::kRecv, r, 8, kFp32, 1}};
    return batch_send_recv(c, g, messages);
  });
  return all;
}

std::vector<Refusal> wrong_buffers() {
  const auto sent = [](Memory& m) -> void* { return m.send; };
  const auto received = [](Memory& m) -> void* { return m.recv; };
  const auto null = [](Memory&) -> void* { return nullptr; };
  // One element into what is sent: part of it, whatever is allowed in place.
  const auto within = [](Memory& m) -> void* { return m.send + 1; };
  std::vector<Refusal> all = buffers(" is null but has ", null, received);
  for (const auto& more :
       {buffers(" is null but has ", sent, null), buffers("; give it other memory", sent, within)})
    all.insert(all.end(), more.begin(), more.end());
  all.push_back({"buffer is null but has 16 bytes", [](Context& c, Group& g, Memory&) {
                   return broadcast(c, g, nullptr, 4, kFp32, 1);
                 }});
  all.push_back({"data is null but has 16 bytes",
                 [](Context& c, Group& g, Memory&) { return recv(c, g, nullptr, 4, kFp32, 1); }});
  all.push_back({"data of a kRecv overlaps data of another message; give it other memory",
                 [](Context& c, Group& g, Memory& m) {
                   const Message messages[] = {{Message::Kind::kRecv, m.recv, 4, kFp32, 1},
                                               {Message::Kind::kRecv, m.recv + 3, 4, kFp32, 1}};
                   return batch_send_recv(c, g, messages);
                 }});
  return all;
}

void expect_refused(const std::vector<Refusal>& refusals) {
  std::vector<Group> groups = make_groups("loopback", kRanks);
  on_all(groups, [&](Group& group) {
    Context context = Context::create({.threads = 1}).value();
    for (std::size_t i = 0; group.rank() == 0 && i < refusals.size(); ++i) {
      Memory memory;
      const Status status = refusals[i].call(context, group, memory);
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << i << status.to_string();
      EXPECT_THAT(status.message(), HasSubstr(refusals[i].message)) << i;
      EXPECT_THAT(status.message(), HasSubstr(" (rank 0): ")) << i;
      EXPECT_TRUE(memory.untouched()) << i;
      // HCCL's functions refuse the same, by the same rules.
      EXPECT_GT(ops::cann_code(static_cast<ops::Rule>(status.rule()), ops::CannEntry::kHccl), 0)
          << i << status.to_string();
    }
    // Nothing of it has reached the other rank.
    Memory memory;
    EXPECT_TRUE(group.health().ok());
    EXPECT_TRUE(allreduce(context, group, memory.send, memory.recv, 4, kFp32).ok());
    EXPECT_EQ(memory.recv[3], 14);
  });
}

TEST(CollectivesContract, CountsAndOffsets) { expect_refused(wrong_counts()); }
TEST(CollectivesContract, RanksAndTypes) { expect_refused(wrong_ranks_and_types()); }
TEST(CollectivesContract, Buffers) { expect_refused(wrong_buffers()); }

TEST(CollectivesContract, BuffersOfNoBytesMayBeNull) {
  std::vector<Group> groups = make_groups("loopback", kRanks);
  on_all(groups, [](Group& group) {
    Context context = Context::create({.threads = 1}).value();
    for (const Refusal& call :
         {Refusal{"", [](Context&c, Group&g,
                         Memory&) { return allreduce(c, g, nullptr, nullptr, 0, kFp32); }},
          Refusal{"",
                  [](Context&c, Group&g, Memory&) {
                    return alltoallv(c, g, nullptr, nullptr,
                                     {Counts{0, 0}, Counts{5, 9}, Counts{0, 0}, Counts{1, 2}},
                                     kFp32);
                  }},
          Refusal{"",
                  [](Context&c, Group&g, Memory&) {
                    return g.rank() == 0 ? send(c, g, nullptr, 0, kFp32, 1)
                                         : recv(c, g, nullptr, 0, kFp32, 0);
                  }},
          Refusal{"", [](Context&c, Group&g, Memory&) { return batch_send_recv(c, g, {}); }},
          // Only the root sends, or receives.
          Refusal{"",
                  [](Context&c, Group&g, Memory&m) {
                    return scatter(c, g, g.rank() == 1 ? m.send : nullptr, m.recv, 4, kFp32, 1);
                  }},
          Refusal{"", [](Context&c, Group&g, Memory&m) {
                    return weft::reduce(c, g, m.send, g.rank() == 1 ? m.recv : nullptr, 4, kFp32,
                                        ReduceOp::kMin, 1);
                  }}}) {
      Memory memory;
      const Status status = call.call(context, group, memory);
      EXPECT_TRUE(status.ok()) << status.to_string();
    }
  });
}

TEST(CollectivesContract, WindowsAreEnoughOrRefused) {
  for (const std::int64_t bytes : {4096, 8192, 65536}) {
    GroupOptions options = quick_options();
    options.window_bytes = bytes;
    std::vector<Group> groups = make_groups("loopback", kRanks, options);
    on_all(groups, [&](Group& group) {
      Context context = Context::create({.threads = 1}).value();
      std::vector<float> send(1'000'003, 1), recv(send.size());
      const Status status =
          allreduce(context, group, send.data(), recv.data(), std::ssize(send), kFp32);
      if (bytes == 65536) {
        EXPECT_TRUE(status.ok()) << status.to_string();
        EXPECT_EQ(recv, std::vector<float>(send.size(), 2));
        return;
      }
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
      EXPECT_THAT(status.message(), HasSubstr("is too small; set HCCL_BUFFSIZE"));
      EXPECT_EQ(recv, std::vector<float>(send.size(), 0));
      EXPECT_TRUE(group.barrier().ok());
    });
  }
}

TEST(CollectivesContract, OperationsHaveNames) {
  EXPECT_EQ(to_string(ReduceOp::kSum), "sum");
  EXPECT_EQ(to_string(ReduceOp::kProd), "prod");
  EXPECT_EQ(to_string(ReduceOp::kMax), "max");
  EXPECT_EQ(to_string(ReduceOp::kMin), "min");
  EXPECT_EQ(to_string(ReduceOp::kAvg), "avg");
  EXPECT_EQ(to_string(ReduceOp::kBand), "band");
  EXPECT_EQ(to_string(ReduceOp::kBor), "bor");
  EXPECT_EQ(to_string(ReduceOp::kBxor), "bxor");
}

}  // namespace
}  // namespace weft::testing
