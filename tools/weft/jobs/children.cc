// SPDX-License-Identifier: Apache-2.0
#include "jobs/children.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "weft/trace.h"

namespace weft::tools {
namespace {

using Clock = std::chrono::steady_clock;
// A rank learns of a peer's death within a second; the rest is for machines with much to do.
constexpr auto kTimeToNotice = std::chrono::seconds(5);
// What a program gets between SIGTERM and SIGKILL.
constexpr auto kTimeToEnd = std::chrono::seconds(2);
constexpr int kDrawEveryMs = 200;

}  // namespace

void Report::progress(std::string_view text) {
  constexpr int kFirstSteps = 8;
  constexpr std::int64_t kBetween = 100'000'000;
  ++steps_;
  const std::int64_t now = trace_now_ns();
  if (!with_progress_ || (steps_ > kFirstSteps && now - told_ns_ < kBetween)) return;
  told_ns_ = now;
  send(Json::object({{"progress", text}, {"steps", steps_}}).cbor());
}

void Report::result(const Status& status, const Bytes& value) const {
  send(Json::object({{"code", static_cast<int>(status.code())},
                     {"message", status.message()},
                     {"value", Json::binary(value)}})
           .cbor());
}

void Report::send(const Bytes& message) const {
  const std::uint64_t size = message.size();
  std::string bytes(sizeof size, '\0');
  std::memcpy(bytes.data(), &size, sizeof size);
  bytes.append(message.begin(), message.end());
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(fd_, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;  // the parent is gone, and this process is about to be as well
    done += static_cast<std::size_t>(n);
  }
}

Children::Children(int ranks, Options options)
    : options_(options),
      progress_(ranks),
      children_(static_cast<std::size_t>(ranks)),
      ends_(static_cast<std::size_t>(ranks)),
      values_(static_cast<std::size_t>(ranks)) {}

Children::~Children() {
  kill_all(SIGKILL);
  while (running() > 0) poll_once(-1);
  for (Child& child : children_)
    if (child.fd >= 0) ::close(child.fd);
}

Status Children::start(const std::function<int(int, Report&)>& body) {
  // What sits in stdio's buffers now would be written once more by every child.
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  for (std::size_t rank = 0; rank < children_.size(); ++rank) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
      return Status(StatusCode::kInternal, fmt::format("pipe: {}", std::strerror(errno)));
    const pid_t pid = ::fork();
    if (pid < 0) {
      const int error = errno;
      ::close(ends[0]), ::close(ends[1]);
      return Status(StatusCode::kOutOfMemory,
                    fmt::format("cannot start rank {} of {}: {}.\nUse fewer ranks, or raise the "
                                "limit on processes (ulimit -u).",
                                rank, children_.size(), std::strerror(error)));
    }
    if (pid == 0) {
      ::close(ends[0]);
      run_child(static_cast<int>(rank), ends[1], parent, body);
    }
    ::close(ends[1]);
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    children_[rank].pid = pid;
    children_[rank].fd = ends[0];
    // Also done by the child; here as well, so that it holds before anybody signals the group.
    if (options_.programs) ::setpgid(pid, pid);
  }
  return {};
}

void Children::run_child(int rank, int fd, pid_t parent,
                         const std::function<int(int, Report&)>& body) {
  // The kernel ends this process when its parent dies, however that happens. If it died before
  // this call there will be no signal, but another parent.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  if (options_.programs) ::setpgid(0, 0);
  for (const Child& other : children_)
    if (other.fd >= 0) ::close(other.fd);
  signals_.undo_in_child(!options_.programs);
  Report report(fd, progress_.shown());
  const int code = body(rank, report);
  std::fflush(nullptr);
  ::_exit(code);  // the parent's static objects are not this process's to destroy
}

