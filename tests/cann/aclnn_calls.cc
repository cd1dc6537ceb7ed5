// SPDX-License-Identifier: Apache-2.0
#include "aclnn_calls.h"

#include <algorithm>
#include <numeric>
#include <thread>

#include "aclnnop/aclnn_add_rms_norm.h"
#include "aclnnop/aclnn_distribute_barrier.h"
#include "aclnnop/aclnn_distribute_barrier_v2.h"
#include "aclnnop/aclnn_ffn.h"
#include "aclnnop/aclnn_ffn_v2.h"
#include "aclnnop/aclnn_ffn_v3.h"
#include "aclnnop/aclnn_inplace_matmul_all_reduce_add_rms_norm.h"
#include "aclnnop/aclnn_inplace_quant_matmul_all_reduce_add_rms_norm.h"
#include "aclnnop/aclnn_inplace_weight_quant_matmul_all_reduce_add_rms_norm.h"
#include "aclnnop/aclnn_matmul_all_reduce.h"
#include "aclnnop/aclnn_matmul_all_reduce_add_rms_norm.h"
#include "aclnnop/aclnn_matmul_all_reduce_v2.h"
#include "aclnnop/aclnn_matmul_reduce_scatter.h"
#include "aclnnop/aclnn_matmul_reduce_scatter_v2.h"
#include "aclnnop/aclnn_moe_distribute_buffer_reset.h"
#include "aclnnop/aclnn_moe_distribute_combine.h"
#include "aclnnop/aclnn_moe_distribute_combine_add_rms_norm.h"
#include "aclnnop/aclnn_moe_distribute_combine_add_rms_norm_v2.h"
#include "aclnnop/aclnn_moe_distribute_combine_v2.h"
#include "aclnnop/aclnn_moe_distribute_combine_v3.h"
#include "aclnnop/aclnn_moe_distribute_dispatch.h"
#include "aclnnop/aclnn_moe_distribute_dispatch_v2.h"
#include "aclnnop/aclnn_moe_distribute_dispatch_v3.h"
#include "aclnnop/aclnn_moe_finalize_routing.h"
#include "aclnnop/aclnn_moe_finalize_routing_v2.h"
#include "aclnnop/aclnn_moe_gating_top_k_softmax.h"
#include "aclnnop/aclnn_moe_init_routing.h"
#include "aclnnop/aclnn_quant_matmul_all_reduce.h"
#include "aclnnop/aclnn_quant_matmul_all_reduce_add_rms_norm.h"
#include "aclnnop/aclnn_quant_matmul_all_reduce_v2.h"
#include "aclnnop/aclnn_quant_matmul_all_reduce_v3.h"
#include "aclnnop/aclnn_quant_matmul_all_reduce_v4.h"
#include "aclnnop/aclnn_trans_matmul_weight.h"
#include "aclnnop/aclnn_trans_quant_param_v2.h"
#include "aclnnop/aclnn_trans_quant_param_v3.h"
#include "aclnnop/aclnn_weight_quant_matmul_all_reduce.h"
#include "aclnnop/aclnn_weight_quant_matmul_all_reduce_add_rms_norm.h"
#include "base/fractal_nz.h"

namespace weft::cann {
namespace {

/// The handles of a call, by name.
class Handles {
 public:
  explicit Handles(const EntryCall& call) : tokens(call.token_handle) {
    for (const auto& [name, tensor] : call.tensors)
      handles_[name] = tensor.handle ? const_cast<aclTensor*>(tensor.handle) : made(tensor);
    if (call.expert_tokens)
      tokens = made_tokens_ =
          aclCreateIntArray(call.expert_tokens->data(), call.expert_tokens->size());
  }
  ~Handles() {
    for (aclTensor* tensor : made_) aclDestroyTensor(tensor);
    aclDestroyIntArray(made_tokens_);
  }
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;
  aclTensor* operator[](const char* name) const {
    const auto found = handles_.find(name);
    return found == handles_.end() ? nullptr : found->second;
  }
  const aclIntArray* tokens;

