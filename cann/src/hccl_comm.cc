// SPDX-License-Identifier: Apache-2.0
// hccl/hccl_comm.h: how communicators begin and end.
#include "hccl/hccl_comm.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

#include "comm/options.h"
#include "hccl_call.h"
#include "hccl_config.h"
#include "hccl_ids.h"
#include "hccl_rank_table.h"

using namespace weft::cann;
using weft::Context;
using weft::Group;
using weft::GroupOptions;
using weft::Result;
using weft::Status;
using weft::StatusCode;
using weft::UniqueId;

namespace {

constexpr uint64_t kNoSubComm = 0xFFFFFFFF;

Communicators& communicators() { return Communicators::instance(); }
Runtime& runtime() { return Runtime::instance(); }

Error invalid(std::string text) { return {HCCL_E_PARA, std::move(text)}; }

Error find_current_device(VirtualDevice*& device) {
  const std::shared_ptr<DeviceContext> context = runtime().current();
  if (!context) return {HCCL_E_RUNTIME, Runtime::no_context().message};
  device = &context->device;
  return {};
}

/// A rank that is about to join.
struct Joining {
  UniqueId id;
  uint32_t rank = 0, ranks = 0;
  GroupOptions options;
  bool is_split = false;
};

Error check_rank(const Joining& joining) {
  if (joining.ranks < 1 || joining.ranks > weft::internal::kMaxRanks)
    return invalid(fmt::format("the number of ranks is {} but must be 1 to {}", joining.ranks,
                               weft::internal::kMaxRanks));
  if (joining.rank >= joining.ranks)
    return invalid(fmt::format("rank is {} but must be 0 to {}", joining.rank, joining.ranks - 1));
  return {};
}

/// Waits for the other ranks. What can fail on this rank alone comes first, so that the others need
/// not wait for it in vain more often than they must.
Error join(Joining& joining, VirtualDevice& device, HcclComm* comm) {
  if (joining.options.name.empty()) {
    Result<std::string> name = name_of(joining.id);
    if (!name.ok()) return hccl_error(name.status());
    joining.options.name = std::move(*name);
  }
  const auto place = communicators().reserve(device, joining.options.name);
  if (!place)
    return invalid(fmt::format("device {} already has a rank of the communicator {}", device.id,
                               joining.options.name));
  const int ranks = static_cast<int>(joining.ranks);
  Result<Context> context = runtime().make_context(ranks);
  if (!context.ok()) return hccl_error(context.status());
  Result<Group> group =
      Group::join(joining.id, static_cast<int>(joining.rank), ranks, joining.options);
  if (!group.ok()) return hccl_error(group.status());
  *comm = place->fill(std::make_shared<Communicator>(device, std::move(*group), std::move(*context),
                                                     Origin{joining.id, joining.is_split}));
  return {};
}

Error init_root_info(Joining joining, const HcclRootInfo* root_info, HcclComm* comm) {
  if (!root_info) return null_argument("rootInfo");
  if (!comm) return null_argument("comm");
  Error error = check_rank(joining);
  VirtualDevice* device = nullptr;
  if (error.ok()) error = find_current_device(device);
  if (!error.ok()) return error;
  Result<UniqueId> id = from_root_info(*root_info);
  if (!id.ok()) return hccl_error(id.status());
  joining.id = *id;
  return join(joining, *device, comm);
}

Error check_device_of_rank(const RankTable& table, uint32_t rank, const VirtualDevice& device) {
  const Result<int> listed = runtime().listed_number(device);
  if (!listed.ok()) return hccl_error(listed.status());
  if (table.devices[rank] == *listed) return {};
  return invalid(
      fmt::format("the rank table puts rank {} on device {}, but the thread's current device is "
                  "{}; call aclrtSetDevice first",
                  rank, table.devices[rank], *listed));
}

Error init_cluster_info(Joining joining, const char* path, HcclComm* comm) {
  if (!comm) return null_argument("comm");
  RankTable table;
  Error error = read_rank_table(path, table);
  joining.ranks = static_cast<uint32_t>(table.devices.size());
  if (error.ok()) error = check_rank(joining);
  VirtualDevice* device = nullptr;
  if (error.ok()) error = find_current_device(device);
  if (error.ok()) error = check_device_of_rank(table, joining.rank, *device);
  if (!error.ok()) return error;
  // Communicators of one table are told apart by the names that programs give them.
  Result<UniqueId> id =
      id_of_job(static_cast<int>(joining.ranks), table.text + ";name=" + joining.options.name);
  if (!id.ok()) return hccl_error(id.status());
  joining.id = *id;
  return join(joining, *device, comm);
}

Error init_all(uint32_t count, const int32_t* ids, HcclComm* comms) {
  if (!ids) return null_argument("devices");
  if (!comms) return null_argument("comms");
  if (count < 1 || count > weft::internal::kMaxRanks)
    return invalid(fmt::format("ndev is {} but must be 1 to {}", count, weft::internal::kMaxRanks));
  std::vector<VirtualDevice*> devices;
  for (uint32_t i = 0; i < count; ++i) {
    VirtualDevice* device = nullptr;
    const Error error = runtime().device(ids[i], device);
    if (!error.ok()) return invalid(fmt::format("devices[{}]: {}", i, error.message));
    if (std::find(devices.begin(), devices.end(), device) != devices.end())
      return invalid(
          fmt::format("devices[{}] is {}, which is in the list before; a device holds "
                      "one rank of a communicator",
                      i, ids[i]));
    devices.push_back(device);
  }
  const int ranks = static_cast<int>(count);
  const Result<UniqueId> id = UniqueId::create();
  if (!id.ok()) return hccl_error(id.status());
  std::vector<Context> contexts;
  for (int rank = 0; rank < ranks; ++rank) {
    Result<Context> context = runtime().make_context(ranks);
    if (!context.ok()) return hccl_error(context.status());
    contexts.push_back(std::move(*context));
  }
  Result<std::vector<Group>> groups = Group::local(ranks);
  if (!groups.ok()) return hccl_error(groups.status());
  for (std::size_t rank = 0; rank < count; ++rank)
    comms[rank] = communicators().add(std::make_shared<Communicator>(
        *devices[rank], std::move((*groups)[rank]), std::move(contexts[rank]), Origin{*id}));
  return {};
}

struct Split {
  uint32_t count;
  const uint32_t* ranks;
  uint64_t id;
  uint32_t rank;
};

Error check_split(const Communicator& parent, const Split& split) {
  if (split.id == kNoSubComm)
    return invalid("subCommId 0xFFFFFFFF is for ranks that are no members, whose rankIds is null");
  if (parent.origin.is_split)
    return {
        HCCL_E_NOT_SUPPORT,
        fmt::format("{} was split off itself; split the communicator it came from", parent.name())};
  const auto ranks = static_cast<uint32_t>(parent.ranks());
  if (split.count < 1 || split.count > ranks)
    return invalid(fmt::format("rankNum is {} but must be 1 to {}", split.count, ranks));
  std::set<uint32_t> seen;
  for (uint32_t i = 0; i < split.count; ++i)
    if (split.ranks[i] >= ranks || !seen.insert(split.ranks[i]).second)
      return invalid(fmt::format("rankIds[{}] is {} but must be 0 to {}, and no rank twice", i,
                                 split.ranks[i], ranks - 1));
  if (split.rank >= split.count || split.ranks[split.rank] != static_cast<uint32_t>(parent.rank()))
    return invalid(fmt::format(
        "subCommRankId is {}, but this rank, {}, is not at that place of the {} rankIds",
        split.rank, parent.rank(), split.count));
  return {};
}

Error create_split(const Communicator& parent, const Split& split, const HcclCommConfig* config,
                   HcclComm* sub) {
  Error error = check_split(parent, split);
  Joining joining{.rank = split.rank, .ranks = split.count, .is_split = true};
  if (error.ok()) error = read_comm_config(config, joining.options);
  if (!error.ok()) return error;
  if (joining.options.name.empty())
    joining.options.name = fmt::format("{}_sub_{}", parent.name(), split.id);
  std::string text = fmt::format("split;{};{}", split.id, joining.options.name);
  for (uint32_t i = 0; i < split.count; ++i) text += fmt::format(";{}", split.ranks[i]);
  Result<UniqueId> id = derive_id(parent.origin.id, text);
  if (!id.ok()) return hccl_error(id.status());
  joining.id = *id;
  return join(joining, parent.device, sub);
}

/// Calls body(communicator) for a function that writes to `to`.
template <typename Body>
HcclResult query(const char* function, HcclComm comm, const char* name, const void* to,
                 Body&& body) {
  return hccl_call(function, [&] {
    return with_communicator(comm, [&](const Communicators::Visit& communicator) {
      if (!to) return null_argument(name);
      body(*communicator);
      return Error();
    });
  });
}

}  // namespace

