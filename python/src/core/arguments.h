// SPDX-License-Identifier: Apache-2.0
// Arguments: the operands of one call, as a Python function passed them, taken one by one into the
// operator's struct.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "core/array.h"
#include "runtime/communicator.h"
#include "weft/packed_weight.h"
#include "weft/tensor.h"

namespace weft::python {

/// Every function takes the next argument; `name` is that of the operand, for messages. None leaves
/// an operand that is not given as it is. What arrays lend stays valid until this is destroyed.
class Arguments {
 public:
  Arguments(const char* op, const nb::tuple& values);

  void input(const char* name, ConstTensorRef& to);
  void output(const char* name, TensorRef& to);  ///< ValueError if it is read-only
  /// Two axes (m, n) stand for three: (1, m, n).
  void input_3d(const char* name, ConstTensorRef& to);
  void output_3d(const char* name, TensorRef& to);
  /// An array in which uint8 is two int4, or a FractalNz.
  void weight(const char* name, ConstTensorRef& to);
  /// The same, or a PackedWeight.
  void weight(const char* name, ConstTensorRef& to, const PackedWeight*& packed);

  void number(const char* name, std::int64_t& to);
  void number(const char* name, double& to);
  void numbers(const char* name, std::vector<std::int64_t>& to);
  void flag(const char* name, bool& to);
  template <typename Choice>
  void choice(const char* name, Choice& to,
              std::initializer_list<std::pair<const char*, Choice>> all) {
    const nb::handle value = next();
    std::string names;
    for (const auto& [text, each] : all) {
      if (is_text(value, text)) return void(to = each);
      names += (names.empty() ? "" : ", ") + std::string(text);
    }
    refuse_choice(name, value, names);
  }
  /// Returns the object to hold on to.
  nb::object group(const char* name, Communicator*& to);
  /// An argument that the caller reads itself.
  nb::handle next();
  const char* op() const { return reader_.op(); }
  Array array(const char* name, nb::handle object) { return reader_.read(name, object); }

  /// After the last one: raises TypeError if there are more.
  void end() const;

 private:
  static bool is_text(nb::handle value, const char* text);
  [[noreturn]] void refuse_choice(const char* name, nb::handle value,
                                  const std::string& names) const;

  nb::tuple values_;
  std::size_t taken_ = 0;
  ArrayReader reader_;
};

}  // namespace weft::python
