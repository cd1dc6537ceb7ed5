// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nanobind/nanobind.h>

#include "weft/memory_use.h"

namespace weft::python {

/// A weft.MemoryUse.
inline nanobind::object to_python(const MemoryUse& use) {
  return nanobind::module_::import_("weft.group")
      .attr("MemoryUse")(use.bytes, use.resident_bytes, use.huge_page_bytes);
}

}  // namespace weft::python
