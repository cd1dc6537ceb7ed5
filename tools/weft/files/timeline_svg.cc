// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "files/svg.h"
#include "files/timeline.h"
#include "files/waits.h"

namespace weft::tools {
namespace {

struct Style {
  TraceKind kind;
  std::string_view colour, meaning;
};
// Work in strong colours, waiting in a pale one, so that gaps are what the eye does not see first.
// The four strong ones stay apart for the common kinds of colour blindness.
constexpr Style kStyles[] = {
    {TraceKind::kPackA, "#9ecae9", "pack"},
    {TraceKind::kGemm, "#2f6db3", "gemm"},
    {TraceKind::kPublish, "#d62728", "publish"},
    {TraceKind::kWait, "#e3dccb", "wait"},
    {TraceKind::kReduceNorm, "#2a9d6f", "reduce + norm"},
    {TraceKind::kCopy, "#f0a202", "others' rows: norm + copy"},
};
constexpr int kKinds = static_cast<int>(std::size(kStyles));

constexpr double kWidth = Svg::kWidth, kLeft = 76, kRight = 104, kTop = 104, kBottom = 48;
constexpr double kTableHead = 34;
constexpr int kMostRanksOfTable = 128, kMostRanksOfNumbers = 16;
constexpr double kPlot = kWidth - kLeft - kRight;
// Finer than a screen shows; keeps files small however many events there are.
constexpr double kPixel = 0.5;

/// 1, 2 or 5 times a power of ten that makes at most ten ticks.
double tick_step(double total) {
  double step = std::pow(10, std::floor(std::log10(total / 10)));
  for (double factor : {2.0, 2.5, 2.0}) {
    if (total / step <= 10) break;
    step *= factor;
  }
  return step;
}

class TimelineSvg : private Svg {
 public:
  explicit TimelineSvg(const Timeline& timeline)
      : timeline_(timeline),
        begin_ns_(timeline.begin_ns()),
        total_ms_(std::max(1e-6 * static_cast<double>(timeline.end_ns() - begin_ns_), 1e-6)),
        lane_(timeline.lanes.size() > 16 ? 12 : 24),
        pitch_(timeline.lanes.size() > 16 ? 15 : 32),
        bottom_(kTop + pitch_ * static_cast<double>(timeline.lanes.size())),
        waits_(timeline),
        with_waits_(waits_.most_ms() > 0 && waits_.ranks() <= kMostRanksOfTable) {}

  std::string draw() {
    begin(timeline_.title, timeline_.subtitle, height());
    axis();
    for (std::size_t i = 0; i < timeline_.lanes.size(); ++i) lane(i);
    legend();
    if (with_waits_) waits();
    return end();
  }

 private:
  double ms(std::int64_t ns) const { return 1e-6 * static_cast<double>(ns - begin_ns_); }
  double x(double ms) const { return kLeft + kPlot * ms / total_ms_; }

  double height() const {
    return bottom_ + kBottom +
           (with_waits_ ? kTableHead + cell_height() * (waits_.ranks() + 1) : 0);
  }

  void axis() {
    const double step = tick_step(total_ms_);
    const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
    for (int i = 0; i * step <= total_ms_ * (1 + 1e-9); ++i) {
      const double at = x(i * step);
      print("<line x1=\"{0:.2f}\" x2=\"{0:.2f}\" y1=\"{1}\" y2=\"{2}\" stroke=\"#ccc\"/>\n", at,
            kTop - 6, bottom_ + 4);
      print("<text x=\"{:.2f}\" y=\"{}\" text-anchor=\"middle\">{:.{}f}</text>\n", at, bottom_ + 20,
            i * step, decimals);
    }
    print("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">time, ms</text>\n",
          kLeft + kPlot / 2, bottom_ + 38);
  }

  void rect(double from, double to, double y, int kind) {
    print("<rect x=\"{:.2f}\" y=\"{}\" width=\"{:.2f}\" height=\"{}\" fill=\"{}\"/>", from, y,
          std::max(to - from, 0.2), lane_, kStyles[kind].colour);
  }

  void lane(std::size_t index) {
    const Timeline::Lane& lane = timeline_.lanes[index];
    const double y = kTop + pitch_ * static_cast<double>(index);
    const double middle = y + 0.5 * lane_ + 4.5;
    print("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">rank {}</text>\n", kLeft - 10, middle,
          lane.rank);
    print("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"#f7f7f7\"/>\n", kLeft, y,
          kPlot, lane_);
    small_events(lane, y);
    large_events(lane, y);
    double waited = 0;
    for (const TraceEvent& event : lane.events) {
      const double length = ms(event.end_ns) - ms(event.begin_ns);
      sum_ms_[static_cast<std::size_t>(event.kind)] += length;
      if (event.kind == TraceKind::kWait) waited += length;
    }
    print("<text x=\"{}\" y=\"{}\" fill=\"#666\">{:.0f} % wait</text>\n", kLeft + kPlot + 10,
          middle, 100 * waited / total_ms_);
  }