 private:
  aclTensor* made(const Described& tensor) { return made_.emplace_back(tensor.create()); }
  std::map<std::string, aclTensor*> handles_;
  std::vector<aclTensor*> made_;
  aclIntArray* made_tokens_ = nullptr;
};

struct EntryPoint {
  aclnnStatus (*first)(const Handles&, const EntryCall&, uint64_t*, aclOpExecutor**);
  aclnnStatus (*second)(void*, uint64_t, aclOpExecutor*, aclrtStream);
};

#define WEFT_ENTRY(op, ...)                                                                \
  {                                                                                        \
#op, {                                                                                 \
      [](const Handles& t, const EntryCall& c, uint64_t* size, aclOpExecutor** executor) { \
        (void)c;                                                                           \
        return op##GetWorkspaceSize(__VA_ARGS__, size, executor);                          \
      },                                                                                   \
          op                                                                               \
    }                                                                                      \
  }
#define WEFT_COMMON c.group, c.reduce_op, c.comm_turn, c.stream_mode
#define WEFT_FFN(tokens)                                                                       \
  t["x"], t["weight1"], t["weight2"], tokens, t["bias1"], t["bias2"], t["scale"], t["offset"], \
      t["deqScale1"], t["deqScale2"], t["antiquantScale1"], t["antiquantScale2"],              \
      t["antiquantOffset1"], t["antiquantOffset2"], c.activation, c.inner_precise

// Mixtures: first the outputs of dispatch, and the inputs of combine.
#define WEFT_MOE_RANKS                                                                         \
  c.group, c.moe.ep_world_size, c.moe.ep_rank_id, c.moe.moe_expert_num, c.moe.group_tp,        \
      c.moe.tp_world_size, c.moe.tp_rank_id, c.moe.expert_shard_type, c.moe.shared_expert_num, \
      c.moe.shared_expert_rank_num
#define WEFT_MOE_SPECIAL c.moe.zero_expert_num, c.moe.copy_expert_num, c.moe.const_expert_num
#define WEFT_MOE_TOKENS t["x"], t["expertIds"], t["scales"], t["xActiveMask"], t["expertScales"]
#define WEFT_MOE_DISPATCH c.moe.quant_mode, c.moe.global_bs, c.moe.expert_token_nums_type
#define WEFT_MOE_SENT(route)                                                           \
  t["expandX"], t["dynamicScales"], t[route], t["expertTokenNums"], t["epRecvCounts"], \
      t["tpRecvCounts"], t["expandScales"]
#define WEFT_MOE_ROWS(route) \
  t["expandX"], t["expertIds"], t[route], t["epSendCounts"], t["expertScales"]
#define WEFT_MOE_MORE                                                                          \
  t["tpSendCounts"], t["xActiveMask"], t["activationScale"], t["weightScale"], t["groupList"], \
      t["expandScales"]
#define WEFT_MOE_CONST \
  t["elasticInfo"], t["oriX"], t["constExpertAlpha1"], t["constExpertAlpha2"], t["constExpertV"]
#define WEFT_MOE_COMBINE c.moe.global_bs, c.moe.out_dtype, c.comm_quant_mode, c.moe.group_list_type
#define WEFT_MOE_EPSILON static_cast<float>(c.epsilon)

const std::map<std::string, EntryPoint>& table() {
  static const std::map<std::string, EntryPoint> entries = {
      WEFT_ENTRY(aclnnMatmulAllReduce, t["x1"], t["x2"], t["bias"], WEFT_COMMON, t["output"]),
      WEFT_ENTRY(aclnnMatmulAllReduceV2, t["x1"], t["x2"], t["bias"], t["x3"], WEFT_COMMON,
                 t["output"]),
      WEFT_ENTRY(aclnnQuantMatmulAllReduce, t["x1"], t["x2"], t["bias"], t["x3"], t["dequantScale"],
                 WEFT_COMMON, t["output"]),
      WEFT_ENTRY(aclnnQuantMatmulAllReduceV2, t["x1"], t["x2"], t["bias"], t["x3"],
                 t["dequantScale"], t["pertokenScale"], WEFT_COMMON, t["output"]),
      WEFT_ENTRY(aclnnQuantMatmulAllReduceV3, t["x1"], t["x2"], t["bias"], t["x3"],
                 t["dequantScale"], t["pertokenScale"], t["commQuantScale1"], t["commQuantScale2"],
                 WEFT_COMMON, t["output"]),
      WEFT_ENTRY(aclnnQuantMatmulAllReduceV4, t["x1"], t["x2"], t["bias"], t["x3"],
                 t["pertokenScale"], t["dequantScale"], t["commQuantScale1"], t["commQuantScale2"],
                 WEFT_COMMON, c.group_size, c.comm_quant_mode, t["output"]),
      WEFT_ENTRY(aclnnWeightQuantMatmulAllReduce, t["x1"], t["x2"], t["bias"], t["antiquantScale"],
                 t["antiquantOffset"], t["x3"], WEFT_COMMON, c.antiquant_group_size, t["output"]),
      WEFT_ENTRY(aclnnMatmulAllReduceAddRmsNorm, t["x1"], t["x2"], t["bias"], t["residual"],
                 t["gamma"], c.epsilon, WEFT_COMMON, t["y"], t["normOut"]),
      WEFT_ENTRY(aclnnInplaceMatmulAllReduceAddRmsNorm, t["x1"], t["x2"], t["bias"], t["residual"],
                 t["gamma"], c.epsilon, WEFT_COMMON, t["normOut"]),
      WEFT_ENTRY(aclnnQuantMatmulAllReduceAddRmsNorm, t["x1"], t["x2"], t["bias"],
                 t["dequantScale"], t["residual"], t["gamma"], c.epsilon, WEFT_COMMON, t["y"],
                 t["normOut"]),
      WEFT_ENTRY(aclnnInplaceQuantMatmulAllReduceAddRmsNorm, t["x1"], t["x2"], t["bias"],
                 t["dequantScale"], t["residual"], t["gamma"], c.epsilon, WEFT_COMMON,
                 t["normOut"]),
      WEFT_ENTRY(aclnnWeightQuantMatmulAllReduceAddRmsNorm, t["x1"], t["x2"], t["bias"],
                 t["antiquantScale"], t["antiquantOffset"], t["residual"], t["gamma"], c.epsilon,
                 WEFT_COMMON, c.antiquant_group_size, t["y"], t["normOut"]),
      WEFT_ENTRY(aclnnInplaceWeightQuantMatmulAllReduceAddRmsNorm, t["x1"], t["x2"], t["bias"],
                 t["antiquantScale"], t["antiquantOffset"], t["residual"], t["gamma"], c.epsilon,
                 WEFT_COMMON, c.antiquant_group_size, t["normOut"]),
      WEFT_ENTRY(aclnnMatmulReduceScatter, t["x1"], t["x2"], t["bias"], WEFT_COMMON, t["output"]),
      WEFT_ENTRY(aclnnMatmulReduceScatterV2, t["x1"], t["x2"], t["bias"], t["x1Scale"],
                 t["x2Scale"], t["quantScale"], c.block_size, WEFT_COMMON, c.group_size,
                 c.comm_mode, t["output"], t["amaxOut"]),
      WEFT_ENTRY(aclnnAddRmsNorm, t["x1"], t["x2"], t["gamma"], c.epsilon, t["yOut"], t["rstdOut"],
                 t["xOut"]),
      WEFT_ENTRY(aclnnFFN, WEFT_FFN(t.tokens), t["y"]),
      WEFT_ENTRY(aclnnFFNV2, WEFT_FFN(t.tokens), c.tokens_are_ends, t["y"]),
      WEFT_ENTRY(aclnnFFNV3, WEFT_FFN(t["expertTokens"]), c.tokens_are_ends, t["y"]),
      WEFT_ENTRY(aclnnMoeDistributeDispatch, WEFT_MOE_TOKENS, WEFT_MOE_RANKS, WEFT_MOE_DISPATCH,
                 WEFT_MOE_SENT("expandIdx")),
      WEFT_ENTRY(aclnnMoeDistributeDispatchV2, WEFT_MOE_TOKENS, WEFT_MOE_RANKS, WEFT_MOE_DISPATCH,
                 c.moe.comm_alg, WEFT_MOE_SENT("assistInfoForCombine")),
      WEFT_ENTRY(aclnnMoeDistributeDispatchV3, WEFT_MOE_TOKENS, t["elasticInfo"], WEFT_MOE_RANKS,
                 WEFT_MOE_DISPATCH, c.moe.comm_alg, WEFT_MOE_SPECIAL,
                 WEFT_MOE_SENT("assistInfoForCombine")),
      WEFT_ENTRY(aclnnMoeDistributeCombine, WEFT_MOE_ROWS("expandIdx"), WEFT_MOE_MORE,
                 WEFT_MOE_RANKS, WEFT_MOE_COMBINE, t["xOut"]),
      WEFT_ENTRY(aclnnMoeDistributeCombineV2, WEFT_MOE_ROWS("assistInfoForCombine"), WEFT_MOE_MORE,
                 t["sharedExpertX"], WEFT_MOE_RANKS, WEFT_MOE_COMBINE, c.moe.comm_alg, t["xOut"]),
      WEFT_ENTRY(aclnnMoeDistributeCombineV3, WEFT_MOE_ROWS("assistInfoForCombine"), WEFT_MOE_MORE,
                 t["sharedExpertX"], WEFT_MOE_CONST, WEFT_MOE_RANKS, WEFT_MOE_COMBINE,
                 c.moe.comm_alg, WEFT_MOE_SPECIAL, t["xOut"]),
      WEFT_ENTRY(aclnnMoeDistributeCombineAddRmsNorm, WEFT_MOE_ROWS("assistInfoForCombine"),
                 t["residualX"], t["gamma"], WEFT_MOE_MORE, t["sharedExpertX"], WEFT_MOE_RANKS,
                 WEFT_MOE_COMBINE, c.moe.comm_alg, WEFT_MOE_EPSILON, t["yOut"], t["rstdOut"],
                 t["xOut"]),
      WEFT_ENTRY(aclnnMoeDistributeCombineAddRmsNormV2, WEFT_MOE_ROWS("assistInfoForCombine"),
                 t["residualX"], t["gamma"], WEFT_MOE_MORE, t["sharedExpertX"], WEFT_MOE_CONST,
                 WEFT_MOE_RANKS, WEFT_MOE_COMBINE, c.moe.comm_alg, WEFT_MOE_EPSILON,
                 WEFT_MOE_SPECIAL, t["yOut"], t["rstdOut"], t["xOut"]),
      WEFT_ENTRY(aclnnDistributeBarrier, t["xRef"], c.group, c.moe.ep_world_size),
      WEFT_ENTRY(aclnnDistributeBarrierV2, t["xRef"], t["timeOut"], t["elasticInfo"], c.group,
                 c.moe.ep_world_size),
      WEFT_ENTRY(aclnnMoeDistributeBufferReset, t["elasticInfo"], c.group, c.moe.ep_world_size,
                 c.moe.need_sync),
      WEFT_ENTRY(aclnnMoeGatingTopKSoftmax, t["x"], t["finished"], c.k, t["yOut"],
                 t["expertIdxOut"], t["rowIdxOut"]),
      WEFT_ENTRY(aclnnMoeInitRouting, t["x"], t["rowIdx"], t["expertIdx"], c.active_num,
                 t["expandedXOut"], t["expandedRowIdxOut"], t["expandedExpertIdxOut"]),
      WEFT_ENTRY(aclnnMoeFinalizeRouting, t["expandedX"], t["x1"], t["x2"], t["bias"], t["scales"],
                 t["expandedRowIdx"], t["expertIdx"], t["out"]),
      WEFT_ENTRY(aclnnMoeFinalizeRoutingV2, t["expandedX"], t["expandedRowIdx"], t["x1"], t["x2"],
                 t["bias"], t["scales"], t["expertIdx"], c.drop_pad_mode, t["out"]),
      WEFT_ENTRY(aclnnTransQuantParamV2, t["scale"], t["offset"], t["out"]),
      WEFT_ENTRY(aclnnTransQuantParamV3, t["scale"], t["offset"], c.round_mode, t["out"]),
      WEFT_ENTRY(aclnnTransMatmulWeight, t["mmWeightRef"]),
  };
  return entries;
}
#undef WEFT_MOE_EPSILON
#undef WEFT_MOE_COMBINE
#undef WEFT_MOE_CONST
#undef WEFT_MOE_MORE
#undef WEFT_MOE_ROWS
#undef WEFT_MOE_SENT
#undef WEFT_MOE_DISPATCH
#undef WEFT_MOE_TOKENS
#undef WEFT_MOE_SPECIAL
#undef WEFT_MOE_RANKS
#undef WEFT_FFN
#undef WEFT_COMMON
#undef WEFT_ENTRY

/// One axis as long as the view reaches.
Dims storage_of(const ConstTensorRef& tensor) {
  std::int64_t elements = 1;
  for (int i = 0; i < tensor.rank(); ++i) {
    if (tensor.dim(i) == 0) return {0};
    elements += (tensor.dim(i) - 1) * tensor.stride(i);
  }
  return {elements};
}

}  // namespace

