// SPDX-License-Identifier: Apache-2.0
// How communicators begin and end, under which names they are found, and what they refuse.
#include <fmt/core.h>

#include <cstddef>
#include <cstring>
#include <set>
#include <thread>

#include "check.h"
#include "communicator.h"
#include "hccl_ranks.h"

namespace weft::cann {
namespace {

using testing::Rank;

class HcclComms : public RuntimeTest {
 protected:
  void TearDown() override {
    EXPECT_EQ(Communicators::instance().size(), 0U);
    RuntimeTest::TearDown();
  }
};

std::string name_of(HcclComm comm) {
  char name[COMM_NAME_MAX_LENGTH];
  std::memset(name, 'x', sizeof name);
  EXPECT_EQ(HcclGetCommName(comm, name), HCCL_SUCCESS) << messages();
  return name;
}

uint32_t rank_of(HcclComm comm) {
  uint32_t rank = 99;
  EXPECT_EQ(HcclGetRankId(comm, &rank), HCCL_SUCCESS);
  return rank;
}

uint32_t size_of(HcclComm comm) {
  uint32_t size = 99;
  EXPECT_EQ(HcclGetRankSize(comm, &size), HCCL_SUCCESS);
  return size;
}

/// Runs a call that waits for the other ranks on a thread for each device.
void on_threads(int ranks, const std::function<void(uint32_t rank, Device& device)>& body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      Device device(rank);
      body(static_cast<uint32_t>(rank), device);
    });
  for (std::thread& thread : threads) thread.join();
}

HcclRootInfo root_info() {
  HcclRootInfo info{};
  EXPECT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  EXPECT_EQ(HcclGetRootInfo(&info), HCCL_SUCCESS) << messages();
  return info;
}

/// All ranks' numbers come together as they should.
void expect_works(HcclComm comm, Device& device) {
  const auto ranks = static_cast<int32_t>(size_of(comm));
  int32_t value = 1 << rank_of(comm);
  ASSERT_EQ(
      HcclAllReduce(&value, &value, 1, HCCL_DATA_TYPE_INT32, HCCL_REDUCE_SUM, comm, device.stream),
      HCCL_SUCCESS)
      << messages();
  ASSERT_EQ(device.synchronise(), ACL_SUCCESS) << messages();
  EXPECT_EQ(value, (1 << ranks) - 1);
}

HcclCommConfig config_of(const std::string& name = "") {
  HcclCommConfig config;
  HcclCommConfigInit(&config);
  name.copy(config.hcclCommName, COMM_NAME_MAX_LENGTH);
  return config;
}

TEST_F(HcclComms, RanksAreListPositions) {
  const std::vector<int> devices = {5, 0, 11};
  const auto comms = init_all(devices);
  std::set<std::string> names;
  for (std::size_t i = 0; i < comms.size(); ++i) {
    EXPECT_EQ(rank_of(comms[i]), i);
    EXPECT_EQ(size_of(comms[i]), 3U);
    names.insert(name_of(comms[i]));
    HcclComm found = nullptr;
    ASSERT_EQ(aclrtSetDevice(devices[i]), ACL_SUCCESS);
    EXPECT_EQ(HcclCommGetHandleWithName(names.begin()->c_str(), &found), HCCL_SUCCESS) << text();
    EXPECT_EQ(found, comms[i]);
  }
  EXPECT_EQ(names.size(), 1U);
  HcclComm found = nullptr;
  ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
  EXPECT_EQ(HcclCommGetHandleWithName(names.begin()->c_str(), &found), HCCL_E_NOT_FOUND);
  EXPECT_NE(text().find("device 1 has no communicator"), std::string::npos);
  on_devices(comms, devices,
             [](int, Device& device, HcclComm comm) { expect_works(comm, device); });
}

