// SPDX-License-Identifier: Apache-2.0
#include "terminal/progress.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

namespace weft::tools {
namespace {

/// stderr is a terminal as long as this is there.
class Terminal {
 public:
  Terminal() : master_(::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK)), stderr_(::dup(2)) {
    if (::grantpt(master_) != 0 || ::unlockpt(master_) != 0) return;
    const int slave = ::open(::ptsname(master_), O_RDWR | O_NOCTTY);
    if (slave < 0) return;
    ::dup2(slave, STDERR_FILENO);
    ::close(slave);
    is_there_ = true;
  }
  ~Terminal() {
    ::dup2(stderr_, STDERR_FILENO);
    ::close(stderr_);
    ::close(master_);
  }
  bool is_there() const { return is_there_; }
  /// What was written since the last time.
  std::string text() const {
    std::string all(4096, '\0');
    const ssize_t bytes = ::read(master_, all.data(), all.size());
    all.resize(bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
    return all;
  }

 private:
  int master_, stderr_;
  bool is_there_ = false;
};

TEST(Progress, IsALineOfATerminalThatOverwritesItself) {
  const Terminal terminal;
  if (!terminal.is_there()) GTEST_SKIP() << "the system has no pseudo-terminals";
  {
    Progress progress(2);
    ASSERT_TRUE(progress.shown());
    progress.step(0, 3, "call 3");
    progress.step(1, 2, "call 2");
    progress.draw();
    EXPECT_EQ(terminal.text(), "");  // not in the first second
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    progress.part_done("a part");
    progress.draw();
    EXPECT_EQ(terminal.text(), "\r\x1b[Kweft: call 2, 1 s (rank 1)");  // the one waited for
    progress.draw();
    EXPECT_EQ(terminal.text(), "");  // not twice in a tenth of a second
  }
  EXPECT_EQ(terminal.text(), "\r\x1b[K");
}

TEST(Progress, IsALineForEachPartElsewhere) {
  ::testing::internal::CaptureStderr();
  {
    Progress progress(1);
    EXPECT_FALSE(progress.shown());
    progress.step(0, 1, "call 1");
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    progress.draw();
    progress.part_done("the first part");
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "the first part\n");
}

}  // namespace
}  // namespace weft::tools
