// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "operators/args.h"
#include "operators/moe.h"
#include "operators/random_operands.h"
#include "ops/moe_dispatch/reference.h"

namespace weft::tools {
namespace {

Status bad(std::string text) { return Status(StatusCode::kInvalidArgument, std::move(text)); }

/// Where the dispatch of a case sends its rows.
class Routing {
 public:
  Routing(const Case& c, int ranks)
      : case_(c), ranks_(ranks), experts_(experts_of(c.moe, ranks)), k_(top_k_of(c.moe, ranks)) {}

  Status check() const {
    const std::int64_t shared = experts_.shared_expert_num,
                       shared_ranks = experts_.shared_expert_rank_num;
    if (shared_ranks >= ranks_)
      return bad(
          fmt::format("--shared-expert-rank-num is {}, but of {} ranks at least one holds "
                      "routed experts.\nPass less, or more --ranks.",
                      shared_ranks, ranks_));
    if (shared > shared_ranks || (shared > 0 ? shared_ranks % shared : shared_ranks) != 0)
      return bad(
          fmt::format("--shared-expert-num is {} and --shared-expert-rank-num {}: each "
                      "shared expert lives on the same number of ranks.\nPass a multiple, "
                      "or 0 ranks.",
                      shared, shared_ranks));
    if (k_ > all())
      return bad(
          fmt::format("--top-k is {}, but there are {} experts and those of a token are "
                      "distinct.\nPass at most {}.",
                      k_, all(), all()));
    return {};
  }

  const MoeExperts& experts() const { return experts_; }
  std::int64_t k() const { return k_; }

  std::vector<std::int32_t> ids(int rank) const {
    Random random(case_.seed, rank, static_cast<int>(OperandId::kExpertIds));
    std::vector<std::int32_t> ids;
    for (std::int64_t t = 0; t < case_.shape.tokens_of(rank); ++t) {
      const auto first = static_cast<std::ptrdiff_t>(ids.size());
      while (std::ssize(ids) < first + k_) {
        const auto id =
            static_cast<std::int32_t>(random.next() % static_cast<std::uint64_t>(all()));
        if (std::find(ids.begin() + first, ids.end(), id) == ids.end()) ids.push_back(id);
      }
      if (case_.moe.strays && t % 2 == 1)
        ids.back() = t % 4 == 1 ? -1 : static_cast<std::int32_t>(all() + t);
    }
    return ids;
  }

  /// Three of four entries are active, and no entry of every fifth token; or the first tokens.
  std::vector<std::uint8_t> mask(int rank) const {
    Random random(case_.seed, rank, static_cast<int>(OperandId::kXActiveMask));
    const std::int64_t tokens = case_.shape.tokens_of(rank);
    std::vector<std::uint8_t> mask;
    if (case_.moe.mask_axes == 1) {
      const std::uint64_t active = random.next() % static_cast<std::uint64_t>(tokens + 1);
      for (std::int64_t t = 0; t < tokens; ++t)
        mask.push_back(static_cast<std::uint64_t>(t) < active);
      return mask;
    }
    for (std::int64_t i = 0; i < tokens * k_; ++i)
      mask.push_back(i / k_ % 5 != 4 && random.next() % 4 != 0);
    return mask;
  }
  std::vector<std::int64_t> mask_dims(int rank) const {
    const std::int64_t tokens = case_.shape.tokens_of(rank);
    if (case_.moe.mask_axes == 1) return {tokens};
    return {tokens, k_};
  }

  /// The rows that the rank's experts get.
  ops::MoeRoute route(int rank) const {
    std::vector<std::vector<std::int32_t>> all_ids;
    std::vector<std::vector<std::uint8_t>> masks;
    std::vector<MoeDispatchArgs> ranks;
    for (int r = 0; r < ranks_; ++r) {
      all_ids.push_back(ids(r));
      masks.push_back(mask(r));
      const std::int64_t tokens = case_.shape.tokens_of(r);
      MoeDispatchArgs& args = ranks.emplace_back();
      args.x = ConstTensorRef(nullptr, case_.row->x1, {tokens, case_.shape.n});
      args.expert_ids = ConstTensorRef(all_ids.back().data(), DType::kInt32, {tokens, k_});
      if (case_.with.has(OperandId::kXActiveMask))
        args.x_active_mask = ConstTensorRef(masks.back().data(), DType::kBool, mask_dims(r));
      args.experts = experts_;
    }
    return ops::reference_route(ranks, rank);
  }

