// SPDX-License-Identifier: Apache-2.0
// Matmul + all-reduce + add + RMSNorm over eight devices of one process, a thread for each.
#include <algorithm>
#include <cmath>

#include "aclnnop/aclnn_matmul_all_reduce_add_rms_norm.h"
#include "device.h"

namespace {

constexpr int kRanks = 8;
constexpr std::int64_t kRows = 24, kLocalK = 64, kColumns = 256;
constexpr double kEpsilon = 1e-6;
constexpr double kUnit = 1.0 / 2048;  // half the distance from 1 to the next float16

/// What one rank holds, exact in float16. Every rank can make every other's from its number, so
/// that each can check the whole sum.
struct Operands {
  std::vector<aclFloat16> x1, x2, residual, gamma;

  explicit Operands(int rank) {
    std::mt19937 random(static_cast<unsigned>(rank));
    const auto fill = [&](std::vector<aclFloat16>& values, std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i)
        values.push_back(aclFloatToFloat16((static_cast<int>(random() % 129) - 64) / 64.0f));
    };
    fill(x1, kRows * kLocalK);
    fill(x2, kLocalK * kColumns);
    fill(residual, kRows * kColumns);
    fill(gamma, kColumns);
  }
};

double real(const std::vector<aclFloat16>& values, std::int64_t row, std::int64_t width,
            std::int64_t column) {
  return aclFloat16ToFloat(values[static_cast<std::size_t>(row * width + column)]);
}

void compare(const char* what, double got, double wanted, double bound, std::int64_t row,
             std::int64_t column) {
  if (std::abs(got - wanted) <= bound) return;
  throw std::runtime_error(std::string(what) + " in row " + std::to_string(row) + ", column " +
                           std::to_string(column) + " is " + std::to_string(got) + ", not " +
                           std::to_string(wanted));
}

/// The bounds count the roundings: one of each rank's partial, one of their sum, one of y; then
/// three between y and normOut. The last term is the smallest float16.
void check_result(int rank, const std::vector<aclFloat16>& y,
                  const std::vector<aclFloat16>& norm_out) {
  std::vector<Operands> all;
  for (int r = 0; r < kRanks; ++r) all.emplace_back(r);
  const Operands& mine = all[static_cast<std::size_t>(rank)];
  for (std::int64_t i = 0; i < kRows; ++i) {
    double squares = 0;
    for (std::int64_t j = 0; j < kColumns; ++j) squares += std::pow(real(y, i, kColumns, j), 2);
    const double rstd = 1 / std::sqrt(squares / kColumns + kEpsilon);
    for (std::int64_t j = 0; j < kColumns; ++j) {
      double sum = 0, partials = 0;
      for (const Operands& o : all) {
        double partial = 0;
        for (std::int64_t p = 0; p < kLocalK; ++p)
          partial += real(o.x1, i, kLocalK, p) * real(o.x2, p, kColumns, j);
        sum += partial;
        partials += std::abs(partial);
      }
      const double exact = sum + real(mine.residual, i, kColumns, j);
      const double got = real(y, i, kColumns, j);
      compare("y", got, exact, 1.01 * kUnit * (partials + std::abs(sum) + std::abs(exact)), i, j);
      const double norm = got * rstd * real(mine.gamma, 0, kColumns, j);
      compare("normOut", real(norm_out, i, kColumns, j), norm, 3.01 * kUnit * std::abs(norm) + 6e-8,
              i, j);
    }
  }
}

void layer(int rank, HcclComm comm, aclrtStream stream) {
  const Operands mine(rank);
  using Half = device::Tensor<aclFloat16>;
  const Half x1({kRows, kLocalK}, ACL_FLOAT16, mine.x1);
  const Half x2({kLocalK, kColumns}, ACL_FLOAT16, mine.x2);
  const Half residual({1, kRows, kColumns}, ACL_FLOAT16, mine.residual);
  const Half gamma({kColumns}, ACL_FLOAT16, mine.gamma);
  const Half y({1, kRows, kColumns}, ACL_FLOAT16, {});
  const Half norm_out({1, kRows, kColumns}, ACL_FLOAT16, {});
  const std::string group = device::name_of(comm);

  device::run(
      stream, "aclnnMatmulAllReduceAddRmsNorm",
      [&](std::uint64_t* size, aclOpExecutor** executor) {
        return aclnnMatmulAllReduceAddRmsNormGetWorkspaceSize(
            x1, x2, nullptr, residual, gamma, kEpsilon, group.c_str(), "sum", 0,
            ACL_STOP_ON_FAILURE, y, norm_out, size, executor);
      },
      aclnnMatmulAllReduceAddRmsNorm);
  check_result(rank, y.values(), norm_out.values());
}

}  // namespace

int main() {
  CHECK(aclInit(nullptr));
  const bool ok = device::on_devices(kRanks, layer);
  CHECK(aclFinalize());
  if (ok) std::printf("%d devices, one process: y and normOut are right on every rank\n", kRanks);
  return ok ? 0 : 1;
}
