// SPDX-License-Identifier: Apache-2.0
#include "aclnn_moe_distribute.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>

#include "base/env.h"
#include "ops/rules.h"

namespace weft::cann {
namespace {

constexpr int kTiling = ACLNN_ERR_INNER_TILING_ERROR;
constexpr ops::CannEntry kEntry = ops::CannEntry::kMoe;
constexpr std::int64_t kMostIds = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMostK = 16, kMostTokens = 512, kLeastHidden = 1024, kMostHidden = 8192;
constexpr std::size_t kNameBytes = 128;  // with the terminating zero

bool too_long(const char* name) { return name && strnlen(name, kNameBytes) == kNameBytes; }
bool is_empty(const char* name) { return !name || !*name; }
/// Of rows. Stays at a number that no tensor has and that can be multiplied with the elements of a
/// row: such a call is refused for its rows.
std::int64_t times(std::int64_t a, std::int64_t b) {
  constexpr std::int64_t kTooMany = std::int64_t{1} << 40;
  std::int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kTooMany : std::min(product, kTooMany);
}

/// HCCL_BUFFSIZE as CANN's operators read it: what is no number counts as the default.
std::uint64_t buffer_megabytes() {
  constexpr std::uint64_t kDefault = 200;
  const std::string text = env::text("HCCL_BUFFSIZE");
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && rest == end ? number : kDefault;
}

/// Bytes that CANN's operators need for tokens on their way there and back. In floating point,
/// where nothing overflows.
double buffer_bytes(const MoeAttributes& a, const MoeSizes& s, std::int64_t shared, bool mesh_2) {
  const auto most = static_cast<double>(s.most_tokens);
  const std::int64_t places = a.ep_world_size * s.local;
  if (a.first_version) return 4.0 * static_cast<double>(places * s.hidden) * most;
  constexpr std::int64_t kScaleAndOrigin = 44, kMeshPayload = 480, kBlock = 512;
  const std::int64_t row = 2 * s.hidden, sent = round_up(row, 32) + kScaleAndOrigin;
  const std::int64_t there =
      mesh_2 ? ceil_div(sent, kMeshPayload) * kBlock : round_up(sent, kBlock);
  const std::int64_t back = round_up(row, kBlock);
  return 2 * most * static_cast<double>(places * there + (s.k + shared) * back);
}

std::string text_of(std::initializer_list<DType> dtypes) {
  std::string text;
  for (DType dtype : dtypes)
    text += fmt::format("{}{}", text.empty() ? "" : " or ", to_string(dtype));
  return text;
}

}  // namespace

MoeExperts MoeCall::experts() const {
  const bool shared = with.shared_expert_rank_num > 0;
  return {.moe_expert_num = with.moe_expert_num,
          .shared_expert_num = shared ? with.shared_expert_num : 0,
          .shared_expert_rank_num = with.shared_expert_rank_num,
          .shared_tokens =
              with.first_version && shared ? SharedTokens::kBySlice : SharedTokens::kBySource,
          .zero_expert_num = with.zero_expert_num,
          .copy_expert_num = with.copy_expert_num,
          .const_expert_num = with.const_expert_num};
}

void MoeCall::check_given(std::initializer_list<Given> operands) {
  for (const auto& [name, handle] : operands)
    findings.require(handle, ACLNN_ERR_PARAM_NULLPTR, "{} is null", name);
  with.results.check(findings);
}

void MoeCall::check_groups() {
  findings.require(!is_empty(with.group_ep), ACLNN_ERR_PARAM_NULLPTR,
                   "groupEp is null or empty; pass what HcclGetCommName gave");
  for (const auto& [name, text] :
       {std::pair{"groupEp", with.group_ep}, std::pair{"groupTp", with.group_tp}})
    findings.require(!too_long(text), with.code_of_long_name,
                     "{} has more than {} characters; pass what HcclGetCommName gave", name,
                     kNameBytes - 1);
}

TensorRef MoeCall::look(const char* name, const aclTensor* handle,
                        std::initializer_list<DType> dtypes, int least_axes, int most_axes) {
  return look_at(findings, name, handle, dtypes, least_axes, most_axes);
}

TensorRef MoeCall::required(const char* name, const aclTensor* handle,
                            std::initializer_list<DType> dtypes, int least_axes, int most_axes) {
  findings.require(handle, ACLNN_ERR_PARAM_NULLPTR, "{} is null", name);
  return look(name, handle, dtypes, least_axes, most_axes);
}

ConstTensorRef MoeCall::look_at_elastic_info() {
  return look("elasticInfo", with.elastic_info, {DType::kInt32}, 1, 1);
}

// By the descriptions: this counts before what else may be wrong with the operands.
void MoeCall::check_rows_dtype(const aclTensor* rows, DType special, const aclTensor* tokens) {
  const std::shared_ptr<Tensor> a = find_tensor(rows), b = find_tensor(tokens);
  if (!a || !b) return;
  const int of_rows = number_of(a->dtype), of_tokens = number_of(b->dtype);
  findings.require(of_rows == of_tokens || of_rows == info(special).cann, ACLNN_ERR_PARAM_INVALID,
                   "expandX has aclDataType {} but x {}; they must be the same, or expandX {}",
                   of_rows, of_tokens, to_string(special));
}

void MoeCall::range(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (least == most)
    findings.require(value == least, kTiling, "{} is {} but must be {}", name, value, least);
  else
    findings.require(value >= least && value <= most, kTiling, "{} is {} but must be {} to {}",
                     name, value, least, most);
}

void MoeCall::zero_or_two(const char* name, std::int64_t value) {
  findings.require(value == 0 || value == 2, kTiling, "{} is {} but must be 0 or 2", name, value);
}

void MoeCall::check_attributes() {
  range("epWorldSize", with.ep_world_size, 2, 768);
  range("epRankId", with.ep_rank_id, 0, with.ep_world_size - 1);
  range("tpWorldSize", with.tp_world_size, 0, 2);
  range("tpRankId", with.tp_rank_id, 0, tp() ? 1 : 0);
  findings.require(!tp() || !is_empty(with.group_tp), kTiling,
                   "groupTp is null or empty, but tpWorldSize 2 needs a communicator");
  range("expertShardType", with.expert_shard_type, 0, 0);
  range("sharedExpertNum", with.shared_expert_num, 0, 4);
  range("sharedExpertRankNum", with.shared_expert_rank_num, 0, with.ep_world_size - 1);
  range("moeExpertNum", with.moe_expert_num, 1, 1024);
  range("zeroExpertNum", with.zero_expert_num, 0, kMostIds);
  range("copyExpertNum", with.copy_expert_num, 0, kMostIds);
  range("constExpertNum", with.const_expert_num, 0, kMostIds);
  findings.require(!tp() || !with.elastic_info, kTiling,
                   "elasticInfo is given but must be null with tpWorldSize 2");
  if (findings.any()) return;
  check_experts();
}

void MoeCall::check_experts() {
  const std::int64_t shared = with.shared_expert_num, on = with.shared_expert_rank_num;
  const std::int64_t ids =
      with.moe_expert_num + with.zero_expert_num + with.copy_expert_num + with.const_expert_num;
  findings.require(ids <= kMostIds, kTiling, "there are {} experts, but at most {} ids", ids,
                   kMostIds);
  if (with.first_version)
    findings.require(shared == 1 || (shared == 0 && on == 0), kTiling,
                     "sharedExpertNum is {} but must be 1, or 0 if sharedExpertRankNum is 0",
                     shared);
  else if (on == 0)
    findings.require(shared <= 1, kTiling,
                     "sharedExpertNum is {} but must be 0 or 1 if sharedExpertRankNum is 0",
                     shared);
  else
    findings.require(shared > 0 && on % shared == 0, kTiling,
                     "sharedExpertRankNum is {} but must be a multiple of sharedExpertNum, {}", on,
                     shared);
  const std::int64_t ranks = with.ep_world_size - on;
  findings.require(with.moe_expert_num % ranks == 0, kTiling,
                   "moeExpertNum is {} but must be a multiple of the {} ranks without a shared "
                   "expert",
                   with.moe_expert_num, ranks);
  findings.require(!tp() || with.moe_expert_num == ranks, kTiling,
                   "moeExpertNum is {} but must be {} with tpWorldSize 2: one expert on each rank",
                   with.moe_expert_num, ranks);
}

MoeSizes MoeCall::check_sizes(const ConstTensorRef& expert_ids, const ConstTensorRef& hidden,
                              const ConstTensorRef& mask) {
  const std::int64_t ids =
      with.moe_expert_num + with.zero_expert_num + with.copy_expert_num + with.const_expert_num;
  MoeSizes sizes{.tokens = expert_ids.dim(0), .hidden = hidden.dim(1), .k = expert_ids.dim(1)};
  range("the number of tokens, Bs of expertIds (Bs, K),", sizes.tokens, 1, kMostTokens);
  range("K of expertIds (Bs, K)", sizes.k, 1, std::min(kMostK, ids));
  range("H", sizes.hidden, kLeastHidden, kMostHidden);
  check_global_bs(sizes.tokens, mask);
  if (with.elastic_info) {
    const ConstTensorRef info = look_at_elastic_info();
    range("the number of elements of elasticInfo", info.elements(), 4 + 2 * with.ep_world_size,
          4 + 2 * with.ep_world_size);
  }
  sizes.local = with.moe_expert_num / (with.ep_world_size - with.shared_expert_rank_num);
  sizes.most_tokens = with.global_bs != 0 ? with.global_bs / with.ep_world_size : sizes.tokens;
  sizes.capacity = capacity(sizes);
  return sizes;
}

void MoeCall::check_global_bs(std::int64_t tokens, const ConstTensorRef& mask) {
  const std::int64_t all = with.global_bs, equal = tokens * with.ep_world_size;
  if (all == 0) return;
  findings.require(all >= equal && all % with.ep_world_size == 0, kTiling,
                   "globalBs is {} but must be 0, or a multiple of the {} ranks and at least {}, "
                   "that many times this rank's {} tokens",
                   all, with.ep_world_size, equal, tokens);
  findings.require(
      all <= equal || !mask.given(), kTiling,
      "xActiveMask is given, but globalBs {} says that ranks have different numbers of "
      "tokens (this one {}); pass null",
      all, tokens);
}

std::int64_t MoeCall::capacity(const MoeSizes& sizes) const {
  const std::int64_t on = with.shared_expert_rank_num, ranks = with.ep_world_size;
  if (with.ep_rank_id >= on)
    return times(times(sizes.most_tokens, ranks), std::min(sizes.local, sizes.k));
  // Its own tokens and a slice of every other rank's; ranks · Bs / on if that is a whole number.
  if (with.first_version)
    return times(with.ep_rank_id + ranks, sizes.most_tokens) / on -
           times(with.ep_rank_id, sizes.most_tokens) / on;
  return times(sizes.most_tokens, ceil_div(ranks, on / with.shared_expert_num));
}

void MoeCall::at_least(const char* name, const ConstTensorRef& tensor, std::int64_t rows) {
  findings.require(tensor.dim(0) >= rows, kTiling,
                   "{} has {} along its first axis but must have at least {}: what this rank may "
                   "get",
                   name, tensor.dim(0), rows);
}

void MoeCall::check_tp_counts(const char* name, const ConstTensorRef& counts) {
  if (tp()) {
    findings.require(counts.given() && counts.dim(0) == 2, kTiling,
                     "{} must have 2 elements with tpWorldSize 2", name);
    return;
  }
  findings.require(!counts.given() || counts.dim(0) <= 1, kTiling,
                   "{} has {} elements but must have tpWorldSize, {}", name,
                   counts.given() ? counts.dim(0) : 0, with.tp_world_size);
}

void MoeCall::check_buffer(const MoeSizes& sizes, bool mesh_2) {
  const double needed = buffer_bytes(with, sizes, experts().shared_expert_num, mesh_2);
  const std::uint64_t megabytes = buffer_megabytes();
  findings.require(needed <= static_cast<double>(megabytes) * 0x1p20, kTiling,
                   "HCCL_BUFFSIZE is {} MB, but {} of {} columns each for {} ranks with {} experts "
                   "need {:.1f} MB",
                   megabytes, sizes.most_tokens, sizes.hidden, with.ep_world_size, sizes.local,
                   needed / 0x1p20);
}

void MoeCall::find_communicators(MoeTask& task) {
  task.ep = find_communicator(findings, "groupEp", with.group_ep, ACLNN_ERR_INNER);
  if (task.ep)
    findings.require(
        task.ep->ranks() == with.ep_world_size && task.ep->rank() == with.ep_rank_id,
        ACLNN_ERR_PARAM_INVALID,
        "epWorldSize is {} and epRankId {}, but this is rank {} of {} in communicator \"{}\"",
        with.ep_world_size, with.ep_rank_id, task.ep->rank(), task.ep->ranks(), with.group_ep);
  findings.require(is_empty(with.group_tp) || std::strcmp(with.group_ep, with.group_tp) != 0,
                   ACLNN_ERR_PARAM_INVALID,
                   "groupEp and groupTp are both \"{}\"; pass different communicators",
                   with.group_ep);
  if (!tp()) return;
  task.tp = find_communicator(findings, "groupTp", with.group_tp, ACLNN_ERR_INNER);
  if (task.tp)
    findings.require(task.tp->ranks() == 2 && task.tp->rank() == with.tp_rank_id,
                     ACLNN_ERR_PARAM_INVALID,
                     "tpWorldSize is 2 and tpRankId {}, but this is rank {} of {} in communicator "
                     "\"{}\"",
                     with.tp_rank_id, task.tp->rank(), task.tp->ranks(), with.group_tp);
}

aclnnStatus MoeCall::finish(const std::shared_ptr<MoeTask>& task) {
  const auto rank = static_cast<int>(with.ep_rank_id);
  findings.add(task->check_plan(rank, static_cast<int>(with.ep_world_size), tp()), kEntry);
  if (findings.any()) return findings.report();
  find_communicators(*task);
  if (findings.any()) return findings.report();
  if (const Status status = task->gathered.allocate(); !status.ok()) return no_plan(status);
  findings.add(task->check_run(rank), kEntry);
  findings.require(!task->elastic_info.given() || task->elastic_info.data(),
                   ACLNN_ERR_PARAM_NULLPTR, "elasticInfo has no memory (null pointer)");
  if (findings.any()) return findings.report();
  if (const Status status = task->plan(); !status.ok()) return no_plan(status);
  Communicator::Several communicators = {task->ep};
  if (task->tp) communicators.push_back(task->tp);
  return cann::finish(
      with.op, with.results,
      [task, communicators = std::move(communicators)](const auto&, Stream& stream) {
        return Communicator::submit(communicators, stream,
                                    [task](Context&, Group&) { return task->run(); });
      });
}

TensorRef look_at(Findings& findings, const char* name, const aclTensor* handle,
                  std::initializer_list<DType> dtypes, int least_axes, int most_axes) {
  if (!handle) return {};
  const std::shared_ptr<Tensor> found = look_up(findings, name, handle);
  if (!found) return {};
  const Result<DType> dtype = to_dtype(name, found->dtype);
  const bool known = dtype.ok() && std::ranges::find(dtypes, *dtype) != dtypes.end();
  findings.require(known, ACLNN_ERR_PARAM_INVALID, "{} has aclDataType {} but must be {}", name,
                   number_of(found->dtype), text_of(dtypes));
  findings.require(!found->tiled(), kTiling,
                   "{} has storage format {}, which is tiled; pass "
                   "ACL_FORMAT_ND (2)",
                   name, number_of(found->storage_format));
  const auto axes = static_cast<int>(found->rank());
  const bool fits = axes >= least_axes && axes <= most_axes;
  findings.require(fits, kTiling, "{} has {} axes but must have {}", name, axes,
                   least_axes == most_axes ? fmt::format("{}", least_axes)
                                           : fmt::format("{} to {}", least_axes, most_axes));
  if (!known || !fits || found->tiled()) return {};
  const Result<TensorRef> view = to_tensor_ref(name, *found);
  findings.require(view.ok(), ACLNN_ERR_PARAM_INVALID, "{}", view.status().message());
  return view.ok() ? *view : TensorRef();
}

std::shared_ptr<Communicator> find_communicator(Findings& findings, const char* parameter,
                                                const char* name, int code) {
  const std::shared_ptr<DeviceContext> current = Runtime::instance().current();
  std::shared_ptr<Communicator> found;
  if (current) found = Communicators::instance().find(name, current->device);
  findings.require(found != nullptr, code,
                   "{}: the current device is in no communicator \"{}\"; pass what "
                   "HcclGetCommName gave for it, and make its device current in this thread",
                   parameter, name);
  return found;
}

}  // namespace weft::cann
