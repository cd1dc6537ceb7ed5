// SPDX-License-Identifier: Apache-2.0
// Group::from_environment under each launcher's variables, and the variables of groups.
#include "comm/launcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>
#include <utility>
#include <vector>

#include "comm/options.h"
#include "comm/unique_id.h"
#include "processes.h"
#include "thread_ranks.h"

namespace weft {
namespace {

using internal::membership_from_environment;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::quick_options;
using testing::Rank;
using testing::run_ranks;

using Variables = std::vector<std::pair<std::string, std::string>>;

/// Sets variables for the life of a test, having removed every launcher's.
class Launcher : public ::testing::Test {
 protected:
  void SetUp() override { clear(); }
  void TearDown() override { clear(); }

  static void clear() {
    for (const char* name : {"WEFT_RANK",
                             "WEFT_RANKS",
                             "WEFT_UNIQUE_ID",
                             "RANK",
                             "WORLD_SIZE",
                             "LOCAL_WORLD_SIZE",
                             "MASTER_ADDR",
                             "MASTER_PORT",
                             "TORCHELASTIC_RUN_ID",
                             "TORCHELASTIC_RESTART_COUNT",
                             "OMPI_COMM_WORLD_RANK",
                             "OMPI_COMM_WORLD_SIZE",
                             "OMPI_COMM_WORLD_LOCAL_SIZE",
                             "PMIX_NAMESPACE",
                             "OMPI_MCA_ess_base_jobid",
                             "PMI_RANK",
                             "PMI_SIZE",
                             "PMI_JOBID",
                             "MPI_LOCALNRANKS",
                             "SLURM_PROCID",
                             "SLURM_NTASKS",
                             "SLURM_JOB_ID",
                             "SLURM_STEP_ID",
                             "SLURM_STEP_NUM_NODES",
                             "HCCL_BUFFSIZE",
                             "HCCL_CONNECT_TIMEOUT",
                             "HCCL_EXEC_TIMEOUT"})
      unsetenv(name);
  }
  static void set(const Variables& variables) {
    for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
  }
  static Variables torchrun(int rank, int ranks, const std::string& port) {
    return {{"RANK", std::to_string(rank)},
            {"WORLD_SIZE", std::to_string(ranks)},
            {"MASTER_ADDR", "127.0.0.1"},
            {"MASTER_PORT", port}};
  }
  static std::string error() { return membership_from_environment().status().to_string(); }
};

/// A port, job number, … that no other run of this test has.
std::string unlike_others() { return std::to_string(getpid()); }

TEST_F(Launcher, NothingFoundListsWhatWasLookedFor) {
  EXPECT_THAT(Group::from_environment().status().to_string(),
              AllOf(HasSubstr("invalid argument: group: no launcher found"), HasSubstr("WEFT_RANK"),
                    HasSubstr("RANK and WORLD_SIZE and MASTER_PORT (torchrun)"),
                    HasSubstr("OMPI_COMM_WORLD_RANK"), HasSubstr("PMI_RANK"),
                    HasSubstr("SLURM_PROCID"), HasSubstr("Group::join")));
}

TEST_F(Launcher, GroupsFormUnderEachLauncher) {
  const std::string job = unlike_others();
  const UniqueId id = UniqueId::create().value();
  const auto variables = [&](int launcher, const std::string& rank) -> Variables {
    switch (launcher) {
      case 0:
        return {{"WEFT_RANK", rank}, {"WEFT_RANKS", "3"}, {"WEFT_UNIQUE_ID", id.to_hex()}};
      case 1:
        return torchrun(std::stoi(rank), 3, job);
      case 2:
        return {{"OMPI_COMM_WORLD_RANK", rank},
                {"OMPI_COMM_WORLD_SIZE", "3"},
                {"OMPI_COMM_WORLD_LOCAL_SIZE", "3"},
                {"PMIX_NAMESPACE", "prte-" + job}};
      case 3:
        return {{"PMI_RANK", rank}, {"PMI_SIZE", "3"}};
      default:
        return {{"SLURM_PROCID", rank},
                {"SLURM_NTASKS", "3"},
                {"SLURM_JOB_ID", job},
                {"SLURM_STEP_ID", "0"},
                {"SLURM_STEP_NUM_NODES", "1"}};
    }
  };
  for (int launcher = 0; launcher < 5; ++launcher) {
    SCOPED_TRACE(launcher);
    run_ranks(3, [&](Rank& rank) {
      set(variables(launcher, std::to_string(rank.rank)));
      // Several groups one after the other and at the same time: the same id serves them all.
      std::vector<Group> groups;
      for (int i = 0; i < 3; ++i) {
        auto group = Group::from_environment(quick_options());
        EXPECT_TRUE(group.ok()) << group.status().to_string();
        if (!group.ok()) return std::string();
        EXPECT_EQ(group->rank(), rank.rank);
        EXPECT_EQ(group->ranks(), 3);
        groups.push_back(std::move(group).value());
      }
      EXPECT_NE(groups[0].name(), groups[1].name());
      for (Group& group : groups) EXPECT_TRUE(group.barrier().ok());
      return std::string();
    });
  }
}

TEST_F(Launcher, WeftRunComesFirstAndJobsDiffer) {
  set(torchrun(1, 4, "29500"));
  const auto torch = membership_from_environment();
  ASSERT_TRUE(torch.ok()) << torch.status().to_string();
  EXPECT_EQ(torch->rank, 1);
  EXPECT_EQ(torch->ranks, 4);
  setenv("MASTER_PORT", "29501", 1);
  EXPECT_NE(membership_from_environment()->id.bytes, torch->id.bytes);
  const UniqueId id = UniqueId::create().value();
  set({{"WEFT_RANK", "0"}, {"WEFT_RANKS", "2"}, {"WEFT_UNIQUE_ID", id.to_hex()}});
  const auto weft = membership_from_environment();
  ASSERT_TRUE(weft.ok()) << weft.status().to_string();
  EXPECT_EQ(weft->ranks, 2);
  EXPECT_EQ(weft->id.bytes, id.bytes);
}

TEST_F(Launcher, SeveralHostsAreUnimplemented) {
  set(torchrun(1, 4, "29500"));
  setenv("LOCAL_WORLD_SIZE", "2", 1);
  EXPECT_THAT(error(),
              AllOf(HasSubstr("unimplemented: group: LOCAL_WORLD_SIZE of torchrun is 2 but "
                              "must be 4"),
                    HasSubstr("spans hosts")));
  clear();
  set({{"SLURM_PROCID", "0"},
       {"SLURM_NTASKS", "8"},
       {"SLURM_JOB_ID", "1"},
       {"SLURM_STEP_ID", "0"},
       {"SLURM_STEP_NUM_NODES", "2"}});
  EXPECT_THAT(error(), HasSubstr("SLURM_STEP_NUM_NODES of srun is 2 but must be 1"));
}

TEST_F(Launcher, BadVariablesAreNamed) {
  set(torchrun(4, 4, "29500"));
  EXPECT_EQ(
      error(),
      "invalid argument: environment variable RANK is \"4\" but must be a number from 0 to 3");
  set({{"RANK", "0"}, {"WORLD_SIZE", "4x"}});
  EXPECT_THAT(error(), HasSubstr("WORLD_SIZE is \"4x\""));
  clear();
  set({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "2"}});
  EXPECT_THAT(error(), HasSubstr("neither PMIX_NAMESPACE nor OMPI_MCA_ess_base_jobid"));
  clear();
  set({{"WEFT_RANK", "0"}, {"WEFT_RANKS", "2"}, {"WEFT_UNIQUE_ID", "zz"}});
  EXPECT_THAT(error(), HasSubstr("unique id"));
  clear();
  set({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "2"}, {"SLURM_JOB_ID", "3"}});  // a batch script
  EXPECT_THAT(error(), HasSubstr("no launcher found"));
}

