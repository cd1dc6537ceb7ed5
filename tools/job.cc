// SPDX-License-Identifier: Apache-2.0
#include "job.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "npy.h"
#include "unfused/unfused.h"

namespace weft::tools {

using nlohmann::json;

namespace {

/// Depends on every bit and on its place.
std::uint64_t digest(const void* data, std::int64_t bytes) {
  std::uint64_t state = 0x9e3779b97f4a7c15u;
  const auto* from = static_cast<const std::byte*>(data);
  for (std::int64_t i = 0; i < bytes; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, from + i, static_cast<std::size_t>(std::min<std::int64_t>(8, bytes - i)));
    state = std::rotl((state ^ word) * 0xff51afd7ed558ccdu, 29);
  }
  return state ^ (state >> 32);
}

json to_binary(const std::vector<std::uint16_t>& values) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(values.data());
  return json::binary(std::vector<std::uint8_t>(bytes, bytes + values.size() * 2));
}

std::vector<std::uint16_t> from_binary(const json& value) {
  const auto& bytes = value.get_binary();
  std::vector<std::uint16_t> values(bytes.size() / 2);
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<std::uint8_t*>(values.data()));
  return values;
}

json to_json(const std::vector<Span>& spans) {
  json list = json::array();
  for (const Span& span : spans) list.push_back({span.begin_ns, span.end_ns});
  return list;
}

std::vector<Span> spans_of(const json& list) {
  std::vector<Span> spans;
  for (const json& span : list) spans.push_back({span[0], span[1]});
  return spans;
}

json to_json(const RankReport& report) {
  json events = json::array();
  for (const TraceEvent& e : report.events)
    events.push_back({static_cast<int>(e.kind), e.tile, e.peer, e.begin_ns, e.end_ns});
  return {{"plan", report.plan},
          {"x1", report.x1},
          {"x2", report.x2},
          {"residual", report.residual},
          {"io", static_cast<int>(report.io)},
          {"mkn", {report.m, report.k, report.n}},
          {"threads", report.threads},
          {"calls", to_json(report.calls)},
          {"unfused_calls", to_json(report.unfused_calls)},
          {"gemm_calls", to_json(report.gemm_calls)},
          {"events", std::move(events)},
          {"events_dropped", report.events_dropped},
          {"y_digest", report.y_digest},
          {"norm_digest", report.norm_digest},
          {"y_rows", to_binary(report.y_rows)},
          {"norm_rows", to_binary(report.norm_rows)}};
}

RankReport report_of(const json& value) {
  RankReport report;
  report.plan = value["plan"];
  report.x1 = value["x1"];
  report.x2 = value["x2"];
  report.residual = value["residual"];
  report.io = static_cast<DType>(value["io"].get<int>());
  report.m = value["mkn"][0], report.k = value["mkn"][1], report.n = value["mkn"][2];
  report.threads = value["threads"];
  report.calls = spans_of(value["calls"]);
  report.unfused_calls = spans_of(value["unfused_calls"]);
  report.gemm_calls = spans_of(value["gemm_calls"]);
  for (const json& e : value["events"])
    report.events.push_back({static_cast<TraceKind>(e[0].get<int>()), e[1], e[2], e[3], e[4]});
  report.events_dropped = value["events_dropped"];
  report.y_digest = value["y_digest"];
  report.norm_digest = value["norm_digest"];
  report.y_rows = from_binary(value["y_rows"]);
  report.norm_rows = from_binary(value["norm_rows"]);
  return report;
}

/// What one rank does.
class RankJob {
 public:
  RankJob(const Job& job, Rank& rank) : job_(job), rank_(rank) {}

  Result<json> run() {
    rank_.progress("reading the operands");
    WEFT_ASSIGN_OR_RETURN(operands_, job_.operands->make(rank_.rank, rank_.ranks));
    const Operand& residual = operands_[OperandId::kResidual];
    if (residual.given()) WEFT_RETURN_IF_ERROR(operands_.make_outputs(job_.in_place));
    MatmulAllReduceAddRmsNormOptions options;
    if (job_.trace) options.trace = &trace_;
    Result<MatmulAllReduceAddRmsNorm> plan =
        MatmulAllReduceAddRmsNorm::plan(rank_.context, rank_.group, operands_.args(), options);
    if (!plan.ok()) return with_operands(plan.status());
    describe(*plan);
    WEFT_RETURN_IF_ERROR(time_calls(*plan));
    if (job_.digests || !job_.rows.empty()) keep_results();
    if (!job_.out.empty()) WEFT_RETURN_IF_ERROR(write_results());
    report_.events = trace_.events();
    report_.events_dropped = static_cast<std::int64_t>(trace_.dropped());
    return to_json(report_);
  }

 private:
  /// The operator names the operand; the file it came from is known here only.
  Status with_operands(const Status& status) const {
    if (status.code() != StatusCode::kInvalidArgument &&
        status.code() != StatusCode::kUnimplemented)
      return status;
    return Status(status.code(), fmt::format("{}\noperands of rank {}: {}", status.message(),
                                             rank_.rank, operands_.describe()));
  }

