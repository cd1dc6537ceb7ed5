// SPDX-License-Identifier: Apache-2.0
// A program of someone who has weft installed: only public headers, and symbols from all over the
// library. A sum over one rank of a product with zeros is the residual.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "weft/ops/matmul_allreduce_add_rmsnorm.h"

namespace {

int fail(const weft::Status& status) { return std::puts(status.to_string().c_str()), 1; }

}  // namespace

int main() {
  const auto id = weft::UniqueId::create();
  if (!id.ok()) return fail(id.status());
  const auto again = weft::UniqueId::from_hex(id->to_hex());
  if (!again.ok() || again->bytes != id->bytes) return std::puts("the id did not survive"), 1;

  auto groups = weft::Group::local(1);
  if (!groups.ok()) return fail(groups.status());
  auto context = weft::Context::create();
  if (!context.ok()) return fail(context.status());

  constexpr std::int64_t m = 3, k = 8, n = 20;
  constexpr auto kType = weft::DType::kBFloat16;
  const std::vector<std::uint16_t> x1(m * k), x2(k * n), residual(m * n, 0x3f80), gamma(n, 0x4000);
  std::vector<std::uint16_t> y(m * n), norm_out(m * n);
  const weft::Status status =
      weft::matmul_allreduce_add_rmsnorm(*context, (*groups)[0],
                                         {.x1 = {x1.data(), kType, {m, k}},
                                          .x2 = {x2.data(), kType, {k, n}},
                                          .residual = {residual.data(), kType, {1, m, n}},
                                          .gamma = {gamma.data(), kType, {n}},
                                          .y = {y.data(), kType, {1, m, n}},
                                          .norm_out = {norm_out.data(), kType, {1, m, n}}});
  if (!status.ok()) return fail(status);
  // Ones, whose mean square is 1, times a gamma of two.
  const std::vector<std::uint16_t> two(m * n, 0x4000);
  if (y != residual || norm_out != two) return std::puts("y or norm_out is wrong"), 1;
  std::puts("ok");
}
