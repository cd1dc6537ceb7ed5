// SPDX-License-Identifier: Apache-2.0
// From times to the table: every result beside the peak of the same process and its target.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/isa.h"
#include "jobs/machine.h"

namespace weft::bench {

/// What the contexts of this process use: WEFT_ISA caps it, to measure what a lesser machine would
/// do.
isa::Set isa_in_use();
bool has_amx();

/// What a call does.
struct Work {
  double flops = 0, bytes = 0;  ///< of one rank; bytes beside the product
  /// Of one rank, with the product: what must come from and go to memory if caches keep the rest.
  /// 0 where it is not known.
  double memory_bytes = 0;
  int ranks = 1;
  int cores = 1;  ///< that all ranks have together

  double per_core(double of_a_rank) const { return of_a_rank * ranks / cores; }
};

/// Times of one benchmark, one per repetition.
struct Times : Work {
  std::vector<double> seconds;
  double median() const;
};

/// By benchmark name.
using Results = std::map<std::string, Times>;

/// One line of bench/peers/*.py.
struct PeerResult {
  std::string what, dtype, x2;
  std::int64_t m = 0, k = 0, n = 0, kib = 0;
  /// Of an FFN or MoE, as in its benchmark's name; x2 is the layout that was the faster, form the
  /// way to compose it.
  std::string shape, form;
  size_t repetitions = 0;
  double median_s = 0;
  std::string skipped;  ///< why there is no time, if there is none
  std::string line;     ///< as it was read
};

/// What a section had no time for.
struct Skipped {
  std::string section;
  std::vector<std::string> names;
  int measured;  ///< how many others it has
};

/// Results, what this machine can do, and what PyTorch took for the same jobs (empty without
/// --peers).
struct Report {
  Results results;
  tools::Machine machine;
  double copy_together = 0;  ///< bytes per second of one rank while the other copies too
  std::vector<PeerResult> peers;
  std::vector<Skipped> skipped;

  /// One table for people.
  std::string table() const;
  std::string json_text() const;
  /// JSON, one object a line.
  void read_peers(const std::string& path);
};

}  // namespace weft::bench
