// SPDX-License-Identifier: Apache-2.0
#include "weft/dtype.h"

#include <gtest/gtest.h>

#include <vector>

#include "weft/tensor.h"

namespace weft {
namespace {

struct Expected {
  DType dtype;
  const char* name;
  int bits, cann;
  double unit_roundoff;
};
// aclDataType as CANN's acl/acl_base.h numbers it: files and callers depend on these.
const Expected kExpected[] = {
    {DType::kFloat32, "float32", 32, 0, 0x1p-24},
    {DType::kFloat16, "float16", 16, 1, 0x1p-11},
    {DType::kBFloat16, "bfloat16", 16, 27, 0x1p-8},
    {DType::kInt8, "int8", 8, 2, 0},
    {DType::kInt4, "int4", 4, 29, 0},
    {DType::kInt32, "int32", 32, 3, 0},
    {DType::kInt64, "int64", 64, 9, 0},
    {DType::kUInt64, "uint64", 64, 10, 0},
    {DType::kBool, "bool", 8, 12, 0},
    {DType::kInt16, "int16", 16, 6, 0},
    {DType::kUInt8, "uint8", 8, 4, 0},
    {DType::kUInt16, "uint16", 16, 7, 0},
    {DType::kUInt32, "uint32", 32, 8, 0},
    {DType::kFloat64, "float64", 64, 11, 0x1p-53},
};

TEST(DType, TableMatchesCann) {
  ASSERT_EQ(std::size(kExpected), static_cast<size_t>(DType::kFloat64) + 1);
  for (const Expected& row : kExpected) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(to_string(row.dtype), row.name);
    EXPECT_EQ(info(row.dtype).dtype, row.dtype);
    EXPECT_EQ(info(row.dtype).bits, row.bits);
    EXPECT_EQ(info(row.dtype).cann, row.cann);
    EXPECT_EQ(info(row.dtype).unit_roundoff, row.unit_roundoff);
    EXPECT_EQ(dtype_from_name(row.name), row.dtype);
  }
  EXPECT_EQ(dtype_from_name("float"), std::nullopt);
  EXPECT_EQ(dtype_from_name(""), std::nullopt);
}

TEST(DType, NumpyDescriptorsGiveTheElementSize) {
  for (const Expected& row : kExpected) {
    const std::string_view numpy = info(row.dtype).numpy;
    if (row.bits < 8) {
      EXPECT_TRUE(numpy.empty());
    } else {
      ASSERT_EQ(numpy.size(), 3u) << row.name;
      EXPECT_EQ((numpy[2] - '0') * 8, row.bits) << row.name;
    }
  }
}

TEST(DType, Int4BytesRoundUp) {
  EXPECT_EQ(bytes_of(DType::kInt4, 0), 0);
  EXPECT_EQ(bytes_of(DType::kInt4, 1), 1);
  EXPECT_EQ(bytes_of(DType::kInt4, 2), 1);
  EXPECT_EQ(bytes_of(DType::kInt4, 7), 4);
  EXPECT_EQ(bytes_of(DType::kFloat16, 7), 14);
  EXPECT_EQ(bytes_of(DType::kUInt64, std::int64_t{1} << 40), std::int64_t{1} << 43);
}

std::vector<std::int64_t> list(std::span<const std::int64_t> values) {
  return {values.begin(), values.end()};
}
using List = std::vector<std::int64_t>;

TEST(Tensor, DenseRowMajor) {
  float data[24];
  const TensorRef t(data, DType::kFloat32, {2, 3, 4});
  EXPECT_TRUE(t.given());
  EXPECT_EQ(t.data(), data);
  EXPECT_EQ(t.rank(), 3);
  EXPECT_EQ(list(t.dims()), (List{2, 3, 4}));
  EXPECT_EQ(list(t.strides()), (List{12, 4, 1}));
  EXPECT_EQ(t.elements(), 24);
  EXPECT_TRUE(t.dense());
  EXPECT_EQ(to_string(ConstTensorRef(t)), "float32 (2, 3, 4)");
}

TEST(Tensor, TransposedViewSwapsTheLastTwoAxes) {
  const ConstTensorRef weight(nullptr, DType::kFloat16, {4096, 1024});  // (n, k)
  const ConstTensorRef view = weight.transposed();                      // (k, n)
  EXPECT_EQ(list(view.dims()), (List{1024, 4096}));
  EXPECT_EQ(list(view.strides()), (List{1, 1024}));
  EXPECT_FALSE(view.dense());
  EXPECT_EQ(to_string(view), "float16 (1024, 4096) strides (1, 1024)");
  EXPECT_TRUE(view.transposed().dense());
}

TEST(Tensor, StridesOfAxesOfExtentOneDoNotCount) {
  const std::int64_t dims[] = {1, 5}, strides[] = {99, 1}, gaps[] = {99, 2};
  EXPECT_TRUE(ConstTensorRef(nullptr, DType::kInt8, dims, strides).dense());
  EXPECT_FALSE(ConstTensorRef(nullptr, DType::kInt8, dims, gaps).dense());
}

TEST(Tensor, NotGivenEmptyAndScalar) {
  const ConstTensorRef none;
  EXPECT_FALSE(none.given());
  EXPECT_EQ(to_string(none), "none");
  const TensorRef writable_none;
  EXPECT_FALSE(ConstTensorRef(writable_none).given());
  const ConstTensorRef empty(nullptr, DType::kInt32, {0, 8});
  EXPECT_TRUE(empty.given());
  EXPECT_EQ(empty.elements(), 0);
  EXPECT_EQ(to_string(empty), "int32 (0, 8)");
  const ConstTensorRef scalar(nullptr, DType::kUInt64, std::initializer_list<std::int64_t>{});
  EXPECT_EQ(scalar.elements(), 1);
  EXPECT_EQ(to_string(scalar), "uint64 ()");
}

TEST(Tensor, WithDataKeepsTheShape) {
  char a = 0, b = 0;
  const TensorRef first = TensorRef(&a, DType::kInt8, {3, 2}).transposed();
  const TensorRef second = first.with_data(&b);
  EXPECT_EQ(second.data(), &b);
  EXPECT_EQ(list(second.strides()), list(first.strides()));
}

}  // namespace
}  // namespace weft
