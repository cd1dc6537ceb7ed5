// SPDX-License-Identifier: Apache-2.0
#include "jobs/interrupt.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace weft::tools {
namespace {

constexpr int kInterrupts[] = {SIGINT, SIGTERM, SIGHUP};

void end_now(int) {
  constexpr char kText[] = "weft: interrupted\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kText, sizeof kText - 1);
  ::_exit(kInterruptedExit);
}

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : kInterrupts) sigaddset(&set, signal);
  sigaddset(&set, SIGCHLD);
  return set;
}

}  // namespace

void exit_on_interrupt() {
  for (int signal : kInterrupts) {
    struct sigaction current {};
    // nohup and shells that start background jobs ask for signals to be ignored: keep that.
    if (::sigaction(signal, nullptr, &current) == 0 && current.sa_handler == SIG_IGN) continue;
    struct sigaction action {};
    action.sa_handler = end_now;
    ::sigaction(signal, &action, nullptr);
  }
}

SignalWatch::SignalWatch() {
  const sigset_t set = watched_signals();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  fd_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

SignalWatch::~SignalWatch() {
  ::close(fd_);
  const sigset_t set = watched_signals();
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

bool SignalWatch::interrupted() {
  bool interrupted = false;
  signalfd_siginfo info{};
  while (::read(fd_, &info, sizeof info) == static_cast<ssize_t>(sizeof info))
    interrupted = interrupted || static_cast<int>(info.ssi_signo) != SIGCHLD;
  return interrupted;
}

void SignalWatch::undo_in_child(bool ignore_interrupt) const {
  for (int signal : kInterrupts) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) continue;
    action.sa_handler = ignore_interrupt && signal == SIGINT ? SIG_IGN : SIG_DFL;
    ::sigaction(signal, &action, nullptr);
  }
  const sigset_t set = watched_signals();
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace weft::tools
