// SPDX-License-Identifier: Apache-2.0
#include "terminal/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace weft::tools {
namespace {

std::int64_t now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

}  // namespace

Progress::Progress(int ranks)
    : terminal_(::isatty(STDERR_FILENO) != 0),
      start_ns_(now_ns()),
      steps_(static_cast<std::size_t>(ranks)) {}

Progress::~Progress() { clear(); }

void Progress::step(int rank, int count, std::string_view text) {
  const std::lock_guard lock(mutex_);
  RankStep& step = steps_[static_cast<std::size_t>(rank)];
  step.count = count;
  step.text = text;
}

void Progress::draw() {
  constexpr std::int64_t kBetween = 100'000'000;
  const std::int64_t now = now_ns();
  const double seconds = 1e-9 * static_cast<double>(now - start_ns_);
  if (!terminal_ || seconds < 1 || now - drawn_ns_ < kBetween) return;
  drawn_ns_ = now;
  const std::lock_guard lock(mutex_);
  // All ranks go through the same steps, so the one with the fewest is the one waited for.
  const auto slowest =
      std::min_element(steps_.begin(), steps_.end(),
                       [](const RankStep& a, const RankStep& b) { return a.count < b.count; });
  const std::string_view text = slowest->count == 0 ? "starting" : std::string_view(slowest->text);
  const std::string rank =
      steps_.size() > 1 ? fmt::format(" (rank {})", slowest - steps_.begin()) : "";
  fmt::print(stderr, "\r\x1b[Kweft: {}, {:.0f} s{}", text, seconds, rank);  // one write
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::part_done(std::string_view text) const {
  if (!terminal_) fmt::print(stderr, "{}\n", text);
}

void Progress::clear() {
  if (!drawn_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace weft::tools
