// SPDX-License-Identifier: Apache-2.0
// Context and Group of the package.
#include "weft/group.h"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "core/bindings.h"
#include "core/gil.h"
#include "core/memory_use.h"
#include "runtime/communicator.h"
#include "runtime/context.h"
#include "runtime/interrupt.h"

namespace weft::python {
namespace {

using Ranks = std::vector<std::shared_ptr<Communicator>>;

GroupOptions group_options(const std::string& name, std::int64_t window_bytes,
                           double connect_timeout, double exec_timeout) {
  return {.name = name,
          .window_bytes = window_bytes,
          .connect_timeout_s = connect_timeout,
          .exec_timeout_s = exec_timeout,
          .interrupted = interrupted};
}

Result<std::shared_ptr<Communicator>> with_threads(Result<Group> group, int threads,
                                                   const std::string& isa) {
  if (!group.ok()) return group.status();
  WEFT_ASSIGN_OR_RETURN(
      Context context,
      Context::create({.threads = threads, .local_ranks = group->ranks(), .isa = isa}));
  return Communicator::create(std::move(context), std::move(group).value());
}

Ranks local(int ranks, int threads, const std::string& isa, const GroupOptions& options) {
  return made_without_gil([&]() -> Result<Ranks> {
    WEFT_ASSIGN_OR_RETURN(std::vector<Group> groups, Group::local(ranks, options));
    Ranks made;
    for (Group& group : groups) {
      WEFT_ASSIGN_OR_RETURN(std::shared_ptr<Communicator> rank,
                            with_threads(std::move(group), threads, isa));
      made.push_back(std::move(rank));
    }
    return made;
  });
}

std::shared_ptr<Communicator> join(const std::string& id, int rank, int ranks, int threads,
                                   const std::string& isa, const GroupOptions& options) {
  return made_without_gil([&]() -> Result<std::shared_ptr<Communicator>> {
    WEFT_ASSIGN_OR_RETURN(const UniqueId unique, UniqueId::from_hex(id));
    return with_threads(Group::join(unique, rank, ranks, options), threads, isa);
  });
}

std::shared_ptr<Communicator> from_environment(int threads, const std::string& isa,
                                               const GroupOptions& options) {
  return made_without_gil(
      [&] { return with_threads(Group::from_environment(options), threads, isa); });
}

void bind_context(nb::module_& module) {
  nb::class_<SharedContext>(module, "Context")
      .def_prop_ro("threads", [](const SharedContext& self) { return self.context.threads(); })
      .def_prop_ro("isa", [](const SharedContext& self) { return self.context.isa(); });
  module.def("create_context", [](int threads, int local_ranks, const std::string& isa) {
    return made_without_gil([&] {
      return SharedContext::create({.threads = threads, .local_ranks = local_ranks, .isa = isa});
    });
  });
  module.def("set_default_context", &set_default_context, nb::arg().none());
}

}  // namespace

void bind_group(nb::module_& module) {
  bind_context(module);
  nb::class_<GroupOptions>(module, "GroupOptions");
  module.def("group_options", &group_options);
  module.def("unique_id",
             [] { return made_without_gil([] { return UniqueId::create(); }).to_hex(); });
  module.def("local", &local);
  module.def("join", &join);
  module.def("from_environment", &from_environment);
  module.def("find", [](const std::string& key) { return Communicator::find(key); });
  nb::class_<Communicator>(module, "Communicator")
      .def_prop_ro("name", &Communicator::name)
      .def_prop_ro("key", &Communicator::key)
      .def_prop_ro("rank", &Communicator::rank)
      .def_prop_ro("ranks", &Communicator::ranks)
      .def_prop_ro("threads", &Communicator::threads)
      .def_prop_ro("isa", &Communicator::isa)
      .def_prop_ro("transport", &Communicator::transport)
      .def_prop_ro("closed", &Communicator::closed)
      .def("memory_use",
           [](Communicator& self) {
             MemoryUse use;
             without_gil([&] {
               return self.run([&](Context&, Group& group) -> Status {
                 WEFT_ASSIGN_OR_RETURN(use, group.memory_use());
                 return {};
               });
             });
             return to_python(use);
           })
      .def("health", [](const Communicator& self) { raise_if_error(self.health()); })
      .def("abort", &Communicator::abort, nb::call_guard<WithoutGil>())
      .def("close", &Communicator::close, nb::call_guard<WithoutGil>())
      .def("barrier", [](Communicator& self, double timeout) {
        without_gil([&] {
          return self.run([&](Context&, Group& group) { return group.barrier(timeout); });
        });
      });
}

}  // namespace weft::python
