// SPDX-License-Identifier: Apache-2.0
// Descriptions of operands: aclnn/acl_meta.h.
#include <fmt/core.h>

#include <algorithm>

#include "acl/acl.h"
#include "aclnn/acl_meta.h"
#include "error.h"
#include "tensor.h"

using namespace weft::cann;

namespace {

Descriptions& descriptions() { return Descriptions::instance(); }

template <typename Body>
aclnnStatus meta_call(const char* function, Body&& body) {
  return guarded(function, ACLNN_ERR_INNER, ACLNN_ERR_INNER, std::forward<Body>(body));
}

/// The handle that body() makes; null on failure.
template <typename Handle, typename Body>
Handle* create(const char* function, Body&& body) {
  void* handle = nullptr;
  meta_call(function, [&] {
    handle = body();
    return ACLNN_SUCCESS;
  });
  return static_cast<Handle*>(handle);
}

aclnnStatus null_parameter(const char* name) {
  return fail(ACLNN_ERR_PARAM_NULLPTR, fmt::format("{} is null", name));
}

aclnnStatus no_such(const char* name) {
  return fail(ACLNN_ERR_PARAM_INVALID, fmt::format("{} was destroyed, or is none", name));
}

/// Null is a success, as for free().
template <typename Object>
aclnnStatus destroy(const char* function, HandleTable<Object>& table, const void* handle) {
  return meta_call(function, [&] {
    return !handle || table.take(handle) ? ACLNN_SUCCESS : no_such("the handle");
  });
}

/// A list and all that it holds.
template <typename List, typename Member>
aclnnStatus destroy_list(const char* function, HandleTable<List>& lists,
                         HandleTable<Member>& members, const void* handle) {
  return meta_call(function, [&] {
    if (!handle) return ACLNN_SUCCESS;
    const auto list = lists.take(handle);
    if (!list) return no_such("the list");
    bool all = true;
    for (const auto* member : list->values) all &= !member || members.take(member) != nullptr;
    return all ? ACLNN_SUCCESS : no_such("an element of the list");
  });
}

/// Calls body(object) with what the handle stands for.
template <typename Object, typename Body>
aclnnStatus with(const char* function, HandleTable<Object>& table, const void* handle,
                 const void* result, Body&& body) {
  return meta_call(function, [&] {
    if (!handle) return null_parameter("the handle");
    const std::shared_ptr<Object> object = table.find(handle);
    if (!object) return no_such("the handle");
    if (!result) return null_parameter("the result pointer");
    body(*object);
    return ACLNN_SUCCESS;
  });
}

template <typename Object>
aclnnStatus size_of(const char* function, HandleTable<Object>& table, const void* handle,
                    uint64_t* size) {
  return with(function, table, handle, size,
              [&](const Object& object) { *size = object.values.size(); });
}

template <typename Handle, typename Value>
Handle* create_array(const char* function, HandleTable<Array<Value>>& table, const Value* value,
                     uint64_t size) {
  return create<Handle>(function, [&]() -> void* {
    if (!value && size > 0) {
      null_parameter("value");
      return nullptr;
    }
    auto array = std::make_shared<Array<Value>>();
    if (size > 0) array->values.assign(value, value + size);
    return table.add(std::move(array));
  });
}

/// Handles of a list must exist; null stands for an element that is left out.
template <typename Handle, typename Member, typename Object>
Handle* create_list(const char* function, HandleTable<Array<Member>>& lists,
                    HandleTable<Object>& members, Member const* value, uint64_t size) {
  return create<Handle>(function, [&]() -> void* {
    if (!value && size > 0) {
      null_parameter("value");
      return nullptr;
    }
    auto list = std::make_shared<Array<Member>>();
    for (uint64_t i = 0; i < size; ++i) {
      if (value[i] && !members.find(value[i])) {
        no_such("an element");
        return nullptr;
      }
      list->values.push_back(value[i]);
    }
    return lists.add(std::move(list));
  });
}

std::vector<int64_t> row_major(const std::vector<int64_t>& dims) {
  std::vector<int64_t> strides(dims.size());
  int64_t stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = stride;
    // What overflows is refused when an operator looks at the shape.
    if (__builtin_mul_overflow(stride, dims[i], &stride)) stride = 0;
  }
  return strides;
}

struct Shape {
  const int64_t* values;
  uint64_t count;
  bool missing() const { return !values && count > 0; }
  std::vector<int64_t> copy() const {
    return count > 0 ? std::vector<int64_t>(values, values + count) : std::vector<int64_t>();
  }
};