 private:
  std::int64_t all() const {
    return experts_.moe_expert_num + experts_.zero_expert_num + experts_.copy_expert_num +
           experts_.const_expert_num;
  }

  const Case& case_;
  int ranks_;
  MoeExperts experts_;
  std::int64_t k_;
};

class Maker {
 public:
  Maker(const Case& c, int rank, int ranks, bool with_values)
      : case_(c),
        rank_(rank),
        ranks_(ranks),
        routing_(c, ranks),
        made_(c, rank, ranks, with_values),
        tokens_(c.shape.tokens_of(rank)),
        h_(c.shape.n) {}

  Result<Operands> make() {
    WEFT_RETURN_IF_ERROR(routing_.check());
    attributes_ = case_.moe.attributes;
    attributes_.experts = routing_.experts();
    WEFT_RETURN_IF_ERROR(check_global_bs(attributes_, tokens_, rank_, ranks_));
    if (attributes_.global_bs == 0)
      attributes_.global_bs = case_.shape.most_tokens(ranks_) * ranks_;
    made_.add(OperandId::kX, {tokens_, h_}, -2, 2);
    made_.add_values(OperandId::kExpertIds, {tokens_, routing_.k()}, routing_.ids(rank_));
    made_.add_values(OperandId::kXActiveMask, routing_.mask_dims(rank_), routing_.mask(rank_));
    const MoeExperts& experts = attributes_.experts;
    made_.add(OperandId::kScales, {experts.shared_expert_num + experts.moe_expert_num, h_}, 0.5,
              1.5);
    if (case_.op().has(OperandId::kExpandX)) add_returned_rows();
    made_.add(OperandId::kSharedExpertX, {tokens_, h_}, -1, 1);
    made_.add(OperandId::kResidualX, {tokens_, 1, h_}, -2, 2);
    made_.add(OperandId::kGamma, {h_}, 0.5, 1.5);
    WEFT_ASSIGN_OR_RETURN(Operands made, made_.take());
    made.moe = attributes_;
    return made;
  }

 private:
  void add_returned_rows() {
    const ops::MoeRoute route = routing_.route(rank_);
    const std::int64_t capacity = row_capacity(attributes_, tokens_, routing_.k(), rank_, ranks_);
    made_.add_rows(OperandId::kExpandX, {capacity, h_}, std::ssize(route.rows), -2, 2);
    std::vector<std::int32_t> triples;
    for (const ops::MoeRow& row : route.rows)
      for (std::int64_t value : {row.source, row.token, row.slot})
        triples.push_back(static_cast<std::int32_t>(value));
    made_.add_values(OperandId::kAssistInfoForCombine, {3 * capacity}, triples);
    const std::vector<std::int32_t> ends(route.ends.begin(), route.ends.end());
    made_.add_values(OperandId::kEpSendCounts, {std::ssize(ends)}, ends);
    made_.add_values(OperandId::kExpertScales, {tokens_, routing_.k()}, weights());
    const MoeExperts& experts = attributes_.experts;
    if (experts.copy_expert_num + experts.const_expert_num > 0)
      made_.add(OperandId::kOriX, {tokens_, h_}, -2, 2);
    const std::int64_t constants = experts.const_expert_num;
    if (constants == 0) return;
    std::vector<std::int64_t> alphas = {constants};
    if (case_.moe.wide_alphas) alphas.push_back(h_);
    made_.add(OperandId::kConstExpertAlpha1, alphas, -1, 1);
    made_.add(OperandId::kConstExpertAlpha2, alphas, -1, 1);
    made_.add(OperandId::kConstExpertV, {constants, h_}, -2, 2);
  }

  /// As softmax makes them.
  std::vector<float> weights() const {
    Random random(case_.seed, rank_, static_cast<int>(OperandId::kExpertScales));
    std::vector<float> weights;
    for (std::int64_t t = 0; t < tokens_; ++t) {
      std::vector<double> powers;
      double sum = 0;
      for (std::int64_t k = 0; k < routing_.k(); ++k)
        sum += powers.emplace_back(std::exp(random.uniform(-2, 2)));
      for (double power : powers) weights.push_back(static_cast<float>(power / sum));
    }
    return weights;
  }

  const Case& case_;
  int rank_, ranks_;
  Routing routing_;
  RandomOperands made_;
  MoeAttributes attributes_;
  std::int64_t tokens_, h_;
};

}  // namespace

Result<Operands> random_moe(const Case& c, int rank, int ranks, bool with_values) {
  return Maker(c, rank, ranks, with_values).make();
}

}  // namespace weft::tools
