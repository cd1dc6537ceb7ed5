// SPDX-License-Identifier: Apache-2.0
// Prepares what a section measures and registers it with Google Benchmark, as long as there is
// time.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "activation_job.h"
#include "budget.h"
#include "collective_job.h"
#ifdef WEFT_BENCH_CANN
#include "c_door.h"
#include "hccl_job.h"
#endif
#include "ffn_job.h"
#include "moe_job.h"
#include "report_lines.h"
#include "team.h"
#include "terminal/progress.h"

namespace weft::bench {

/// A row of a contract, and the optional operands that its calls have.
struct Type {
  const char* name;
  const char* row;
  tools::OperandSet with = {};
};

/// Calls that every measurement makes at least.
inline constexpr int kFewestCalls = 3;

/// The measurements of one section; keep it until they have run.
class Registrar {
 public:
  /// `seconds`: for all of the section. `flops_per_s`: of a core at least. `title`: for the
  /// progress line.
  Registrar(std::string title, double seconds, double flops_per_s, Results& results,
            tools::Progress& progress)
      : title_(std::move(title)),
        budget_(seconds),
        flops_per_s_(flops_per_s),
        results_(results),
        progress_(progress) {}

  Team& team(int ranks, int threads, Windows windows = Windows::kPrivate);
  /// What measurements need. nullptr once the time would not suffice for kFewestCalls of all of
  /// them; add() then notes them as skipped.
  Job* job(Team& team, const Type& type, const char* shape, bool transposed, Job::Options options);
  ActivationJob* activation(const ActivationCase& c);
  CollectiveJob* collective(Team& team, const char* what, DType dtype, std::int64_t bytes);
  FfnJob* ffn(Team& team, const FfnProblem& problem, FfnJob::Options options);
  MoeJob* moe(Team& team, const MoeProblem& problem, MoeJob::Options options);
#ifdef WEFT_BENCH_CANN
  CDoor* c_door(const Type& type, const char* shape);
  HcclJob* hccl(int ranks);
#endif

  /// Makes the first call, and registers the others. `call` gives the seconds of one, from a
  /// fixture.
  template <typename Fixture, typename Call>
  void add(const std::string& name, Fixture* fixture, const Work& work, Call call) {
    if (fixture == nullptr) return skipped_.push_back(name);
    add(name, work, [fixture, call] { return std::invoke(call, *fixture); });
  }
  template <typename Fixture, typename Call>
  void add(const std::string& name, Fixture* job, Call call) {
    add(name, job, job ? job->work() : Work(), call);
  }
  template <typename Call>
  void add(const std::string& name, Job* job, Call call) {
    const bool product_alone = Name(name).what != "fused";
    add(name, job, job ? job->work(product_alone) : Work(), call);
  }

  /// Calls all measurements, in random order, again and again: so that what is compared is measured
  /// in the same minutes. Stops before `repetitions` calls of each if the time is up. Returns the
  /// calls of each.
  int run(int repetitions);

  int count() const { return count_; }
  const std::vector<std::string>& skipped() const { return skipped_; }
  double passed() const { return budget_.passed(); }

 private:
  template <typename Fixture>
  Fixture* keep(std::vector<std::unique_ptr<Fixture>>& all, std::unique_ptr<Fixture> one) {
    all.push_back(std::move(one));
    return all.back().get();
  }
  double seconds_of(const tools::Case& c, int ranks, const Job::Options& options) const;
  bool time_for_another(double first_s = 0);
  void add(const std::string& name, const Work& work, std::function<double()> call);

  const std::string title_;
  const Budget budget_;
  const double flops_per_s_;
  Results& results_;
  tools::Progress& progress_;
  std::vector<std::unique_ptr<Team>> teams_;  // outlive what runs on them
  std::vector<std::unique_ptr<Job>> jobs_;
  std::vector<std::unique_ptr<CollectiveJob>> collectives_;
  std::vector<std::unique_ptr<ActivationJob>> activations_;
  FfnWeights ffn_weights_;  // outlive the jobs that read them
  std::vector<std::unique_ptr<FfnJob>> ffns_;
  std::vector<std::unique_ptr<MoeJob>> moes_;
#ifdef WEFT_BENCH_CANN
  std::unique_ptr<CDoor> c_door_;
  std::unique_ptr<HcclJob> hccl_;
#endif
  int count_ = 0;
  double round_s_ = 0;                          // of the first call of every measurement
  double fixture_begin_s_ = 0, longest_s_ = 0;  // of a fixture with its first calls
  std::vector<std::string> skipped_;
};

}  // namespace weft::bench