Described::Described(const ConstTensorRef& tensor)
    : dtype(static_cast<aclDataType>(info(tensor.dtype()).cann)),
      dims(tensor.dims().begin(), tensor.dims().end()),
      strides(tensor.strides().begin(), tensor.strides().end()),
      storage(storage_of(tensor)),
      data(const_cast<void*>(tensor.data())) {
  if (tensor.format() != Format::kFractalNz) return;
  const int rows = tensor.fractal_nz_transposed() ? 1 : 0;
  const FractalNz image(tensor.dtype(), tensor.dim(rows), tensor.dim(1 - rows));
  storage = {image.chunks, image.rows / 16, 16, image.c0};
  format = ACL_FORMAT_FRACTAL_NZ;
}

aclTensor* Described::create() const {
  const Dims& stored = storage.empty() ? dims : storage;
  return aclCreateTensor(dims.data(), dims.size(), dtype,
                         strides.empty() ? nullptr : strides.data(), 0, format, stored.data(),
                         stored.size(), data);
}

aclnnStatus first_phase(const EntryCall& call, uint64_t* workspace_size, aclOpExecutor** executor) {
  const Handles handles(call);
  return table().at(call.op).first(handles, call, call.no_workspace_size ? nullptr : workspace_size,
                                   call.no_executor ? nullptr : executor);
}

