// SPDX-License-Identifier: Apache-2.0
// Lines of the table: a measurement, and below it what it is compared with.
#pragma once

#include <fmt/core.h>

#include <optional>
#include <string>
#include <string_view>

#include "gates.h"
#include "report.h"
#include "weft/dtype.h"

namespace weft::bench {

/// "section/what/dtype/shape/layout", of which the last may be missing.
struct Name {
  std::string section, what, dtype, shape, layout;
  explicit Name(const std::string& text);
  /// What stands beside it: the same of something else.
  std::string with(const std::string& other) const;
  /// dtype without that of a weight, which stands behind it if it is another.
  std::string activation_dtype() const { return dtype.substr(0, dtype.find(' ')); }
};

inline DType type_of(const std::string& name) { return dtype_from_name(name).value(); }

class Lines {
 public:
  explicit Lines(const Report& report) : report_(report) {}

  const Report& report() const { return report_; }
  Kind kind() const { return kind_; }
  const std::string& text() const { return text_; }

  template <typename... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    text_ += fmt::format(format, std::forward<Args>(args)...) + "\n";
  }
  /// The first line of a measurement.
  template <typename... Args>
  void head(const Name& name, const Times& times, fmt::format_string<Args...> format,
            Args&&... args) {
    const std::string title =
        fmt::format("{} {} {} {} {}", name.section, name.what, name.dtype, name.shape, name.layout);
    line("{:62} {}{}", title, fmt::format(format, std::forward<Args>(args)...),
         few(times.seconds.size()));
  }
  /// How many times as fast as something else, if that was measured.
  void compare(std::string_view with, std::optional<double> theirs, double ours, Gate gate,
               std::string_view mark = "");
  void compare(std::string_view with, const PeerResult* theirs, double ours, Gate gate);

  /// Ends the program if gates.inc has no row for it.
  Gate gate(const std::string& name) const;
  std::optional<double> median(const std::string& name) const;
  /// The median of how much longer a call of one takes than the call of the other in the same turn:
  /// a machine whose speed drifts changes both.
  std::optional<double> longer(const std::string& name, const std::string& than) const;
  /// What PyTorch took for the same section, dtype and shape; null if it was not asked.
  const PeerResult* peer(const Name& name) const;
  /// Of restored weights: the median of the 16-bit ones of the same type.
  std::optional<double> unquantised(const Name& name) const;

 private:
  /// Marks a median that says less than a claim about speed needs.
  static std::string few(size_t repetitions) {
    return repetitions < 7 ? fmt::format("  (median of {})", repetitions) : "";
  }

  const Report& report_;
  const Kind kind_ = kind_of(isa_in_use());
  std::string text_;
};

/// The lines of a measurement of the small, the ffn and the moe sections.
void small_entry(Lines& lines, const Name& name, const Times& times);
void ffn_entry(Lines& lines, const Name& name, const Times& times);
void moe_entry(Lines& lines, const Name& name, const Times& times);

}  // namespace weft::bench
