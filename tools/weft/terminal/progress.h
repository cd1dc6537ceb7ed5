// SPDX-License-Identifier: Apache-2.0
// One line on stderr that says what a long job is doing. Shown only on a terminal, only after a
// second, and removed at the end; elsewhere there is a line for each part that is done.
// bench/peers/progress.py is the same for Python.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace weft::tools {

class Progress {
 public:
  explicit Progress(int ranks);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  bool shown() const { return terminal_; }
  /// A rank entered a step, its how-many-eth. Callable from any thread.
  void step(int rank, int count, std::string_view text);
  /// Draws the line again, if that was not just done.
  void draw();
  /// A part of the job is done: a line that stays, where the line that overwrites itself is not
  /// shown.
  void part_done(std::string_view text) const;
  void clear();

 private:
  struct RankStep {
    int count = 0;
    std::string text;
  };
  bool terminal_;
  bool drawn_ = false;
  std::int64_t start_ns_, drawn_ns_ = 0;
  std::mutex mutex_;
  std::vector<RankStep> steps_;
};

}  // namespace weft::tools
