// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numbers>

#include "files/svg.h"
#include "roofline.h"

namespace weft::bench {
namespace {

using tools::escape;

// Neighbours in the list, which are alike, stay apart for the common kinds of colour blindness.
constexpr const char* kColours[] = {"#2f6db3", "#f0a202", "#d62728", "#2a9d6f", "#7b4fa3",
                                    "#8c564b", "#17a2c4", "#d65fa8", "#333333", "#7fae2e",
                                    "#9ecae9", "#c49c5a", "#888888"};

constexpr double kLeft = 76, kRight = 176, kTop = 78, kHeight = 520;
constexpr double kPlot = tools::Svg::kWidth - kLeft - kRight, kBottom = kTop + kHeight;
constexpr double kAxisText = 46, kLegendRow = 22, kLegendColumn = 184;
constexpr double kRoofText = 16;  // between two of them
constexpr double kMark = 9.5;     // the width of a point
constexpr double kBarRow = 19, kBarText = 344, kBar = 190, kBarColumn = 590;

struct Scale {
  double least, most;  // of the values
  double begin, end;   // of the pixels
  double operator()(double value) const {
    return begin + (end - begin) * std::log(value / least) / std::log(most / least);
  }
};

struct Place {
  double x, y;
};

template <typename Points>
Scale scale_of(const Points& values, double begin, double end) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return {*least / 1.5, *most * 1.5, begin, end};
}

class RooflineSvg : private tools::Svg {
 public:
  explicit RooflineSvg(const Roofline& all) : all_(all) {
    for (const Roofline::Point& point : all.points) {
      add_new(sections_, point.section);
      add_new(dtypes_, point.dtype);
    }
    std::ranges::sort(dtypes_);
    std::vector<double> x, y;
    for (const Roofline::Point& point : all.points) {
      x.push_back(point.intensity);
      y.push_back(point.ops_per_second);
    }
    if (x.empty()) return;
    for (const Roofline::Roof& roof : all.roofs) {
      x.push_back(roof.ops_per_second / all.read_bytes_per_second);
      y.push_back(roof.ops_per_second);
    }
    x_ = scale_of(x, kLeft, kLeft + kPlot);
    y_ = scale_of(y, kBottom, kTop);
  }

  std::string draw() {
    const double bars = kTop + (all_.points.empty() ? 0 : kHeight + kAxisText + legend_height());
    begin(all_.title, all_.subtitle, bars + bars_height());
    if (!all_.points.empty()) {
      grid();
      roofs();
      for (const Roofline::Point& point : all_.points) mark(point);
      legend(kBottom + kAxisText + 24);
    }
    if (!all_.copies.empty()) copies(bars);
    return end();
  }

 private:
  static void add_new(std::vector<std::string>& all, const std::string& text) {
    if (std::ranges::find(all, text) == all.end()) all.push_back(text);
  }

  // ---- axes
  void grid() {
    for (double decade = 1e-3; decade < 1e16; decade *= 10)
      for (const int digit : {1, 2, 5}) {
        tick_x(digit * decade, digit == 1);
        tick_y(digit * decade, digit == 1);
      }
    print("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#999\"/>\n",
          kLeft, kTop, kPlot, kHeight);
    print(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">operations for each byte of "
        "memory traffic; a point that would hide another stands right of it</text>\n",
        kLeft + kPlot / 2, kBottom + 40);
    print(
        "<text transform=\"translate(20 {}) rotate(-90)\" text-anchor=\"middle\" "
        "fill=\"#666\">Gop/s of one core</text>\n",
        kTop + kHeight / 2);
  }

  void tick_x(double value, bool strong) {
    if (value < x_.least || value > x_.most) return;
    print("<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" stroke=\"{3}\"/>", x_(value),
          kTop, kBottom, strong ? "#ccc" : "#eee");
    print("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:g}</text>\n", x_(value),
          kBottom + 18, value);
  }
  void tick_y(double value, bool strong) {
    if (value < y_.least || value > y_.most) return;
    print("<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"{3}\"/>", kLeft,
          kLeft + kPlot, y_(value), strong ? "#ccc" : "#eee");
    print("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{:g}</text>\n", kLeft - 8,
          y_(value) + 4.5, value * 1e-9);
  }

