// SPDX-License-Identifier: Apache-2.0
#include "core/dlpack_exchange.h"

#include <array>
#include <string_view>

namespace weft::python {
namespace {

struct Known {
  PyObject* type;  // owned
  const DLPackExchangeApi* api;
};

// A subclass inherits the attribute, but may keep its elements elsewhere (PyTorch's fakes do), so
// the class that has it counts, and that of parameters, which differs in nothing.
bool is_its_own(nb::handle type) {
  const nb::object dictionary = type.attr("__dict__");
  if (nb::cast<bool>(dictionary.attr("__contains__")("__dlpack_c_exchange_api__"))) return true;
  const nb::str name(type.attr("__qualname__")), module(type.attr("__module__"));
  return std::string_view(name.c_str()) == "Parameter" &&
         std::string_view(module.c_str()) == "torch.nn.parameter";
}

const DLPackExchangeApi* look_up(nb::handle type) {
  const nb::object capsule = nb::getattr(type, "__dlpack_c_exchange_api__", nb::none());
  if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api") || !is_its_own(type)) return nullptr;
  auto* api =
      static_cast<DLPackExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  while (api && api->major != 1) api = api->previous;
  return api && api->tensor_from_object ? api : nullptr;
}

}  // namespace

const DLPackExchangeApi* exchange_api(nb::handle type) {
  static std::array<Known, 4> known{};  // the classes met last, under the GIL
  static std::size_t next = 0;
  for (const Known& entry : known)
    if (entry.type == type.ptr()) return entry.api;
  const DLPackExchangeApi* api = look_up(type);
  Known& entry = known[next++ % known.size()];
  Py_XDECREF(entry.type);
  entry = {type.inc_ref().ptr(), api};
  return api;
}

bool needs_gradient(nb::handle tensor) {
  if (!nb::cast<bool>(nb::getattr(tensor, "requires_grad", nb::bool_(false)))) return false;
  return nb::cast<bool>(nb::module_::import_("torch").attr("is_grad_enabled")());
}

}  // namespace weft::python
