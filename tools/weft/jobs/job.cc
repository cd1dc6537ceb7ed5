// SPDX-License-Identifier: Apache-2.0
#include "jobs/job.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>

#include "files/npy.h"

namespace weft::tools {

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

/// What one rank does.
class RankJob {
 public:
  RankJob(const Job& job, Rank& rank) : job_(job), op_(*job.op), rank_(rank) {}

  Result<Bytes> run() {
    rank_.progress("reading the operands");
    WEFT_ASSIGN_OR_RETURN(operands_, job_.operands->make(rank_.rank, rank_.ranks));
    if (job_.nz_x2) WEFT_RETURN_IF_ERROR(with_operands(operands_.store_x2_as_nz(rank_.context)));
    specs_ = op_.outputs(operands_, rank_.ranks, job_.outputs);
    WEFT_RETURN_IF_ERROR(with_operands(operands_.make_outputs(specs_)));
    Result<std::unique_ptr<PlannedCall>> plan =
        op_.plan(rank_.context, rank_.group, operands_, job_.trace ? &trace_ : nullptr);
    if (!plan.ok()) return with_operands(plan.status());
    describe(**plan);
    WEFT_RETURN_IF_ERROR(time_calls(**plan));
    report_.remark = (*plan)->remark();
    keep_results();
    if (!job_.out.empty()) WEFT_RETURN_IF_ERROR(write_results());
    report_.events = trace_.events();
    report_.events_dropped = static_cast<std::int64_t>(trace_.dropped());
    return to_bytes(report_);
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

  void describe(const PlannedCall& plan) {
    report_.plan = plan.describe();
    for (int i = 0; i < kOperands; ++i) {
      const auto id = static_cast<OperandId>(i);
      if (operands_[id].given())
        report_.operands.emplace_back(to_string(id), weft::to_string(operands_.tensor(id)));
    }
    report_.io = operands_.io;
    report_.extents = op_.extents(operands_, rank_.ranks);
    report_.bytes_moved = op_.bytes_moved(operands_, rank_.ranks);
    report_.threads = rank_.context.threads();
  }

  /// Fused and separate calls take turns, so that a machine whose speed drifts cannot change their
  /// ratio. The fused one comes last: its results and its trace are those that are kept.
  Status time_calls(PlannedCall& plan) {
    std::unique_ptr<SeparatePasses> separate;
    if (job_.separate) {
      WEFT_ASSIGN_OR_RETURN(separate, op_.separate_passes(rank_.context, rank_.group, operands_));
    }
    for (int call = -job_.warmup; call < job_.repeat; ++call) {
      rank_.progress(call < 0 ? std::string("warming up")
                              : fmt::format("call {} of {}", call + 1, job_.repeat));
      if (separate) {
        WEFT_RETURN_IF_ERROR(time(call, &report_.gemm_calls, [&] {
          separate->gemm(operands_);
          return Status();
        }));
        WEFT_RETURN_IF_ERROR(
            time(call, &report_.separate_calls, [&] { return separate->run(operands_); }));
      }
      trace_.clear();
      WEFT_RETURN_IF_ERROR(time(call, &report_.calls, [&] { return plan.run(operands_); }));
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
    for (int i = 0; i < operands_.outputs(); ++i) {
      const TensorRef tensor = operands_.output(i);
      if (!tensor.given()) continue;
      OutputReport& kept = report_.outputs.emplace_back();
      kept.name = specs_[static_cast<std::size_t>(i)].name;
      kept.tensor = weft::to_string(tensor);
      const std::int64_t bytes = bytes_of(tensor.dtype(), tensor.elements());
      if (job_.digests) kept.digest = digest(tensor.data(), bytes);
      const auto* from = static_cast<const std::uint8_t*>(tensor.data());
      const std::int64_t rows = report_.extents.rows;
      if (op_.traits().outputs[static_cast<std::size_t>(i)].whole) {
        if (!job_.rows.empty()) kept.rows.assign(from, from + bytes);
        continue;
      }
      const std::int64_t row_bytes = bytes / std::max<std::int64_t>(rows, 1);
      for (std::int64_t row : job_.rows)
        if (row < rows)
          kept.rows.insert(kept.rows.end(), from + row * row_bytes, from + (row + 1) * row_bytes);
    }
  }

  Status write_results() {
    rank_.progress("writing the results");
    for (int i = 0; i < operands_.outputs(); ++i) {
      const TensorRef tensor = operands_.output(i);
      if (!tensor.given()) continue;
      WEFT_RETURN_IF_ERROR(
          write_npy(fmt::format("{}/{}_{}.npy", job_.out, specs_[static_cast<std::size_t>(i)].name,
                                rank_.rank),
                    tensor.dtype(), tensor.dims(), tensor.data()));
    }
    return {};
  }

  const Job& job_;
  const Operator& op_;
  Rank& rank_;
  Operands operands_;
  std::vector<OutputSpec> specs_;
  Trace trace_;
  RankReport report_;
};

}  // namespace

Result<std::vector<RankReport>> run_job(const LaunchOptions& launch, const Job& job) {
  WEFT_ASSIGN_OR_RETURN(const std::vector<Bytes> values,
                        run_ranks(launch, [&](Rank& rank) { return RankJob(job, rank).run(); }));
  std::vector<RankReport> reports;
  for (const Bytes& value : values) reports.push_back(report_of(value));
  return reports;
}

std::vector<double> call_seconds(const std::vector<RankReport>& reports,
                                 std::vector<Span> RankReport::*calls) {
  std::vector<const std::vector<Span>*> ranks;
  for (const RankReport& report : reports) ranks.push_back(&(report.*calls));
  return call_seconds(ranks);
}

std::vector<double> call_seconds(std::span<const std::vector<Span>* const> ranks) {
  std::vector<double> seconds;
  for (std::size_t i = 0; i < ranks[0]->size(); ++i) {
    Span span = (*ranks[0])[i];
    for (const std::vector<Span>* calls : ranks) {
      span.begin_ns = std::min(span.begin_ns, (*calls)[i].begin_ns);
      span.end_ns = std::max(span.end_ns, (*calls)[i].end_ns);
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
  for (const RankReport& r : reports) flops += r.extents.flops;
  return flops;
}

std::string first_difference(const std::vector<RankReport>& reports) {
  for (const RankReport& report : reports)
    for (std::size_t i = 0; i < report.outputs.size(); ++i)
      if (report.outputs[i].digest != reports[0].outputs[i].digest) return report.outputs[i].name;
  return {};
}

}  // namespace weft::tools
