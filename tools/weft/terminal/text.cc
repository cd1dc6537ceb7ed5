// SPDX-License-Identifier: Apache-2.0
#include "terminal/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>

namespace weft::tools {
namespace {

/// Three significant digits.
std::string three(double value) {
  const int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}", value, decimals);
}

bool is_number(const std::string& cell) {
  return !cell.empty() && std::isdigit(static_cast<unsigned char>(cell[0]));
}

}  // namespace

std::string seconds_text(double seconds) {
  if (seconds >= 1) return three(seconds) + " s";
  if (seconds >= 1e-3) return three(seconds * 1e3) + " ms";
  return three(seconds * 1e6) + " us";
}

std::string bytes_text(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  for (; bytes >= 1024 && unit < 4; ++unit) bytes /= 1024;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : three(bytes) + " " + kUnits[unit];
}

std::string cpus_text(std::vector<int> cpus) {
  std::ranges::sort(cpus);
  std::string text;
  for (std::size_t first = 0, last = 0; first < cpus.size(); first = last + 1) {
    for (last = first; last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1;) ++last;
    text += fmt::format("{}{}", first > 0 ? "," : "", cpus[first]);
    if (last > first) text += fmt::format("-{}", cpus[last]);
  }
  return text.empty() ? "none" : text;
}

std::string flops_text(double per_second) {
  return per_second >= 1e12 ? three(per_second * 1e-12) + " TFLOP/s"
                            : three(per_second * 1e-9) + " GFLOP/s";
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += is_number(row[i]) ? fmt::format("{:>{}}  ", row[i], widths[i])
                                : fmt::format("{:<{}}  ", row[i], widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace weft::tools
