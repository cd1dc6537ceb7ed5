// SPDX-License-Identifier: Apache-2.0
#include "jobs/moe_layer.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "base/float16.h"
#include "jobs/job.h"
#include "jobs/moe_operands.h"
#include "ops/traced.h"
#include "unfused/local_gemm.h"
#include "unfused/unfused_moe.h"

namespace weft::tools {
namespace {

/// Everything that is planned once.
struct Plans {
  bench::LocalGemm logits;
  MoeGatingTopkSoftmax gate;
  MoeDispatch dispatch;
  Ffn experts, shared_expert;
  MoeCombineAddRmsNorm combine;
  bench::UnfusedMoe separate;

  static Result<Plans> make(const Rank& rank, const MoeArguments& args, const MoeResults& r,
                            Trace* trace) {
    WEFT_ASSIGN_OR_RETURN(auto logits,
                          bench::LocalGemm::plan(rank.context, args.logits(), kMoeType));
    WEFT_ASSIGN_OR_RETURN(auto gate, MoeGatingTopkSoftmax::plan(rank.context, args.gate()));
    WEFT_ASSIGN_OR_RETURN(auto dispatch, MoeDispatch::plan(rank.context, rank.group,
                                                           args.dispatch(r), {.trace = trace}));
    WEFT_ASSIGN_OR_RETURN(auto experts, Ffn::plan(rank.context, args.experts(r)));
    WEFT_ASSIGN_OR_RETURN(auto shared, Ffn::plan(rank.context, args.shared_expert()));
    WEFT_ASSIGN_OR_RETURN(
        auto combine,
        MoeCombineAddRmsNorm::plan(rank.context, rank.group, args.combine(r), {.trace = trace}));
    WEFT_ASSIGN_OR_RETURN(
        auto separate,
        bench::UnfusedMoe::plan(rank.context, rank.group, args.dispatch(r), args.combine(r)));
    return Plans{std::move(logits), std::move(gate),    std::move(dispatch), std::move(experts),
                 std::move(shared), std::move(combine), std::move(separate)};
  }
};

/// What one rank does.
class MoeJob {
 public:
  MoeJob(const MoeSizes& sizes, Rank& rank)
      : s_(sizes),
        rank_(rank),
        o_(sizes, rank),
        fused_(sizes, o_.rows, o_.local_experts),
        separate_(sizes, o_.rows, o_.local_experts),
        args_(s_, o_, rank.ranks) {}

  Result<MoeReport> run(int warmup, int repeat) {
    WEFT_ASSIGN_OR_RETURN(Plans plans, Plans::make(rank_, args_, fused_, &trace_));
    for (int call = -warmup; call < repeat; ++call) {
      rank_.progress(call < 0 ? std::string("warming up")
                              : fmt::format("layer {} of {}", call + 1, repeat));
      timed_ = call >= 0;
      WEFT_RETURN_IF_ERROR(run_separate(plans));
      trace_.clear();
      WEFT_RETURN_IF_ERROR(run_fused(plans));
    }
    report_.threads = rank_.context.threads();
    report_.events = trace_.events();
    count_rows();
    rank_.progress("checking");
    check();
    return std::move(report_);
  }

 private:
  template <typename Body>
  Status stage(MoeStageSpans& spans, MoeStage stage, const Body& body) {
    {
      const ops::Traced wait(&trace_, TraceKind::kWait, -1);
      WEFT_RETURN_IF_ERROR(rank_.group.barrier());
    }
    const std::int64_t begin = trace_now_ns();
    WEFT_RETURN_IF_ERROR(body());
    const std::int64_t end = trace_now_ns();
    if (timed_) spans[stage].push_back({begin, end});
    // The operators that communicate trace themselves.
    if (stage != kDispatch && stage != kCombine) trace_.add({TraceKind::kGemm, -1, -1, begin, end});
    return {};
  }

  Status run_separate(Plans& plans) {
    return run(
        plans, report_.separate, separate_,
        [&] { return plans.separate.dispatch(args_.dispatch(separate_)); },
        [&] { return plans.separate.combine(args_.combine(separate_)); });
  }
  Status run_fused(Plans& plans) {
    return run(
        plans, report_.fused, fused_, [&] { return plans.dispatch.run(args_.dispatch(fused_)); },
        [&] { return plans.combine.run(args_.combine(fused_)); });
  }
  template <typename Dispatch, typename Combine>
  Status run(Plans& plans, MoeStageSpans& spans, const MoeResults& results,
             const Dispatch& dispatch, const Combine& combine) {
    WEFT_RETURN_IF_ERROR(stage(spans, kGate, [&] { return gate(plans); }));
    WEFT_RETURN_IF_ERROR(stage(spans, kDispatch, dispatch));
    WEFT_RETURN_IF_ERROR(
        stage(spans, kExperts, [&] { return plans.experts.run(args_.experts(results)); }));
    WEFT_RETURN_IF_ERROR(stage(spans, kSharedExpert,
                               [&] { return plans.shared_expert.run(args_.shared_expert()); }));
    return stage(spans, kCombine, combine);
  }

