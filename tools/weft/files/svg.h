// SPDX-License-Identifier: Apache-2.0
// What all pictures have in common: 1200 pixels wide, a title, and text that is escaped.
#pragma once

#include <fmt/format.h>

#include <iterator>
#include <string>
#include <string_view>

namespace weft::tools {

/// Text of an attribute or element.
std::string escape(std::string_view text);

class Svg {
 public:
  static constexpr double kWidth = 1200;

  void begin(std::string_view title, std::string_view subtitle, double height);
  template <typename... Args>
  void print(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
  }
  std::string end();

 private:
  std::string text_;
};

}  // namespace weft::tools