TEST_F(HcclComms, InitAllRefuses) {
  HcclComm comms[4] = {};
  int32_t twice[] = {0, 1, 0}, unknown[] = {0, 16}, negative[] = {-1}, good[] = {0, 1};
  EXPECT_EQ(HcclCommInitAll(3, twice, comms), HCCL_E_PARA);
  EXPECT_NE(text().find("devices[2] is 0"), std::string::npos);
  EXPECT_EQ(HcclCommInitAll(2, unknown, comms), HCCL_E_PARA);
  EXPECT_EQ(HcclCommInitAll(1, negative, comms), HCCL_E_PARA);
  EXPECT_EQ(HcclCommInitAll(0, good, comms), HCCL_E_PARA);
  EXPECT_EQ(HcclCommInitAll(0xffffffff, good, comms), HCCL_E_PARA);
  EXPECT_EQ(HcclCommInitAll(2, nullptr, comms), HCCL_E_PTR);
  EXPECT_EQ(HcclCommInitAll(2, good, nullptr), HCCL_E_PTR);
  for (HcclComm comm : comms) EXPECT_EQ(comm, nullptr);
}

TEST_F(HcclComms, ThreadsMeetByRootInfo) {
  const HcclRootInfo info = root_info();
  on_threads(3, [&](uint32_t rank, Device& device) {
    HcclComm comm = nullptr;
    ASSERT_EQ(HcclCommInitRootInfo(3, &info, rank, &comm), HCCL_SUCCESS) << messages();
    EXPECT_EQ(rank_of(comm), rank);
    expect_works(comm, device);
    EXPECT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS) << messages();
  });
}

TEST_F(HcclComms, RootInfoRefuses) {
  HcclRootInfo info{}, good = root_info();
  HcclComm comm = nullptr;
  EXPECT_EQ(HcclGetRootInfo(nullptr), HCCL_E_PTR);
  EXPECT_EQ(HcclCommInitRootInfo(1, &info, 0, &comm), HCCL_E_PARA);
  EXPECT_NE(text().find("HcclGetRootInfo"), std::string::npos);
  std::memset(info.internal, 0x5a, sizeof info.internal);
  EXPECT_EQ(HcclCommInitRootInfo(1, &info, 0, &comm), HCCL_E_PARA);
  for (const std::size_t at : {0, 16, 20, 24}) {  // magic, version, length, the id's own magic
    info = good;
    info.internal[at] = static_cast<char>(info.internal[at] ^ 1);
    EXPECT_EQ(HcclCommInitRootInfo(1, &info, 0, &comm), HCCL_E_PARA) << at;
  }
  EXPECT_EQ(HcclCommInitRootInfo(1, nullptr, 0, &comm), HCCL_E_PTR);
  EXPECT_EQ(HcclCommInitRootInfo(1, &good, 0, nullptr), HCCL_E_PTR);
  EXPECT_EQ(HcclCommInitRootInfo(0, &good, 0, &comm), HCCL_E_PARA);
  EXPECT_EQ(HcclCommInitRootInfo(1, &good, 1, &comm), HCCL_E_PARA);
  EXPECT_EQ(HcclCommInitRootInfo(0xffffffff, &good, 0, &comm), HCCL_E_PARA);
  std::thread([&] {  // without a device
    EXPECT_EQ(HcclGetRootInfo(&info), HCCL_E_RUNTIME);
    EXPECT_EQ(HcclCommInitRootInfo(1, &good, 0, &comm), HCCL_E_RUNTIME);
    EXPECT_NE(messages().find("aclrtSetDevice"), std::string::npos);
    EXPECT_EQ(HcclCommGetHandleWithName("x", &comm), HCCL_E_RUNTIME);
  })
      .join();
  EXPECT_EQ(comm, nullptr);
}

