// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "jobs/machine.h"
#include "report_lines.h"

namespace weft::bench {
namespace {

constexpr int pairs_of(int ranks) { return ranks * (ranks - 1) / 2; }

class MoeLines {
 public:
  MoeLines(Lines& lines, const Name& name, const Times& times)
      : lines_(lines),
        name_(name),
        times_(times),
        seconds_(times.median()),
        ranks_(std::stoi(name.shape)),
        cores_(std::min(ranks_, lines.report().machine.cores)) {}

  void batch() {
    lines_.head(name_, times_, "{:8.2f} ms  {:6.1f} GB/s per rank", seconds_ * 1e3,
                times_.bytes / seconds_ * 1e-9);
    if (const auto copying = lines_.median(name_.with("copying"))) {
      // Ranks that do not run at the same time wait for each other's turns.
      const int apart_us = 20 * (pairs_of(ranks_) - pairs_of(cores_));
      const double bounds = (seconds_ - apart_us * 1e-6) / *copying;
      lines_.line("    copying as many bytes {:.2f} ms: {:.2f} x that + {} us  {}", *copying * 1e3,
                  bounds, apart_us, verdict(bounds, lines_.gate(name_.section + "/bytes")));
    }
    beside_peer();
  }

  void decode() {
    const double us = seconds_ * 1e6;
    lines_.head(name_, times_, "{:8.1f} us", us);
    if (const int sharing = pairs_sharing_a_core(); sharing == 0) {
      lines_.line("    a core for each rank: {:.1f} us  {}", us,
                  verdict(us, lines_.gate("moe decode/us")));
    } else {
      const Gate each = lines_.gate("moe decode/us per pair");
      lines_.line(
          "    {} pairs of ranks share a core, so {:.0f} us at most: {:.1f} us for each  {}",
          sharing, sharing * each.value, us / sharing, verdict(us / sharing, each));
    }
    beside_peer();
  }

 private:
  // As ranks are dealt to the cores.
  int pairs_sharing_a_core() const {
    const int each = ranks_ / cores_, with_another = ranks_ % cores_;
    return with_another * pairs_of(each + 1) + (cores_ - with_another) * pairs_of(each);
  }

  void beside_peer() {
    const PeerResult* const theirs = lines_.peer(name_);
    if (theirs == nullptr) return;
    lines_.compare(
        fmt::format("PyTorch + gloo{}{}", theirs->form.empty() ? "" : ", ", theirs->form), theirs,
        seconds_, lines_.gate(name_.section + "/peer"));
  }

  Lines& lines_;
  const Name& name_;
  const Times& times_;
  const double seconds_;
  const int ranks_, cores_;
};

}  // namespace

void moe_entry(Lines& lines, const Name& name, const Times& times) {
  if (name.what != "fused") return;
  MoeLines moe(lines, name, times);
  if (name.section == "moe decode") return moe.decode();
  moe.batch();
}

}  // namespace weft::bench
