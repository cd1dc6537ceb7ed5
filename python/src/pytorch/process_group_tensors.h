// SPDX-License-Identifier: Apache-2.0
// Tensors as collectives take them: dense memory and a type of the library's.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <torch/csrc/distributed/c10d/Types.hpp>
#include <vector>

#include "weft/collectives.h"
#include "weft/dtype.h"

namespace weft::python {

/// Memory of a call.
struct Memory {
  const std::byte* data;
  std::int64_t bytes;
};
bool overlap(const Memory& a, const Memory& b);

/// Throws ValueError: what is wrong with which call.
[[noreturn]] void refuse_call(const char* call, const std::string& what);
/// The one tensor of a list. Throws ValueError if there are more, or none.
const at::Tensor& only(const char* call, const std::vector<at::Tensor>& tensors);
/// The same of lists.
const std::vector<at::Tensor>& only(const char* call,
                                    const std::vector<std::vector<at::Tensor>>& lists);

/// A tensor's elements in row-major order: its own memory if they lie so, else a copy.
class Dense {
 public:
  /// Throws ValueError unless it is a strided CPU tensor.
  Dense(const char* call, const at::Tensor& tensor);

  void* data() const { return dense_.data_ptr(); }
  Memory memory() const;
  /// Every type can be moved: as `count` elements of `type`, which is its own if weft has it.
  DType type() const { return type_; }
  std::int64_t count() const { return count_; }
  const at::Tensor& tensor() const { return dense_; }
  /// What a call has written goes to the tensor. Any thread.
  void write_back() const;

 private:
  at::Tensor given_, dense_;
  DType type_;
  std::int64_t count_;
};

/// Throws ValueError unless both have one type, and the large one `ranks` times as many elements.
void check_parts(const char* call, const at::Tensor& small, const at::Tensor& large, int ranks);

/// What c10d's reduction of such elements is in weft. bool stays true or false: sum is "or". Throws
/// ValueError for what the type does not have.
ReduceOp operation(const char* call, at::ScalarType type, const c10d::ReduceOp& op);
/// The same memory as numbers that are combined: bool as bytes, complex numbers as pairs.
at::Tensor as_numbers(const at::Tensor& tensor);
/// What is reduced of an input: its numbers, or for premul_sum their products with the factor.
at::Tensor to_reduce(const char* call, const at::Tensor& input, const c10d::ReduceOp& op);

/// The tensors of a list as parts of one buffer: their own memory if it can be addressed so, else
/// one piece beside them.
class Parts {
 public:
  enum class Use { kRead, kWritten };
  /// Throws ValueError if the types differ, or one is not a strided CPU tensor.
  Parts(const char* call, std::vector<at::Tensor> tensors, Use use);

  void* data() const { return data_; }
  /// From the first to the last; others may lie between them.
  Memory memory() const { return {data_, bytes_}; }
  DType type() const { return type_; }
  const std::vector<std::int64_t>& counts() const { return counts_; }
  const std::vector<std::int64_t>& offsets() const { return offsets_; }
  /// Uses one piece beside them from here on.
  void move_apart();
  void write_back() const;

 private:
  bool use_in_place(std::int64_t unit);
  at::Tensor slice(std::size_t i) const;

  const std::vector<at::Tensor> tensors_;
  const Use use_;
  DType type_ = DType::kUInt8;
  std::vector<std::int64_t> counts_, offsets_;  // in elements of type_
  at::Tensor apart_;                            // not defined: in place
  std::byte* data_ = nullptr;
  std::int64_t bytes_ = 0;
};

}  // namespace weft::python
