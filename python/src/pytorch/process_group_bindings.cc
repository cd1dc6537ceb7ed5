// SPDX-License-Identifier: Apache-2.0
// The process group for Python: what weft/torch/process_group.py and groups.py use.
#include <pybind11/chrono.h>
#include <torch/csrc/utils/pybind.h>

#include "pytorch/bindings.h"
#include "pytorch/process_group.h"
#include "pytorch/process_group_errors.h"
#include "pytorch/process_group_store.h"

namespace weft::python {
namespace {

namespace py = pybind11;

using NoGil = py::call_guard<py::gil_scoped_release>;
template <typename T>
using Pointer = c10::intrusive_ptr<T>;

Pointer<ProcessGroup> create(const ProcessGroup::Store& store, int rank, int ranks,
                             const std::string& name, std::vector<std::uint64_t> global_ranks,
                             std::chrono::milliseconds timeout) {
  auto options = c10::make_intrusive<ProcessGroup::Options>(timeout);
  options->group_name = name;
  options->global_ranks_in_group = std::move(global_ranks);
  return c10::make_intrusive<ProcessGroup>(store, rank, ranks, std::move(options));
}

std::shared_ptr<Communicator> join(const ProcessGroup::Store& store, int rank, int ranks,
                                   const std::string& name, std::chrono::milliseconds timeout) {
  auto made = join_by_store(store, rank, ranks, name, timeout);
  throw_if_error(made.status());
  return std::move(made).value();
}

// c10d's own functions throw what this folder's classes do.
void translate(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (StatusError& error) {
    PyErr_SetString(error.python_type(), error.what());
  } catch (python_error& error) {
    error.restore();
  }
}

}  // namespace

void bind_process_group(py::module_& module) {
  py::register_exception_translator(&translate);
  py::module_::import("torch.distributed");  // the classes that those below inherit
  py::class_<ProcessGroup, Pointer<ProcessGroup>, c10d::Backend> group(module, "ProcessGroup");
  py::class_<ProcessGroup::Options, Pointer<ProcessGroup::Options>, c10d::Backend::Options>(
      group, "Options");
  group.def(py::init(&create), NoGil())
      .def("leave", &ProcessGroup::leave, NoGil())
      .def_property_readonly("key", &ProcessGroup::key);
  py::class_<Communicator, std::shared_ptr<Communicator>>(module, "Communicator")
      .def_property_readonly("key", &Communicator::key);
  module.def("join", &join, NoGil());
}

}  // namespace weft::python