HcclResult HcclCommInitAll(uint32_t ndev, int32_t* devices, HcclComm* comms) {
  return hccl_call("HcclCommInitAll", [&] { return init_all(ndev, devices, comms); });
}

HcclResult HcclGetRootInfo(HcclRootInfo* rootInfo) {
  return hccl_call("HcclGetRootInfo", [&] {
    if (!rootInfo) return null_argument("rootInfo");
    VirtualDevice* device = nullptr;
    Error error = find_current_device(device);
    if (!error.ok()) return error;
    const Result<UniqueId> id = UniqueId::create();
    if (id.ok()) *rootInfo = to_root_info(*id);
    return hccl_error(id.status());
  });
}

HcclResult HcclCommInitRootInfo(uint32_t nRanks, const HcclRootInfo* rootInfo, uint32_t rank,
                                HcclComm* comm) {
  return hccl_call("HcclCommInitRootInfo",
                   [&] { return init_root_info({.rank = rank, .ranks = nRanks}, rootInfo, comm); });
}

HcclResult HcclCommInitRootInfoConfig(uint32_t nRanks, const HcclRootInfo* rootInfo, uint32_t rank,
                                      const HcclCommConfig* config, HcclComm* comm) {
  return hccl_call("HcclCommInitRootInfoConfig", [&] {
    Joining joining{.rank = rank, .ranks = nRanks};
    Error error = read_comm_config(config, joining.options);
    return error.ok() ? init_root_info(std::move(joining), rootInfo, comm) : error;
  });
}