TEST_F(HcclComms, ADeviceHoldsOneRankOfACommunicator) {
  const HcclRootInfo info = root_info();
  HcclComm comm = nullptr, second = nullptr;
  ASSERT_EQ(HcclCommInitRootInfo(1, &info, 0, &comm), HCCL_SUCCESS) << text();
  EXPECT_EQ(HcclCommInitRootInfo(1, &info, 0, &second), HCCL_E_PARA);
  EXPECT_NE(text().find("already has a rank"), std::string::npos);
  ASSERT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);

  // Also while the ranks are on their way: the first of two threads waits for a rank that cannot
  // come, because it would be on the same device.
  const HcclRootInfo another = root_info();
  std::atomic<int> refused{0}, timed_out{0};
  HcclCommConfig config = config_of();
  setenv("HCCL_CONNECT_TIMEOUT", "1", 1);
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < 2; ++rank)
    threads.emplace_back([&, rank] {
      ASSERT_EQ(aclrtSetDevice(3), ACL_SUCCESS);
      HcclComm made = nullptr;
      const HcclResult result = HcclCommInitRootInfoConfig(2, &another, rank, &config, &made);
      refused += result == HCCL_E_PARA;
      timed_out += result == HCCL_E_TIMEOUT;
    });
  for (std::thread& thread : threads) thread.join();
  setenv("HCCL_CONNECT_TIMEOUT", "60", 1);
  EXPECT_EQ(refused, 1);
  EXPECT_EQ(timed_out, 1);
}

TEST_F(HcclComms, AMissingRankIsATimeOut) {
  const HcclRootInfo info = root_info();
  setenv("HCCL_CONNECT_TIMEOUT", "0.3", 1);
  for (const uint32_t rank : {0, 1}) {
    HcclComm comm = nullptr;
    EXPECT_EQ(HcclCommInitRootInfo(3, &info, rank, &comm), HCCL_E_TIMEOUT);
    EXPECT_NE(text().find("HcclCommInitRootInfo: error 9"), std::string::npos);
  }
  setenv("HCCL_CONNECT_TIMEOUT", "soon", 1);
  HcclComm comm = nullptr;
  EXPECT_EQ(HcclCommInitRootInfo(1, &info, 0, &comm), HCCL_E_PARA);
  EXPECT_NE(text().find("HCCL_CONNECT_TIMEOUT is \"soon\""), std::string::npos);
  setenv("HCCL_CONNECT_TIMEOUT", "60", 1);
}

TEST_F(HcclComms, ConfigsAreHonoured) {
  const HcclRootInfo info = root_info();
  HcclCommConfig config = config_of("tensor parallel");
  config.hcclBufferSize = 3;
  config.hcclExecTimeOut = 7;
  config.hcclDeterministic = 1;
  HcclComm comm = nullptr;
  ASSERT_EQ(HcclCommInitRootInfoConfig(1, &info, 0, &config, &comm), HCCL_SUCCESS) << text();
  EXPECT_EQ(name_of(comm), "tensor parallel");
  EXPECT_EQ(Communicators::instance().find(comm)->group().window_bytes(), 6 << 20);
  ASSERT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);

  // A struct that ends after its second option, before a page that is not there.
  HcclCommConfig old = config_of("never looked at");
  old.hcclBufferSize = 5;
  const std::size_t size = offsetof(HcclCommConfig, hcclCommName);
  std::memcpy(old.reserved, &size, sizeof size);
  std::vector<char> bytes(size);
  std::memcpy(bytes.data(), &old, size);
  ASSERT_EQ(HcclCommInitRootInfoConfig(
                1, &info, 0, reinterpret_cast<const HcclCommConfig*>(bytes.data()), &comm),
            HCCL_SUCCESS)
      << text();
  EXPECT_EQ(name_of(comm).substr(0, 5), "weft-");
  EXPECT_EQ(Communicators::instance().find(comm)->group().window_bytes(), 10 << 20);
  ASSERT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);

  // A program of an older version: what is the time-out now was padding then.
  config = config_of();
  const uint32_t version = 7;
  std::memcpy(config.reserved + 12, &version, sizeof version);
  config.hcclExecTimeOut = -77;
  ASSERT_EQ(HcclCommInitRootInfoConfig(1, &info, 0, &config, &comm), HCCL_SUCCESS) << text();
  ASSERT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
}