  // ---- roofs
  void roofs() {
    const double read = all_.read_bytes_per_second;
    double above = 1e9;  // where the text of the lower roof stands
    for (const Roofline::Roof& roof : all_.roofs) {
      const double y = y_(roof.ops_per_second), text_y = std::min(y, above - kRoofText);
      above = text_y;
      print(
          "<path d=\"M{:.1f} {:.1f}H{}L{} {:.1f}\" fill=\"none\" stroke=\"#333\" "
          "stroke-width=\"1.3\"/>",
          x_(roof.ops_per_second / read), y, kLeft + kPlot, kLeft + kPlot + 8, text_y);
      print("<text x=\"{}\" y=\"{:.1f}\">{}: {:.0f}</text>\n", kLeft + kPlot + 12, text_y + 4.5,
            escape(roof.name), roof.ops_per_second * 1e-9);
    }
    slope(all_.roofs.back().ops_per_second, read);
  }

  /// From the edge of the picture up to the highest roof.
  void slope(double highest, double read) {
    const double least = std::max(x_.least, y_.least / read);
    const double x1 = x_(least), y1 = y_(least * read), x2 = x_(highest / read), y2 = y_(highest);
    print(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#333\" "
        "stroke-width=\"1.3\"/>",
        x1, y1, x2, y2);
    const double degrees = std::atan2(y2 - y1, x2 - x1) * 180 / std::numbers::pi;
    print(
        "<text transform=\"translate({:.1f} {:.1f}) rotate({:.2f})\" text-anchor=\"middle\" "
        "y=\"-7\">reading "
        "memory, one core alone: {:.1f} GB/s</text>\n",
        (x1 + x2) / 2, (y1 + y2) / 2, degrees, read * 1e-9);
  }

  // ---- points
  const char* colour(const std::string& section) const {
    const auto at = std::ranges::find(sections_, section) - sections_.begin();
    return kColours[static_cast<std::size_t>(at) % std::size(kColours)];
  }

  /// Right of the points that it would hide, where the roof is no lower; where there are too many,
  /// on top of them.
  Place free_place(double x, double y) const {
    const auto taken = [&](double at) {
      return std::ranges::any_of(places_, [&](const Place& other) {
        return std::abs(other.x - at) < kMark && std::abs(other.y - y) < kMark;
      });
    };
    for (int i = 0; i < 9; ++i) {
      if (!taken(x + i * kMark)) return {x + i * kMark, y};
    }
    return {x, y};
  }

  void mark(const Roofline::Point& point) {
    const double limit = point.intensity * all_.read_bytes_per_second;
    print(
        "<g><title>{}: {:.1f} Gop/s, {:.3g} operations a byte; memory allows {:.0f} Gop/s</title>",
        escape(point.title), point.ops_per_second * 1e-9, point.intensity, limit * 1e-9);
    const Place place = free_place(x_(point.intensity), y_(point.ops_per_second));
    places_.push_back(place);
    shape(place.x, place.y, point.dtype, colour(point.section));
    print("</g>\n");
  }

  /// The shape is the dtype of x, filled unless the weights have another.
  void shape(double x, double y, const std::string& dtype, const char* colour) {
    const bool other = dtype.find(' ') != std::string::npos;
    std::string path = "M-5 4L0 -5L5 4Z";  // int8, and what else there may be
    if (dtype.starts_with("float16")) path = "M-4.6 0a4.6 4.6 0 1 0 9.2 0a4.6 4.6 0 1 0 -9.2 0Z";
    if (dtype.starts_with("bfloat16")) path = "M-4.2 -4.2H4.2V4.2H-4.2Z";
    print(
        "<path transform=\"translate({:.1f} {:.1f})\" d=\"{}\" fill=\"{}\" stroke=\"{}\" "
        "stroke-width=\"{}\" fill-opacity=\"0.8\"/>",
        x, y, path, other ? "white" : colour, other ? colour : "white", other ? 1.8 : 0.6);
    if (dtype.ends_with(" int4"))
      print("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"1.6\" fill=\"{}\"/>", x, y, colour);
  }