TEST_F(Launcher, OptionsComeFromTheEnvironment) {
  const auto defaults = internal::resolve(2, {});
  ASSERT_TRUE(defaults.ok()) << defaults.status().to_string();
  EXPECT_EQ(defaults->window_bytes, 2 * 200 * (std::int64_t{1} << 20));
  EXPECT_EQ(defaults->connect_timeout_s, 120);
  EXPECT_EQ(defaults->exec_timeout_s, 1836);
  set({{"HCCL_BUFFSIZE", "3"}, {"HCCL_CONNECT_TIMEOUT", "7"}, {"HCCL_EXEC_TIMEOUT", "0"}});
  const auto set_by_user = internal::resolve(2, {});
  ASSERT_TRUE(set_by_user.ok()) << set_by_user.status().to_string();
  EXPECT_EQ(set_by_user->window_bytes, 6 << 20);
  EXPECT_EQ(set_by_user->connect_timeout_s, 7);
  EXPECT_LT(set_by_user->exec_timeout_s, 0);  // for ever
  EXPECT_EQ(internal::resolve(2, {.exec_timeout_s = 5})->exec_timeout_s, 5);
  set({{"HCCL_BUFFSIZE", "many"}});
  EXPECT_THAT(internal::resolve(2, {}).status().message(), HasSubstr("HCCL_BUFFSIZE is \"many\""));
  set({{"HCCL_BUFFSIZE", "1"}, {"HCCL_CONNECT_TIMEOUT", "0"}});
  EXPECT_THAT(internal::resolve(2, {}).status().message(), HasSubstr("HCCL_CONNECT_TIMEOUT is 0"));
}

}  // namespace
}  // namespace weft
