// SPDX-License-Identifier: Apache-2.0
// int8 matmul + all-reduce over four devices: the weight in FRACTAL_NZ, partial sums sent as int8.
#include <cmath>

#include "aclnnop/aclnn_quant_matmul_all_reduce_v3.h"
#include "aclnnop/aclnn_trans_matmul_weight.h"
#include "aclnnop/aclnn_trans_quant_param_v2.h"
#include "device.h"

namespace {

constexpr int kRanks = 4;
constexpr std::int64_t kRows = 40, kLocalK = 96, kColumns = 160;

/// What one rank holds; every rank can make every other's from its number.
struct Operands {
  std::vector<std::int8_t> x1, x2;

  explicit Operands(int rank) {
    std::mt19937 random(static_cast<unsigned>(rank));
    for (std::int64_t i = 0; i < kRows * kLocalK; ++i) x1.push_back(small(random));
    for (std::int64_t i = 0; i < kLocalK * kColumns; ++i) x2.push_back(small(random));
  }
  static std::int8_t small(std::mt19937& random) {
    return static_cast<std::int8_t>(static_cast<int>(random() % 255) - 127);
  }
};

/// The weight's scales: one per column, the same on all ranks. Exact in the 19 bits of the packed
/// form.
float dequant_scale(std::int64_t column) { return static_cast<float>(1 + column % 4) / (1 << 20); }
// About sqrt(k) · 73² · scale is what a partial sum is; 127 steps must hold it, and twice that
// (sqrt of 4 ranks) the sum.
constexpr float kPartialStep = 1.0f / 128, kSumStep = 1.0f / 64;

/// Half a step for each rank's partial and for the sum, and 1/32 step for the quotients, which are
/// float16; the last term is float16 itself.
void check_result(const std::vector<aclFloat16>& output) {
  std::vector<Operands> all;
  for (int r = 0; r < kRanks; ++r) all.emplace_back(r);
  double worst = 0;
  for (std::int64_t i = 0; i < kRows; ++i)
    for (std::int64_t j = 0; j < kColumns; ++j) {
      double exact = 0;
      for (const Operands& o : all) {
        std::int64_t sum = 0;
        for (std::int64_t p = 0; p < kLocalK; ++p)
          sum += o.x1[static_cast<std::size_t>(i * kLocalK + p)] *
                 o.x2[static_cast<std::size_t>(p * kColumns + j)];
        exact += static_cast<double>(sum) * dequant_scale(j);
      }
      const double got = aclFloat16ToFloat(output[static_cast<std::size_t>(i * kColumns + j)]);
      const double bound = 0.532 * (kRanks * kPartialStep + kSumStep) + std::abs(exact) / 1024;
      worst = std::max(worst, std::abs(got - exact) / bound);
      if (std::abs(got - exact) > bound)
        throw std::runtime_error("row " + std::to_string(i) + ", column " + std::to_string(j) +
                                 " is " + std::to_string(got) + ", not " + std::to_string(exact));
    }
  if (worst == 0) throw std::runtime_error("the int8 steps left no trace: were they taken?");
}

/// Memory for a weight in FRACTAL_NZ has to hold whole blocks of 16 x 32.
std::size_t blocked_elements(const std::vector<std::int64_t>& shape) {
  aclIntArray* dims = aclCreateIntArray(shape.data(), shape.size());
  std::uint64_t elements = 0;
  CHECK(aclnnCalculateMatmulWeightSizeV2(dims, ACL_INT8, &elements));
  aclDestroyIntArray(dims);
  return elements;
}

void layer(int rank, HcclComm comm, aclrtStream stream) {
  const Operands mine(rank);
  std::vector<float> scales;
  for (std::int64_t j = 0; j < kColumns; ++j) scales.push_back(dequant_scale(j));
  const std::vector<aclFloat16> partial_steps(kColumns, aclFloatToFloat16(kPartialStep));
  const std::vector<aclFloat16> sum_steps(kColumns, aclFloatToFloat16(kSumStep));

  const device::Tensor<std::int8_t> x1({kRows, kLocalK}, ACL_INT8, mine.x1);
  const device::Tensor<std::int8_t> x2({kLocalK, kColumns}, ACL_INT8, mine.x2,
                                       blocked_elements({kLocalK, kColumns}));
  const device::Tensor<float> scale({kColumns}, ACL_FLOAT, scales);
  const device::Tensor<std::uint64_t> packed_scale({kColumns}, ACL_UINT64, {});
  const device::Tensor<aclFloat16> step_1({kColumns}, ACL_FLOAT16, partial_steps);
  const device::Tensor<aclFloat16> step_2({kColumns}, ACL_FLOAT16, sum_steps);
  const device::Tensor<aclFloat16> output({kRows, kColumns}, ACL_FLOAT16, {});
  const std::string group = device::name_of(comm);

  device::run(
      stream, "aclnnTransMatmulWeight",
      [&](std::uint64_t* size, aclOpExecutor** executor) {
        return aclnnTransMatmulWeightGetWorkspaceSize(x2, size, executor);
      },
      aclnnTransMatmulWeight);
  device::run(
      stream, "aclnnTransQuantParamV2",
      [&](std::uint64_t* size, aclOpExecutor** executor) {
        return aclnnTransQuantParamV2GetWorkspaceSize(scale, nullptr, packed_scale, size, executor);
      },
      aclnnTransQuantParamV2);
  device::run(
      stream, "aclnnQuantMatmulAllReduceV3",
      [&](std::uint64_t* size, aclOpExecutor** executor) {
        return aclnnQuantMatmulAllReduceV3GetWorkspaceSize(
            x1, x2, nullptr, nullptr, packed_scale, nullptr, step_1, step_2, group.c_str(), "sum",
            0, ACL_STOP_ON_FAILURE, output, size, executor);
      },
      aclnnQuantMatmulAllReduceV3);
  check_result(output.values());
}

}  // namespace

int main() {
  CHECK(aclInit(nullptr));
  const bool ok = device::on_devices(kRanks, layer);
  CHECK(aclFinalize());
  if (ok)
    std::printf("%d devices, int8 weights in FRACTAL_NZ, int8 communication: every sum is right\n",
                kRanks);
  return ok ? 0 : 1;
}
