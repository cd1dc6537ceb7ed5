// SPDX-License-Identifier: Apache-2.0
#include "moe_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "base/float16.h"

namespace weft::cann {
namespace {

constexpr std::byte kSentinel{0x5a};
constexpr std::int64_t kExtraRows = 2;  // of outputs

int width_of(aclDataType dtype) {
  switch (dtype) {
    case ACL_INT8:
    case ACL_BOOL:
      return 1;
    case ACL_FLOAT16:
    case ACL_BF16:
      return 2;
    case ACL_INT64:
      return 8;
    default:
      return 4;
  }
}

template <typename T>
T read(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

std::int64_t product(const Dims& dims) {
  return std::accumulate(dims.begin(), dims.end(), std::int64_t{1}, std::multiplies<>());
}

}  // namespace

std::int64_t MoeWorld::tokens_of(int device) const {
  return tokens[std::min(static_cast<std::size_t>(device), tokens.size() - 1)];
}

std::int64_t MoeWorld::most_tokens() const {
  return global_bs != 0 ? global_bs / ep : tokens_of(0);
}

std::int64_t MoeWorld::local(int r) const {
  return r < shared_ranks ? 1 : experts / (ep - shared_ranks);
}

std::int64_t MoeWorld::capacity(int r) const {
  if (r >= shared_ranks) return most_tokens() * ep * std::min(local(r), k);
  if (version == 1)
    return (r + ep) * most_tokens() / shared_ranks - r * most_tokens() / shared_ranks;
  const std::int64_t replicas = shared_ranks / shared;
  return most_tokens() * ((ep + replicas - 1) / replicas);
}

MoeOperand::MoeOperand(aclDataType dtype, Dims dims, bool strided)
    : dtype_(dtype), dims_(std::move(dims)), strides_(dims_.size()), width_(width_of(dtype)) {
  std::int64_t stride = strided ? 2 : 1;
  for (std::size_t i = dims_.size(); i-- > 0; stride *= dims_[i]) strides_[i] = stride;
  memory_ = std::make_shared<std::vector<std::byte>>(
      static_cast<std::size_t>(std::max<std::int64_t>(stride, 1) * width_), kSentinel);
}

Described MoeOperand::describe() const {
  Described d(dtype_, dims_);
  d.strides = strides_;
  d.storage = {static_cast<std::int64_t>(memory_->size()) / width_};
  d.data = memory_->data();
  return d;
}

std::int64_t MoeOperand::size() const { return product(dims_); }

std::byte* MoeOperand::at(std::int64_t i) const {
  std::int64_t offset = 0;
  for (std::size_t axis = dims_.size(); axis-- > 0; i /= dims_[axis])
    offset += i % dims_[axis] * strides_[axis];
  return memory_->data() + offset * width_;
}

double MoeOperand::get(std::int64_t i) const {
  switch (dtype_) {
    case ACL_INT8:
      return read<std::int8_t>(at(i));
    case ACL_BOOL:
      return read<std::uint8_t>(at(i));
    case ACL_FLOAT16:
      return fp16_to_f32(bits(i));
    case ACL_BF16:
      return bf16_to_f32(bits(i));
    case ACL_INT64:
      return static_cast<double>(read<std::int64_t>(at(i)));
    case ACL_INT32:
      return read<std::int32_t>(at(i));
    default:
      return read<float>(at(i));
  }
}

void MoeOperand::set(std::int64_t i, double value) {
  const auto put = [&](auto number) { std::memcpy(at(i), &number, sizeof number); };
  switch (dtype_) {
    case ACL_BOOL:
      return put(static_cast<std::uint8_t>(value));
    case ACL_FLOAT16:
      return put(f64_to_fp16(value));
    case ACL_BF16:
      return put(f64_to_bf16(value));
    case ACL_INT32:
      return put(static_cast<std::int32_t>(value));
    default:
      return put(static_cast<float>(value));
  }
}

std::uint16_t MoeOperand::bits(std::int64_t i) const { return read<std::uint16_t>(at(i)); }

bool MoeOperand::untouched(std::int64_t i) const {
  return std::all_of(at(i), at(i) + width_, [](std::byte b) { return b == kSentinel; });
}

MoeCase::MoeCase(const MoeWorld& of, unsigned seed) : world(of) {
  operands.resize(static_cast<std::size_t>(world.devices()));
  for (int device = 0; device < world.devices(); ++device) {
    make_tokens(device, seed * 100 + static_cast<unsigned>(device));
    make_outputs(device);
  }
}

double MoeCase::value(double number) const {
  return world.dtype == ACL_BF16 ? bf16_to_f32(f64_to_bf16(number))
                                 : fp16_to_f32(f64_to_fp16(number));
}

void MoeCase::make_tokens(int device, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  auto& all = operands[static_cast<std::size_t>(device)];
  const std::int64_t n = world.tokens_of(device), h = world.hidden, k = world.k;
  const auto any = [&] { return std::normal_distribution<double>()(random); };
  const auto fill = [&](const char* name, aclDataType dtype, Dims dims) -> MoeOperand& {
    MoeOperand& made = all[name] = MoeOperand(dtype, std::move(dims), world.strided);
    for (std::int64_t i = 0; i < made.size(); ++i) made.set(i, any());
    return made;
  };
  const MoeOperand& x = fill("x", world.dtype, {n, h});
  fill("expertScales", ACL_FLOAT, {n, k});
  MoeOperand& ids = fill("expertIds", ACL_INT32, {n, k});
  std::vector<std::int64_t> deck(static_cast<std::size_t>(world.ids()));
  std::iota(deck.begin(), deck.end(), 0);
  for (std::int64_t i = 0; i < n * k; ++i) {
    if (i % k == 0) std::ranges::shuffle(deck, random);
    ids.set(i, static_cast<double>(deck[static_cast<std::size_t>(i % k)]));
  }
  if (world.scales) fill("scales", ACL_FLOAT, {world.shared + world.experts, h});
  if (world.mask_axes > 0) {
    MoeOperand& mask = fill("xActiveMask", ACL_BOOL, world.mask_axes == 1 ? Dims{n} : Dims{n, k});
    const std::int64_t first = static_cast<std::int64_t>(random()) % (n + 1);
    for (std::int64_t i = 0; i < mask.size(); ++i)
      mask.set(i, world.mask_axes == 1 ? i < first : random() % 3 != 0);
  }
  if (world.copy + world.constants > 0) {
    MoeOperand& ori = fill("oriX", world.dtype, {n, h});
    for (std::int64_t i = 0; i < n * h; ++i) ori.set(i, x.get(i));
  }
  if (world.constants > 0) {
    const Dims alpha = world.strided ? Dims{world.constants, h} : Dims{world.constants};
    fill("constExpertAlpha1", world.dtype, alpha);
    fill("constExpertAlpha2", world.dtype, alpha);
    fill("constExpertV", world.dtype, {world.constants, h});
  }
  if (world.shared_x) fill("sharedExpertX", world.dtype, {n, 1, h});
  if (!world.norm) return;
  fill("residualX", world.dtype, {n, 1, h});
  fill("gamma", world.dtype, {h});
}

void MoeCase::make_outputs(int device) {
  auto& all = operands[static_cast<std::size_t>(device)];
  const int r = device / world.tp;
  const std::int64_t n = world.tokens_of(device), h = world.hidden;
  const std::int64_t rows = world.capacity(r) * world.tp + kExtraRows;
  all["expandX"] = MoeOperand(world.int8 ? ACL_INT8 : world.dtype, {rows, h});
  all["rows"] = MoeOperand(world.dtype, {rows, h}, world.strided);
  all["dynamicScales"] = MoeOperand(ACL_FLOAT, {rows});
  if (world.version == 1)
    all["expandIdx"] = MoeOperand(ACL_INT32, {n * world.k});
  else
    all["assistInfoForCombine"] = MoeOperand(ACL_INT32, {128 * (rows + kExtraRows)});
  all["expertTokenNums"] = MoeOperand(ACL_INT64, {world.local(r)});
  all["epRecvCounts"] = MoeOperand(ACL_INT32, {world.ep * world.local(r) * world.tp + 1});
  all["tpRecvCounts"] = MoeOperand(ACL_INT32, {world.tp == 2 ? 2 : 0});
  all["expandScales"] = MoeOperand(ACL_FLOAT, {rows});
  all["xOut"] = MoeOperand(world.dtype, world.norm ? Dims{n, 1, h} : Dims{n, h});
  if (!world.norm) return;
  all["yOut"] = MoeOperand(world.dtype, {n, 1, h});
  all["rstdOut"] = MoeOperand(ACL_FLOAT, {n, 1, 1});
}

void MoeCase::set_ranks(EntryCall& call, int device, const char* group_ep,
                        const char* group_tp) const {
  call.group = group_ep;
  MoeParameters& m = call.moe;
  m.group_tp = group_tp;
  m.ep_world_size = world.ep;
  m.ep_rank_id = device / world.tp;
  m.moe_expert_num = world.experts;
  m.tp_world_size = world.tp == 2 ? 2 : static_cast<std::int64_t>(world.ends);  // 0 or 1: none
  m.tp_rank_id = device % world.tp;
  m.shared_expert_num = world.shared_ranks > 0 ? world.shared : 1;
  m.shared_expert_rank_num = world.shared_ranks;
  m.global_bs = world.global_bs;
  m.zero_expert_num = world.zero;
  m.copy_expert_num = world.copy;
  m.const_expert_num = world.constants;
}

EntryCall MoeCase::dispatch(int device, const char* group_ep, const char* group_tp) const {
  EntryCall call;
  call.op = "aclnnMoeDistributeDispatch";
  if (world.version > 1) call.op += "V" + std::to_string(world.version);
  set_ranks(call, device, group_ep, group_tp);
  call.moe.quant_mode = world.int8 ? 2 : 0;
  call.moe.expert_token_nums_type = world.ends ? 0 : 1;
  for (const char* name : {"x", "expertIds", "expertScales", "scales", "xActiveMask", "expandX",
                           "dynamicScales", "assistInfoForCombine", "expandIdx", "expertTokenNums",
                           "epRecvCounts", "tpRecvCounts", "expandScales"}) {
    const auto& all = operands[static_cast<std::size_t>(device)];
    if (const auto found = all.find(name); found != all.end())
      call.tensors[name] = found->second.describe();
  }
  return call;
}

EntryCall MoeCase::combine(int device, const char* group_ep, const char* group_tp) const {
  EntryCall call;
  call.op = "aclnnMoeDistributeCombine";
  if (world.norm)
    call.op += world.version == 3 ? "AddRmsNormV2" : "AddRmsNorm";
  else if (world.version > 1)
    call.op += "V" + std::to_string(world.version);
  set_ranks(call, device, group_ep, group_tp);
  const auto& all = operands[static_cast<std::size_t>(device)];
  for (const char* name :
       {"expertIds", "assistInfoForCombine", "expandIdx", "expertScales", "xActiveMask",
        "expandScales", "sharedExpertX", "oriX", "constExpertAlpha1", "constExpertAlpha2",
        "constExpertV", "residualX", "gamma", "yOut", "rstdOut", "xOut"})
    if (const auto found = all.find(name); found != all.end())
      call.tensors[name] = found->second.describe();
  call.tensors["expandX"] = all.at("rows").describe();
  call.tensors["epSendCounts"] = all.at("epRecvCounts").describe();
  call.tensors["tpSendCounts"] = all.at("tpRecvCounts").describe();
  call.comm_quant_mode = world.int8_way_back ? 2 : 0;
  return call;
}

void MoeCase::compute(int device) {
  auto& all = operands[static_cast<std::size_t>(device)];
  const MoeOperand &from = all.at("expandX"), &scales = all.at("dynamicScales");
  MoeOperand& to = all.at("rows");
  const double share = world.tp == 1 ? 1 : device % 2 == 0 ? 0.25 : 0.75;
  const std::vector<MoeRow> rows = all_rows_of(device);
  for (std::size_t j = 0; j < rows.size(); ++j)
    for (std::int64_t h = 0; h < world.hidden; ++h) {
      const std::int64_t i = static_cast<std::int64_t>(j) * world.hidden + h;
      const auto scale =
          static_cast<float>(world.int8 ? scales.get(static_cast<std::int64_t>(j)) : 1);
      to.set(i, static_cast<float>(from.get(i)) * scale * factor(rows[j].expert) * share);
    }
  // What lies behind the rows may be anything.
  for (auto i = static_cast<std::int64_t>(rows.size()) * world.hidden; i < to.size(); ++i)
    to.set(i, std::nan(""));
}

MoeGroups::MoeGroups(const MoeWorld& world) : tp_(world.tp) {
  const GroupOptions options = {.window_bytes = 8 << 20, .exec_timeout_s = 60};
  for (int q = 0; q < world.tp; ++q) {
    std::vector<int> devices;
    for (int r = 0; r < world.ep; ++r) devices.push_back(r * world.tp + q);
    ep_.emplace_back(devices, options);
  }
  for (int r = 0; r < world.ep && world.tp == 2; ++r)
    pairs_.emplace_back(std::vector<int>{2 * r, 2 * r + 1}, options);
  all_ = std::make_unique<CannRanks>(world.devices(), options);
}

}  // namespace weft::cann
