// SPDX-License-Identifier: Apache-2.0
#include "weft/group.h"

#include <fmt/core.h>
#include <unistd.h>

#include <atomic>
#include <utility>

#include "base/memory_use.h"
#include "comm/control_block.h"
#include "comm/deadline.h"
#include "comm/group_state.h"
#include "comm/launcher.h"
#include "comm/options.h"
#include "comm/rendezvous/rendezvous.h"
#include "comm/transport/loopback.h"
#include "comm/transport/shm.h"
#include "comm/unique_id.h"

namespace weft {
namespace {

using internal::GroupState;

Group make_group(std::unique_ptr<internal::Transport> transport, int rank, int ranks,
                 const GroupOptions& options) {
  return GroupState::wrap(std::make_unique<GroupState>(std::move(transport), rank, ranks, options));
}

/// A group of one meets nobody: no rendezvous.
Result<std::vector<internal::ShmPeer>> alone(const internal::Forming& forming) {
  std::vector<internal::ShmPeer> peers(1);
  WEFT_ASSIGN_OR_RETURN(const internal::UniqueFd file,
                        internal::create_segment_file(forming.layout()));
  WEFT_ASSIGN_OR_RETURN(peers[0].mapping, internal::Mapping::of_file(file.get(), forming.layout()));
  internal::construct_control_block(peers[0].mapping, forming.ranks);
  return peers;
}

}  // namespace

Group::Group(std::unique_ptr<internal::GroupState> state) : state_(std::move(state)) {}
Group::Group(Group&&) noexcept = default;
Group& Group::operator=(Group&&) noexcept = default;
Group::~Group() = default;

Result<std::vector<Group>> Group::local(int ranks, const GroupOptions& options) {
  WEFT_ASSIGN_OR_RETURN(GroupOptions full, internal::resolve(ranks, options));
  static std::atomic<int> made{0};
  if (full.name.empty()) full.name = fmt::format("weft-local-{}-{}", getpid(), made.fetch_add(1));
  WEFT_ASSIGN_OR_RETURN(auto transports, internal::make_loopback(ranks, full.window_bytes));
  std::vector<Group> groups;
  for (int rank = 0; rank < ranks; ++rank)
    groups.push_back(
        make_group(std::move(transports[static_cast<std::size_t>(rank)]), rank, ranks, full));
  return groups;
}

Result<Group> Group::join(const UniqueId& id, int rank, int ranks, const GroupOptions& options) {
  internal::Forming forming;
  WEFT_ASSIGN_OR_RETURN(forming.options, internal::resolve(ranks, options));
  if (rank < 0 || rank >= ranks)
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("group: rank is {} but must be 0 to {}", rank, ranks - 1));
  WEFT_ASSIGN_OR_RETURN(forming.id, internal::read_id(id));
  if (forming.options.name.empty()) forming.options.name = internal::rendezvous_name(forming.id);
  forming.rank = rank;
  forming.ranks = ranks;
  internal::Interruption interruption(forming.options.interrupted);
  forming.until = {internal::deadline_after(forming.options.connect_timeout_s), &interruption};
  WEFT_ASSIGN_OR_RETURN(auto peers, ranks == 1  ? alone(forming)
                                    : rank == 0 ? internal::host_group(forming)
                                                : internal::join_group(forming));
  return make_group(internal::make_shm(std::move(peers)), rank, ranks, forming.options);
}

Result<Group> Group::from_environment(const GroupOptions& options) {
  // The launcher's id serves every group of the process; they form in the same order on all ranks.
  static std::atomic<std::uint32_t> formed{0};
  WEFT_ASSIGN_OR_RETURN(const internal::Membership membership,
                        internal::membership_from_environment());
  WEFT_ASSIGN_OR_RETURN(internal::IdContents contents, internal::read_id(membership.id));
  contents.generation = formed.load();
  Result<Group> group =
      join(internal::make_id(contents), membership.rank, membership.ranks, options);
  if (group.ok()) formed.fetch_add(1);
  return group;
}

int Group::rank() const { return state_->rank(); }
int Group::ranks() const { return state_->ranks(); }
const std::string& Group::name() const { return state_->name(); }
std::int64_t Group::window_bytes() const { return state_->window_bytes(); }
std::string_view Group::transport() const { return state_->transport_name(); }

Result<MemoryUse> Group::memory_use() const {
  const internal::SegmentLayout layout{window_bytes(), ranks()};
  return weft::memory_use(state_->window(rank()), layout.window_room());
}

Status Group::barrier(double timeout_s) {
  static const internal::CallHeader header("barrier");
  WEFT_RETURN_IF_ERROR(state_->begin_call(header, timeout_s));
  WEFT_RETURN_IF_ERROR(state_->check_peers());
  state_->end_call();
  return {};
}

Status Group::set_exec_timeout(double seconds) {
  WEFT_ASSIGN_OR_RETURN(const double limit, internal::resolve_exec_timeout(seconds));
  state_->set_exec_timeout(limit);
  return {};
}

void Group::abort(std::string_view reason) { (void)state_->give_up("group", reason); }

Status Group::health() const { return state_->health(); }

}  // namespace weft
