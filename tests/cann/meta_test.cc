// SPDX-License-Identifier: Apache-2.0
// Descriptions of operands, their views in weft, executors.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "aclnn/aclnn_base.h"
#include "check.h"
#include "executor.h"
#include "tensor.h"

namespace weft::cann {
namespace {

using Dims = std::vector<int64_t>;

std::string text() {
  const char* message = aclGetRecentErrMsg();
  return message ? message : "";
}

aclTensor* make(const Dims& dims, const Dims& strides, int64_t offset, const Dims& storage,
                aclDataType dtype = ACL_FLOAT16, aclFormat format = ACL_FORMAT_ND,
                void* data = nullptr) {
  return aclCreateTensor(dims.data(), dims.size(), dtype,
                         strides.empty() ? nullptr : strides.data(), offset, format, storage.data(),
                         storage.size(), data);
}

Dims taken(aclnnStatus (*getter)(const aclTensor*, int64_t**, uint64_t*), const aclTensor* tensor) {
  int64_t* values = nullptr;
  uint64_t count = 0;
  EXPECT_EQ(getter(tensor, &values, &count), ACLNN_SUCCESS);
  Dims dims(values, values + count);
  delete[] values;
  return dims;
}

TEST(Tensors, GiveBackWhatTheyWereMadeOf) {
  int x = 0;
  aclTensor* tensor = make({2, 3}, {}, 4, {5, 6}, ACL_INT32, ACL_FORMAT_NCHW, &x);
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(taken(aclGetViewShape, tensor), (Dims{2, 3}));
  EXPECT_EQ(taken(aclGetViewStrides, tensor), (Dims{3, 1}));
  EXPECT_EQ(taken(aclGetStorageShape, tensor), (Dims{5, 6}));
  int64_t offset = 0;
  aclFormat format = ACL_FORMAT_ND;
  aclDataType dtype = ACL_FLOAT;
  void* data = nullptr;
  EXPECT_EQ(aclGetViewOffset(tensor, &offset), ACLNN_SUCCESS);
  EXPECT_EQ(aclGetFormat(tensor, &format), ACLNN_SUCCESS);
  EXPECT_EQ(aclGetDataType(tensor, &dtype), ACLNN_SUCCESS);
  EXPECT_EQ(aclGetRawTensorAddr(tensor, &data), ACLNN_SUCCESS);
  EXPECT_EQ(offset, 4);
  EXPECT_EQ(format, ACL_FORMAT_NCHW);
  EXPECT_EQ(dtype, ACL_INT32);
  EXPECT_EQ(data, &x);
  EXPECT_EQ(aclSetRawTensorAddr(tensor, nullptr), ACLNN_SUCCESS);
  EXPECT_EQ(aclGetRawTensorAddr(tensor, &data), ACLNN_SUCCESS);
  EXPECT_EQ(data, nullptr);
  const int64_t dims[] = {7}, strides[] = {2};
  EXPECT_EQ(aclInitTensor(tensor, dims, 1, ACL_BF16, strides, 0, ACL_FORMAT_ND, dims, 1, &x),
            ACLNN_SUCCESS);
  EXPECT_EQ(taken(aclGetViewStrides, tensor), (Dims{2}));
  EXPECT_EQ(aclInitTensor(tensor, nullptr, 1, ACL_BF16, strides, 0, ACL_FORMAT_ND, dims, 1, &x),
            ACLNN_ERR_PARAM_NULLPTR);
  EXPECT_EQ(aclInitTensor(tensor, dims, 1, ACL_BF16, strides, 0, ACL_FORMAT_ND, nullptr, 1, &x),
            ACLNN_ERR_PARAM_NULLPTR);
  EXPECT_EQ(aclInitTensor(nullptr, dims, 1, ACL_BF16, strides, 0, ACL_FORMAT_ND, dims, 1, &x),
            ACLNN_ERR_PARAM_NULLPTR);
  EXPECT_EQ(aclDestroyTensor(tensor), ACLNN_SUCCESS);
  EXPECT_EQ(aclInitTensor(tensor, dims, 1, ACL_BF16, strides, 0, ACL_FORMAT_ND, dims, 1, &x),
            ACLNN_ERR_PARAM_INVALID);
}

TEST(Tensors, BadHandlesAndNulls) {
  const int64_t dims[] = {1};
  EXPECT_EQ(aclCreateTensor(nullptr, 1, ACL_FLOAT, nullptr, 0, ACL_FORMAT_ND, dims, 1, nullptr),
            nullptr);
  EXPECT_EQ(aclCreateTensor(dims, 1, ACL_FLOAT, nullptr, 0, ACL_FORMAT_ND, nullptr, 1, nullptr),
            nullptr);
  EXPECT_NE(text().find("storageDims is null"), std::string::npos);
  aclTensor* scalar =
      aclCreateTensor(nullptr, 0, ACL_FLOAT, nullptr, 0, ACL_FORMAT_ND, nullptr, 0, nullptr);
  ASSERT_NE(scalar, nullptr);
  EXPECT_EQ(aclDestroyTensor(scalar), ACLNN_SUCCESS);
  EXPECT_EQ(aclDestroyTensor(scalar), ACLNN_ERR_PARAM_INVALID);
  EXPECT_EQ(aclDestroyTensor(nullptr), ACLNN_SUCCESS);
  int64_t* values = nullptr;
  uint64_t count = 0;
  int64_t offset = 0;
  void* data = nullptr;
  const auto* wild = reinterpret_cast<const aclTensor*>(&offset);
  for (const aclTensor* tensor :
       {static_cast<const aclTensor*>(nullptr), wild, static_cast<const aclTensor*>(scalar)}) {
    const aclnnStatus expected = tensor ? ACLNN_ERR_PARAM_INVALID : ACLNN_ERR_PARAM_NULLPTR;
    EXPECT_EQ(aclGetViewShape(tensor, &values, &count), expected);
    EXPECT_EQ(aclGetStorageShape(tensor, &values, &count), expected);
    EXPECT_EQ(aclGetViewStrides(tensor, &values, &count), expected);
    EXPECT_EQ(aclGetViewOffset(tensor, &offset), expected);
    EXPECT_EQ(aclGetRawTensorAddr(tensor, &data), expected);
    EXPECT_EQ(aclSetRawTensorAddr(const_cast<aclTensor*>(tensor), data), expected);
  }
  aclTensor* tensor = make({1}, {}, 0, {1});
  EXPECT_EQ(aclGetViewShape(tensor, nullptr, &count), ACLNN_ERR_PARAM_NULLPTR);
  EXPECT_EQ(aclGetViewShape(tensor, &values, nullptr), ACLNN_ERR_PARAM_NULLPTR);
  EXPECT_EQ(aclGetFormat(tensor, nullptr), ACLNN_ERR_PARAM_NULLPTR);
  EXPECT_EQ(aclGetDataType(tensor, nullptr), ACLNN_ERR_PARAM_NULLPTR);
  EXPECT_EQ(aclDestroyTensor(tensor), ACLNN_SUCCESS);
}

TEST(Values, ArraysScalarsLists) {
  const int64_t ints[] = {1, 2, 3};
  const bool bools[] = {true};
  aclIntArray* int_array = aclCreateIntArray(ints, 3);
  aclBoolArray* bool_array = aclCreateBoolArray(bools, 1);
  aclFloatArray* empty = aclCreateFloatArray(nullptr, 0);
  EXPECT_EQ(aclCreateIntArray(nullptr, 1), nullptr);
  uint64_t size = 9;
  EXPECT_EQ(aclGetIntArraySize(int_array, &size), ACLNN_SUCCESS);
  EXPECT_EQ(size, 3u);
  EXPECT_EQ(find_int_array(int_array)->values, (Dims{1, 2, 3}));
  EXPECT_EQ(aclGetBoolArraySize(bool_array, &size), ACLNN_SUCCESS);
  EXPECT_EQ(size, 1u);
  EXPECT_EQ(aclGetFloatArraySize(empty, &size), ACLNN_SUCCESS);
  EXPECT_EQ(size, 0u);
  EXPECT_EQ(aclGetFloatArraySize(nullptr, &size), ACLNN_ERR_PARAM_NULLPTR);
  EXPECT_EQ(aclGetFloatArraySize(empty, nullptr), ACLNN_ERR_PARAM_NULLPTR);
  EXPECT_EQ(aclDestroyIntArray(int_array), ACLNN_SUCCESS);
  EXPECT_EQ(aclDestroyIntArray(int_array), ACLNN_ERR_PARAM_INVALID);
  EXPECT_EQ(aclDestroyBoolArray(bool_array), ACLNN_SUCCESS);
  EXPECT_EQ(aclDestroyFloatArray(empty), ACLNN_SUCCESS);
  EXPECT_EQ(aclDestroyFloatArray(nullptr), ACLNN_SUCCESS);

  float value = 2;
  aclScalar* scalar = aclCreateScalar(&value, ACL_FLOAT);
  ASSERT_NE(scalar, nullptr);
  EXPECT_EQ(aclCreateScalar(nullptr, ACL_FLOAT), nullptr);
  EXPECT_EQ(aclCreateScalar(&value, ACL_INT4), nullptr);
  aclScalarList* scalars = aclCreateScalarList(&scalar, 1);
  EXPECT_EQ(aclGetScalarListSize(scalars, &size), ACLNN_SUCCESS);
  EXPECT_EQ(size, 1u);
  EXPECT_EQ(aclDestroyScalarList(scalars), ACLNN_SUCCESS);
  EXPECT_EQ(aclDestroyScalar(scalar), ACLNN_ERR_PARAM_INVALID);  // the list took it along

  const aclTensor* tensors[] = {make({1}, {}, 0, {1}), nullptr, make({2}, {}, 0, {2})};
  aclTensorList* list = aclCreateTensorList(tensors, 3);
  EXPECT_EQ(aclGetTensorListSize(list, &size), ACLNN_SUCCESS);
  EXPECT_EQ(size, 3u);
  EXPECT_EQ(aclDestroyTensorList(list), ACLNN_SUCCESS);
  EXPECT_EQ(aclDestroyTensorList(list), ACLNN_ERR_PARAM_INVALID);
  EXPECT_EQ(aclDestroyTensor(tensors[0]), ACLNN_ERR_PARAM_INVALID);
  EXPECT_EQ(aclCreateTensorList(tensors, 1), nullptr);  // no longer a tensor
  EXPECT_EQ(aclnnInit(nullptr), ACLNN_SUCCESS);
  EXPECT_EQ(aclnnFinalize(), ACLNN_SUCCESS);
  EXPECT_EQ(aclDumpOpTensors("", "", nullptr, 0, 0, nullptr), ACLNN_SUCCESS);
}

Result<TensorRef> view(const Dims& dims, const Dims& strides, int64_t offset, const Dims& storage,
                       aclDataType dtype = ACL_FLOAT16, aclFormat format = ACL_FORMAT_ND,
                       void* data = nullptr) {
  aclTensor* tensor = make(dims, strides, offset, storage, dtype, format, data);
  Result<TensorRef> ref = to_tensor_ref("x2", *find_tensor(tensor));
  EXPECT_EQ(aclDestroyTensor(tensor), ACLNN_SUCCESS);
  return ref;
}

TEST(Views, StridedOnesBeginAtTheirOffset) {
  std::array<std::uint16_t, 24> memory{};
  const auto ref = view({2, 3}, {1, 4}, 5, {4, 6}, ACL_FLOAT16, ACL_FORMAT_ND, memory.data());
  ASSERT_TRUE(ref.ok()) << ref.status().to_string();
  EXPECT_EQ(ref->data(), &memory[5]);
  EXPECT_EQ(ref->dtype(), DType::kFloat16);
  EXPECT_EQ(Dims(ref->dims().begin(), ref->dims().end()), (Dims{2, 3}));
  EXPECT_EQ(Dims(ref->strides().begin(), ref->strides().end()), (Dims{1, 4}));
  EXPECT_EQ(view({3}, {}, 1, {4})->data(), nullptr);
  EXPECT_EQ(view({4, 2}, {}, 2, {10}, ACL_INT4, ACL_FORMAT_ND, memory.data())->data(),
            reinterpret_cast<char*>(memory.data()) + 1);
}

TEST(Views, MustLieInTheirStorage) {
  struct Case {
    Dims dims, strides;
    int64_t offset;
    Dims storage;
    bool fits;
  };
  const int64_t huge = INT64_MAX;
  for (const Case& c :
       {Case{{2, 3}, {}, 0, {6}, true}, Case{{2, 3}, {}, 1, {6}, false},
        Case{{2, 3}, {}, 0, {5}, false}, Case{{2, 3}, {}, -1, {7}, false},
        Case{{2, 3}, {1, 2}, 0, {6}, true}, Case{{2, 3}, {1, 2}, 0, {5}, false},
        Case{{3}, {-1}, 2, {3}, true}, Case{{3}, {-1}, 1, {3}, false},
        Case{{3, 0}, {}, 100, {1}, true},  // no elements: nothing to lie anywhere
        Case{{}, {}, 0, {}, true}, Case{{2}, {}, 0, {}, false}, Case{{-1}, {}, 0, {6}, false},
        Case{{2}, {}, 0, {-6}, false}, Case{{huge, 3}, {}, 0, {6}, false},
        Case{{huge}, {huge}, 0, {6}, false}, Case{{2}, {huge}, huge, {6}, false},
        Case{{1, 1, 1, 1, 1, 1, 1, 1}, {}, 0, {1}, true},
        Case{{1, 1, 1, 1, 1, 1, 1, 1, 1}, {}, 0, {1}, false}}) {
    const auto ref = view(c.dims, c.strides, c.offset, c.storage);
    EXPECT_EQ(ref.ok(), c.fits) << ref.status().to_string();
    if (!ref.ok()) {
      EXPECT_EQ(ref.status().code(), StatusCode::kInvalidArgument);
      EXPECT_TRUE(ref.status().message().starts_with("x2: ")) << ref.status().message();
    }
  }
  EXPECT_FALSE(view({2}, {}, 1, {3}, ACL_INT4).ok());  // in the middle of a byte
  EXPECT_FALSE(view({2}, {}, 0, {2}, ACL_HIFLOAT8).ok());
}

TEST(Views, FractalNzOfTheMatrixAndOfItsTranspose) {
  struct Case {
    Dims dims, strides, storage;
    aclDataType dtype;
    bool ok, transposed;
  };
  for (const Case& c : {Case{{17, 33}, {}, {2, 2, 16, 32}, ACL_INT8, true, false},
                        Case{{17, 33}, {}, {3, 2, 16, 16}, ACL_FLOAT16, true, false},
                        Case{{33, 17}, {1, 33}, {2, 2, 16, 32}, ACL_INT8, true, true},
                        Case{{33, 17}, {1, 33}, {3, 2, 16, 16}, ACL_BF16, true, true},
                        Case{{33, 17}, {1, 33}, {1, 3, 16, 32}, ACL_INT8, false, true},
                        Case{{17, 33}, {}, {2, 2, 16, 16}, ACL_INT8, false, false},
                        Case{{17, 33}, {40, 1}, {2, 2, 16, 32}, ACL_INT8, false, false},
                        Case{{1, 1}, {1, 1}, {1, 1, 16, 32}, ACL_INT8, true, false},
                        Case{{2, 17, 33}, {}, {2, 2, 16, 32}, ACL_INT8, false, false}}) {
    const auto ref = view(c.dims, c.strides, 0, c.storage, c.dtype, ACL_FORMAT_FRACTAL_NZ);
    EXPECT_EQ(ref.ok(), c.ok) << ref.status().to_string();
    if (!ref.ok()) continue;
    EXPECT_EQ(ref->format(), Format::kFractalNz);
    EXPECT_EQ(ref->fractal_nz_transposed(), c.transposed);
    EXPECT_EQ(Dims(ref->dims().begin(), ref->dims().end()), c.dims);
  }
  EXPECT_FALSE(view({17, 33}, {}, 1, {2, 2, 16, 32}, ACL_INT8, ACL_FORMAT_FRACTAL_NZ).ok());
  // Without the 4-D storage it is an ordinary view.
  EXPECT_EQ(view({17, 33}, {}, 0, {17, 33}, ACL_INT8, ACL_FORMAT_FRACTAL_NZ)->format(),
            Format::kStrided);
}

class ExecutorTest : public RuntimeTest {
 protected:
  void SetUp() override {
    RuntimeTest::SetUp();
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    in_ = make({1}, {}, 0, {1}, ACL_FLOAT, ACL_FORMAT_ND, &value_);
    out_ = make({1}, {}, 0, {1}, ACL_FLOAT, ACL_FORMAT_ND, &result_);
  }
  void TearDown() override {
    EXPECT_EQ(aclDestroyTensor(in_), ACLNN_SUCCESS);
    EXPECT_EQ(aclDestroyTensor(out_), ACLNN_SUCCESS);
    EXPECT_EQ(Executors::instance().size(), 0u);
    RuntimeTest::TearDown();
  }
  /// An operator out = in + 1 with operands (in, left out, list of in, out).
  aclOpExecutor* prepare(bool may_repeat, std::uint64_t workspace = 0) {
    auto executor = std::make_unique<Executor>();
    executor->op = "aclnnTest";
    executor->workspace_size = workspace;
    executor->may_repeat = may_repeat;
    const Tensor in = *find_tensor(in_), out = *find_tensor(out_);
    executor->operands = {{.tensors = {in}},
                          {},
                          {.is_list = true, .tensors = {in, in}},
                          {.direction = Operand::Direction::kOutput, .tensors = {out}}};
    executor->launch = [](const std::vector<Operand>& operands, Stream& stream) {
      return stream.submit([from = static_cast<float*>(operands[0].tensors[0].data),
                            to = static_cast<float*>(operands[3].tensors[0].data)] {
        *to = *from + 1;
        return Status();
      });
    };
    aclOpExecutor* handle = nullptr;
    std::uint64_t size = 99;
    EXPECT_EQ(Executors::instance().add(std::move(executor), &size, &handle), ACLNN_SUCCESS);
    EXPECT_EQ(size, workspace);
    return handle;
  }
  aclnnStatus run(aclOpExecutor* executor, void* workspace = nullptr, std::uint64_t size = 0) {
    return Executors::instance().run("aclnnTest", workspace, size, executor, nullptr).code;
  }
  float value_ = 1, result_ = 0;
  aclTensor* in_ = nullptr;
  aclTensor* out_ = nullptr;
};

TEST_F(ExecutorTest, IsUsedOnce) {
  aclOpExecutor* executor = prepare(false);
  EXPECT_EQ(aclSetAclOpExecutorRepeatable(executor), ACLNN_ERR_PARAM_INVALID);
  EXPECT_EQ(run(executor), ACLNN_SUCCESS);
  EXPECT_EQ(aclrtSynchronizeStream(nullptr), ACL_SUCCESS);
  EXPECT_EQ(result_, 2);
  EXPECT_EQ(run(executor), ACLNN_ERR_INNER_NULLPTR);
  EXPECT_EQ(aclDestroyAclOpExecutor(executor), ACLNN_ERR_INNER_NULLPTR);
  EXPECT_EQ(aclDestroyAclOpExecutor(nullptr), ACLNN_ERR_INNER_NULLPTR);
  EXPECT_EQ(aclSetAclOpExecutorRepeatable(nullptr), ACLNN_ERR_INNER_NULLPTR);
  EXPECT_EQ(run(nullptr), ACLNN_ERR_INNER_NULLPTR);
}

TEST_F(ExecutorTest, WorkspaceAndStreamAreChecked) {
  char workspace[64];
  EXPECT_EQ(run(prepare(false, 64)), ACLNN_ERR_PARAM_NULLPTR);
  EXPECT_EQ(run(prepare(false, 64), workspace, 63), ACLNN_ERR_PARAM_INVALID);
  EXPECT_EQ(run(prepare(false, 64), workspace, 64), ACLNN_SUCCESS);
  aclOpExecutor* executor = prepare(true);
  EXPECT_EQ(Executors::instance().run("aclnnOther", nullptr, 0, executor, nullptr).code,
            ACLNN_ERR_INNER_NOT_TRANS_EXECUTOR);
  EXPECT_EQ(Executors::instance().run("aclnnTest", nullptr, 0, executor, &workspace).code,
            ACLNN_ERR_RUNTIME_ERROR);
  EXPECT_EQ(run(executor), ACLNN_ERR_INNER_NULLPTR);  // used up by the failure
  auto made = std::make_unique<Executor>();
  aclOpExecutor* handle = nullptr;
  EXPECT_EQ(Executors::instance().add(std::move(made), nullptr, &handle), ACLNN_ERR_PARAM_NULLPTR);
}

TEST_F(ExecutorTest, RepeatsWithOtherMemory) {
  aclOpExecutor* executor = prepare(true);
  EXPECT_EQ(aclSetTensorAddr(executor, 0, in_, &value_), ACLNN_ERR_PARAM_INVALID);  // not yet
  ASSERT_EQ(aclSetAclOpExecutorRepeatable(executor), ACLNN_SUCCESS);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(run(executor), ACLNN_SUCCESS);
  float other = 41, there = 0;
  EXPECT_EQ(aclSetInputTensorAddr(executor, 0, in_, &other), ACLNN_SUCCESS);
  EXPECT_EQ(AclSetOutputTensorAddr(executor, 0, out_, &there), ACLNN_SUCCESS);
  void* now = nullptr;
  EXPECT_EQ(aclGetRawTensorAddr(in_, &now), ACLNN_SUCCESS);
  EXPECT_EQ(now, &other);  // the tensor, too
  EXPECT_EQ(run(executor), ACLNN_SUCCESS);
  EXPECT_EQ(aclrtSynchronizeStream(nullptr), ACL_SUCCESS);
  EXPECT_EQ(there, 42);
  EXPECT_EQ(aclSetTensorAddr(executor, 3, out_, &result_), ACLNN_SUCCESS);
  EXPECT_EQ(aclSetTensorAddr(executor, 4, out_, &result_), ACLNN_ERR_PARAM_INVALID);
  EXPECT_EQ(aclSetTensorAddr(executor, SIZE_MAX, out_, &result_), ACLNN_ERR_PARAM_INVALID);
  EXPECT_EQ(aclSetOutputTensorAddr(executor, 1, out_, &result_), ACLNN_ERR_PARAM_INVALID);
  EXPECT_EQ(aclSetTensorAddr(executor, 1, in_, &other), ACLNN_ERR_PARAM_INVALID);  // left out
  EXPECT_EQ(aclSetTensorAddr(executor, 2, in_, &other), ACLNN_ERR_PARAM_INVALID);  // a list
  EXPECT_EQ(aclSetTensorAddr(executor, 0, nullptr, &other), ACLNN_ERR_INNER_NULLPTR);
  EXPECT_EQ(aclSetTensorAddr(nullptr, 0, in_, &other), ACLNN_ERR_INNER_NULLPTR);
  const aclTensor* members[] = {make({1}, {}, 0, {1}), make({1}, {}, 0, {1})};
  aclTensorList* list = aclCreateTensorList(members, 2);
  EXPECT_EQ(aclSetDynamicInputTensorAddr(executor, 2, 1, list, &other), ACLNN_SUCCESS);
  EXPECT_EQ(aclSetDynamicTensorAddr(executor, 2, 2, list, &other), ACLNN_ERR_PARAM_INVALID);
  EXPECT_EQ(AclSetDynamicTensorAddr(executor, 0, 0, list, &other), ACLNN_ERR_PARAM_INVALID);
  EXPECT_EQ(aclSetDynamicOutputTensorAddr(executor, 5, 0, list, &other), ACLNN_ERR_PARAM_INVALID);
  EXPECT_EQ(aclSetDynamicTensorAddr(executor, 2, 1, nullptr, &other), ACLNN_ERR_INNER_NULLPTR);
  EXPECT_EQ(aclDestroyTensorList(list), ACLNN_SUCCESS);
  EXPECT_EQ(aclDestroyAclOpExecutor(executor), ACLNN_SUCCESS);
}

}  // namespace
}  // namespace weft::cann