  void describe(const MatmulAllReduceAddRmsNorm& plan) {
    const ConstTensorRef x2 = operands_[OperandId::kX2].tensor;
    const ConstTensorRef residual = operands_[OperandId::kResidual].tensor;
    report_.plan = plan.describe();
    report_.x1 = weft::to_string(operands_[OperandId::kX1].tensor);
    report_.x2 = weft::to_string(x2);
    report_.residual = weft::to_string(residual);
    report_.io = residual.dtype();
    report_.m = residual.dim(0) * residual.dim(1);
    report_.k = x2.dim(0), report_.n = x2.dim(1);
    report_.threads = rank_.context.threads();
  }

  /// Fused and separate calls take turns, so that a machine whose speed drifts cannot change their
  /// ratio. The fused one comes last: its results and its trace are those that are kept.
  Status time_calls(MatmulAllReduceAddRmsNorm& plan) {
    std::optional<bench::Unfused> unfused;
    if (job_.unfused) {
      WEFT_ASSIGN_OR_RETURN(unfused,
                            bench::Unfused::plan(rank_.context, rank_.group, operands_.args()));
    }
    for (int call = -job_.warmup; call < job_.repeat; ++call) {
      rank_.progress(call < 0 ? std::string("warming up")
                              : fmt::format("call {} of {}", call + 1, job_.repeat));
      if (unfused) {
        WEFT_RETURN_IF_ERROR(time(call, &report_.gemm_calls, [&] {
          unfused->gemm(operands_.args());
          return Status();
        }));
        WEFT_RETURN_IF_ERROR(
            time(call, &report_.unfused_calls, [&] { return unfused->run(operands_.args()); }));
      }
      trace_.clear();
      WEFT_RETURN_IF_ERROR(time(call, &report_.calls, [&] { return plan.run(operands_.args()); }));
    }
    return {};
  }

  template <typename Body>
  Status time(int call, std::vector<Span>* spans, const Body& body) {
    operands_.restore();
    WEFT_RETURN_IF_ERROR(rank_.group.barrier());
    const std::int64_t begin = trace_now_ns();
    WEFT_RETURN_IF_ERROR(body());
    if (call >= 0) spans->push_back({begin, trace_now_ns()});
    return {};
  }

  void keep_results() {
    const TensorRef tensors[2] = {operands_.y(), operands_.norm_out()};
    std::uint64_t* const digests[2] = {&report_.y_digest, &report_.norm_digest};
    std::vector<std::uint16_t>* const kept[2] = {&report_.y_rows, &report_.norm_rows};
    for (int i = 0; i < 2; ++i) {
      if (job_.digests)
        *digests[i] = digest(tensors[i].data(), bytes_of(report_.io, tensors[i].elements()));
      const auto* values = static_cast<const std::uint16_t*>(tensors[i].data());
      for (std::int64_t row : job_.rows)
        kept[i]->insert(kept[i]->end(), values + row * report_.n, values + (row + 1) * report_.n);
    }
  }

  Status write_results() {
    rank_.progress("writing the results");
    const auto write = [&](const char* name, const TensorRef& tensor) {
      return write_npy(fmt::format("{}/{}_{}.npy", job_.out, name, rank_.rank), tensor.dtype(),
                       tensor.dims(), tensor.data());
    };
    WEFT_RETURN_IF_ERROR(write("y", operands_.y()));
    return write("norm_out", operands_.norm_out());
  }

  const Job& job_;
  Rank& rank_;
  Operands operands_;
  Trace trace_;
  RankReport report_;
};

}  // namespace

Result<std::vector<RankReport>> run_job(const LaunchOptions& launch, const Job& job) {
  WEFT_ASSIGN_OR_RETURN(const std::vector<json> values,
                        run_ranks(launch, [&](Rank& rank) { return RankJob(job, rank).run(); }));
  std::vector<RankReport> reports;
  for (const json& value : values) reports.push_back(report_of(value));
  return reports;
}

std::vector<double> call_seconds(const std::vector<RankReport>& reports,
                                 std::vector<Span> RankReport::*calls) {
  std::vector<double> seconds;
  for (std::size_t i = 0; i < (reports[0].*calls).size(); ++i) {
    Span span = (reports[0].*calls)[i];
    for (const RankReport& report : reports) {
      span.begin_ns = std::min(span.begin_ns, (report.*calls)[i].begin_ns);
      span.end_ns = std::max(span.end_ns, (report.*calls)[i].end_ns);
    }
    seconds.push_back(1e-9 * static_cast<double>(span.end_ns - span.begin_ns));
  }
  return seconds;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

double total_flops(const std::vector<RankReport>& reports) {
  double flops = 0;
  for (const RankReport& r : reports)
    flops += 2.0 * static_cast<double>(r.m) * static_cast<double>(r.k) * static_cast<double>(r.n);
  return flops;
}

}  // namespace weft::tools
