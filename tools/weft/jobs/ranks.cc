// SPDX-License-Identifier: Apache-2.0
#include "jobs/ranks.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/affinity.h"
#include "base/env.h"
#include "base/topology.h"
#include "jobs/binding.h"
#include "jobs/children.h"
#include "terminal/progress.h"
#include "terminal/text.h"

namespace weft::tools {
namespace {

/// Runs the body and turns what it throws into a Status.
Result<Bytes> call(const RankBody& body, Rank& rank) {
  try {
    return body(rank);
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, fmt::format("rank {}: out of memory", rank.rank));
  } catch (const std::exception& error) {
    return Status(StatusCode::kInternal, fmt::format("rank {}: {}", rank.rank, error.what()));
  }
}

bool threads_are_named() {
  const Result<std::int64_t> named = env::integer("WEFT_THREADS", 0, 1 << 20);
  return !named.ok() || *named > 0;  // who reads it reports what is wrong
}

/// Binds the calling thread as the rank.
Status bind_rank(const CpusOfRanks& cpus, int rank) {
  if (cpus.empty()) return {};
  const std::vector<int>& own = cpus[static_cast<std::size_t>(rank)];
  if (bind_this_thread(own)) return {};
  return Status(StatusCode::kInvalidArgument,
                fmt::format("the system refused to bind rank {} to cpus {}: {}.\nLeave --bind out.",
                            rank, cpus_text(own), std::strerror(errno)));
}

/// The threads of the Context inherit what the rank is bound to.
Result<Context> make_context(const LaunchOptions& options, const CpusOfRanks& cpus, int rank) {
  WEFT_RETURN_IF_ERROR(bind_rank(cpus, rank));
  return Context::create(context_options(options, cpus, rank));
}

Result<Bytes> run_in_process(const LaunchOptions& options, const CpusOfRanks& cpus,
                             const UniqueId& id, int rank, Report& report, const RankBody& body) {
  WEFT_ASSIGN_OR_RETURN(Context context, make_context(options, cpus, rank));
  WEFT_ASSIGN_OR_RETURN(Group group, Group::join(id, rank, options.ranks, options.group));
  Rank self{rank, options.ranks, context, group,
            [&](std::string_view text) { report.progress(text); }};
  return call(body, self);
}

Result<std::vector<Bytes>> run_processes(const LaunchOptions& options, const RankBody& body) {
  WEFT_ASSIGN_OR_RETURN(const UniqueId id, UniqueId::create());
  topology();  // kept by the process: read once here rather than in every child
  const CpusOfRanks cpus = bind_ranks(options.ranks, options.bind);
  Children children(options.ranks, {});
  WEFT_RETURN_IF_ERROR(children.start([&](int rank, Report& report) {
    const Result<Bytes> result = run_in_process(options, cpus, id, rank, report, body);
    report.result(result.status(), result.ok() ? *result : Bytes());
    return 0;
  }));
  children.wait();
  WEFT_RETURN_IF_ERROR(combine(children.ends()));
  return children.take_values();
}

Result<std::vector<Bytes>> run_threads(const LaunchOptions& options, const RankBody& body) {
  WEFT_ASSIGN_OR_RETURN(std::vector<Group> groups, Group::local(options.ranks, options.group));
  const CpusOfRanks cpus = bind_ranks(options.ranks, options.bind);
  Progress progress(options.ranks);
  std::vector<Bytes> values(groups.size());
  std::vector<RankEnd> ends(groups.size());
  std::atomic<int> running = options.ranks;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < options.ranks; ++rank) {
    threads.emplace_back([&, rank] {
      const auto index = static_cast<std::size_t>(rank);
      // Destroyed at the end of the rank, so that peers of a failed rank learn of it.
      Group group = std::move(groups[index]);
      Result<Context> context = make_context(options, cpus, rank);
      Status status = context.status();
      if (status.ok()) {
        Rank self{
            rank, options.ranks, *context, group,
            [&, steps = 0](std::string_view text) mutable { progress.step(rank, ++steps, text); }};
        Result<Bytes> result = call(body, self);
        status = result.status();
        if (result.ok()) values[index] = std::move(result).value();
      }
      ends[index].returned = true;
      ends[index].status = status;
      --running;
    });
  }
  while (progress.shown() && running > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    progress.draw();
  }
  for (std::thread& thread : threads) thread.join();
  WEFT_RETURN_IF_ERROR(combine(ends));
  return values;
}

