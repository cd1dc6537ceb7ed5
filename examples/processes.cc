// SPDX-License-Identifier: Apache-2.0
// One rank of a program whose ranks are processes. Start them all with
//   weft run --ranks 4 -- ./processes
// or with torchrun, mpirun or srun: the group forms from the variables that those set.
#include <cstdio>

#include "layer.h"

int main() {
  auto group = weft::Group::from_environment();
  if (!group.ok()) return std::puts(group.status().to_string().c_str()), 1;
  if (!layer::run(*group, group->ranks())) return 1;
  if (group->rank() == 0)
    std::printf("%d ranks (processes): every result is right\n", group->ranks());

  // Leaving while others still read this rank's memory would look to them like a crash.
  const weft::Status status = group->barrier();
  if (!status.ok()) return std::puts(status.to_string().c_str()), 1;
}