aclnnStatus second_phase(const std::string& op, void* workspace, uint64_t workspace_size,
                         aclOpExecutor* executor, aclrtStream stream) {
  return table().at(op).second(workspace, workspace_size, executor, stream);
}

int call_and_wait(const EntryCall& call, aclrtStream stream) {
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  int code = first_phase(call, &size, &executor);
  if (code != ACLNN_SUCCESS) return code;
  std::vector<std::byte> workspace(size);
  code = second_phase(call.op, workspace.data(), size, executor, stream);
  return code != ACLNN_SUCCESS ? code : aclrtSynchronizeStream(stream);
}

std::vector<std::string> entry_points() {
  std::vector<std::string> names;
  for (const auto& [name, entry] : table()) names.push_back(name);
  return names;
}

namespace {
std::vector<int> first_devices(int ranks) {
  std::vector<int> devices(static_cast<std::size_t>(ranks));
  std::iota(devices.begin(), devices.end(), 0);
  return devices;
}
}  // namespace

CannRanks::CannRanks(int ranks, const GroupOptions& options)
    : CannRanks(first_devices(ranks), options) {}

CannRanks::CannRanks(std::vector<int> devices, const GroupOptions& options)
    : devices_(std::move(devices)) {
  const auto ranks = static_cast<int>(devices_.size());
  auto groups = Group::local(ranks, options).value();
  name_ = groups[0].name();
  for (int rank = 0; rank < ranks; ++rank) {
    EXPECT_EQ(aclrtSetDevice(devices_[static_cast<std::size_t>(rank)]), ACL_SUCCESS);
    VirtualDevice& device = *Runtime::instance().current_device();
    handles_.push_back(Communicators::instance().add(
        std::make_shared<Communicator>(device, std::move(groups[static_cast<std::size_t>(rank)]),
                                       Context::create({.threads = 1}).value())));
  }
}

CannRanks::~CannRanks() {
  for (void* handle : handles_) Communicators::instance().take(handle);
}

void CannRanks::run(const std::function<void(int, aclrtStream)>& body) const {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size(); ++rank)
    threads.emplace_back([this, &body, rank] {
      aclrtStream stream = nullptr;
      ASSERT_EQ(aclrtSetDevice(devices_[static_cast<std::size_t>(rank)]), ACL_SUCCESS);
      ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
      body(rank, stream);
      EXPECT_EQ(aclrtDestroyStream(stream), ACL_SUCCESS);
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace weft::cann
