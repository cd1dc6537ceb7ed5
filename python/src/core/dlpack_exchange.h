// SPDX-License-Identifier: Apache-2.0
// DLPack's table of C functions (version 1.3), by which PyTorch lends a tensor without making
// Python objects.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>

namespace weft::python {

namespace nb = nanobind;

/// The layout is DLPack's; only what is used here has a type.
struct DLPackExchangeApi {
  std::uint32_t major, minor;
  DLPackExchangeApi* previous;
  void* allocate;
  void* managed_from_object;
  void* managed_to_object;
  int (*tensor_from_object)(void* object, nb::dlpack::dltensor* out);  ///< may be null
  void* current_stream;
};

/// The table of objects of exactly this class, or null.
const DLPackExchangeApi* exchange_api(nb::handle type);

/// Whether PyTorch would record a gradient for what is computed from this tensor.
bool needs_gradient(nb::handle tensor);

}  // namespace weft::python
