// SPDX-License-Identifier: Apache-2.0
// Eight ranks as threads of one process.
#include <cstdio>
#include <thread>
#include <vector>

#include "layer.h"

int main() {
  constexpr int kRanks = 8;
  auto groups = weft::Group::local(kRanks);
  if (!groups.ok()) return std::puts(groups.status().to_string().c_str()), 1;

  std::vector<int> right(kRanks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank)
    threads.emplace_back([&, rank] { right[rank] = layer::run((*groups)[rank], kRanks); });
  for (std::thread& thread : threads) thread.join();

  for (int ok : right)
    if (!ok) return 1;
  std::printf("%d ranks (threads): every result is right\n", kRanks);
}
