// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/topology.h"
#include "report.h"

namespace weft::bench {

using nlohmann::json;

std::string Report::json_text() const {
  json out;
  out["cpu"] = topology().cpu_model;
  out["amx"] = has_amx();
  out["isa"] = isa::names(isa_in_use());
  for (const peak::Peak& p : machine.peaks) out["peaks"][std::string(p.name)] = p.ops_per_second;
  out["read_bytes_per_s"] = machine.bandwidth.read;
  out["copy_bytes_per_s"] = machine.bandwidth.copy;
  out["copy_together_bytes_per_s"] = copy_together;
  for (const auto& [name, times] : results)
    out["results"].push_back({{"name", name},
                              {"median_s", times.median()},
                              {"seconds", times.seconds},
                              {"flops", times.flops},
                              {"bytes", times.bytes}});
  out["skipped"] = json::array();
  for (const Skipped& section : skipped)
    for (const std::string& name : section.names)
      out["skipped"].push_back({{"name", name}, {"why", "the time of its section was used up"}});
  out["peers"] = json::array();
  for (const PeerResult& peer : peers) out["peers"].push_back(json::parse(peer.line));
  return out.dump(1);
}

void Report::read_peers(const std::string& path) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const json parsed = json::parse(line);
    const auto number = [&](const char* name) { return parsed.value(name, std::int64_t{0}); };
    peers.push_back({parsed["what"], parsed["dtype"], parsed.value("x2", ""), number("m"),
                     number("k"), number("n"), number("kib"), parsed.value("repeat", size_t{0}),
                     parsed.value("median_s", 0.0), parsed.value("skipped", ""), line});
  }
}

}  // namespace weft::bench
