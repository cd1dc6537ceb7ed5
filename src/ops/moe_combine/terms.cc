// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_combine/terms.h"

#include "base/memory.h"

namespace weft::ops {
namespace {

RowOffsets rows_of(const ConstTensorRef& t) {
  return t.given() ? RowOffsets(t, t.rank() - 1) : RowOffsets();
}

// Of one thread: the terms, the floats of an epilogue, and for each slot a row that is made here.
struct Scratch {
  std::int64_t terms, floats, row;
  explicit Scratch(const MoeCombineArgs& args) {
    const std::int64_t n = args.expand_x.dim(1);
    const std::int64_t slots = args.expert_ids.dim(1) + args.experts.shared_expert_num;
    constexpr std::int64_t kMore = 2;  // shared_expert_x, and one of the epilogue
    terms = round_up((slots + kMore) * static_cast<std::int64_t>(sizeof(rows::Term)), kCacheLine);
    floats = round_up(round_up(n, 32) * static_cast<std::int64_t>(sizeof(float)), kCacheLine);
    const bool makes_rows = args.int8_communication || args.experts.const_expert_num > 0;
    row = makes_rows ? floats : 0;
    bytes = terms + floats + slots * row;
  }
  std::int64_t bytes;
};

}  // namespace

Terms::Terms(const MoeCombineArgs& args, const rows::Kernels& rows, const CombineWire& wire)
    : args_(args),
      experts_(args.experts),
      rows_(rows),
      wire_(wire),
      n_(args.expand_x.dim(1)),
      k_(args.expert_ids.dim(1)),
      ids_(args.expert_ids),
      weights_(args.expert_scales),
      mask_(args.x_active_mask, args.expert_ids.dim(0), k_),
      ori_x_rows_(rows_of(args.ori_x)),
      shared_rows_(rows_of(args.shared_expert_x)),
      v_rows_(rows_of(args.const_expert_v)) {}

std::int64_t Terms::scratch_bytes(const MoeCombineArgs& args) { return Scratch(args).bytes; }

bool Terms::expects(std::int64_t token, std::int64_t slot) const {
  if (slot >= k_) return true;
  const std::int64_t id = ids_.at(token, slot);
  return id >= 0 && id < experts_.moe_expert_num && mask_.entry(token, slot);
}

const void* Terms::row(const void* arrived, std::byte* decoded) const {
  if (wire_.scale_offset < 0) return arrived;
  const auto* const scales = static_cast<const std::byte*>(arrived) + wire_.scale_offset;
  rows_.decode_groups_row({arrived, scales, n_, decoded});
  return decoded;
}

void Terms::blend(std::int64_t expert, const void* x, float* to) const {
  const bool per_element = args_.const_expert_alpha_1.rank() == 2;
  const std::int64_t alpha = 2 * expert * (per_element ? n_ : 1);
  rows::BlendRow blend{};
  blend.x = x;
  blend.v = static_cast<const std::byte*>(args_.const_expert_v.data()) + v_rows_[expert];
  blend.alpha_1 = static_cast<const std::byte*>(args_.const_expert_alpha_1.data()) + alpha;
  blend.alpha_2 = static_cast<const std::byte*>(args_.const_expert_alpha_2.data()) + alpha;
  blend.alpha_step = per_element ? 1 : 0;
  blend.n = n_;
  blend.dst = to;
  rows_.blend_row(blend);
}

TokenTerms Terms::of(std::int64_t token, const void* const* arrived, std::byte* memory) const {
  const Scratch scratch(args_);
  auto* const terms = reinterpret_cast<rows::Term*>(memory);
  int count = 0;
  const auto made = [&](std::int64_t slot) {
    return memory + scratch.terms + scratch.floats + slot * scratch.row;
  };
  const std::int64_t copies = experts_.moe_expert_num + experts_.zero_expert_num;
  const std::int64_t constants = copies + experts_.copy_expert_num;
  for (std::int64_t k = 0; k < k_; ++k) {
    if (!mask_.entry(token, k)) continue;
    const std::int64_t id = ids_.at(token, k);
    const float weight = weights_.at(token, k);
    if (id < 0 || id >= constants + experts_.const_expert_num) continue;
    if (id < experts_.moe_expert_num) {
      terms[count++] = {row(arrived[k], made(k)), weight};
    } else if (id >= constants) {
      auto* const blended = reinterpret_cast<float*>(made(k));
      blend(id - constants, ori_x(token), blended);
      terms[count++] = {blended, weight, true};
    } else if (id >= copies) {
      terms[count++] = {ori_x(token), weight};
    }
  }
  for (std::int64_t slot = k_; slot < slots(); ++slot)
    terms[count++] = {row(arrived[slot], made(slot)), 1.0f};
  if (args_.shared_expert_x.given())
    terms[count++] = {
        static_cast<const std::byte*>(args_.shared_expert_x.data()) + shared_rows_[token], 1.0f};
  return {token, terms, count, memory + scratch.terms, rows::Store::kPlain};
}

}  // namespace weft::ops
