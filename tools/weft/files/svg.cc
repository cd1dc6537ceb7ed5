// SPDX-License-Identifier: Apache-2.0
#include "files/svg.h"

namespace weft::tools {

std::string escape(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out += c;
    }
  }
  return out;
}

void Svg::begin(std::string_view title, std::string_view subtitle, double height) {
  print(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
      "viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#333\">\n",
      kWidth, height);
  print("<rect width=\"{}\" height=\"{}\" fill=\"white\"/>\n", kWidth, height);
  print("<text x=\"{}\" y=\"30\" font-size=\"19\" font-weight=\"bold\">{}</text>\n", 16,
        escape(title));
  print("<text x=\"{}\" y=\"52\">{}</text>\n", 16, escape(subtitle));
}

std::string Svg::end() {
  print("</svg>\n");
  return std::move(text_);
}

}  // namespace weft::tools
