// SPDX-License-Identifier: Apache-2.0
#include "shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>

namespace weft::tools {
namespace {

constexpr std::string_view kHint =
    "Write MxK:KxN or BxSxK:KxN, for example 4x1024x1024:1024x8192; for slices of different "
    "width 48x100,70,30:100,70,30x64.";
// Keeps every product of extents below 2^63.
constexpr std::int64_t kMostExtent = std::int64_t{1} << 30;

Status bad(std::string_view text, std::string_view what) {
  return Status(StatusCode::kInvalidArgument,
                fmt::format("shape '{}': {}.\n{}", text, what, kHint));
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0;;) {
    const std::size_t end = text.find(separator, begin);
    parts.push_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

Result<std::int64_t> parse_extent(std::string_view whole, std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    return bad(whole, fmt::format("'{}' is not an extent", text));
  if (value > kMostExtent)
    return bad(whole, fmt::format("the extent {} is above {}", value, kMostExtent));
  return value;
}

Result<std::vector<std::int64_t>> parse_list(std::string_view whole, std::string_view text) {
  std::vector<std::int64_t> values;
  for (std::string_view part : split(text, ',')) {
    WEFT_ASSIGN_OR_RETURN(const std::int64_t value, parse_extent(whole, part));
    values.push_back(value);
  }
  return values;
}

}  // namespace

std::int64_t Shape::m() const {
  std::int64_t product = 1;
  for (std::int64_t extent : rows) product *= extent;
  return product;
}

std::int64_t Shape::k_total(int ranks) const {
  std::int64_t sum = 0;
  for (int r = 0; r < ranks; ++r) sum += k_of(r);
  return sum;
}

double Shape::flops(int ranks) const {
  return 2.0 * static_cast<double>(m()) * static_cast<double>(n) *
         static_cast<double>(k_total(ranks));
}

std::string Shape::text() const {
  const std::string k_text = fmt::format("{}", fmt::join(k, ","));
  return fmt::format("{}x{}:{}x{}", fmt::join(rows, "x"), k_text, k_text, n);
}

Result<Shape> parse_shape(std::string_view text) {
  const auto sides = split(text, ':');
  if (sides.size() != 2) return bad(text, "there must be one ':' between x1 and x2");
  const auto x1 = split(sides[0], 'x');
  const auto x2 = split(sides[1], 'x');
  if (x1.size() != 2 && x1.size() != 3)
    return bad(text, fmt::format("x1 has {} axes, it must have 2 or 3", x1.size()));
  if (x2.size() != 2) return bad(text, fmt::format("x2 has {} axes, it must have 2", x2.size()));
  Shape shape;
  for (std::size_t i = 0; i + 1 < x1.size(); ++i) {
    WEFT_ASSIGN_OR_RETURN(const std::int64_t extent, parse_extent(text, x1[i]));
    shape.rows.push_back(extent);
  }
  WEFT_ASSIGN_OR_RETURN(shape.k, parse_list(text, x1.back()));
  WEFT_ASSIGN_OR_RETURN(const std::vector<std::int64_t> k2, parse_list(text, x2[0]));
  if (shape.k != k2)
    return bad(text, fmt::format("x1 has k = {}, x2 has k = {}", fmt::join(shape.k, ","),
                                 fmt::join(k2, ",")));
  WEFT_ASSIGN_OR_RETURN(shape.n, parse_extent(text, x2[1]));
  return shape;
}

}  // namespace weft::tools
