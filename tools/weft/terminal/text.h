// SPDX-License-Identifier: Apache-2.0
// Numbers and tables for people.
#pragma once

#include <string>
#include <vector>

namespace weft::tools {

std::string seconds_text(double seconds);      ///< "1.23 ms", "45.6 us", "2.50 s"
std::string bytes_text(double bytes);          ///< "16.0 MiB"
std::string flops_text(double per_second);     ///< "252 GFLOP/s"
std::string cpus_text(std::vector<int> cpus);  ///< "0-15,32-47", in any order; "none"

/// Columns as wide as their widest cell; the first is left-aligned, numbers to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> head) : rows_{std::move(head)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace weft::tools
