// SPDX-License-Identifier: Apache-2.0
#include "processes.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

// Children leave by _exit, so coverage data must be written by hand; absent in other builds.
extern "C" void __gcov_dump() __attribute__((weak));

namespace weft::testing {
namespace {

// First byte of a message on a rank's socket.
constexpr char kTold = 'T', kFinished = 'F', kGo = 'G';
constexpr std::size_t kLongest = 64 << 10;

void send_or_die(int socket, const std::string& message) {
  if (send(socket, message.data(), std::min(message.size(), kLongest), MSG_NOSIGNAL) < 0) _exit(3);
}

std::int64_t after(double seconds) {
  return monotonic_ns() + static_cast<std::int64_t>(seconds * 1e9);
}

}  // namespace

std::int64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void Rank::tell(const std::string& text) const { send_or_die(socket_, kTold + text); }

void Rank::await_go() const {
  char message = 0;
  while (recv(socket_, &message, 1, 0) > 0)
    if (message == kGo) return;
  _exit(4);  // the test has gone
}

Processes::Processes(int ranks, const RankFunction& function) : id_(UniqueId::create().value()) {
  std::fflush(nullptr);  // else every child would print what is buffered here
  for (int rank = 0; rank < ranks; ++rank) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
      ADD_FAILURE() << "socketpair: " << std::strerror(errno);
      return;
    }
    Child child;
    child.socket = internal::UniqueFd(ends[0]);
    child.pid = fork();
    if (child.pid == 0) {
      child.socket.reset();
      for (Child& sibling : children_) sibling.socket.reset();
      run_child(rank, ranks, ends[1], function);
    }
    close(ends[1]);
    children_.push_back(std::move(child));
  }
}

void Processes::run_child(int rank, int ranks, int socket, const RankFunction& function) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // never outlive the test
  Rank context;
  context.id = id_;
  context.rank = rank;
  context.ranks = ranks;
  context.socket_ = socket;
  const std::string text = function(context);
  send_or_die(socket, kFinished + std::to_string(monotonic_ns()) + " " + text);
  std::fflush(nullptr);
  if (__gcov_dump) __gcov_dump();
  _exit(::testing::Test::HasFailure() ? 1 : 0);
}

Processes::~Processes() {
  for (Child& child : children_)
    if (child.pid > 0) {
      ::kill(child.pid, SIGKILL);
      reap(child);
    }
}

std::int64_t Processes::kill(int rank, int signal) {
  const std::int64_t now = monotonic_ns();
  EXPECT_EQ(::kill(at(rank).pid, signal), 0) << "rank " << rank;
  return now;
}

bool Processes::await(int rank, const std::string& text, double timeout_s) {
  Child& child = at(rank);
  const std::int64_t deadline = after(timeout_s);
  while (std::find(child.told.begin(), child.told.end(), text) == child.told.end())
    if (!receive(child, deadline)) {
      ADD_FAILURE() << "rank " << rank << " did not say \"" << text << "\"; outcome so far: \""
                    << child.outcome.text << "\"";
      return false;
    }
  return true;
}

void Processes::go(int rank) {
  EXPECT_EQ(send(at(rank).socket.get(), &kGo, 1, MSG_NOSIGNAL), 1) << "rank " << rank;
}

bool Processes::receive(Child& child, std::int64_t deadline_ns) {
  if (child.closed) return false;
  pollfd entry{child.socket.get(), POLLIN, 0};
  const std::int64_t left_ms = (deadline_ns - monotonic_ns()) / 1'000'000;
  if (poll(&entry, 1, static_cast<int>(std::max<std::int64_t>(left_ms, 0))) <= 0) return false;
  std::string message(kLongest, '\0');
  const ssize_t got = recv(child.socket.get(), message.data(), message.size(), MSG_DONTWAIT);
  if (got <= 0) {
    child.closed = true;
    return false;
  }
  message.resize(static_cast<std::size_t>(got));
  if (message[0] == kFinished) {
    const std::size_t space = message.find(' ');
    child.outcome.finished = true;
    child.outcome.finished_ns = std::stoll(message.substr(1, space - 1));
    child.outcome.text = message.substr(space + 1);
  } else {
    child.told.push_back(message.substr(1));
  }
  return true;
}

Outcome Processes::finish(int rank, double timeout_s) {
  Child& child = at(rank);
  const std::int64_t deadline = after(timeout_s);
  while (receive(child, deadline)) {
  }
  if (child.pid > 0) {
    if (!child.closed) {
      ADD_FAILURE() << "rank " << rank << " was still running after " << timeout_s << " s";
      ::kill(child.pid, SIGKILL);
    }
    reap(child);
  }
  return child.outcome;
}

void Processes::reap(Child& child) {
  int status = 0;
  while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
  }
  child.pid = -1;
  if (WIFEXITED(status)) child.outcome.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) child.outcome.signal = WTERMSIG(status);
}

std::vector<Outcome> Processes::finish_all(double timeout_s) {
  const std::int64_t deadline = after(timeout_s);
  std::vector<Outcome> outcomes;
  for (std::size_t rank = 0; rank < children_.size(); ++rank)
    outcomes.push_back(
        finish(static_cast<int>(rank), static_cast<double>(deadline - monotonic_ns()) * 1e-9));
  return outcomes;
}

std::vector<Outcome> run_ranks(int ranks, const RankFunction& function, double timeout_s) {
  Processes processes(ranks, function);
  std::vector<Outcome> outcomes = processes.finish_all(timeout_s);
  EXPECT_EQ(static_cast<int>(outcomes.size()), ranks);
  for (std::size_t rank = 0; rank < outcomes.size(); ++rank)
    EXPECT_TRUE(outcomes[rank].clean())
        << "rank " << rank << ": exit code " << outcomes[rank].exit_code << ", signal "
        << outcomes[rank].signal << ", text \"" << outcomes[rank].text << "\"";
  return outcomes;
}

std::string expect_same_end(Processes& processes, int ranks, int victim, std::int64_t since_ns,
                            std::int64_t limit_ns) {
  std::string text;
  for (int rank = 0; rank < ranks; ++rank) {
    if (rank == victim) continue;
    const Outcome outcome = processes.finish(rank);
    EXPECT_TRUE(outcome.clean()) << outcome.text;
    EXPECT_LT(outcome.finished_ns - since_ns, limit_ns) << "rank " << rank;
    if (text.empty()) text = outcome.text;
    EXPECT_EQ(outcome.text, text) << "rank " << rank;
  }
  return text;
}

}  // namespace weft::testing
