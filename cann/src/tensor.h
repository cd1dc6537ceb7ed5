// SPDX-License-Identifier: Apache-2.0
// What is behind aclTensor and the other descriptions of operands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "aclnn/acl_meta.h"
#include "handle_table.h"
#include "weft/status.h"
#include "weft/tensor.h"

namespace weft::cann {

/// As the program described it: nothing here was checked.
struct Tensor {
  aclDataType dtype = ACL_DT_UNDEFINED;
  aclFormat format = ACL_FORMAT_ND;          // of the view
  aclFormat storage_format = ACL_FORMAT_ND;  // differs only after aclnnTransMatmulWeight
  std::vector<std::int64_t> dims, strides, storage_dims;  // strides in elements
  std::int64_t offset = 0;                                // elements
  void* data = nullptr;                                   // start of the storage

  std::size_t rank() const { return dims.size(); }
  bool empty() const;
  /// The strides that aclCreateTensor makes up: row-major.
  bool dense() const;
  /// FRACTAL_NZ by storage format and by a 4-D storage shape.
  bool fractal_nz() const;
  /// The storage format is one whose elements lie in blocks, FRACTAL_NZ or another.
  bool tiled() const;
};

struct Scalar {
  aclDataType dtype;
  std::vector<std::byte> value;
};
/// Values for arrays; handles for lists.
template <typename Value>
struct Array {
  std::vector<Value> values;
};
using TensorHandles = Array<const aclTensor*>;
using ScalarHandles = Array<const aclScalar*>;

/// All descriptions that exist.
struct Descriptions {
  static Descriptions& instance();
  HandleTable<Tensor> tensors;
  HandleTable<Scalar> scalars;
  HandleTable<Array<std::int64_t>> int_arrays;
  HandleTable<Array<float>> float_arrays;
  HandleTable<Array<bool>> bool_arrays;
  HandleTable<TensorHandles> tensor_lists;
  HandleTable<ScalarHandles> scalar_lists;
};

/// Null if the handle is null or none.
inline std::shared_ptr<Tensor> find_tensor(const aclTensor* handle) {
  return Descriptions::instance().tensors.find(handle);
}
inline std::shared_ptr<Array<std::int64_t>> find_int_array(const aclIntArray* handle) {
  return Descriptions::instance().int_arrays.find(handle);
}

/// The dtype of weft; kInvalidArgument names the operand and the number if there is none.
Result<DType> to_dtype(const char* name, aclDataType dtype);

/// The view of weft. Strided, or FRACTAL_NZ of the matrix or of its transpose: the second if the
/// strides of the (rows, columns) view are (1, rows), a 1x1 matrix excepted. Formats other than
/// FRACTAL_NZ say nothing about memory that the strides do not. kInvalidArgument, naming the
/// operand: a dtype that weft lacks, more than kMaxDims axes, a negative extent, elements outside
/// the storage, a FRACTAL_NZ storage shape that is not the one of the view, int4 that begins in the
/// middle of a byte. Data may be null.
Result<TensorRef> to_tensor_ref(const char* name, const Tensor& tensor);

}  // namespace weft::cann