/// A terminal belongs to weft; a file or pipe on stdin goes to rank 0 alone.
void redirect_input(int rank) {
  if (rank == 0 && ::isatty(STDIN_FILENO) == 0) return;
  const int fd = ::open("/dev/null", O_RDONLY);
  if (fd < 0) return;
  ::dup2(fd, STDIN_FILENO);
  if (fd != STDIN_FILENO) ::close(fd);
}

std::string death_text(std::size_t rank, int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    return fmt::format("rank {} was killed by signal {} ({})", rank, signal, ::strsignal(signal));
  }
  return fmt::format("rank {} exited with code {}", rank, WEXITSTATUS(wait_status));
}

/// Causes before effects: what a rank found wrong by itself, then disagreement, then silence.
int priority(StatusCode code) {
  switch (code) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kUnimplemented:
    case StatusCode::kOutOfMemory:
    case StatusCode::kInternal:
      return 3;
    case StatusCode::kMismatch:
      return 2;
    case StatusCode::kTimeout:
      return 1;
    default:
      return 0;
  }
}

/// The first status of the highest priority, with its rank in front where ranks differ.
Status first_cause(const std::vector<RankEnd>& ends) {
  const RankEnd* cause = nullptr;
  bool all_the_same = true;
  for (const RankEnd& end : ends) {
    if (!end.returned || end.status.ok()) {
      all_the_same = false;
      continue;
    }
    if (cause == nullptr || priority(end.status.code()) > priority(cause->status.code()))
      cause = &end;
    all_the_same = all_the_same && end.status.message() == ends[0].status.message();
  }
  if (cause == nullptr) return {};
  if (all_the_same) return cause->status;
  return Status(cause->status.code(),
                fmt::format("rank {}: {}", cause - ends.data(), cause->status.message()));
}

}  // namespace

Status combine(const std::vector<RankEnd>& ends) {
  std::string deaths, late;
  for (std::size_t rank = 0; rank < ends.size(); ++rank) {
    const RankEnd& end = ends[rank];
    if (end.stopped_late)
      late += fmt::format("\nrank {} did not end by itself and was killed.", rank);
    if (end.returned || end.stopped_late) continue;
    deaths += (deaths.empty() ? "" : ", ") + death_text(rank, end.wait_status);
  }
  const Status cause = first_cause(ends);
  if (deaths.empty() && late.empty()) return cause;
  if (deaths.empty()) return Status(cause.code(), cause.message() + late);
  std::string text = deaths + ".";
  if (!cause.ok()) text += fmt::format("\nThe others ended because of it: {}", cause.message());
  return Status(StatusCode::kPeerLost, text + late);
}

ContextOptions context_options(const LaunchOptions& options, const CpusOfRanks& cpus, int rank) {
  ContextOptions context = options.context;
  context.local_ranks = options.ranks;
  context.local_rank = rank;
  if (!cpus.empty() && context.threads == 0 && !threads_are_named())
    context.threads = threads_of_rank(cpus, rank, topology().usable_cpus);
  return context;
}

Result<std::vector<Bytes>> run_ranks(const LaunchOptions& options, const RankBody& body) {
  if (options.ranks < 1)
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("ranks is {}, it must be at least 1.", options.ranks));
  return options.kind == RankKind::kThreads ? run_threads(options, body)
                                            : run_processes(options, body);
}

Status run_program(int ranks, const std::vector<std::string>& command, Bind bind) {
  WEFT_ASSIGN_OR_RETURN(const UniqueId id, UniqueId::create());
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const CpusOfRanks cpus = bind_ranks(ranks, bind);
  Children children(ranks, {.programs = true});
  WEFT_RETURN_IF_ERROR(children.start([&](int rank, Report& report) {
    ::setenv("WEFT_RANK", std::to_string(rank).c_str(), 1);
    ::setenv("WEFT_RANKS", std::to_string(ranks).c_str(), 1);
    ::setenv("WEFT_UNIQUE_ID", id.to_hex().c_str(), 1);
    if (!cpus.empty() && !threads_are_named())
      ::setenv("WEFT_THREADS",
               std::to_string(threads_of_rank(cpus, rank, topology().usable_cpus)).c_str(), 1);
    redirect_input(rank);
    Status status = bind_rank(cpus, rank);
    if (status.ok()) {
      ::execvp(arguments[0], arguments.data());
      status = Status(StatusCode::kInvalidArgument,
                      fmt::format("cannot start '{}': {}.\nCheck the name and its permissions.",
                                  command[0], std::strerror(errno)));
    }
    report.result(status, Bytes());
    return 127;
  }));
  children.wait();
  return combine(children.ends());
}

}  // namespace weft::tools
