// SPDX-License-Identifier: Apache-2.0
// Calls of the operators by name, and ranks as threads with a device each.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aclnn/aclnn_base.h"
#include "check.h"
#include "communicator.h"
#include "weft/tensor.h"

namespace weft::cann {

using Dims = std::vector<std::int64_t>;

/// What a test passes as one tensor.
struct Described {
  aclDataType dtype = ACL_FLOAT16;
  Dims dims, strides, storage;  ///< without strides and storage: dense
  aclFormat format = ACL_FORMAT_ND;
  void* data = nullptr;
  const aclTensor* handle = nullptr;  ///< instead of the rest

  Described() = default;
  Described(aclDataType type, Dims extents) : dtype(type), dims(std::move(extents)) {}
  explicit Described(const ConstTensorRef& tensor);
  aclTensor* create() const;
};

/// What the entry points of mixtures have beside tensors; `group` of the call is groupEp.
struct MoeParameters {
  const char* group_tp = "";
  std::int64_t ep_world_size = 2, ep_rank_id = 0, moe_expert_num = 4;
  std::int64_t tp_world_size = 0, tp_rank_id = 0, expert_shard_type = 0;
  std::int64_t shared_expert_num = 1, shared_expert_rank_num = 0;
  std::int64_t quant_mode = 0, global_bs = 0, expert_token_nums_type = 1;
  std::int64_t zero_expert_num = 0, copy_expert_num = 0, const_expert_num = 0;
  std::int64_t out_dtype = 0, group_list_type = 0, need_sync = 1;
  const char* comm_alg = nullptr;
};

/// One call of an entry point. Tensors that are not in the map are null.
struct EntryCall {
  std::string op;
  std::map<std::string, Described> tensors;
  const char* group = nullptr;
  const char* reduce_op = "sum";
  std::int64_t comm_turn = 0, stream_mode = 1;
  std::int64_t antiquant_group_size = 0, group_size = 0, comm_quant_mode = 0, block_size = 0;
  std::int64_t round_mode = 0;
  const char* comm_mode = nullptr;
  double epsilon = 1e-6;
  const char* activation = "relu";
  std::int64_t inner_precise = 1;
  std::optional<Dims> expert_tokens;          ///< an aclIntArray, of the entry points that take one
  const aclIntArray* token_handle = nullptr;  ///< instead of it
  bool tokens_are_ends = false;
  MoeParameters moe;
  std::int64_t k = 1, active_num = 0, drop_pad_mode = 0;  ///< of the routing operators
  bool no_workspace_size = false, no_executor = false;
};

/// The first phase; the handles of its tensors are gone when it returns.
aclnnStatus first_phase(const EntryCall& call, uint64_t* workspace_size, aclOpExecutor** executor);
aclnnStatus second_phase(const std::string& op, void* workspace, uint64_t workspace_size,
                         aclOpExecutor* executor, aclrtStream stream);
/// Both, and a synchronise. The first code that is none of success.
int call_and_wait(const EntryCall& call, aclrtStream stream);
std::vector<std::string> entry_points();

/// A communicator over devices 0, 1, … or others, one rank each; needs a started runtime.
class CannRanks {
 public:
  explicit CannRanks(int ranks, const GroupOptions& options = {});
  /// Over these devices, in the order of ranks.
  explicit CannRanks(std::vector<int> devices, const GroupOptions& options = {});
  ~CannRanks();
  CannRanks(const CannRanks&) = delete;
  CannRanks& operator=(const CannRanks&) = delete;

  int size() const { return static_cast<int>(handles_.size()); }
  const char* name() const { return name_.c_str(); }
  /// Ends the membership of a rank.
  void lose(int rank) { Communicators::instance().take(handles_[static_cast<std::size_t>(rank)]); }
  /// body(rank, stream) in a thread per rank, with its device.
  void run(const std::function<void(int, aclrtStream)>& body) const;

 private:
  std::string name_;
  std::vector<int> devices_;
  std::vector<void*> handles_;
};

}  // namespace weft::cann