Tensor describe(Shape view, aclDataType dtype, const int64_t* stride, int64_t offset,
                aclFormat format, Shape storage, void* data) {
  Tensor tensor;
  std::memcpy(&tensor.dtype, &dtype, sizeof(dtype));  // may be no value of the enum
  std::memcpy(&tensor.format, &format, sizeof(format));
  tensor.storage_format = tensor.format;
  tensor.dims = view.copy();
  tensor.strides = stride ? Shape{stride, view.count}.copy() : row_major(tensor.dims);
  tensor.storage_dims = storage.copy();
  tensor.offset = offset;
  tensor.data = data;
  return tensor;
}

void give(const std::vector<int64_t>& values, int64_t** array, uint64_t* count) {
  *array = new int64_t[values.size()];
  std::copy(values.begin(), values.end(), *array);
  *count = values.size();
}

aclnnStatus give_shape(const char* function, const aclTensor* tensor,
                       std::vector<int64_t> Tensor::*which, int64_t** dims, uint64_t* count) {
  return with(function, descriptions().tensors, tensor, dims && count ? dims : nullptr,
              [&](const Tensor& t) { give(t.*which, dims, count); });
}

}  // namespace

aclTensor* aclCreateTensor(const int64_t* viewDims, uint64_t viewDimsNum, aclDataType dataType,
                           const int64_t* stride, int64_t offset, aclFormat format,
                           const int64_t* storageDims, uint64_t storageDimsNum, void* tensorData) {
  return create<aclTensor>("aclCreateTensor", [&]() -> void* {
    const Shape view = {viewDims, viewDimsNum}, storage = {storageDims, storageDimsNum};
    if (view.missing() || storage.missing()) {
      null_parameter(view.missing() ? "viewDims" : "storageDims");
      return nullptr;
    }
    return descriptions().tensors.add(std::make_shared<Tensor>(
        describe(view, dataType, stride, offset, format, storage, tensorData)));
  });
}

aclnnStatus aclInitTensor(aclTensor* tensor, const int64_t* viewDims, uint64_t viewDimsNum,
                          aclDataType dataType, const int64_t* stride, int64_t offset,
                          aclFormat format, const int64_t* storageDims, uint64_t storageDimsNum,
                          void* tensorDataAddr) {
  return meta_call("aclInitTensor", [&] {
    const Shape view = {viewDims, viewDimsNum}, storage = {storageDims, storageDimsNum};
    if (!tensor) return null_parameter("tensor");
    if (view.missing()) return null_parameter("viewDims");
    if (storage.missing()) return null_parameter("storageDims");
    const std::shared_ptr<Tensor> found = find_tensor(tensor);
    if (!found) return no_such("tensor");
    *found = describe(view, dataType, stride, offset, format, storage, tensorDataAddr);
    return ACLNN_SUCCESS;
  });
}

aclnnStatus aclDestroyTensor(const aclTensor* tensor) {
  return destroy("aclDestroyTensor", descriptions().tensors, tensor);
}

aclnnStatus aclGetViewShape(const aclTensor* tensor, int64_t** viewDims, uint64_t* viewDimsNum) {
  return give_shape("aclGetViewShape", tensor, &Tensor::dims, viewDims, viewDimsNum);
}

aclnnStatus aclGetStorageShape(const aclTensor* tensor, int64_t** storageDims,
                               uint64_t* storageDimsNum) {
  return give_shape("aclGetStorageShape", tensor, &Tensor::storage_dims, storageDims,
                    storageDimsNum);
}

aclnnStatus aclGetViewStrides(const aclTensor* tensor, int64_t** stridesValue,
                              uint64_t* stridesNum) {
  return give_shape("aclGetViewStrides", tensor, &Tensor::strides, stridesValue, stridesNum);
}

aclnnStatus aclGetViewOffset(const aclTensor* tensor, int64_t* offset) {
  return with("aclGetViewOffset", descriptions().tensors, tensor, offset,
              [&](const Tensor& t) { *offset = t.offset; });
}

aclnnStatus aclGetFormat(const aclTensor* tensor, aclFormat* format) {
  return with("aclGetFormat", descriptions().tensors, tensor, format,
              [&](const Tensor& t) { std::memcpy(format, &t.format, sizeof(*format)); });
}

