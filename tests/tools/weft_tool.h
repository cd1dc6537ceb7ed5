// SPDX-License-Identifier: Apache-2.0
// Starts the built tool as its users do.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "temporary_folder.h"

namespace weft::testing {

struct Ran {
  int exit_code = -1;  ///< 128 + signal if a signal ended it
  std::string out, err;
};

/// A running `weft`. Killed when destroyed.
class WeftTool {
 public:
  explicit WeftTool(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), WEFT_TOOL);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const std::string out = folder_ / "out", err = folder_ / "err";
    pid_ = ::fork();
    if (pid_ == 0) {
      constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC;
      ::dup2(::open(out.c_str(), kFlags, 0600), STDOUT_FILENO);
      ::dup2(::open(err.c_str(), kFlags, 0600), STDERR_FILENO);
      ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  ~WeftTool() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  WeftTool(const WeftTool&) = delete;
  WeftTool& operator=(const WeftTool&) = delete;

  pid_t pid() const { return pid_; }

  Ran wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            read_file(folder_ / "out"), read_file(folder_ / "err")};
  }

  /// The ranks, once there are so many; fails the test after a while.
  std::vector<pid_t> await_children(std::size_t count) const {
    const std::string path =
        "/proc/" + std::to_string(pid_) + "/task/" + std::to_string(pid_) + "/children";
    std::vector<pid_t> children;
    for (int i = 0; i < 1000; ++i) {
      children.clear();
      std::ifstream file(path);
      for (pid_t child; file >> child;) children.push_back(child);
      if (children.size() == count) return children;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ADD_FAILURE() << "weft has " << children.size() << " children, not " << count;
    return children;
  }

 private:
  TemporaryFolder folder_;
  pid_t pid_ = -1;
};

inline Ran weft(std::vector<std::string> arguments) {
  return WeftTool(std::move(arguments)).wait();
}

}  // namespace weft::testing