  /// Events below two pixels share columns of half a pixel; the kind with most time in it wins.
  void small_events(const Timeline::Lane& lane, double y) {
    constexpr int kColumns = static_cast<int>(kPlot / kPixel);
    std::vector<std::array<float, kKinds>> columns(kColumns);
    for (const TraceEvent& event : lane.events) {
      const double from = x(ms(event.begin_ns)) - kLeft, to = x(ms(event.end_ns)) - kLeft;
      if (to - from >= 2) continue;
      const int first = std::clamp(static_cast<int>(from / kPixel), 0, kColumns - 1);
      const int last = std::clamp(static_cast<int>(to / kPixel), 0, kColumns - 1);
      for (int c = first; c <= last; ++c) {
        const double share = std::min(to, (c + 1) * kPixel) - std::max(from, c * kPixel);
        columns[static_cast<std::size_t>(c)][static_cast<std::size_t>(event.kind)] +=
            static_cast<float>(share);
      }
    }
    const auto winner = [&](int c) {
      const auto& column = columns[static_cast<std::size_t>(c)];
      const auto most = std::max_element(column.begin(), column.end());
      return *most > 0.1f * static_cast<float>(kPixel) ? static_cast<int>(most - column.begin())
                                                       : -1;
    };
    for (int c = 0; c < kColumns;) {
      const int kind = winner(c), first = c;
      while (c < kColumns && winner(c) == kind) ++c;
      if (kind < 0) continue;
      rect(kLeft + first * kPixel, kLeft + c * kPixel, y, kind);
      print("\n");
    }
  }

  void large_events(const Timeline::Lane& lane, double y) {
    for (const TraceEvent& event : lane.events) {
      const double from = x(ms(event.begin_ns)), to = x(ms(event.end_ns));
      if (to - from < 2) continue;
      std::string note =
          fmt::format("rank {}: {} {:.3f} ms", lane.rank, weft::to_string(event.kind),
                      ms(event.end_ns) - ms(event.begin_ns));
      if (event.tile >= 0) note += fmt::format(", tile {}", event.tile);
      if (event.peer >= 0) note += fmt::format(", rank {}'s", event.peer);
      print("<g><title>{}</title>", escape(note));
      // A hairline between neighbours shows where one tile ends and the next begins.
      rect(from, to - (to - from >= 4 ? 0.6 : 0), y, static_cast<int>(event.kind));
      print("</g>\n");
    }
  }

  void legend() {
    double at = 16;
    const double all_ms =
        total_ms_ * static_cast<double>(std::max<std::size_t>(timeline_.lanes.size(), 1));
    for (const Style& style : kStyles) {
      const double sum = sum_ms_[static_cast<std::size_t>(style.kind)];
      if (sum <= 0) continue;
      const double percent = 100 * sum / all_ms;
      const std::string label =
          fmt::format("{} {:.{}f} %", style.meaning, percent, percent < 9.95 ? 1 : 0);
      print("<rect x=\"{}\" y=\"68\" width=\"14\" height=\"14\" fill=\"{}\"/>", at, style.colour);
      print("<text x=\"{}\" y=\"80\">{}</text>\n", at + 20, escape(label));
      at += 42 + 7.6 * static_cast<double>(label.size());
    }
  }

  bool numbers() const { return waits_.ranks() <= kMostRanksOfNumbers; }
  double cell_width() const { return numbers() ? 56 : 8; }
  double cell_height() const { return numbers() ? 18 : 8; }
  double cell_x(int peer) const { return kLeft + 20 + cell_width() * peer; }
  double cell_y(int rank) const { return bottom_ + kBottom + kTableHead + cell_height() * rank; }

  /// A row for each rank, a cell for each that it waited for, the last for no one in particular.
  void waits() {
    const int ranks = waits_.ranks();
    print(
        "<text x=\"16\" y=\"{}\">wait in ms, of each rank (rows) for each rank (columns); the "
        "last column: for no one rank</text>\n",
        cell_y(0) - 22);
    const int step = numbers() ? 1 : 8;  // labels that do not overlap
    for (int rank = 0; rank < ranks; rank += step) {
      print("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">rank {}</text>\n", cell_x(0) - 8,
            cell_y(rank) + 13, rank);
      print("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{}</text>\n",
            cell_x(rank) + cell_width() / 2, cell_y(0) - 5, rank);
    }
    for (int rank = 0; rank < ranks; ++rank) {
      for (int peer = 0; peer < ranks; ++peer) wait_cell(rank, peer, peer);
      wait_cell(rank, -1, ranks);
    }
  }

  void wait_cell(int rank, int peer, int column) {
    const double ms = waits_.ms(rank, peer);
    if (ms <= 0) return;
    const std::string whom = peer < 0 ? std::string("no one rank") : fmt::format("rank {}", peer);
    print("<g><title>rank {} waited {:.3f} ms for {}</title>", rank, ms, whom);
    print(
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"#d62728\" "
        "fill-opacity=\"{:.2f}\"/>",
        cell_x(column), cell_y(rank), cell_width() - 1, cell_height() - 1,
        0.05 + 0.55 * ms / waits_.most_ms());
    if (numbers())
      print("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{:.2f}</text>",
            cell_x(column) + cell_width() / 2, cell_y(rank) + 13, ms);
    print("</g>\n");
  }

  const Timeline& timeline_;
  std::int64_t begin_ns_;
  double total_ms_;
  double lane_, pitch_, bottom_;
  Waits waits_;
  bool with_waits_;
  std::array<double, kKinds> sum_ms_{};
};

}  // namespace

std::string timeline_svg(const Timeline& timeline) { return TimelineSvg(timeline).draw(); }

}  // namespace weft::tools
