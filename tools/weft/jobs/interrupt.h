// SPDX-License-Identifier: Apache-2.0
// Ctrl-C and SIGTERM: exit code 130, and no child left behind.
#pragma once

namespace weft::tools {

inline constexpr int kInterruptedExit = 130;

/// Ends this process with 130 on SIGINT, SIGTERM and SIGHUP. Called once, by main.
void exit_on_interrupt();

/// While one lives, the three signals and SIGCHLD are not delivered but readable from fd(), so that
/// children can be ended first. Restores everything when destroyed.
class SignalWatch {
 public:
  SignalWatch();
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  int fd() const { return fd_; }
  /// Reads what has arrived. True if it was one of the three signals.
  bool interrupted();
  /// In a child, after fork(): signals as they were before, SIGINT ignored if asked, because a
  /// terminal sends it to parent and children alike and ending the children is the parent's job.
  void undo_in_child(bool ignore_interrupt) const;

 private:
  int fd_ = -1;
};

}  // namespace weft::tools
