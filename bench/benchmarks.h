// SPDX-License-Identifier: Apache-2.0
// Every measurement by name, registered with Google Benchmark.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "collective_job.h"
#ifdef WEFT_BENCH_CANN
#include "c_door.h"
#endif
#include "team.h"

namespace weft::bench {

/// Memory and threads of the registered benchmarks; keep it until they have run.
struct Fixtures {
  std::vector<std::unique_ptr<Team>> teams;
  std::vector<std::unique_ptr<Job>> jobs;
  std::vector<std::unique_ptr<CollectiveJob>> collectives;
#ifdef WEFT_BENCH_CANN
  std::unique_ptr<CDoor> c_door;
#endif
};

/// A group of measurements that share fixtures and run interleaved.
struct Section {
  std::string name;
  void (*add)(class Registrar&);
};
const std::vector<Section>& sections();

/// Names are "section/what/dtype/shape/x2 layout"; the counter "flops" is of one rank.
void register_section(const Section& section, Fixtures& fixtures, int repetitions);

}  // namespace weft::bench