TEST_F(HcclComms, ConfigsAreChecked) {
  const HcclRootInfo info = root_info();
  HcclComm comm = nullptr;
  const auto refused = [&](const std::function<void(HcclCommConfig&)>& change) {
    HcclCommConfig config = config_of();
    change(config);
    const HcclResult result = HcclCommInitRootInfoConfig(1, &info, 0, &config, &comm);
    const std::string said = text();
    EXPECT_EQ(result, HCCL_E_PARA) << said;
    return said;
  };
  EXPECT_EQ(HcclCommInitRootInfoConfig(1, &info, 0, nullptr, &comm), HCCL_E_PTR);
  const auto without_init = refused([](auto& c) { std::memset(&c, 0, sizeof c); });
  EXPECT_NE(without_init.find("HcclCommConfigInit"), std::string::npos);
  refused([](auto& c) { std::memset(c.reserved, 0, 8); });       // size
  refused([](auto& c) { std::memset(c.reserved + 12, 0, 4); });  // version
  EXPECT_NE(refused([](auto& c) { c.hcclBufferSize = 0; }).find("hcclBufferSize is 0"),
            std::string::npos);
  refused([](auto& c) { c.hcclBufferSize = 0xfffffffe; });
  EXPECT_NE(refused([](auto& c) { c.hcclDeterministic = 3; }).find("hcclDeterministic is 3"),
            std::string::npos);
  EXPECT_NE(refused([](auto& c) { c.hcclExecTimeOut = -2; }).find("hcclExecTimeOut is -2"),
            std::string::npos);
  refused([](auto& c) { std::memset(c.hcclCommName, 'x', sizeof c.hcclCommName); });
  EXPECT_EQ(comm, nullptr);
}

TEST_F(HcclComms, RanksThatDisagreeHearOfIt) {
  const HcclRootInfo info = root_info();
  on_threads(2, [&](uint32_t rank, Device&) {
    HcclCommConfig config = config_of(rank == 0 ? "red" : "blue");
    HcclComm comm = nullptr;
    EXPECT_EQ(HcclCommInitRootInfoConfig(2, &info, rank, &config, &comm), HCCL_E_PARA);
    const std::string said = messages();
    EXPECT_NE(said.find("red"), std::string::npos) << said;
    EXPECT_NE(said.find("blue"), std::string::npos) << said;
  });
}

TEST_F(HcclComms, SplitsFormAmongTheirMembers) {
  // Of five ranks, the even ones and the odd ones, under the same number; in reverse order.
  on_devices(5, [&](int rank, Device& device, HcclComm comm) {
    std::vector<uint32_t> members;
    for (int r = 4; r >= 0; --r)
      if (r % 2 == rank % 2) members.push_back(static_cast<uint32_t>(r));
    uint32_t mine = 0;
    while (members[mine] != static_cast<uint32_t>(rank)) ++mine;
    HcclCommConfig config = config_of();
    HcclComm half = nullptr;
    ASSERT_EQ(HcclCreateSubCommConfig(&comm, static_cast<uint32_t>(members.size()), members.data(),
                                      7, mine, &config, &half),
              HCCL_SUCCESS)
        << messages();
    EXPECT_EQ(rank_of(half), mine);
    EXPECT_EQ(name_of(half), name_of(comm) + "_sub_7");
    expect_works(half, device);
    expect_works(comm, device);
    HcclComm quarter = nullptr;
    uint32_t self[] = {mine};
    EXPECT_EQ(HcclCreateSubCommConfig(&half, 1, self, 8, 0, &config, &quarter), HCCL_E_NOT_SUPPORT);
    EXPECT_EQ(HcclCommDestroy(half), HCCL_SUCCESS) << messages();
  });
}

