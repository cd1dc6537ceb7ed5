// SPDX-License-Identifier: Apache-2.0
#include "comm/launcher.h"

#include <fmt/core.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>

#include "base/env.h"
#include "comm/options.h"
#include "comm/unique_id.h"

namespace weft::internal {
namespace {

/// One launcher's variables. Unused places are null.
struct Launcher {
  const char* name;
  const char* rank;
  const char* size;
  const char* local_size;  ///< ranks on this host: must equal size if set
  const char* hosts;       ///< number of hosts: must be 1 if set
  const char* required;    ///< without it the launcher's other variables are left-overs
  bool same_parent;        ///< no job identifier of its own: ranks are children of one process
  const char* job[4];      ///< what tells this job from others; those that are set count
};

// SLURM_PROCID is also set in a batch script, which is no rank; only srun sets SLURM_STEP_ID.
constexpr Launcher kLaunchers[] = {
    {"torchrun",
     "RANK",
     "WORLD_SIZE",
     "LOCAL_WORLD_SIZE",
     nullptr,
     "MASTER_PORT",
     false,
     {"MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"}},
    {"Open MPI",
     "OMPI_COMM_WORLD_RANK",
     "OMPI_COMM_WORLD_SIZE",
     "OMPI_COMM_WORLD_LOCAL_SIZE",
     nullptr,
     nullptr,
     false,
     {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"}},
    {"PMI",
     "PMI_RANK",
     "PMI_SIZE",
     "MPI_LOCALNRANKS",
     nullptr,
     nullptr,
     true,
     {"PMI_JOBID", "SLURM_JOB_ID", "SLURM_STEP_ID"}},
    {"srun",
     "SLURM_PROCID",
     "SLURM_NTASKS",
     nullptr,
     "SLURM_STEP_NUM_NODES",
     "SLURM_STEP_ID",
     false,
     {"SLURM_JOB_ID", "SLURM_STEP_ID"}},
};

/// The only place that reads variables of other programs.
std::optional<std::string> foreign(const char* name) {
  const char* value = name ? std::getenv(name) : nullptr;
  return value && *value ? std::optional<std::string>(value) : std::nullopt;
}

Result<int> number(const char* name, const std::string& text, int least, int most) {
  int value = 0;
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value);
  if (error != std::errc() || end != last || value < least || value > most)
    return Status(
        StatusCode::kInvalidArgument,
        fmt::format("environment variable {} is \"{}\" but must be a number from {} to {}", name,
                    text, least, most));
  return value;
}

Status several_hosts(const Launcher& launcher, const char* variable, int value, int expected) {
  return Status(StatusCode::kUnimplemented,
                fmt::format("group: {} of {} is {} but must be {}: the job spans hosts, and this "
                            "version has transports within one host only (loopback, shm). Start "
                            "all ranks on one host.",
                            variable, launcher.name, value, expected));
}

Status check_one_host(const Launcher& launcher, int ranks) {
  if (const auto text = foreign(launcher.local_size)) {
    WEFT_ASSIGN_OR_RETURN(const int local, number(launcher.local_size, *text, 1, kMaxRanks));
    if (local != ranks) return several_hosts(launcher, launcher.local_size, local, ranks);
  }
  if (const auto text = foreign(launcher.hosts)) {
    WEFT_ASSIGN_OR_RETURN(const int hosts,
                          number(launcher.hosts, *text, 1, std::numeric_limits<int>::max()));
    if (hosts != 1) return several_hosts(launcher, launcher.hosts, hosts, 1);
  }
  return {};
}

Result<UniqueId> job_id(const Launcher& launcher) {
  std::string text = launcher.name;
  bool known = false;
  for (const char* name : launcher.job)
    if (const auto value = foreign(name)) {
      text += fmt::format(";{}={}", name, *value);
      known = true;
    }
  if (!known && launcher.same_parent) {
    text += fmt::format(";parent={}", getppid());
    known = true;
  }
  if (!known)
    return Status(
        StatusCode::kInvalidArgument,
        fmt::format("group: {} is set but neither {} nor {} is, so that the ranks have no "
                    "common name to meet under. Use Group::join with a UniqueId.",
                    launcher.rank, launcher.job[0], launcher.job[1]));
  return derive_id(text);
}

Result<Membership> of_weft_run(const std::string& rank, const std::string& ranks) {
  Membership membership;
  WEFT_ASSIGN_OR_RETURN(membership.ranks, number("WEFT_RANKS", ranks, 1, kMaxRanks));
  WEFT_ASSIGN_OR_RETURN(membership.rank, number("WEFT_RANK", rank, 0, membership.ranks - 1));
  WEFT_ASSIGN_OR_RETURN(membership.id, UniqueId::from_hex(env::text("WEFT_UNIQUE_ID")));
  return membership;
}

Result<Membership> of_launcher(const Launcher& launcher, const std::string& rank,
                               const std::string& size) {
  Membership membership;
  WEFT_ASSIGN_OR_RETURN(membership.ranks, number(launcher.size, size, 1, kMaxRanks));
  WEFT_ASSIGN_OR_RETURN(membership.rank, number(launcher.rank, rank, 0, membership.ranks - 1));
  WEFT_RETURN_IF_ERROR(check_one_host(launcher, membership.ranks));
  WEFT_ASSIGN_OR_RETURN(membership.id, job_id(launcher));
  return membership;
}

}  // namespace

Result<Membership> membership_from_environment() {
  const std::string rank = env::text("WEFT_RANK"), ranks = env::text("WEFT_RANKS");
  if (!rank.empty() && !ranks.empty()) return of_weft_run(rank, ranks);
  for (const Launcher& launcher : kLaunchers) {
    const auto its_rank = foreign(launcher.rank), its_size = foreign(launcher.size);
    if (its_rank && its_size && (!launcher.required || foreign(launcher.required)))
      return of_launcher(launcher, *its_rank, *its_size);
  }
  std::string looked_for = "WEFT_RANK and WEFT_RANKS (weft run)";
  for (const Launcher& launcher : kLaunchers)
    looked_for += fmt::format(", {} and {}{}{} ({})", launcher.rank, launcher.size,
                              launcher.required ? " and " : "",
                              launcher.required ? launcher.required : "", launcher.name);
  return Status(StatusCode::kInvalidArgument,
                fmt::format("group: no launcher found in the environment. Looked for {}. Start the "
                            "ranks with one of them, or use Group::join.",
                            looked_for));
}

}  // namespace weft::internal