  /// The weights are float32, and so is what the softmax reads.
  Status gate(Plans& plans) {
    plans.logits.run(args_.logits(), true);
    for (std::int64_t t = 0; t < s_.tokens; ++t) {
      const auto* const row = reinterpret_cast<const std::uint16_t*>(plans.logits.row(t));
      std::transform(row, row + s_.experts, o_.logits.data() + t * s_.experts, bf16_to_f32);
    }
    return plans.gate.run(args_.gate());
  }

  void count_rows() {
    report_.rows = s_.tokens * s_.top_k;
    report_.remote =
        std::count_if(o_.ids.data(), o_.ids.data() + report_.rows,
                      [&](std::int32_t expert) { return expert / o_.local_experts != rank_.rank; });
    report_.received = o_.counts.data()[rank_.ranks * o_.local_experts - 1];
  }

  void check() {
    MoeErrors& errors = report_.errors;
    const std::int64_t h = s_.hidden;
    // One token a rank: its experts' weights have to be made anew.
    const std::int64_t t = 31 * (rank_.rank + 1) % s_.tokens;
    const MoeToken token{
        o_.x.data() + t * h,       o_.residual.data() + t * h,   o_.router.data(),
        o_.gamma.data(),           o_.ids.data() + t * s_.top_k, o_.scales.data() + t * s_.top_k,
        fused_.sum.data() + t * h, fused_.y.data() + t * h};
    errors.gate = gate_error(s_, token);
    errors.token = token_error(s_, token);
    for (std::int64_t at = 0; at < s_.tokens * h; at += h)
      errors.separate = std::max(
          errors.separate,
          difference(h, {fused_.sum.data() + at, fused_.y.data() + at, separate_.sum.data() + at,
                         separate_.y.data() + at, o_.shared.data() + at, o_.residual.data() + at,
                         o_.gamma.data()}));
    errors.same_rows =
        std::memcmp(fused_.expand_x.data(), separate_.expand_x.data(),
                    static_cast<std::size_t>(bytes_of(kMoeType, report_.received * h))) == 0 &&
        std::equal(fused_.token_nums.data(), fused_.token_nums.data() + o_.local_experts,
                   separate_.token_nums.data());
  }

  const MoeSizes s_;
  Rank& rank_;
  const MoeOperands o_;
  const MoeResults fused_, separate_;
  const MoeArguments args_;
  Trace trace_;
  bool timed_ = false;
  MoeReport report_;
};

Json stages_json(const MoeStageSpans& stages) {
  Json list = Json::list();
  for (const std::vector<Span>& spans : stages) list.push(json_of(spans));
  return list;
}
MoeStageSpans stages_of(const JsonValue& list) {
  MoeStageSpans stages;
  for (std::size_t i = 0; i < stages.size(); ++i) stages[i] = spans_of(list[i]);
  return stages;
}

Bytes to_bytes(const MoeReport& report) {
  const MoeErrors& e = report.errors;
  return Json::object({{"fused", stages_json(report.fused)},
                       {"separate", stages_json(report.separate)},
                       {"rows", Json::list({report.rows, report.remote, report.received})},
                       {"threads", report.threads},
                       {"events", json_of(report.events)},
                       {"errors", Json::list({e.gate, e.token, e.separate, e.same_rows})}})
      .cbor();
}

MoeReport moe_report_of(const Bytes& bytes) {
  const JsonValue value = JsonValue::parse_cbor(bytes);
  const JsonValue rows = value["rows"], errors = value["errors"];
  return {
      .fused = stages_of(value["fused"]),
      .separate = stages_of(value["separate"]),
      .rows = rows[0],
      .remote = rows[1],
      .received = rows[2],
      .threads = value["threads"],
      .events = events_of(value["events"]),
      .errors = {errors[0].number(), errors[1].number(), errors[2].number(), errors[3].boolean()}};
}

}  // namespace

Result<std::vector<MoeReport>> run_moe_layer(const LaunchOptions& launch, const MoeSizes& sizes,
                                             int warmup, int repeat) {
  WEFT_ASSIGN_OR_RETURN(
      const std::vector<Bytes> values, run_ranks(launch, [&](Rank& rank) -> Result<Bytes> {
        rank.progress("making the weights");
        WEFT_ASSIGN_OR_RETURN(const MoeReport report, MoeJob(sizes, rank).run(warmup, repeat));
        return to_bytes(report);
      }));
  std::vector<MoeReport> reports;
  for (const Bytes& value : values) reports.push_back(moe_report_of(value));
  return reports;
}

std::vector<double> stage_seconds(const std::vector<MoeReport>& reports,
                                  MoeStageSpans MoeReport::*kind, std::size_t stage) {
  std::vector<const std::vector<Span>*> ranks;
  for (const MoeReport& report : reports) ranks.push_back(&(report.*kind)[stage]);
  return call_seconds(ranks);
}

}  // namespace weft::tools