TEST_F(HcclComms, SplitsRefuse) {
  const auto comms = init_all({0, 1, 2});
  ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
  HcclComm parent = comms[1], sub = &parent;
  HcclCommConfig config = config_of();
  const auto split = [&](std::vector<uint32_t> members, uint32_t mine, uint64_t id = 1) {
    return HcclCreateSubCommConfig(&parent, static_cast<uint32_t>(members.size()), members.data(),
                                   id, mine, &config, &sub);
  };
  EXPECT_EQ(split({0, 1}, 0), HCCL_E_PARA);
  EXPECT_NE(text().find("subCommRankId is 0"), std::string::npos);
  EXPECT_EQ(split({0, 1}, 2), HCCL_E_PARA);
  EXPECT_EQ(split({1, 1}, 0), HCCL_E_PARA);
  EXPECT_EQ(split({1, 3}, 0), HCCL_E_PARA);
  EXPECT_EQ(split({1, 0, 2, 0}, 0), HCCL_E_PARA);
  EXPECT_EQ(split({1}, 0, 0xFFFFFFFF), HCCL_E_PARA);
  uint32_t own[] = {1};
  EXPECT_EQ(HcclCreateSubCommConfig(&parent, 0, own, 1, 0, &config, &sub), HCCL_E_PARA);
  EXPECT_EQ(HcclCreateSubCommConfig(nullptr, 1, own, 1, 0, &config, &sub), HCCL_E_PTR);
  EXPECT_EQ(HcclCreateSubCommConfig(&parent, 1, nullptr, 1, 0, &config, &sub), HCCL_E_PTR);
  EXPECT_EQ(HcclCreateSubCommConfig(&parent, 1, own, 1, 0, nullptr, &sub), HCCL_E_PTR);
  EXPECT_EQ(HcclCreateSubCommConfig(&parent, 1, own, 1, 0, &config, nullptr), HCCL_E_PTR);
  HcclComm none = &none;
  EXPECT_EQ(HcclCreateSubCommConfig(&none, 1, own, 1, 0, &config, &sub), HCCL_E_PTR);
  EXPECT_EQ(sub, static_cast<void*>(&parent));
  // Not a member.
  EXPECT_EQ(HcclCreateSubCommConfig(&parent, 0, nullptr, 0xFFFFFFFF, 0, &config, &sub),
            HCCL_SUCCESS);
  EXPECT_EQ(sub, nullptr);
  for (HcclComm comm : comms) EXPECT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
}

TEST_F(HcclComms, RankTablesAreChecked) {
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  HcclComm comm = nullptr;
  const auto refused = [&](const std::string& table, HcclResult wanted, const std::string& key) {
    const RankTableFile file(table);
    EXPECT_EQ(HcclCommInitClusterInfo(file.path(), 0, &comm), wanted) << table;
    const std::string said = text();
    EXPECT_NE(said.find(key), std::string::npos) << said << table;
  };
  const auto changed = [](const std::string& from, const std::string& to) {
    std::string table = RankTableFile::text(2);
    const std::size_t at = table.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return table.replace(at, from.size(), to);
  };
  refused("", HCCL_E_PARA, "no JSON object");
  refused("[1]", HCCL_E_PARA, "no JSON object");
  refused("{}", HCCL_E_PARA, "version is missing");
  refused(changed("1.0", "2.0"), HCCL_E_PARA, "version is \"2.0\"");
  refused(changed("completed", "initializing"), HCCL_E_PARA, "status is \"initializing\"");
  refused(changed("\"server_list\"", "\"x\""), HCCL_E_PARA, "server_list is missing");
  refused(changed("\"server_count\": \"1\"", "\"server_count\": 2"), HCCL_E_PARA, "server_count");
  refused(changed("\"device\"", "\"x\""), HCCL_E_PARA, "server_list[0].device is missing");
  refused(changed("\"rank_id\": \"1\"", "\"rank_id\": \"0\""), HCCL_E_PARA,
          "server_list[0].device[1].rank_id is \"0\"");
  refused(changed("\"rank_id\": \"1\"", "\"rank_id\": \"2\""), HCCL_E_PARA, "device[1].rank_id");
  refused(changed("\"rank_id\": \"1\"", "\"rank_id\": [1]"), HCCL_E_PARA, "device[1].rank_id");
  refused(changed("\"rank_id\": \"1\"", "\"x\": 1"), HCCL_E_PARA, "device[1].rank_id is missing");
  refused(changed("\"device_id\": \"1\"", "\"device_id\": \"0\""), HCCL_E_PARA,
          "device[1].device_id is \"0\"");
  refused(changed("\"device_id\": \"1\"", "\"device_id\": \"-1\""), HCCL_E_PARA, "device_id");
  refused(changed("{\"device_id\": \"1\"", "7, {\"device_id\": \"1\""), HCCL_E_PARA,
          "device[1].rank_id is missing");
  refused(changed("\"device_id\": \"0\"", "\"device_id\": \"5\""), HCCL_E_PARA,
          "puts rank 0 on device 5");
  refused(R"({"status": "completed", "version": "1.0", "server_list": [{}, {}]})",
          HCCL_E_NOT_SUPPORT, "2 servers");
  EXPECT_EQ(HcclCommInitClusterInfo("/no/such/file", 0, &comm), HCCL_E_OPEN_FILE_FAILURE);
  EXPECT_EQ(HcclCommInitClusterInfo(std::string(5000, 'x').c_str(), 0, &comm), HCCL_E_PARA);
  EXPECT_EQ(HcclCommInitClusterInfo(nullptr, 0, &comm), HCCL_E_PTR);
  const RankTableFile good(RankTableFile::text(1));
  EXPECT_EQ(HcclCommInitClusterInfo(good.path(), 0, nullptr), HCCL_E_PTR);
  EXPECT_EQ(HcclCommInitClusterInfo(good.path(), 1, &comm), HCCL_E_PARA);
  EXPECT_EQ(HcclCommInitClusterInfoConfig(good.path(), 0, nullptr, &comm), HCCL_E_PTR);
  EXPECT_EQ(comm, nullptr);
}

