// SPDX-License-Identifier: Apache-2.0
// The layer both examples compute: y = sum over ranks of x1 · x2 + residual, norm_out = rmsnorm(y),
// in bfloat16, and the check of one rank's result against double precision.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "weft/context.h"
#include "weft/group.h"
#include "weft/ops/matmul_allreduce_add_rmsnorm.h"

namespace layer {

constexpr std::int64_t kRows = 24, kLocalK = 64, kColumns = 256;
constexpr double kEpsilon = 1e-6;
constexpr double kUnit = 0x1p-8;  // half the distance from 1 to the next bfloat16

// A bfloat16 is the upper half of a float. The inputs are chosen to be exact in it.
inline std::uint16_t bf16(float value) { return std::bit_cast<std::uint32_t>(value) >> 16; }
inline double real(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// What one rank holds. Every rank can make every other's operands from its number, so that each
/// can check the whole sum.
struct Operands {
  std::vector<std::uint16_t> x1, x2, residual, gamma;

  explicit Operands(int rank) {
    std::mt19937 random(static_cast<unsigned>(rank));
    const auto fill = [&](std::vector<std::uint16_t>& values, std::int64_t count) {
      values.resize(static_cast<std::size_t>(count));
      for (std::uint16_t& value : values)
        value = bf16((static_cast<int>(random() % 129) - 64) / 64.0f);
    };
    fill(x1, kRows * kLocalK);
    fill(x2, kLocalK * kColumns);
    fill(residual, kRows * kColumns);
    fill(gamma, kColumns);
  }
};

/// True if y and norm_out are this rank's right results. The bound counts the roundings: one per
/// rank's partial, one of their sum, one of y; then three between y and norm_out.
inline bool matches(int rank, int ranks, const std::vector<std::uint16_t>& y,
                    const std::vector<std::uint16_t>& norm_out) {
  std::vector<Operands> all;
  for (int r = 0; r < ranks; ++r) all.emplace_back(r);
  for (std::int64_t i = 0; i < kRows; ++i) {
    double squares = 0;
    for (std::int64_t j = 0; j < kColumns; ++j) squares += std::pow(real(y[i * kColumns + j]), 2);
    const double rstd = 1 / std::sqrt(squares / kColumns + kEpsilon);
    for (std::int64_t j = 0; j < kColumns; ++j) {
      double sum = 0, partials = 0;
      for (const Operands& o : all) {
        double partial = 0;
        for (std::int64_t p = 0; p < kLocalK; ++p)
          partial += real(o.x1[i * kLocalK + p]) * real(o.x2[p * kColumns + j]);
        sum += partial;
        partials += std::abs(partial);
      }
      const double exact = sum + real(all[rank].residual[i * kColumns + j]);
      const double got = real(y[i * kColumns + j]);
      const double norm = got * rstd * real(all[rank].gamma[j]);
      const double norm_got = real(norm_out[i * kColumns + j]);
      if (std::abs(got - exact) > 1.01 * kUnit * (partials + std::abs(sum) + std::abs(exact)) ||
          std::abs(norm_got - norm) > 3 * kUnit * std::abs(norm) + 1e-30) {
        std::printf("rank %d, row %d, column %d: y %g, not %g; norm_out %g, not %g\n", rank,
                    static_cast<int>(i), static_cast<int>(j), got, exact, norm_got, norm);
        return false;
      }
    }
  }
  return true;
}

/// Runs the layer on one rank of a group and checks it. True if all went well.
inline bool run(weft::Group& group, int local_ranks) {
  auto context = weft::Context::create({.local_ranks = local_ranks});
  if (!context.ok()) return std::puts(context.status().to_string().c_str()), false;

  const Operands mine(group.rank());
  std::vector<std::uint16_t> y(kRows * kColumns), norm_out(kRows * kColumns);
  constexpr weft::DType kType = weft::DType::kBFloat16;
  const weft::Status status = weft::matmul_allreduce_add_rmsnorm(
      *context, group,
      {.x1 = {mine.x1.data(), kType, {kRows, kLocalK}},
       .x2 = {mine.x2.data(), kType, {kLocalK, kColumns}},
       .residual = {mine.residual.data(), kType, {1, kRows, kColumns}},
       .gamma = {mine.gamma.data(), kType, {kColumns}},
       .epsilon = kEpsilon,
       .y = {y.data(), kType, {1, kRows, kColumns}},
       .norm_out = {norm_out.data(), kType, {1, kRows, kColumns}}});
  if (!status.ok()) return std::puts(status.to_string().c_str()), false;
  return matches(group.rank(), group.ranks(), y, norm_out);
}

}  // namespace layer
