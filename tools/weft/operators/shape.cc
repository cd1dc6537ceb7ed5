// SPDX-License-Identifier: Apache-2.0
#include "operators/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

namespace weft::tools {
namespace {

constexpr std::string_view kHint =
    "Write MxK:KxN or BxSxK:KxN, for example 4x1024x1024:1024x8192; for slices of different "
    "width 48x100,70,30:100,70,30x64.";
constexpr std::string_view kNormHint =
    "Write the axes of x1, for example 4096x8192; behind ':' those of gamma, if they are more "
    "than one: 4x1024x64x128:64x128.";
constexpr std::string_view kFfnHint =
    "Write the axes of x, ':' and those of weight2, for example 1024x4096:11008x4096; 1024x4096:"
    "11008 is the same.";
constexpr std::string_view kMoeHint =
    "Write tokens x elements of a token, for example 128x7168; for ranks with different numbers of "
    "tokens 5,0,7x7168.";
// Keeps every product of extents below 2^63.
constexpr std::int64_t kMostExtent = std::int64_t{1} << 30;
constexpr std::int64_t kMostElements = std::int64_t{1} << 32;

Status bad(std::string_view text, std::string_view what, std::string_view hint = kHint) {
  return Status(StatusCode::kInvalidArgument, fmt::format("shape '{}': {}.\n{}", text, what, hint));
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

Result<std::int64_t> parse_extent(std::string_view whole, std::string_view text,
                                  std::string_view hint = kHint) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    return bad(whole, fmt::format("'{}' is not an extent", text), hint);
  if (value > kMostExtent)
    return bad(whole, fmt::format("the extent {} is above {}", value, kMostExtent), hint);
  return value;
}

Result<std::vector<std::int64_t>> parse_list(std::string_view whole, std::string_view text,
                                             char separator, std::string_view hint = kHint) {
  std::vector<std::int64_t> values;
  for (std::string_view part : split(text, separator)) {
    WEFT_ASSIGN_OR_RETURN(const std::int64_t value, parse_extent(whole, part, hint));
    values.push_back(value);
  }
  return values;
}

Status check_elements(std::string_view whole, std::string_view name,
                      const std::vector<std::int64_t>& axes, std::string_view hint) {
  std::int64_t elements = 1;
  for (std::int64_t extent : axes) {
    elements *= extent;
    if (elements > kMostElements)
      return bad(whole, fmt::format("{} has more than {} elements", name, kMostElements), hint);
  }
  return {};
}

}  // namespace

std::int64_t Shape::m() const {
  std::int64_t product = 1;
  for (std::int64_t extent : rows) product *= extent;
  return product;
}

std::int64_t Shape::most_tokens(int ranks) const {
  std::int64_t most = 0;
  for (int r = 0; r < ranks; ++r) most = std::max(most, tokens_of(r));
  return most;
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

double Shape::multiplies_of_row(int ranks) const {
  const auto at_least_1 = [](std::int64_t extent) {
    return static_cast<double>(std::max<std::int64_t>(extent, 1));
  };
  if (hidden < 0) return at_least_1(k_total(ranks)) * at_least_1(n);
  return at_least_1(hidden) * (2 * at_least_1(k_of(0)) + at_least_1(n));  // 2: with a gate
}

std::string Shape::text() const {
  if (!tokens.empty()) return fmt::format("{}x{}", fmt::join(tokens, ","), n);
  if (k.empty()) {
    std::vector<std::int64_t> x1 = rows;
    x1.insert(x1.end(), gamma.begin(), gamma.end());
    return fmt::format("{}:{}", fmt::join(x1, "x"), fmt::join(gamma, "x"));
  }
  const std::string k_text = fmt::format("{}", fmt::join(k, ","));
  return fmt::format("{}x{}:{}x{}", fmt::join(rows, "x"), k_text,
                     hidden < 0 ? k_text : fmt::to_string(hidden), n);
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
  WEFT_ASSIGN_OR_RETURN(shape.k, parse_list(text, x1.back(), ','));
  WEFT_ASSIGN_OR_RETURN(const std::vector<std::int64_t> k2, parse_list(text, x2[0], ','));
  if (shape.k != k2)
    return bad(text, fmt::format("x1 has k = {}, x2 has k = {}", fmt::join(shape.k, ","),
                                 fmt::join(k2, ",")));
  WEFT_ASSIGN_OR_RETURN(shape.n, parse_extent(text, x2[1]));
  return shape;
}

Result<Shape> parse_ffn_shape(std::string_view text) {
  const auto sides = split(text, ':');
  if (sides.size() != 2) return bad(text, "there must be one ':' between x and weight2", kFfnHint);
  Shape shape;
  WEFT_ASSIGN_OR_RETURN(shape.rows, parse_list(text, sides[0], 'x', kFfnHint));
  if (shape.rows.size() < 2 || shape.rows.size() > 8)
    return bad(text, fmt::format("x has {} axes, it must have 2 to 8", shape.rows.size()),
               kFfnHint);
  WEFT_ASSIGN_OR_RETURN(const std::vector<std::int64_t> weight2,
                        parse_list(text, sides[1], 'x', kFfnHint));
  if (weight2.size() > 2)
    return bad(text, fmt::format("weight2 has {} axes, it must have 2", weight2.size()), kFfnHint);
  WEFT_RETURN_IF_ERROR(check_elements(text, "x", shape.rows, kFfnHint));
  shape.k = {shape.rows.back()};
  shape.rows.pop_back();
  shape.hidden = weight2[0];
  shape.n = weight2.size() == 2 ? weight2[1] : shape.k[0];
  for (std::int64_t outer : {shape.k[0], shape.n})
    WEFT_RETURN_IF_ERROR(check_elements(text, "a weight", {shape.hidden, outer}, kFfnHint));
  return shape;
}

Result<Shape> parse_moe_shape(std::string_view text) {
  const auto axes = split(text, 'x');
  if (axes.size() != 2)
    return bad(text, fmt::format("x has {} axes, it must have 2", axes.size()), kMoeHint);
  Shape shape;
  WEFT_ASSIGN_OR_RETURN(shape.tokens, parse_list(text, axes[0], ',', kMoeHint));
  WEFT_ASSIGN_OR_RETURN(shape.n, parse_extent(text, axes[1], kMoeHint));
  const std::int64_t most = *std::ranges::max_element(shape.tokens);
  WEFT_RETURN_IF_ERROR(check_elements(text, "x", {most, shape.n}, kMoeHint));
  return shape;
}

Result<Shape> parse_norm_shape(std::string_view text) {
  const auto bad_norm = [text](std::string_view what) { return bad(text, what, kNormHint); };
  const auto sides = split(text, ':');
  if (sides.size() > 2) return bad_norm("there must be at most one ':', between x1 and gamma");
  Shape shape;
  WEFT_ASSIGN_OR_RETURN(std::vector<std::int64_t> x1, parse_list(text, sides[0], 'x', kNormHint));
  if (x1.size() > 8) return bad_norm(fmt::format("x1 has {} axes, it has at most 8", x1.size()));
  shape.gamma = {x1.back()};
  if (sides.size() == 2) {
    WEFT_ASSIGN_OR_RETURN(shape.gamma, parse_list(text, sides[1], 'x', kNormHint));
  }
  if (shape.gamma.size() > x1.size() ||
      !std::equal(shape.gamma.rbegin(), shape.gamma.rend(), x1.rbegin()))
    return bad_norm("the axes of gamma are not the last ones of x1");
  shape.rows.assign(x1.begin(), x1.end() - static_cast<std::ptrdiff_t>(shape.gamma.size()));
  WEFT_RETURN_IF_ERROR(check_elements(text, "x1", x1, kNormHint));
  shape.n = 1;
  for (std::int64_t extent : shape.gamma) shape.n *= extent;
  return shape;
}

}  // namespace weft::tools