TEST_F(HcclComms, ThreadsMeetByRankTable) {
  std::string table = RankTableFile::text(2);
  table.replace(table.find("1.0"), 3, "1.2");  // and numbers that are numbers
  table.insert(table.find("\"server_list\""), "\"super_pod_list\": [{\"super_pod_id\": \"0\"}], ");
  for (const char* digit : {"\"0\"", "\"1\""})
    for (std::size_t at = 0; (at = table.find(digit, at)) != std::string::npos;)
      table.replace(at, 3, std::string(1, digit[1]));
  const RankTableFile file(table);
  on_threads(2, [&](uint32_t rank, Device& device) {
    HcclComm comm = nullptr, again = nullptr;
    ASSERT_EQ(HcclCommInitClusterInfo(file.path(), rank, &comm), HCCL_SUCCESS) << messages();
    expect_works(comm, device);
    EXPECT_EQ(HcclCommInitClusterInfo(file.path(), rank, &again), HCCL_E_PARA);  // a second time
    HcclCommConfig config = config_of("more");
    ASSERT_EQ(HcclCommInitClusterInfoConfig(file.path(), rank, &config, &again), HCCL_SUCCESS)
        << messages();
    EXPECT_EQ(name_of(again), "more");
    expect_works(again, device);
    EXPECT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
    EXPECT_EQ(HcclCommDestroy(again), HCCL_SUCCESS);
  });
}

