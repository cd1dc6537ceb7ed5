// SPDX-License-Identifier: Apache-2.0
// Packed weights, FRACTAL_NZ images and packed dequantisation scales.
#include "weft/weights.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <vector>

#include "core/arguments.h"
#include "core/bindings.h"
#include "core/fractal_nz.h"
#include "core/gil.h"
#include "core/memory_use.h"
#include "core/place.h"
#include "weft/packed_weight.h"

namespace weft::python {

TensorRef FractalNz::view(const Array& array, const char* op, const char* name) const {
  const TensorRef memory = array.view<TensorRef>();
  const std::int64_t c0 = 32 * 8 / info(array.dtype).bits;
  const std::int64_t needed = (columns + c0 - 1) / c0 * c0 * ((rows + 15) / 16 * 16);
  if (!memory.dense() || memory.elements() < needed)
    refuse(op, name,
           "has storage " + to_string(memory) + " but needs " + std::to_string(needed) +
               " dense elements for " + std::to_string(rows) + " rows and " +
               std::to_string(columns) + " columns.");
  const TensorRef image = TensorRef::fractal_nz(array.data, array.dtype, rows, columns);
  return transposed ? image.transposed() : image;
}

namespace {

constexpr const char* kPackedWeightDoc =
    "A weight copied once into the order of the kernels, for operators to take as x2 (or weight1, "
    "weight2). It does not follow later changes of its source. Threads may share it.";
constexpr const char* kPackDoc =
    "Packs x2 (k, n), or (experts, k, n) for ffn: float16, bfloat16, or int8 for int8·int8; any "
    "strides, or a FractalNz. context: the Context or Group that will compute with it. Errors: "
    "ValueError, NotImplementedError, MemoryError.";
constexpr const char* kLoadDoc =
    "Reads what save() wrote. Errors: ValueError (not such a file, another version, damaged, "
    "packed for a kernel that this CPU or context does not have), MemoryError.";
constexpr const char* kSaveDoc =
    "Writes a file that load() reads, beside `path` first, so that a file of that name is always "
    "whole. Errors: ValueError.";

FractalNz make_fractal_nz(nb::object storage, std::int64_t rows, std::int64_t columns,
                          bool transposed) {
  if (rows < 0 || columns < 0) refuse("FractalNz", "rows and columns", "must not be negative.");
  return {std::move(storage), rows, columns, transposed};
}

nb::tuple shape_of(const FractalNz& self) {
  return self.transposed ? nb::make_tuple(self.columns, self.rows)
                         : nb::make_tuple(self.rows, self.columns);
}

// Of a weft.Context or weft.Group, or None.
Place place_of(const char* op, nb::handle context) {
  return Place::of(op, context.is_none() ? nb::none() : nb::getattr(context, "_handle", context),
                   false);
}

template <typename Make>
PackedWeight made_at(const Place& place, const Make& make) {
  std::optional<PackedWeight> made;
  without_gil([&] {
    return place.run([&](Context& context, Group*) -> Status {
      WEFT_ASSIGN_OR_RETURN(made, make(context));
      return {};
    });
  });
  return std::move(*made);
}

PackedWeight pack(nb::handle x2, nb::handle context) {
  Arguments from("PackedWeight.pack", nb::make_tuple(x2));
  ConstTensorRef weight;
  from.weight("x2", weight);
  return made_at(place_of(from.op(), context),
                 [&](Context& made) { return PackedWeight::pack(made, weight); });
}

PackedWeight load(const std::string& path, nb::handle context) {
  return made_at(place_of("PackedWeight.load", context),
                 [&](Context& made) { return PackedWeight::load(made, path); });
}

// (rows, columns) to image, or with `unpacks` the reverse.
template <bool unpacks>
void fractal_nz(nb::handle target, const nb::args& values) {
  Arguments from(unpacks ? "unpack_fractal_nz" : "pack_fractal_nz", values);
  ConstTensorRef source;
  TensorRef result;
  const nb::handle image_object = values[unpacks ? 0 : 1];
  FractalNz* image = nullptr;
  if (!nb::try_cast(image_object, image, false) || !image)
    refuse_type(from.op(), "image", "a weft.FractalNz", image_object);
  if constexpr (unpacks) {
    from.weight("image", source);
    from.output("matrix", result);
  } else {
    from.input("matrix", source);
    const Array storage = from.array("image", image->storage);
    if (storage.read_only) refuse(from.op(), "image", "is read-only, but is written to.");
    result = image->view(storage, from.op(), "image");
  }
  const Place place = Place::of(from.op(), target, false);
  without_gil([&] {
    return place.run([&](Context& context, Group*) {
      return unpacks ? unpack_fractal_nz(context, source, result)
                     : pack_fractal_nz(context, source, result);
    });
  });
}

void run_trans_quant_param(const nb::args& values) {
  Arguments from("trans_quant_param", values);
  ConstTensorRef scale, offset;
  TensorRef out;
  QuantParamRound round = QuantParamRound::kTruncate;
  from.input("scale", scale);
  from.input("offset", offset);
  from.output("out", out);
  from.choice("round", round,
              {{"truncate", QuantParamRound::kTruncate}, {"nearest", QuantParamRound::kNearest}});
  from.end();
  without_gil([&] { return trans_quant_param(scale, offset, out, round); });
}

std::int64_t weight_size(const std::vector<std::int64_t>& dims, const std::string& dtype) {
  const std::optional<DType> known = dtype_from_name(dtype);
  if (!known) refuse("calculate_matmul_weight_size", "dtype", "is '" + dtype + "'");
  return made_without_gil([&] { return calculate_matmul_weight_size(dims, *known); });
}

// Columns of what an operator takes as a weight.
std::int64_t columns(const nb::args& values) {
  Arguments from("weight", values);
  ConstTensorRef x2;
  const PackedWeight* packed = nullptr;
  from.weight("x2", x2, packed);
  if (packed) return packed->n();
  return x2.rank() > 0 ? x2.dim(x2.rank() - 1) : 0;
}

void bind_fractal_nz(nb::module_& module) {
  nb::class_<FractalNz>(module, "FractalNz",
                        "A weight stored as FRACTAL_NZ, CANN's tiled order: `storage` is a dense "
                        "array with the image of a (rows, columns) matrix. Operators take it as "
                        "x2; transposed: as the (columns, rows) matrix.")
      .def(
          "__init__",
          [](FractalNz* self, nb::object storage, std::int64_t rows, std::int64_t columns,
             bool transposed) {
            new (self) FractalNz(make_fractal_nz(std::move(storage), rows, columns, transposed));
          },
          nb::arg("storage"), nb::arg("rows"), nb::arg("columns"), nb::arg("transposed") = false)
      .def_ro("storage", &FractalNz::storage)
      .def_prop_ro("shape", &shape_of)
      .def_prop_ro("dtype", [](const FractalNz& self) { return self.storage.attr("dtype"); })
      .def("__repr__",
           [](const FractalNz& self) {
             const nb::object dtype = self.storage.attr("dtype"), shape = shape_of(self);
             return nb::str("<weft.FractalNz {} {}>").format(dtype, shape);
           })
      .def_prop_ro("T", [](const FractalNz& self) {
        return FractalNz{self.storage, self.rows, self.columns, !self.transposed};
      });
}

void bind_packed_weight(nb::module_& module) {
  using nb::arg;
  nb::class_<PackedWeight>(module, "PackedWeight", kPackedWeightDoc)
      .def_static("pack", &pack, arg("x2"), nb::kw_only(), arg("context") = nb::none(), kPackDoc)
      .def_static("load", &load, arg("path"), nb::kw_only(), arg("context") = nb::none(), kLoadDoc)
      .def(
          "save",
          [](const PackedWeight& self, const std::string& path) {
            without_gil([&] { return self.save(path); });
          },
          arg("path"), kSaveDoc)
      .def("__repr__",
           [](const PackedWeight& self) { return "<weft.PackedWeight of " + self.source() + ">"; })
      .def_prop_ro("experts", &PackedWeight::experts, "0: one (k, n) weight.")
      .def_prop_ro("k", &PackedWeight::k)
      .def_prop_ro("n", &PackedWeight::n)
      .def_prop_ro(
          "dtype", [](const PackedWeight& self) { return std::string(to_string(self.dtype())); },
          "Its name, such as 'bfloat16'.")
      .def_prop_ro("bytes", &PackedWeight::bytes, "Of the panels.")
      .def_prop_ro("source", &PackedWeight::source, "What it was packed from, in words.")
      .def("memory_use", [](const PackedWeight& self) {
        return to_python(made_without_gil([&] { return self.memory_use(); }));
      });
}

}  // namespace

void bind_weights(nb::module_& module) {
  bind_fractal_nz(module);
  bind_packed_weight(module);
  module.def("pack_fractal_nz", &fractal_nz<false>, nb::arg("target").none(), nb::arg("values"));
  module.def("unpack_fractal_nz", &fractal_nz<true>, nb::arg("target").none(), nb::arg("values"));
  module.def("trans_quant_param", &run_trans_quant_param);
  module.def("calculate_matmul_weight_size", &weight_size);
  module.def("columns", &columns);
}

}  // namespace weft::python
