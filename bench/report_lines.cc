// SPDX-License-Identifier: Apache-2.0
#include "report_lines.h"

#include <algorithm>
#include <cstdlib>

namespace weft::bench {

Name::Name(const std::string& text) {
  std::string* parts[] = {&section, &what, &dtype, &shape, &layout};
  size_t begin = 0;
  for (std::string* part : parts) {
    const size_t end = text.find('/', begin);
    *part = text.substr(begin, end == std::string::npos ? end : end - begin);
    begin = end == std::string::npos ? text.size() : end + 1;
  }
}

std::string Name::with(const std::string& other) const {
  return fmt::format("{}/{}/{}/{}{}{}", section, other, dtype, shape, layout.empty() ? "" : "/",
                     layout);
}

void Lines::compare(std::string_view with, std::optional<double> theirs, double ours, Gate gate,
                    std::string_view mark) {
  if (!theirs) return;
  line("    {} {:.2f} ms: {:.2f} x  {}{}", with, *theirs * 1e3, *theirs / ours,
       verdict(*theirs / ours, gate), mark);
}

void Lines::compare(std::string_view with, const PeerResult* theirs, double ours, Gate gate) {
  if (theirs == nullptr) return;
  if (!theirs->skipped.empty()) return line("    {} skipped: {}", with, theirs->skipped);
  compare(with, theirs->median_s, ours, gate, few(theirs->repetitions));
}

Gate Lines::gate(const std::string& name) const {
  if (const auto found = find_gate(name, kind_)) return *found;
  fmt::print(stderr, "weft_bench: gates.inc has no row for '{}'\n", name);
  std::exit(1);
}

std::optional<double> Lines::median(const std::string& name) const {
  const auto found = report_.results.find(name);
  if (found == report_.results.end()) return std::nullopt;
  return found->second.median();
}

std::optional<double> Lines::longer(const std::string& name, const std::string& than) const {
  const auto one = report_.results.find(name), other = report_.results.find(than);
  if (one == report_.results.end() || other == report_.results.end()) return std::nullopt;
  Times differences;
  const size_t turns = std::min(one->second.seconds.size(), other->second.seconds.size());
  for (size_t i = 0; i < turns; ++i)
    differences.seconds.push_back(one->second.seconds[i] - other->second.seconds[i]);
  return differences.median();
}

const PeerResult* Lines::peer(const Name& name) const {
  for (const PeerResult& theirs : report_.peers)
    if (theirs.what == name.section && theirs.dtype == name.dtype && theirs.shape == name.shape)
      return &theirs;
  return nullptr;
}

std::optional<double> Lines::unquantised(const Name& name) const {
  Name other = name;
  other.dtype = name.activation_dtype();
  return other.dtype == name.dtype ? std::nullopt : median(other.with(name.what));
}

}  // namespace weft::bench