  // ---- legend
  static int columns() { return static_cast<int>((tools::Svg::kWidth - kLeft) / kLegendColumn); }
  static int rows_of(std::size_t entries) {
    return (static_cast<int>(entries) + columns() - 1) / columns();
  }
  double legend_height() const {
    return kLegendRow * (rows_of(sections_.size()) + rows_of(dtypes_.size())) + 44;
  }

  void legend(double top) {
    const auto entry = [&](std::size_t i, double y, const std::string& text, const char* colour,
                           const std::string& dtype) {
      const int column = static_cast<int>(i) % columns(), row = static_cast<int>(i) / columns();
      const double x = kLeft + kLegendColumn * column, middle = y + kLegendRow * row;
      shape(x + 6, middle, dtype, colour);
      print("<text x=\"{}\" y=\"{}\">{}</text>\n", x + 18, middle + 4.5, escape(text));
    };
    for (std::size_t i = 0; i < sections_.size(); ++i)
      entry(i, top, sections_[i], colour(sections_[i]), "bfloat16");
    top += kLegendRow * rows_of(sections_.size()) + 8;
    for (std::size_t i = 0; i < dtypes_.size(); ++i) {
      const std::size_t space = dtypes_[i].find(' ');
      const std::string weights =
          space == std::string::npos ? "" : ", " + dtypes_[i].substr(space + 1) + " weights";
      entry(i, top, dtypes_[i].substr(0, space) + weights, "#555", dtypes_[i]);
    }
  }

  // ---- shares of copying
  std::size_t bar_rows() const { return (all_.copies.size() + 1) / 2; }
  double bars_height() const {
    return all_.copies.empty() ? 10 : 54 + kBarRow * static_cast<double>(bar_rows());
  }

  void copies(double top) {
    print(
        "<text x=\"16\" y=\"{}\" font-weight=\"bold\">Calls without a product: bytes that must "
        "move, in the speed of copying in memory (above 1: they stay in a cache)</text>\n",
        top + 6);
    double most = 1;
    for (const Roofline::CopyShare& copy : all_.copies) most = std::max(most, copy.share);
    for (std::size_t i = 0; i < all_.copies.size(); ++i)
      bar(all_.copies[i], 16 + kBarColumn * static_cast<double>(i / bar_rows()),
          top + 26 + kBarRow * static_cast<double>(i % bar_rows()), kBar / most);
  }

  void bar(const Roofline::CopyShare& copy, double x, double y, double pixels) {
    print("<text x=\"{}\" y=\"{}\" font-size=\"12\">{}</text>", x, y + 11, escape(copy.title));
    print("<rect x=\"{}\" y=\"{}\" width=\"{:.1f}\" height=\"12\" fill=\"#2f6db3\"/>", x + kBarText,
          y, pixels * copy.share);
    print("<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" stroke=\"#d62728\"/>",
          x + kBarText + pixels, y - 2, y + kBarRow - 4);
    print("<text x=\"{:.1f}\" y=\"{}\" font-size=\"12\">{:.2f}</text>\n",
          x + kBarText + std::max(pixels * copy.share, pixels) + 6, y + 11, copy.share);
  }

  const Roofline& all_;
  std::vector<std::string> sections_, dtypes_;
  Scale x_{}, y_{};
  std::vector<Place> places_;  // of the points so far
};

}  // namespace

std::string roofline_svg(const Roofline& all) { return RooflineSvg(all).draw(); }

}  // namespace weft::bench
