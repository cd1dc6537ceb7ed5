// SPDX-License-Identifier: Apache-2.0
// A program of someone who has weft installed: only public headers, and symbols from all over the
// library.
#include <cstdio>

#include "weft/dtype.h"
#include "weft/group.h"
#include "weft/status.h"
#include "weft/tensor.h"

int main() {
  const weft::Result<weft::UniqueId> id = weft::UniqueId::create();
  if (!id.ok()) return std::puts(id.status().to_string().c_str()), 1;
  const weft::Result<weft::UniqueId> again = weft::UniqueId::from_hex(id->to_hex());
  if (!again.ok() || again->bytes != id->bytes) return std::puts("the id did not survive"), 1;
  const weft::ConstTensorRef tensor(nullptr, weft::DType::kFloat16, {2, 3});
  std::printf("%s\n", weft::to_string(tensor).c_str());
  return weft::to_string(tensor) == "float16 (2, 3)" ? 0 : 1;
}