aclnnStatus aclGetDataType(const aclTensor* tensor, aclDataType* dataType) {
  return with("aclGetDataType", descriptions().tensors, tensor, dataType,
              [&](const Tensor& t) { std::memcpy(dataType, &t.dtype, sizeof(*dataType)); });
}

aclnnStatus aclSetRawTensorAddr(aclTensor* tensor, void* addr) {
  return with("aclSetRawTensorAddr", descriptions().tensors, tensor, tensor,
              [&](Tensor& t) { t.data = addr; });
}

aclnnStatus aclGetRawTensorAddr(const aclTensor* tensor, void** addr) {
  return with("aclGetRawTensorAddr", descriptions().tensors, tensor, addr,
              [&](const Tensor& t) { *addr = t.data; });
}

aclScalar* aclCreateScalar(void* value, aclDataType dataType) {
  return create<aclScalar>("aclCreateScalar", [&]() -> void* {
    const size_t bytes = aclDataTypeSize(dataType);
    if (!value || bytes == 0) {
      fail(value ? ACLNN_ERR_PARAM_INVALID : ACLNN_ERR_PARAM_NULLPTR,
           value ? "elements of this type have no whole bytes" : "value is null");
      return nullptr;
    }
    const auto* first = static_cast<const std::byte*>(value);
    auto scalar = std::make_shared<Scalar>();
    scalar->dtype = dataType;
    scalar->value.assign(first, first + bytes);
    return descriptions().scalars.add(std::move(scalar));
  });
}

aclnnStatus aclDestroyScalar(const aclScalar* scalar) {
  return destroy("aclDestroyScalar", descriptions().scalars, scalar);
}

aclIntArray* aclCreateIntArray(const int64_t* value, uint64_t size) {
  return create_array<aclIntArray>("aclCreateIntArray", descriptions().int_arrays, value, size);
}

aclFloatArray* aclCreateFloatArray(const float* value, uint64_t size) {
  return create_array<aclFloatArray>("aclCreateFloatArray", descriptions().float_arrays, value,
                                     size);
}

aclBoolArray* aclCreateBoolArray(const bool* value, uint64_t size) {
  return create_array<aclBoolArray>("aclCreateBoolArray", descriptions().bool_arrays, value, size);
}

aclnnStatus aclDestroyIntArray(const aclIntArray* array) {
  return destroy("aclDestroyIntArray", descriptions().int_arrays, array);
}

aclnnStatus aclDestroyFloatArray(const aclFloatArray* array) {
  return destroy("aclDestroyFloatArray", descriptions().float_arrays, array);
}

aclnnStatus aclDestroyBoolArray(const aclBoolArray* array) {
  return destroy("aclDestroyBoolArray", descriptions().bool_arrays, array);
}

aclnnStatus aclGetIntArraySize(const aclIntArray* array, uint64_t* size) {
  return size_of("aclGetIntArraySize", descriptions().int_arrays, array, size);
}

aclnnStatus aclGetFloatArraySize(const aclFloatArray* array, uint64_t* size) {
  return size_of("aclGetFloatArraySize", descriptions().float_arrays, array, size);
}

aclnnStatus aclGetBoolArraySize(const aclBoolArray* array, uint64_t* size) {
  return size_of("aclGetBoolArraySize", descriptions().bool_arrays, array, size);
}

aclTensorList* aclCreateTensorList(const aclTensor* const* value, uint64_t size) {
  return create_list<aclTensorList>("aclCreateTensorList", descriptions().tensor_lists,
                                    descriptions().tensors, value, size);
}

aclScalarList* aclCreateScalarList(const aclScalar* const* value, uint64_t size) {
  return create_list<aclScalarList>("aclCreateScalarList", descriptions().scalar_lists,
                                    descriptions().scalars, value, size);
}

aclnnStatus aclDestroyTensorList(const aclTensorList* array) {
  return destroy_list("aclDestroyTensorList", descriptions().tensor_lists, descriptions().tensors,
                      array);
}

aclnnStatus aclDestroyScalarList(const aclScalarList* array) {
  return destroy_list("aclDestroyScalarList", descriptions().scalar_lists, descriptions().scalars,
                      array);
}

aclnnStatus aclGetTensorListSize(const aclTensorList* tensorList, uint64_t* size) {
  return size_of("aclGetTensorListSize", descriptions().tensor_lists, tensorList, size);
}

aclnnStatus aclGetScalarListSize(const aclScalarList* scalarList, uint64_t* size) {
  return size_of("aclGetScalarListSize", descriptions().scalar_lists, scalarList, size);
}
