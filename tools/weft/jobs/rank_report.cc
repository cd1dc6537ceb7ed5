// SPDX-License-Identifier: Apache-2.0
#include "jobs/rank_report.h"

namespace weft::tools {

Json json_of(const std::vector<Span>& spans) {
  Json list = Json::list();
  for (const Span& span : spans) list.push(Json::list({span.begin_ns, span.end_ns}));
  return list;
}

Json json_of(const std::vector<TraceEvent>& events) {
  Json list = Json::list();
  for (const TraceEvent& e : events)
    list.push(Json::list({static_cast<int>(e.kind), e.tile, e.peer, e.begin_ns, e.end_ns}));
  return list;
}

std::vector<Span> spans_of(const JsonValue& list) {
  std::vector<Span> spans;
  for (std::size_t i = 0; i < list.size(); ++i) spans.push_back({list[i][0], list[i][1]});
  return spans;
}

std::vector<TraceEvent> events_of(const JsonValue& list) {
  std::vector<TraceEvent> events;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const JsonValue event = list[i];
    events.push_back(
        {static_cast<TraceKind>(event[0].integer()), event[1], event[2], event[3], event[4]});
  }
  return events;
}

Bytes to_bytes(const RankReport& report) {
  Json operands = Json::list(), outputs = Json::list();
  for (const auto& [name, tensor] : report.operands) operands.push(Json::list({name, tensor}));
  for (const OutputReport& o : report.outputs)
    outputs.push(Json::list({o.name, o.tensor, o.digest, Json::binary(o.rows)}));
  const Extents& e = report.extents;
  return Json::object({{"plan", report.plan},
                       {"remark", report.remark},
                       {"operands", operands},
                       {"io", static_cast<int>(report.io)},
                       {"extents", Json::list({e.m, e.k, e.n, e.rows})},
                       {"flops", e.flops},
                       {"bytes_moved", report.bytes_moved},
                       {"threads", report.threads},
                       {"calls", json_of(report.calls)},
                       {"separate_calls", json_of(report.separate_calls)},
                       {"gemm_calls", json_of(report.gemm_calls)},
                       {"events", json_of(report.events)},
                       {"events_dropped", report.events_dropped},
                       {"outputs", outputs}})
      .cbor();
}

RankReport report_of(const Bytes& bytes) {
  const JsonValue value = JsonValue::parse_cbor(bytes);
  RankReport report;
  report.plan = value["plan"].string();
  report.remark = value["remark"].string();
  const JsonValue operands = value["operands"];
  for (std::size_t i = 0; i < operands.size(); ++i)
    report.operands.emplace_back(operands[i][0].string(), operands[i][1].string());
  report.io = static_cast<DType>(value["io"].integer());
  const JsonValue e = value["extents"];
  report.extents = {e[0], e[1], e[2], e[3], value["flops"].number()};
  report.bytes_moved = value["bytes_moved"].number();
  report.threads = value["threads"];
  report.calls = spans_of(value["calls"]);
  report.separate_calls = spans_of(value["separate_calls"]);
  report.gemm_calls = spans_of(value["gemm_calls"]);
  report.events = events_of(value["events"]);
  report.events_dropped = value["events_dropped"];
  const JsonValue outputs = value["outputs"];
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const JsonValue o = outputs[i];
    report.outputs.push_back({o[0].string(), o[1].string(), o[2], o[3].binary()});
  }
  return report;
}

}  // namespace weft::tools