HcclResult HcclCommInitClusterInfo(const char* clusterInfo, uint32_t rank, HcclComm* comm) {
  return hccl_call("HcclCommInitClusterInfo",
                   [&] { return init_cluster_info({.rank = rank}, clusterInfo, comm); });
}

HcclResult HcclCommInitClusterInfoConfig(const char* clusterInfo, uint32_t rank,
                                         HcclCommConfig* config, HcclComm* comm) {
  return hccl_call("HcclCommInitClusterInfoConfig", [&] {
    Joining joining{.rank = rank};
    Error error = read_comm_config(config, joining.options);
    return error.ok() ? init_cluster_info(std::move(joining), clusterInfo, comm) : error;
  });
}

HcclResult HcclCreateSubCommConfig(HcclComm* comm, uint32_t rankNum, uint32_t* rankIds,
                                   uint64_t subCommId, uint32_t subCommRankId,
                                   HcclCommConfig* config, HcclComm* subComm) {
  return hccl_call("HcclCreateSubCommConfig", [&] {
    if (!comm) return null_argument("comm");
    return with_communicator(*comm, [&](const Communicators::Visit& parent) {
      if (!rankIds && subCommId == kNoSubComm) {  // not a member
        if (subComm) *subComm = nullptr;
        return Error();
      }
      if (!rankIds) return null_argument("rankIds");
      if (!subComm) return null_argument("subComm");
      return create_split(*parent, {rankNum, rankIds, subCommId, subCommRankId}, config, subComm);
    });
  });
}

HcclResult HcclCommDestroy(HcclComm comm) {
  return hccl_call("HcclCommDestroy", [&]() -> Error {
    if (!comm) return null_argument("comm");
    bool in_use = false;
    const std::shared_ptr<Communicator> taken = communicators().take_unused(comm, in_use);
    if (in_use)
      return {HCCL_E_AGAIN,
              "work of the communicator is not over, or another thread is in one of its "
              "functions; synchronise its streams first"};
    if (!taken) return {HCCL_E_PTR, "there is no such communicator, or it was destroyed"};
    return {};
  });
}

HcclResult HcclGetCommName(HcclComm comm, char* commName) {
  return query("HcclGetCommName", comm, "commName", commName, [&](const Communicator& of) {
    std::memset(commName, 0, COMM_NAME_MAX_LENGTH);
    of.name().copy(commName, COMM_NAME_MAX_LENGTH - 1);
  });
}

HcclResult HcclCommGetHandleWithName(const char* commName, HcclComm* comm) {
  return hccl_call("HcclCommGetHandleWithName", [&] {
    if (!commName) return null_argument("commName");
    if (!comm) return null_argument("comm");
    VirtualDevice* device = nullptr;
    Error error = find_current_device(device);
    if (!error.ok()) return error;
    const std::string name(commName, strnlen(commName, COMM_NAME_MAX_LENGTH));
    void* const found = communicators().handle(name, *device);
    if (!found)
      return Error(HCCL_E_NOT_FOUND,
                   fmt::format("device {} has no communicator {}", device->id, name));
    *comm = found;
    return Error();
  });
}

HcclResult HcclGetRankSize(HcclComm comm, uint32_t* rankSize) {
  return query("HcclGetRankSize", comm, "rankSize", rankSize,
               [&](const Communicator& of) { *rankSize = static_cast<uint32_t>(of.ranks()); });
}

HcclResult HcclGetRankId(HcclComm comm, uint32_t* rank) {
  return query("HcclGetRankId", comm, "rank", rank,
               [&](const Communicator& of) { *rank = static_cast<uint32_t>(of.rank()); });
}

HcclResult HcclGetCommAsyncError(HcclComm comm, HcclResult* asyncError) {
  return query("HcclGetCommAsyncError", comm, "asyncError", asyncError,
               [&](Communicator& of) { *asyncError = hccl_code(of.group().health().code()); });
}

HcclResult HcclSetConfig(HcclConfig config, HcclConfigValue configValue) {
  return hccl_call("HcclSetConfig", [&] {
    if (number_of(config) != HCCL_DETERMINISTIC)
      return invalid(fmt::format("config is {}, which is none", number_of(config)));
    return set_deterministic(configValue.value);
  });
}

HcclResult HcclGetConfig(HcclConfig config, HcclConfigValue* configValue) {
  return hccl_call("HcclGetConfig", [&] {
    if (!configValue) return null_argument("configValue");
    if (number_of(config) != HCCL_DETERMINISTIC)
      return invalid(fmt::format("config is {}, which is none", number_of(config)));
    return deterministic(configValue->value);
  });
}

uint32_t HcclGetCommConfigCapability(void) { return HCCL_COMM_CONFIG_RESERVED; }
