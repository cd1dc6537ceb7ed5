// SPDX-License-Identifier: Apache-2.0
// A mixture-of-experts layer over four devices: every token chooses its experts, travels to them,
// through a feed-forward network, and back, where it meets a shared expert, the residual and the
// norm. All of it enters the stream without a wait.
#include <memory>

#include "../moe_model.h"
#include "aclnnop/aclnn_ffn_v3.h"
#include "aclnnop/aclnn_moe_distribute_combine_add_rms_norm.h"
#include "aclnnop/aclnn_moe_distribute_dispatch_v2.h"
#include "aclnnop/aclnn_moe_gating_top_k_softmax.h"
#include "device.h"

namespace {

constexpr int kRanks = 4;
// Tokens of a device, hidden size, inner size, experts, experts of a token, an activation without
// gate.
constexpr moe::Sizes kSizes = {8, 1024, 64, 8, 2, false};
constexpr std::int64_t kLocal = kSizes.experts / kRanks;  // experts of a device
// Rows that a device may get: all tokens, each for as many of its experts as it can choose.
constexpr std::int64_t kRows = kRanks * kSizes.tokens * kLocal;
static_assert(kLocal <= kSizes.top_k, "kRows counts local experts");

using Bf16 = device::Tensor<std::uint16_t>;

/// A part of the weights that all know.
moe::Values part(const std::uint16_t* first, std::int64_t count) {
  return moe::Values(first, first + count);
}

/// How well every expert suits every token: a matrix product, on the host to keep this short.
std::vector<float> scores(const moe::Model& model, const moe::Values& tokens) {
  std::vector<float> all;
  for (std::int64_t t = 0; t < kSizes.tokens; ++t) {
    const std::vector<float> row = moe::logits(model, tokens.data() + t * kSizes.hidden);
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

/// Calls that run one after the other, without a wait for the host between them.
class Queue {
 public:
  explicit Queue(aclrtStream stream) : stream_(stream) {}

  template <typename Prepare, typename Launch>
  void add(const char* name, Prepare prepare, Launch launch) {
    std::uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    device::check(prepare(&size, &executor), name);
    workspaces_.emplace_back(new device::Memory(size));
    device::check(launch(workspaces_.back()->data(), size, executor, stream_), name);
  }
  void wait() { CHECK(aclrtSynchronizeStream(stream_)); }

 private:
  const aclrtStream stream_;
  std::vector<std::unique_ptr<device::Memory>> workspaces_;  // in use until the stream is idle
};

/// What one device holds.
class Layer {
 public:
  Layer(const moe::Model& model, int rank, const std::string& group)
      : model_(model), rank_(rank), group_(group) {}

  void run(aclrtStream stream) {
    Queue queue(stream);
    choose_experts(queue);
    dispatch(queue);
    feed_forward(queue, expand_x_, up_, down_, token_nums_, expert_out_);
    feed_forward(queue, x_, shared_up_, shared_down_, nullptr, shared_);
    combine(queue);
    queue.wait();
  }
  bool is_right() const { return moe::is_right(model_, rank_, sum_.values(), y_.values()); }

 private:
  void choose_experts(Queue& queue) {
    queue.add(
        "aclnnMoeGatingTopKSoftmax",
        [&](std::uint64_t* size, aclOpExecutor** executor) {
          return aclnnMoeGatingTopKSoftmaxGetWorkspaceSize(scores_, nullptr, kSizes.top_k, weights_,
                                                           ids_, row_ids_, size, executor);
        },
        aclnnMoeGatingTopKSoftmax);
  }

  void dispatch(Queue& queue) {
    queue.add(
        "aclnnMoeDistributeDispatchV2",
        [&](std::uint64_t* size, aclOpExecutor** executor) {
          return aclnnMoeDistributeDispatchV2GetWorkspaceSize(
              x_, ids_, nullptr, nullptr, nullptr, group_.c_str(), kRanks, rank_, kSizes.experts,
              "", 1, 0, 0, 0, 0, 0, 0, 1, "", expand_x_, dynamic_scales_, assist_, token_nums_,
              recv_counts_, tp_counts_, expand_scales_, size, executor);
        },
        aclnnMoeDistributeDispatchV2);
  }

  /// `counts`: the rows of each expert, which the operator reads when it runs; or none.
  void feed_forward(Queue& queue, const aclTensor* x, const aclTensor* up, const aclTensor* down,
                    const aclTensor* counts, const aclTensor* y) {
    queue.add(
        "aclnnFFNV3",
        [&](std::uint64_t* size, aclOpExecutor** executor) {
          return aclnnFFNV3GetWorkspaceSize(x, up, down, counts, nullptr, nullptr, nullptr, nullptr,
                                            nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                                            "silu", 0, false, y, size, executor);
        },
        aclnnFFNV3);
  }

  void combine(Queue& queue) {
    queue.add(
        "aclnnMoeDistributeCombineAddRmsNorm",
        [&](std::uint64_t* size, aclOpExecutor** executor) {
          return aclnnMoeDistributeCombineAddRmsNormGetWorkspaceSize(
              expert_out_, ids_, assist_, recv_counts_, weights_, residual_, gamma_, tp_counts_,
              nullptr, nullptr, nullptr, nullptr, nullptr, shared_, group_.c_str(), kRanks, rank_,
              kSizes.experts, "", 1, 0, 0, 0, 0, 0, 0, 0, 0, "", static_cast<float>(moe::kEpsilon),
              y_, rstd_, sum_, size, executor);
        },
        aclnnMoeDistributeCombineAddRmsNorm);
  }

  const moe::Model& model_;
  const int rank_;
  const std::string group_;
  const std::int64_t up_size_ = kSizes.hidden * kSizes.inner;

  const moe::Values tokens_ = model_.tokens_of(rank_);
  const Bf16 x_{{kSizes.tokens, kSizes.hidden}, ACL_BF16, tokens_};
  const device::Tensor<float> scores_{
      {kSizes.tokens, kSizes.experts}, ACL_FLOAT, scores(model_, tokens_)};
  const Bf16 up_{{kLocal, kSizes.hidden, kSizes.inner},
                 ACL_BF16,
                 part(model_.up_of(rank_* kLocal), kLocal* up_size_)};
  const Bf16 down_{{kLocal, kSizes.inner, kSizes.hidden},
                   ACL_BF16,
                   part(model_.down_of(rank_* kLocal), kLocal* up_size_)};
  const Bf16 shared_up_{
      {kSizes.hidden, kSizes.inner}, ACL_BF16, part(model_.up_of(kSizes.experts), up_size_)};
  const Bf16 shared_down_{
      {kSizes.inner, kSizes.hidden}, ACL_BF16, part(model_.down_of(kSizes.experts), up_size_)};
  const Bf16 residual_{{kSizes.tokens, 1, kSizes.hidden}, ACL_BF16, model_.residual_of(rank_)};
  const Bf16 gamma_{{kSizes.hidden}, ACL_BF16, model_.gamma};

  const device::Tensor<std::int32_t> ids_{{kSizes.tokens, kSizes.top_k}, ACL_INT32, {}};
  const device::Tensor<std::int32_t> row_ids_{{kSizes.tokens, kSizes.top_k}, ACL_INT32, {}};
  const device::Tensor<float> weights_{{kSizes.tokens, kSizes.top_k}, ACL_FLOAT, {}};
  const Bf16 expand_x_{{kRows, kSizes.hidden}, ACL_BF16, {}};
  const Bf16 expert_out_{{kRows, kSizes.hidden}, ACL_BF16, {}};
  const device::Tensor<float> dynamic_scales_{{kRows}, ACL_FLOAT, {}};
  const device::Tensor<float> expand_scales_{{kRows}, ACL_FLOAT, {}};
  const device::Tensor<std::int32_t> assist_{{128 * kRows}, ACL_INT32, {}};
  const device::Tensor<std::int64_t> token_nums_{{kLocal}, ACL_INT64, {}};
  const device::Tensor<std::int32_t> recv_counts_{{kRanks * kLocal}, ACL_INT32, {}};
  const device::Tensor<std::int32_t> tp_counts_{{1}, ACL_INT32, {}};
  const Bf16 shared_{{kSizes.tokens, kSizes.hidden}, ACL_BF16, {}};
  const Bf16 sum_{{kSizes.tokens, 1, kSizes.hidden}, ACL_BF16, {}};
  const Bf16 y_{{kSizes.tokens, 1, kSizes.hidden}, ACL_BF16, {}};
  const device::Tensor<float> rstd_{{kSizes.tokens, 1, 1}, ACL_FLOAT, {}};
};

}  // namespace

int main() {
  try {
    CHECK(aclInit(nullptr));
    const moe::Model model(kSizes);
    const bool ok = device::on_devices(kRanks, [&](int rank, HcclComm comm, aclrtStream stream) {
      Layer layer(model, rank, device::name_of(comm));
      layer.run(stream);
      if (!layer.is_right()) throw std::runtime_error("a result differs from double precision");
    });
    CHECK(aclFinalize());
    if (!ok) return 1;
    std::printf("%d devices, %d experts and a shared one: every token is right\n", kRanks,
                static_cast<int>(kSizes.experts));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
