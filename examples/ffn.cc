// SPDX-License-Identifier: Apache-2.0
// The feed-forward network of a layer, y = (silu(x · gate) · (x · up)) · down, in bfloat16.
#include "weft/ops/ffn.h"

#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr std::int64_t kRows = 128, kModel = 512, kHidden = 1408;
constexpr weft::DType kType = weft::DType::kBFloat16;

// A bfloat16 is the upper half of a float.
using Values = std::vector<std::uint16_t>;
double real(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
Values random_values(std::int64_t count, float most, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(-most, most);
  Values values(static_cast<std::size_t>(count));
  for (std::uint16_t& bits : values) bits = std::bit_cast<std::uint32_t>(value(random)) >> 16;
  return values;
}

// Weights as linear layers store them, (n, k): gate and up one behind the other, then down.
const Values x = random_values(kRows * kModel, 1, 1);
const Values gate_up = random_values(2 * kHidden * kModel, 0.2f, 2);
const Values down = random_values(kModel * kHidden, 0.1f, 3);

double dot(const std::uint16_t* a, const std::uint16_t* b, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += real(a[i]) * real(b[i]);
  return sum;
}

/// y(i, j) in a plain loop. What is between the products is rounded to bfloat16, and so is y: each
/// time by at most 2^-9 of the value.
bool is_right(const Values& y, std::int64_t i, std::int64_t j) {
  double want = 0, magnitude = 0;
  for (std::int64_t p = 0; p < kHidden; ++p) {
    const std::uint16_t* row = x.data() + i * kModel;
    const double gate = dot(row, gate_up.data() + p * kModel, kModel);
    const double up = dot(row, gate_up.data() + (kHidden + p) * kModel, kModel);
    const double term = gate / (1 + std::exp(-gate)) * up * real(down[j * kHidden + p]);
    want += term;
    magnitude += std::abs(term);
  }
  const double got = real(y[i * kModel + j]);
  if (std::abs(got - want) <= 0x1.1p-9 * (magnitude + std::abs(want))) return true;
  std::printf("row %d, column %d: %g, not %g\n", static_cast<int>(i), static_cast<int>(j), got,
              want);
  return false;
}

}  // namespace

int main() {
  const auto fail = [](const weft::Status& status) {
    std::puts(status.to_string().c_str());
    return 1;
  };
  auto context = weft::Context::create();
  if (!context.ok()) return fail(context.status());

  Values y(kRows * kModel);
  const weft::FfnArgs args = {
      .x = {x.data(), kType, {kRows, kModel}},
      .weight1 = weft::ConstTensorRef(gate_up.data(), kType, {2 * kHidden, kModel}).transposed(),
      .weight2 = weft::ConstTensorRef(down.data(), kType, {kModel, kHidden}).transposed(),
      .activation = weft::Activation::kSwiglu,
      .y = {y.data(), kType, {kRows, kModel}}};
  // silu is applied to the first half of the columns; CANN's operator takes the second.
  auto ffn = weft::Ffn::plan(*context, args, {.gate_is_left = true});
  if (!ffn.ok()) return fail(ffn.status());

  double milliseconds = 0;
  for (int call = 0; call < 2; ++call) {  // the first one touches the memory
    const auto begin = std::chrono::steady_clock::now();
    if (const weft::Status status = ffn->run(args); !status.ok()) return fail(status);
    milliseconds =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  }
  for (std::int64_t i : {std::int64_t{0}, std::int64_t{77}, kRows - 1})
    for (std::int64_t j : {std::int64_t{0}, kModel / 3, kModel - 1})
      if (!is_right(y, i, j)) return 1;
  std::printf("%d x %d -> %d -> %d, %s, %s: %.2f ms, nine elements are right\n",
              static_cast<int>(kRows), static_cast<int>(kModel), static_cast<int>(kHidden),
              static_cast<int>(kModel), std::string(to_string(args.activation)).c_str(),
              std::string(to_string(kType)).c_str(), milliseconds);
}
