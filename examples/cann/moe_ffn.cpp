// SPDX-License-Identifier: Apache-2.0
// The experts of a mixture-of-experts layer in one call: every token goes to one of four experts,
// which is a feed-forward network of its own. How many tokens each gets is known on the device
// only.
#include <array>
#include <cmath>

#include "aclnnop/aclnn_ffn_v3.h"
#include "device.h"

namespace {

constexpr std::int64_t kExperts = 4, kTokens = 24, kHidden = 48, kInner = 96;

using Counts = std::array<std::int64_t, kExperts>;
using Halves = std::vector<aclFloat16>;

std::size_t at(std::int64_t row, std::int64_t column, std::int64_t columns) {
  return static_cast<std::size_t>(row * columns + column);
}

Halves random_halves(std::mt19937& random, std::int64_t count, float most) {
  std::uniform_real_distribution<float> values(-most, most);
  Halves halves;
  for (std::int64_t i = 0; i < count; ++i) halves.push_back(aclFloatToFloat16(values(random)));
  return halves;
}

/// The weights of all experts, one after the other: (experts, hidden, inner), (experts, inner,
/// hidden).
struct Weights {
  Halves up, down;
  explicit Weights(std::mt19937& random)
      : up(random_halves(random, kExperts * kHidden * kInner, 0.2f)),
        down(random_halves(random, kExperts * kInner * kHidden, 0.2f)) {}
};

/// Tokens as a router leaves them: sorted by expert, and how many each expert gets.
struct Batch {
  Halves tokens;
  Counts counts{};
  explicit Batch(std::mt19937& random) : tokens(random_halves(random, kTokens * kHidden, 1)) {
    for (std::int64_t i = 0; i < kTokens; ++i) ++counts[random() % kExperts];
  }
};

/// One row in double precision. Of h and a one rounding each to float16 may differ, whose effect
/// `bound` collects; silu's slope is below 1.1.
void expected_row(const Weights& weights, std::int64_t expert, const aclFloat16* x,
                  std::vector<double>& y, std::vector<double>& bound) {
  constexpr double kHalf = 1.0 / 2048;  // half a unit in the last place, relative
  y.assign(kHidden, 0);
  bound.assign(kHidden, 1e-6);
  for (std::int64_t n = 0; n < kInner; ++n) {
    double h = 0;
    for (std::int64_t k = 0; k < kHidden; ++k)
      h += aclFloat16ToFloat(x[k]) *
           aclFloat16ToFloat(weights.up[at(expert * kHidden + k, n, kInner)]);
    const double a = h / (1 + std::exp(-h));
    for (std::int64_t j = 0; j < kHidden; ++j) {
      const double w = aclFloat16ToFloat(weights.down[at(expert * kInner + n, j, kHidden)]);
      y[static_cast<std::size_t>(j)] += a * w;
      bound[static_cast<std::size_t>(j)] +=
          std::abs(w) * kHalf * 1.01 * (1.1 * std::abs(h) + std::abs(a));
    }
  }
  for (std::size_t j = 0; j < y.size(); ++j) bound[j] += std::abs(y[j]) * kHalf * 1.01;
}

void check_result(const Weights& weights, const Batch& batch, const Halves& got) {
  std::vector<double> y, bound;
  std::int64_t row = 0;
  for (std::int64_t expert = 0; expert < kExperts; ++expert)
    for (std::int64_t i = 0; i < batch.counts[static_cast<std::size_t>(expert)]; ++i, ++row) {
      expected_row(weights, expert, batch.tokens.data() + row * kHidden, y, bound);
      for (std::int64_t j = 0; j < kHidden; ++j) {
        const double value = aclFloat16ToFloat(got[at(row, j, kHidden)]);
        const std::size_t column = static_cast<std::size_t>(j);
        if (!(std::abs(value - y[column]) <= bound[column]))
          throw std::runtime_error("token " + std::to_string(row) + " of expert " +
                                   std::to_string(expert) + ", column " + std::to_string(j) +
                                   " is " + std::to_string(value) + ", not " +
                                   std::to_string(y[column]));
      }
    }
}

class Layer {
 public:
  explicit Layer(const Weights& weights)
      : up_({kExperts, kHidden, kInner}, ACL_FLOAT16, weights.up),
        down_({kExperts, kInner, kHidden}, ACL_FLOAT16, weights.down) {
    CHECK(aclnnFFNV3GetWorkspaceSize(x_, up_, down_, counts_, nullptr, nullptr, nullptr, nullptr,
                                     nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, "silu",
                                     1, false, y_, &workspace_size_, &executor_));
    CHECK(aclSetAclOpExecutorRepeatable(executor_));
    if (workspace_size_ > 0)
      CHECK(aclrtMalloc(&workspace_, workspace_size_, ACL_MEM_MALLOC_HUGE_FIRST));
  }
  ~Layer() {
    aclrtFree(workspace_);
    aclDestroyAclOpExecutor(executor_);
  }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  /// Copies, then the operator, all in the stream: it reads the counts when they are there.
  Halves run(const Batch& batch, aclrtStream stream) {
    const std::size_t bytes = batch.tokens.size() * sizeof(aclFloat16);
    CHECK(aclrtMemcpyAsync(x_.data(), bytes, batch.tokens.data(), bytes, ACL_MEMCPY_HOST_TO_DEVICE,
                           stream));
    CHECK(aclrtMemcpyAsync(counts_.data(), sizeof(Counts), batch.counts.data(), sizeof(Counts),
                           ACL_MEMCPY_HOST_TO_DEVICE, stream));
    CHECK(aclnnFFNV3(workspace_, workspace_size_, executor_, stream));
    CHECK(aclrtSynchronizeStream(stream));
    return y_.values();
  }

 private:
  const device::Tensor<aclFloat16> up_, down_;
  const device::Tensor<aclFloat16> x_{{kTokens, kHidden}, ACL_FLOAT16, {}};
  const device::Tensor<std::int64_t> counts_{{kExperts}, ACL_INT64, {}};
  const device::Tensor<aclFloat16> y_{{kTokens, kHidden}, ACL_FLOAT16, {}};
  std::uint64_t workspace_size_ = 0;
  void* workspace_ = nullptr;
  aclOpExecutor* executor_ = nullptr;
};

void run_batches(aclrtStream stream) {
  std::mt19937 random(1);
  const Weights weights(random);
  Layer layer(weights);
  for (int i = 0; i < 3; ++i) {
    const Batch batch(random);
    check_result(weights, batch, layer.run(batch, stream));
    std::printf("batch %d, %lld + %lld + %lld + %lld tokens: every row is its expert's\n", i,
                static_cast<long long>(batch.counts[0]), static_cast<long long>(batch.counts[1]),
                static_cast<long long>(batch.counts[2]), static_cast<long long>(batch.counts[3]));
  }
}

}  // namespace

int main() {
  try {
    aclrtStream stream = nullptr;
    CHECK(aclInit(nullptr));
    CHECK(aclrtSetDevice(0));
    CHECK(aclrtCreateStream(&stream));
    run_batches(stream);
    CHECK(aclrtDestroyStream(stream));
    CHECK(aclrtResetDevice(0));
    CHECK(aclFinalize());
    std::printf("%lld experts, one call a batch: the executor was made once\n",
                static_cast<long long>(kExperts));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
