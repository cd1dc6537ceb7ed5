// SPDX-License-Identifier: Apache-2.0
#include <fstream>

#include "base/topology.h"
#include "files/json.h"
#include "report.h"

namespace weft::bench {

using tools::Json;
using tools::JsonValue;

std::string Report::json_text() const {
  Json peaks = Json::object(), measured = Json::list(), not_measured = Json::list();
  for (const peak::Peak& p : machine.peaks) peaks.set(p.name, p.ops_per_second);
  for (const auto& [name, times] : results)
    measured.push(Json::object({{"name", name},
                                {"median_s", times.median()},
                                {"seconds", times.seconds},
                                {"flops", times.flops},
                                {"bytes", times.bytes},
                                {"memory_bytes", times.memory_bytes},
                                {"ranks", times.ranks},
                                {"cores", times.cores}}));
  for (const Skipped& section : skipped)
    for (const std::string& name : section.names)
      not_measured.push(
          Json::object({{"name", name}, {"why", "the time of its section was used up"}}));
  Json theirs = Json::list();
  for (const PeerResult& peer : peers) theirs.push(Json::parsed(peer.line));
  return Json::object({{"cpu", topology().cpu_model},
                       {"amx", has_amx()},
                       {"isa", isa::names(isa_in_use())},
                       {"peaks", peaks},
                       {"read_bytes_per_s", machine.bandwidth.read},
                       {"copy_bytes_per_s", machine.bandwidth.copy},
                       {"copy_together_bytes_per_s", copy_together},
                       {"results", measured},
                       {"skipped", not_measured},
                       {"peers", theirs}})
      .text(1);
}

void Report::read_peers(const std::string& path) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const JsonValue parsed = JsonValue::parse(line);
    const auto number = [&](const char* name) -> std::int64_t {
      return parsed.has(name) ? parsed[name].integer() : 0;
    };
    const auto text = [&](const char* name) {
      return parsed.has(name) ? parsed[name].string() : std::string();
    };
    peers.push_back(
        {text("what"), text("dtype"), text("x2"), number("m"), number("k"), number("n"),
         number("kib"), text("shape"), text("form"), static_cast<std::size_t>(number("repeat")),
         parsed.has("median_s") ? parsed["median_s"].number() : 0, text("skipped"), line});
  }
}

}  // namespace weft::bench