TEST_F(HcclComms, ManyCommunicatorsWorkSideBySide) {
  // Sixteen devices: two groups of eight, eight groups of two. Each device is in one of each kind
  // and uses a stream for each.
  std::vector<HcclComm> wide(16), narrow(16);
  for (int first : {0, 1}) {
    std::vector<int> devices;
    for (int device = first; device < 16; device += 2) devices.push_back(device);
    const auto comms = init_all(devices);
    for (std::size_t i = 0; i < 8; ++i) wide[static_cast<std::size_t>(devices[i])] = comms[i];
  }
  for (int pair = 0; pair < 8; ++pair) {
    const auto comms = init_all({2 * pair, 2 * pair + 1});
    for (std::size_t i = 0; i < 2; ++i) narrow[static_cast<std::size_t>(2 * pair) + i] = comms[i];
  }
  on_threads(16, [&](uint32_t device, Device& mine) {
    aclrtStream other = nullptr;
    ASSERT_EQ(aclrtCreateStream(&other), ACL_SUCCESS);
    for (int round = 0; round < 30; ++round) {
      std::vector<int32_t> sum(1000, static_cast<int32_t>(device)), pair = sum;
      const auto reduce = [](std::vector<int32_t>& values, HcclComm comm, aclrtStream stream) {
        return HcclAllReduce(values.data(), values.data(), values.size(), HCCL_DATA_TYPE_INT32,
                             HCCL_REDUCE_SUM, comm, stream);
      };
      ASSERT_EQ(reduce(sum, wide[device], mine.stream), HCCL_SUCCESS) << messages();
      ASSERT_EQ(reduce(pair, narrow[device], other), HCCL_SUCCESS) << messages();
      ASSERT_EQ(mine.synchronise(), ACL_SUCCESS) << messages();
      ASSERT_EQ(aclrtSynchronizeStream(other), ACL_SUCCESS) << messages();
      const auto d = static_cast<int32_t>(device);
      EXPECT_EQ(sum, std::vector<int32_t>(1000, 56 + 8 * (d % 2)));
      EXPECT_EQ(pair, std::vector<int32_t>(1000, 4 * (d / 2) + 1));
    }
    EXPECT_EQ(aclrtDestroyStream(other), ACL_SUCCESS);
    EXPECT_EQ(HcclCommDestroy(device % 3 ? wide[device] : narrow[device]), HCCL_SUCCESS);
    EXPECT_EQ(HcclCommDestroy(device % 3 ? narrow[device] : wide[device]), HCCL_SUCCESS);
  });
}

TEST_F(HcclComms, BadHandlesAreRefused) {
  HcclComm old = init_all({0})[0];
  ASSERT_EQ(HcclCommDestroy(old), HCCL_SUCCESS);
  Device device(0);
  int place = 0;
  uint32_t number = 0;
  HcclResult async = HCCL_SUCCESS;
  char name[COMM_NAME_MAX_LENGTH];
  for (HcclComm bad : {old, HcclComm{}, HcclComm{&place}, static_cast<HcclComm>(device.stream)}) {
    text();
    EXPECT_EQ(HcclCommDestroy(bad), HCCL_E_PTR);
    EXPECT_NE(text().find("HcclCommDestroy: error 2"), std::string::npos);
    EXPECT_EQ(HcclGetCommName(bad, name), HCCL_E_PTR);
    EXPECT_EQ(HcclGetRankSize(bad, &number), HCCL_E_PTR);
    EXPECT_EQ(HcclGetRankId(bad, &number), HCCL_E_PTR);
    EXPECT_EQ(HcclGetCommAsyncError(bad, &async), HCCL_E_PTR);
    EXPECT_EQ(HcclBarrier(bad, device.stream), HCCL_E_PTR);
    EXPECT_EQ(
        HcclAllReduce(&place, &place, 1, HCCL_DATA_TYPE_INT32, HCCL_REDUCE_SUM, bad, device.stream),
        HCCL_E_PTR);
  }
  HcclComm comm = init_all({0})[0];
  EXPECT_EQ(HcclGetCommName(comm, nullptr), HCCL_E_PTR);
  EXPECT_EQ(HcclGetRankSize(comm, nullptr), HCCL_E_PTR);
  EXPECT_EQ(HcclGetRankId(comm, nullptr), HCCL_E_PTR);
  EXPECT_EQ(HcclGetCommAsyncError(comm, nullptr), HCCL_E_PTR);
  EXPECT_EQ(HcclCommGetHandleWithName(nullptr, &comm), HCCL_E_PTR);
  EXPECT_EQ(HcclCommGetHandleWithName("x", nullptr), HCCL_E_PTR);
  EXPECT_EQ(HcclCommGetHandleWithName("x", &comm), HCCL_E_NOT_FOUND);
  EXPECT_EQ(HcclGetCommAsyncError(comm, &async), HCCL_SUCCESS);
  EXPECT_EQ(async, HCCL_SUCCESS);
  EXPECT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
}

