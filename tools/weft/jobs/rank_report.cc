// SPDX-License-Identifier: Apache-2.0
#include "jobs/rank_report.h"

#include <nlohmann/json.hpp>

namespace weft::tools {

using nlohmann::json;

namespace {

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

}  // namespace

Bytes to_bytes(const RankReport& report) {
  json events = json::array(), outputs = json::array();
  for (const TraceEvent& e : report.events)
    events.push_back({static_cast<int>(e.kind), e.tile, e.peer, e.begin_ns, e.end_ns});
  for (const OutputReport& o : report.outputs)
    outputs.push_back({o.name, o.tensor, o.digest, json::binary(o.rows)});
  const Extents& e = report.extents;
  return json::to_cbor({{"plan", report.plan},
                        {"operands", report.operands},
                        {"io", static_cast<int>(report.io)},
                        {"extents", {e.m, e.k, e.n, e.rows}},
                        {"bytes_moved", report.bytes_moved},
                        {"threads", report.threads},
                        {"calls", to_json(report.calls)},
                        {"separate_calls", to_json(report.separate_calls)},
                        {"gemm_calls", to_json(report.gemm_calls)},
                        {"events", std::move(events)},
                        {"events_dropped", report.events_dropped},
                        {"outputs", std::move(outputs)}});
}

RankReport report_of(const Bytes& bytes) {
  const json value = json::from_cbor(bytes);
  RankReport report;
  report.plan = value["plan"];
  for (const json& operand : value["operands"]) report.operands.push_back({operand[0], operand[1]});
  report.io = static_cast<DType>(value["io"].get<int>());
  const json& e = value["extents"];
  report.extents = {e[0], e[1], e[2], e[3]};
  report.bytes_moved = value["bytes_moved"];
  report.threads = value["threads"];
  report.calls = spans_of(value["calls"]);
  report.separate_calls = spans_of(value["separate_calls"]);
  report.gemm_calls = spans_of(value["gemm_calls"]);
  for (const json& event : value["events"])
    report.events.push_back(
        {static_cast<TraceKind>(event[0].get<int>()), event[1], event[2], event[3], event[4]});
  report.events_dropped = value["events_dropped"];
  for (const json& o : value["outputs"])
    report.outputs.push_back({o[0], o[1], o[2], o[3].get_binary()});
  return report;
}

}  // namespace weft::tools