void Children::read_pipe(int rank) {
  Child& child = children_[static_cast<std::size_t>(rank)];
  std::vector<char> piece(1 << 16);
  while (child.fd >= 0) {
    const ssize_t n = ::read(child.fd, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    if (n == 0) {
      ::close(child.fd);
      child.fd = -1;
    }
    child.received.insert(child.received.end(), piece.begin(), piece.begin() + n);
  }
  take_messages(rank);
}

void Children::take_messages(int rank) {
  const auto index = static_cast<std::size_t>(rank);
  Bytes& bytes = children_[index].received;
  std::uint64_t size = 0;
  while (bytes.size() >= sizeof size) {
    std::memcpy(&size, bytes.data(), sizeof size);
    if (bytes.size() - sizeof size < size) return;
    const JsonValue message = JsonValue::parse_cbor({bytes.data() + sizeof size, size});
    bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(sizeof size + size));
    if (message.has("progress")) {
      progress_.step(rank, message["steps"], message["progress"].string());
    } else {
      ends_[index].returned = true;
      ends_[index].status =
          Status(static_cast<StatusCode>(message["code"].integer()), message["message"].string());
      values_[index] = message["value"].binary();
    }
  }
}

void Children::reap() {
  for (std::size_t rank = 0; rank < children_.size(); ++rank) {
    Child& child = children_[rank];
    if (child.pid < 0) continue;
    int status = 0;
    if (::waitpid(child.pid, &status, WNOHANG) != child.pid) continue;
    child.pid = -1;
    read_pipe(static_cast<int>(rank));  // everything it wrote is in the pipe by now
    ends_[rank].wait_status = status;
    if (options_.programs && status == 0) ends_[rank].returned = true;
  }
}

void Children::kill_all(int signal) {
  for (const Child& child : children_)
    if (child.pid > 0) ::kill(options_.programs ? -child.pid : child.pid, signal);
}

int Children::running() const {
  int count = 0;
  for (const Child& child : children_) count += child.pid > 0;
  return count;
}

bool Children::failed() const {
  for (std::size_t rank = 0; rank < children_.size(); ++rank) {
    const RankEnd& end = ends_[rank];
    const bool started = children_[rank].pid > 0;
    if (end.returned ? !end.status.ok() : !started) return true;
  }
  return false;
}

void Children::poll_once(int timeout_ms) {
  std::vector<pollfd> fds{{signals_.fd(), POLLIN, 0}};
  std::vector<int> ranks{-1};
  for (std::size_t rank = 0; rank < children_.size(); ++rank) {
    if (children_[rank].fd < 0) continue;
    fds.push_back({children_[rank].fd, POLLIN, 0});
    ranks.push_back(static_cast<int>(rank));
  }
  ::poll(fds.data(), fds.size(), timeout_ms);
  for (std::size_t i = 1; i < fds.size(); ++i)
    if (fds[i].revents != 0) read_pipe(ranks[i]);
  if (signals_.interrupted()) {
    kill_all(options_.programs ? SIGTERM : SIGKILL);
    const auto end = Clock::now() + kTimeToEnd;
    for (reap(); running() > 0 && Clock::now() < end; reap()) ::usleep(5000);
    kill_all(SIGKILL);
    for (const Child& child : children_)
      if (child.pid > 0) ::waitpid(child.pid, nullptr, 0);
    progress_.clear();
    fmt::print(stderr, "weft: interrupted, all ranks were ended\n");
    std::fflush(stderr);
    ::_exit(kInterruptedExit);
  }
  reap();
}

void Children::wait() {
  // Two deadlines after the first failure: be told to end, be killed.
  Clock::time_point kill_at = Clock::time_point::max();
  bool told = false;
  while (running() > 0) {
    int timeout_ms = progress_.shown() ? kDrawEveryMs : -1;
    if (kill_at != Clock::time_point::max()) timeout_ms = kDrawEveryMs;
    poll_once(timeout_ms);
    progress_.draw();
    if (kill_at == Clock::time_point::max() && failed()) kill_at = Clock::now() + kTimeToNotice;
    if (Clock::now() < kill_at) continue;
    for (std::size_t rank = 0; rank < children_.size(); ++rank)
      if (children_[rank].pid > 0 && !ends_[rank].returned) ends_[rank].stopped_late = true;
    kill_all(told || !options_.programs ? SIGKILL : SIGTERM);
    told = true;
    kill_at = Clock::now() + kTimeToEnd;
  }
  progress_.clear();
}

}  // namespace weft::tools