TEST_F(HcclComms, BusyCommunicatorsStay) {
  HcclComm comm = init_all({0})[0];
  Device device(0);
  Gate gate;
  ASSERT_EQ(aclrtLaunchHostFunc(device.stream, Gate::wait, &gate), ACL_SUCCESS);
  ASSERT_EQ(HcclBarrier(comm, device.stream), HCCL_SUCCESS) << text();
  EXPECT_EQ(HcclCommDestroy(comm), HCCL_E_AGAIN);
  EXPECT_NE(text().find("synchronise"), std::string::npos);
  gate.open();
  ASSERT_EQ(device.synchronise(), ACL_SUCCESS);
  EXPECT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS) << text();
}

TEST_F(HcclComms, ACommunicatorStaysWhileAThreadIsInOneOfItsFunctions) {
  HcclComm comm = init_all({0})[0];
  {
    const Communicators::Visit visit = Communicators::instance().visit(comm);
    EXPECT_EQ(HcclCommDestroy(comm), HCCL_E_AGAIN);
  }
  EXPECT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS) << text();
}

TEST_F(HcclComms, CommunicatorsOutliveTheirDevice) {
  HcclComm comm = nullptr;
  {
    Device device(2);
    comm = init_all({2})[0];
    expect_works(comm, device);
  }
  int32_t value = 0;
  EXPECT_EQ(HcclAllReduce(&value, &value, 1, HCCL_DATA_TYPE_INT32, HCCL_REDUCE_SUM, comm, nullptr),
            HCCL_E_RUNTIME);
  EXPECT_NE(text().find("no current context"), std::string::npos);
  {
    Device device(2);
    expect_works(comm, device);
  }
  EXPECT_EQ(aclFinalize(), ACL_SUCCESS);
  EXPECT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
  ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
}

TEST_F(HcclComms, SettingsAreKept) {
  HcclConfigValue value{7};
  const auto wrong = [] {
    const int number = 3;
    HcclConfig config;
    std::memcpy(&config, &number, sizeof config);
    return config;
  };
  setenv("HCCL_DETERMINISTIC", "Strict", 1);
  EXPECT_EQ(HcclGetConfig(HCCL_DETERMINISTIC, &value), HCCL_SUCCESS);
  EXPECT_EQ(value.value, 2);
  setenv("HCCL_DETERMINISTIC", "perhaps", 1);
  EXPECT_EQ(HcclGetConfig(HCCL_DETERMINISTIC, &value), HCCL_E_PARA);
  unsetenv("HCCL_DETERMINISTIC");
  EXPECT_EQ(HcclGetConfig(HCCL_DETERMINISTIC, &value), HCCL_SUCCESS);
  EXPECT_EQ(value.value, 0);
  for (const int setting : {1, 2, 0}) {
    EXPECT_EQ(HcclSetConfig(HCCL_DETERMINISTIC, {setting}), HCCL_SUCCESS);
    EXPECT_EQ(HcclGetConfig(HCCL_DETERMINISTIC, &value), HCCL_SUCCESS);
    EXPECT_EQ(value.value, setting);
  }
  EXPECT_EQ(HcclSetConfig(HCCL_DETERMINISTIC, {3}), HCCL_E_PARA);
  EXPECT_EQ(HcclSetConfig(HCCL_DETERMINISTIC, {-1}), HCCL_E_PARA);
  EXPECT_EQ(HcclSetConfig(wrong(), {0}), HCCL_E_PARA);
  EXPECT_EQ(HcclGetConfig(wrong(), &value), HCCL_E_PARA);
  EXPECT_EQ(HcclGetConfig(HCCL_DETERMINISTIC, nullptr), HCCL_E_PTR);
  EXPECT_EQ(HcclGetCommConfigCapability(), 5U);
}

TEST_F(HcclComms, EveryCodeHasAText) {
  std::set<std::string> texts;
  for (int code = 0; code <= HCCL_E_OOM; ++code)
    texts.insert(HcclGetErrorString(static_cast<HcclResult>(code)));
  texts.insert(HcclGetErrorString(HCCL_E_IN_STATUS));
  EXPECT_EQ(texts.size(), 26U);
  HcclResult unknown;
  const int number = 999;
  std::memcpy(&unknown, &number, sizeof unknown);
  EXPECT_STREQ(HcclGetErrorString(unknown), "unknown code");
}

}  // namespace
}  // namespace weft::cann
