// SPDX-License-Identifier: Apache-2.0
// aclnnMoeDistribute…: what the first phases of dispatch and combine share. The rules about
// operands are those of weft's operators; the limits that only CANN has are here.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>

#include "aclnn_first_phase.h"
#include "aclnn_moe_task.h"
#include "weft/ops/moe_experts.h"
#include "weft/tensor.h"

namespace weft::cann {

/// Parameters of every entry point, under CANN's names.
struct MoeAttributes {
  const char* op;         ///< the second phase
  bool first_version;     ///< of its interface
  int code_of_long_name;  ///< of a group
  const char* group_ep;
  std::int64_t ep_world_size, ep_rank_id, moe_expert_num;
  const char* group_tp;
  std::int64_t tp_world_size, tp_rank_id, expert_shard_type, shared_expert_num,
      shared_expert_rank_num, global_bs;
  Results results;
  // From the third version on.
  const aclTensor* elastic_info = nullptr;
  std::int64_t zero_expert_num = 0, copy_expert_num = 0, const_expert_num = 0;
};

/// What follows from attributes and operands that hold.
struct MoeSizes {
  std::int64_t tokens, hidden, k;  ///< Bs, H, K
  std::int64_t local;              ///< L: experts of a rank without a shared one
  std::int64_t most_tokens;        ///< Bs of any rank
  std::int64_t capacity;           ///< rows that this rank may get (with TP from its own ranks): A
};

/// One call of a first phase. CANN has three layers that look at it one after the other: what the
/// first finds wrong counts, whatever the next would say.
class MoeCall {
 public:
  explicit MoeCall(const MoeAttributes& attributes) : with(attributes) {}

  const MoeAttributes& with;
  Findings findings;

  bool tp() const { return with.tp_world_size == 2; }
  std::int64_t tp_ranks() const { return tp() ? 2 : 1; }
  /// As weft counts them: without shared ranks there are no shared experts.
  MoeExperts experts() const;

  // --- first: what is null, and the names of groups ---

  struct Given {
    const char* name;
    const aclTensor* handle;
  };
  void check_given(std::initializer_list<Given> operands);
  void check_groups();

  // --- second: dtypes; what breaks another rule is told of only if no dtype is wrong ---

  /// Not given if the handle is null.
  TensorRef look(const char* name, const aclTensor* handle, std::initializer_list<DType> dtypes,
                 int least_axes, int most_axes);
  TensorRef required(const char* name, const aclTensor* handle, std::initializer_list<DType> dtypes,
                     int least_axes, int most_axes);
  ConstTensorRef look_at_elastic_info();
  /// expandX has the dtype of the tokens, or a special one.
  void check_rows_dtype(const aclTensor* rows, DType special, const aclTensor* tokens);

  // --- third: everything else. Each of these wants the ones before it to hold ---

  void range(const char* name, std::int64_t value, std::int64_t least, std::int64_t most);
  void zero_or_two(const char* name, std::int64_t value);
  void check_attributes();
  /// Numbers of experts, tokens and rows. `hidden`: the operand that has H columns.
  MoeSizes check_sizes(const ConstTensorRef& expert_ids, const ConstTensorRef& hidden,
                       const ConstTensorRef& mask);
  /// There are `rows` elements or more along the first axis.
  void at_least(const char* name, const ConstTensorRef& tensor, std::int64_t rows);
  /// (2) with TP; without it nothing, one element or none.
  void check_tp_counts(const char* name, const ConstTensorRef& counts);
  /// What one call may need of HCCL_BUFFSIZE. `mesh_2`: commAlg is "fullmesh_v2".
  void check_buffer(const MoeSizes& sizes, bool mesh_2 = false);

  /// The end: the contract of weft's operator, then communicators and memory; then the plan.
  aclnnStatus finish(const std::shared_ptr<MoeTask>& task);

 private:
  void check_experts();
  void check_global_bs(std::int64_t tokens, const ConstTensorRef& mask);
  std::int64_t capacity(const MoeSizes& sizes) const;
  void find_communicators(MoeTask& task);
};

/// An operand of these dtypes (else 161002), not tiled and with so many axes (else 561002); not
/// given if the handle is null, or if what it describes is none.
TensorRef look_at(Findings& findings, const char* name, const aclTensor* handle,
                  std::initializer_list<DType> dtypes, int least_axes, int most_axes);

/// The current device's rank in a communicator; null, and a finding, if there is none.
std::shared_ptr<Communicator> find_communicator(Findings& findings, const char* parameter,
                                                const char* name, int code);

/// The view without its last rows.
template <typename Tensor>
Tensor first_rows(const Tensor& tensor, std::int64_t rows) {
  std::array<std::int64_t, kMaxDims> dims{};
  std::copy(tensor.dims().begin(), tensor.dims().end(), dims.begin());
  dims[0] = rows;
  return Tensor(tensor.data(), tensor.dtype(), std::span(dims.data(), tensor.dims().size()),
                tensor.strides());
}

}  // namespace weft::cann
