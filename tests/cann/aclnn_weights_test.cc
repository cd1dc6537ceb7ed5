// SPDX-License-Identifier: Apache-2.0
// Preparing weights and scales, and AddRmsNorm: against weft's functions, and their codes.
#include <cstring>
#include <random>

#include "aclnn_calls.h"
#include "aclnnop/aclnn_trans_matmul_weight.h"
#include "base/fractal_nz.h"
#include "weft/ops/add_rmsnorm.h"
#include "weft/weights.h"

namespace weft::cann {
namespace {

constexpr int kOk = ACLNN_SUCCESS, kNull = ACLNN_ERR_PARAM_NULLPTR,
              kInvalid = ACLNN_ERR_PARAM_INVALID;

class Weights : public RuntimeTest {
 protected:
  void SetUp() override {
    RuntimeTest::SetUp();
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    ASSERT_EQ(aclrtCreateStream(&stream_), ACL_SUCCESS);
  }
  int code_of(const EntryCall& call) {
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    const int code = first_phase(call, &size, &executor);
    EXPECT_TRUE(code != kOk || aclDestroyAclOpExecutor(executor) == kOk);
    return code;
  }
  aclrtStream stream_ = nullptr;
};

template <typename T>
Described of(std::vector<T>& values, aclDataType dtype, Dims dims) {
  Described d(dtype, std::move(dims));
  d.data = values.data();
  return d;
}

TEST_F(Weights, PackedScales) {
  struct Golden {
    float scale;
    const float* offset;
    int round;
    std::uint64_t word;
  };
  static const float kFive = 5, kTie = 2.5F, kMinusOne = -1, kLarge = 300, kSmall = -300;
  const Golden goldens[] = {{1.0F, nullptr, 0, 70369809530880},
                            {0.1F, nullptr, 0, 0x40003DCCC000},
                            {0.3F, nullptr, 0, 0x40003E998000},
                            {0.3F, nullptr, 1, 0x40003E99A000},
                            {1 + 1.5F / 1024, nullptr, 0, 0x40003F802000},
                            {1 + 1.5F / 1024, nullptr, 1, 0x40003F804000},
                            {-2.5F, nullptr, 0, 0x4000C0200000},
                            {1.0F, &kFive, 0, 0x40A03F800000},
                            {1.0F, &kTie, 0, 0x40403F800000},
                            {1.0F, &kMinusOne, 0, 0x7FE03F800000},
                            {1.0F, &kLarge, 0, 0x5FE03F800000},
                            {1.0F, &kSmall, 0, 0x60003F800000}};
  for (const Golden& golden : goldens)
    for (const char* op : {"aclnnTransQuantParamV2", "aclnnTransQuantParamV3"}) {
      if (golden.round && std::string(op).back() == '2') continue;
      std::vector<float> scale = {golden.scale}, offset = {golden.offset ? *golden.offset : 0};
      std::vector<std::uint64_t> out = {0};
      EntryCall call;
      call.op = op;
      call.round_mode = golden.round;
      call.tensors["scale"] = of(scale, ACL_FLOAT, {1});
      if (golden.offset) call.tensors["offset"] = of(offset, ACL_FLOAT, {1});
      call.tensors["out"] = of(out, ACL_UINT64, {1});
      EXPECT_EQ(call_and_wait(call, stream_), kOk) << text();
      EXPECT_EQ(out[0], golden.word) << golden.scale << " " << golden.round;
    }
}

TEST_F(Weights, CodesOfPackedScales) {
  std::vector<float> scale(4, 1.0F), offset(4, 0.0F);
  std::vector<std::uint64_t> out(4);
  EntryCall base;
  base.op = "aclnnTransQuantParamV3";
  base.tensors["scale"] = of(scale, ACL_FLOAT, {1, 4});
  base.tensors["offset"] = of(offset, ACL_FLOAT, {1});
  base.tensors["out"] = of(out, ACL_INT64, {1, 4});
  EXPECT_EQ(code_of(base), kOk) << text();
  const auto with = [&](const std::function<void(EntryCall&)>& change) {
    EntryCall call = base;
    change(call);
    return code_of(call);
  };
  EXPECT_EQ(with([](EntryCall& c) { c.tensors.erase("scale"); }), kNull);
  EXPECT_EQ(with([](EntryCall& c) { c.tensors.erase("out"); }), kNull);
  EXPECT_EQ(with([](EntryCall& c) { c.no_workspace_size = true; }), kNull);
  EXPECT_EQ(with([](EntryCall& c) { c.no_executor = true; }), kNull);
  EXPECT_EQ(with([](EntryCall& c) { c.tensors["scale"].dtype = ACL_FLOAT16; }), kInvalid);
  EXPECT_EQ(with([](EntryCall& c) { c.tensors["offset"].dtype = ACL_INT32; }), kInvalid);
  EXPECT_EQ(with([](EntryCall& c) { c.tensors["out"].dtype = ACL_FLOAT; }), kInvalid);
  EXPECT_EQ(with([](EntryCall& c) { c.tensors["scale"].dims = {2, 2}; }), kInvalid);
  EXPECT_EQ(with([](EntryCall& c) { c.tensors["scale"].dims = {}; }), kInvalid);
  EXPECT_EQ(with([](EntryCall& c) { c.tensors["offset"].dims = {3}; }), kInvalid);
  EXPECT_EQ(with([](EntryCall& c) { c.tensors["out"].dims = {3}; }), kInvalid);
  EXPECT_EQ(with([](EntryCall& c) { c.tensors["scale"].dims = {0}; }), kInvalid);
  EXPECT_EQ(with([](EntryCall& c) { c.round_mode = 2; }), kInvalid);
  EXPECT_EQ(with([](EntryCall& c) { c.round_mode = std::int64_t{1} << 32; }), kInvalid);
  EXPECT_EQ(with([](EntryCall& c) { c.tensors["out"].data = c.tensors["scale"].data; }), kInvalid);
}

TEST_F(Weights, SizesOfImages) {
  const auto size = [](Dims dims, int dtype, bool second) {
    aclIntArray* shape = aclCreateIntArray(dims.data(), dims.size());
    uint64_t elements = 0;
    const int code =
        second ? aclnnCalculateMatmulWeightSizeV2(shape, static_cast<aclDataType>(dtype), &elements)
               : aclnnCalculateMatmulWeightSize(shape, &elements);
    aclDestroyIntArray(shape);
    return code == kOk ? static_cast<std::int64_t>(elements) : -code;
  };
  EXPECT_EQ(size({510, 510}, ACL_FLOAT16, true), 262144);
  EXPECT_EQ(size({510, 510}, ACL_BF16, true), 262144);
  EXPECT_EQ(size({510, 270}, ACL_INT8, true), 147456);
  EXPECT_EQ(size({3, 2, 1, 510, 270}, ACL_INT8, true), 6 * 147456);
  EXPECT_EQ(size({510, 510}, 0, false), 262144);
  EXPECT_EQ(size({2, 510, 510}, 0, false), 2 * 262144);
  EXPECT_EQ(size({1, 2, 510, 510}, 0, false), -kInvalid);
  EXPECT_EQ(size({510}, ACL_INT8, true), -kInvalid);
  EXPECT_EQ(size({1, 1, 1, 1, 1, 510, 510}, ACL_INT8, true), -kInvalid);
  EXPECT_EQ(size({510, 0}, ACL_INT8, true), -kInvalid);
  EXPECT_EQ(size({510, -1}, ACL_INT8, true), -kInvalid);
  EXPECT_EQ(size({510, 510}, ACL_FLOAT, true), -kInvalid);
  EXPECT_EQ(size({510, 510}, 63, true), -kInvalid);
  uint64_t elements = 0;
  EXPECT_EQ(aclnnCalculateMatmulWeightSize(nullptr, &elements), kNull);
  EXPECT_EQ(aclnnCalculateMatmulWeightSizeV2(nullptr, ACL_INT8, &elements), kNull);
  const std::int64_t dims[] = {4, 4};
  aclIntArray* shape = aclCreateIntArray(dims, 2);
  EXPECT_EQ(aclnnCalculateMatmulWeightSize(shape, nullptr), kNull);
  EXPECT_EQ(aclDestroyIntArray(shape), kOk);
  EXPECT_EQ(aclnnCalculateMatmulWeightSize(shape, &elements), kInvalid);
}

aclnnStatus convert(aclTensor* tensor, aclrtStream stream) {
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  aclnnStatus code = aclnnTransMatmulWeightGetWorkspaceSize(tensor, &size, &executor);
  if (code != kOk) return code;
  std::vector<std::byte> workspace(size);
  code = aclnnTransMatmulWeight(workspace.data(), size, executor, stream);
  return code != kOk ? code : aclrtSynchronizeStream(stream);
}

Dims storage_shape(const aclTensor* tensor) {
  std::int64_t* values = nullptr;
  uint64_t count = 0;
  EXPECT_EQ(aclGetStorageShape(tensor, &values, &count), kOk);
  Dims dims(values, values + count);
  delete[] values;
  return dims;
}

// The weight as the image of its view, for a dense one and for the transposed view of another;
// then as x2 of a matmul, where it gives the bits of the one it was.
TEST_F(Weights, ImagesAreTakenByMatmuls) {
  constexpr std::int64_t kRows = 20, kColumns = 70, kM = 3;
  std::mt19937 random(7);
  const FractalNz image(DType::kInt8, kRows, kColumns);
  std::vector<std::int8_t> matrix(kRows * kColumns), x1(kM * kRows);
  for (auto* values : {&matrix, &x1})
    for (std::int8_t& value : *values) value = static_cast<std::int8_t>(random());
  std::vector<std::uint64_t> scale(kColumns, 0x40003C000000);
  const CannRanks ranks(1);
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  std::vector<std::uint16_t> outputs[3];
  for (int form = 0; form < 3; ++form) {  // as it is, dense to image, transposed view to image
    void* memory = nullptr;
    ASSERT_EQ(
        aclrtMalloc(&memory, static_cast<std::size_t>(image.elements()), ACL_MEM_MALLOC_HUGE_FIRST),
        ACL_SUCCESS);
    auto* stored = static_cast<std::int8_t*>(memory);
    for (std::int64_t i = 0; i < kRows; ++i)
      for (std::int64_t j = 0; j < kColumns; ++j)
        stored[form == 2 ? j * kRows + i : i * kColumns + j] =
            matrix[static_cast<std::size_t>(i * kColumns + j)];
    Described d(ACL_INT8, {kRows, kColumns});
    if (form == 2) d.strides = {1, kRows};
    if (form == 2) d.storage = {kColumns, kRows};
    d.data = memory;
    aclTensor* x2 = d.create();
    if (form > 0) {
      EXPECT_EQ(convert(x2, stream_), kOk) << text();
      EXPECT_EQ(storage_shape(x2), (Dims{3, 2, 16, 32}));
      aclFormat format{};
      EXPECT_EQ(aclGetFormat(x2, &format), kOk);
      EXPECT_EQ(format, ACL_FORMAT_ND);  // of the view
      for (std::int64_t i = 0; i < kRows; ++i)
        for (std::int64_t j = 0; j < kColumns; ++j)
          ASSERT_EQ(stored[image.index(i, j)], matrix[static_cast<std::size_t>(i * kColumns + j)]);
      EXPECT_EQ(convert(x2, stream_), kInvalid);  // it is one already
    }
    outputs[form].resize(kM * kColumns);
    EntryCall call;
    call.op = "aclnnQuantMatmulAllReduce";
    call.group = ranks.name();
    call.tensors["x1"] = of(x1, ACL_INT8, {kM, kRows});
    call.tensors["x2"].handle = x2;
    call.tensors["dequantScale"] = of(scale, ACL_UINT64, {kColumns});
    call.tensors["output"] = of(outputs[form], ACL_FLOAT16, {kM, kColumns});
    EXPECT_EQ(call_and_wait(call, stream_), kOk) << text();
    EXPECT_EQ(outputs[form], outputs[0]);
    EXPECT_EQ(aclDestroyTensor(x2), kOk);
    EXPECT_EQ(aclrtFree(memory), ACL_SUCCESS);
  }
  EXPECT_NE(outputs[0], std::vector<std::uint16_t>(kM * kColumns));
}

TEST_F(Weights, CodesOfImages) {
  std::vector<std::int8_t> memory(1 << 14);
  const auto code = [&](int dtype, Dims dims, const std::function<void(Described&)>& change = {}) {
    EntryCall call;
    call.op = "aclnnTransMatmulWeight";
    call.tensors["mmWeightRef"] = of(memory, static_cast<aclDataType>(dtype), std::move(dims));
    if (change) change(call.tensors["mmWeightRef"]);
    return code_of(call);
  };
  EXPECT_EQ(code(ACL_INT8, {20, 70}), kOk) << text();
  EXPECT_EQ(code(ACL_INT8, {1, 1, 1, 2, 20, 33}), kOk) << text();
  EXPECT_EQ(code(ACL_FLOAT16, {2, 20, 33}), kOk) << text();
  EXPECT_EQ(code(ACL_FLOAT, {20, 70}), kInvalid);
  EXPECT_EQ(code(ACL_INT4, {20, 70}), kInvalid);
  EXPECT_EQ(code(ACL_INT8, {20}), kInvalid);
  EXPECT_EQ(code(ACL_INT8, {1, 1, 1, 1, 1, 2, 3}), kInvalid);
  EXPECT_EQ(code(ACL_FLOAT16, {1, 2, 20, 33}), kInvalid);
  EXPECT_EQ(code(ACL_INT8, {1, 1, 1, 1, 1, 1, 1, 2, 3}), kInvalid);
  EXPECT_EQ(code(ACL_INT8, {20, 70}, [](Described& d) { d.format = ACL_FORMAT_NCHW; }), kInvalid);
  EXPECT_EQ(code(ACL_INT8, {20, 70}, [](Described& d) { d.data = nullptr; }), kNull);
  EXPECT_EQ(code(ACL_INT8, {20, 70}, [](Described& d) { d.storage = {1399}; }), kInvalid);
  // Empty ones of any rank succeed, but not of any dtype.
  EXPECT_EQ(code(ACL_INT8, {0}), kOk) << text();
  EXPECT_EQ(code(ACL_FLOAT16, {1, 2, 3, 0}), kOk) << text();
  EXPECT_EQ(code(ACL_FLOAT, {0, 2}), kInvalid);
  EntryCall none;
  none.op = "aclnnTransMatmulWeight";
  EXPECT_EQ(code_of(none), kNull);
  void* small = nullptr;
  ASSERT_EQ(aclrtMalloc(&small, 20 * 70, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
  EXPECT_EQ(code(ACL_INT8, {20, 70}, [&](Described& d) { d.data = small; }), kInvalid);
  EXPECT_NE(text().find("aclnnCalculateMatmulWeightSizeV2"), std::string::npos);
}

EntryCall add_rms_norm(std::vector<std::uint16_t>* t, std::vector<float>& rstd) {
  EntryCall call;
  call.op = "aclnnAddRmsNorm";
  const char* names[] = {"x1", "x2", "gamma", "yOut", "xOut"};
  for (int i = 0; i < 5; ++i)
    call.tensors[names[i]] = of(t[i], ACL_FLOAT16, i == 2 ? Dims{8} : Dims{2, 3, 8});
  call.tensors["rstdOut"] = of(rstd, ACL_FLOAT, {2, 3, 1});
  return call;
}

TEST_F(Weights, AddRmsNormAgainAndAgain) {
  std::mt19937 random(11);
  std::vector<std::uint16_t> t[5], wanted[5];
  for (int i = 0; i < 5; ++i) {
    t[i].resize(48);
    for (auto& value : t[i]) value = static_cast<std::uint16_t>(0x3000 + random() % 0x1000);
    wanted[i] = t[i];
  }
  std::vector<float> rstd(6), wanted_rstd(6);
  AddRmsNormArgs args;
  args.x1 = {wanted[0].data(), DType::kFloat16, {2, 3, 8}};
  args.x2 = {wanted[1].data(), DType::kFloat16, {2, 3, 8}};
  args.gamma = {wanted[2].data(), DType::kFloat16, {8}};
  args.y = {wanted[3].data(), DType::kFloat16, {2, 3, 8}};
  args.rstd = {wanted_rstd.data(), DType::kFloat32, {2, 3, 1}};
  args.x = {wanted[4].data(), DType::kFloat16, {2, 3, 8}};
  args.epsilon = 1e-3F;
  Context context = Context::create({.threads = 1}).value();
  ASSERT_TRUE(add_rmsnorm(context, args).ok());

  EntryCall call = add_rms_norm(t, rstd);
  call.epsilon = 1e-3;
  aclTensor* y = call.tensors["yOut"].create();
  call.tensors["yOut"].handle = y;
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  ASSERT_EQ(first_phase(call, &size, &executor), kOk) << text();
  ASSERT_EQ(aclSetAclOpExecutorRepeatable(executor), kOk);
  std::vector<std::byte> workspace(size);
  std::vector<std::uint16_t> other(48);
  for (int i = 0; i < 3; ++i) {
    if (i == 2) {
      EXPECT_EQ(aclSetOutputTensorAddr(executor, 0, y, other.data()), kOk) << text();
    }
    EXPECT_EQ(second_phase(call.op, workspace.data(), size, executor, stream_), kOk) << text();
    EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS) << text();
    EXPECT_EQ(i == 2 ? other : t[3], wanted[3]);
    EXPECT_EQ(t[4], wanted[4]);
    EXPECT_EQ(rstd, wanted_rstd);
  }
  // The device loses its threads and gets new ones; the executor does not mind.
  EXPECT_EQ(aclrtResetDevice(0), ACL_SUCCESS);
  EXPECT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  std::fill(other.begin(), other.end(), std::uint16_t{0});
  EXPECT_EQ(second_phase(call.op, workspace.data(), size, executor, nullptr), kOk) << text();
  EXPECT_EQ(aclrtSynchronizeStream(nullptr), ACL_SUCCESS);
  EXPECT_EQ(other, wanted[3]);
  EXPECT_EQ(aclSetInputTensorAddr(executor, 0, y, nullptr), kOk);
  EXPECT_EQ(second_phase(call.op, workspace.data(), size, executor, nullptr),
            ACLNN_ERR_RUNTIME_ERROR);
  EXPECT_EQ(aclDestroyAclOpExecutor(executor), kOk);
  EXPECT_EQ(aclDestroyTensor(y), kOk);
}

TEST_F(Weights, CodesOfAddRmsNorm) {
  std::vector<std::uint16_t> t[5];
  for (auto& values : t) values.resize(48);
  std::vector<float> rstd(6);
  const EntryCall base = add_rms_norm(t, rstd);
  EXPECT_EQ(code_of(base), kOk) << text();
  for (const char* name : {"x1", "x2", "gamma", "yOut", "rstdOut", "xOut"}) {
    EntryCall call = base;
    call.tensors.erase(name);
    EXPECT_EQ(code_of(call), kNull) << name;
    call = base;
    call.tensors[name].dims.back() += 1;
    call.tensors[name].storage = {64};
    EXPECT_EQ(code_of(call), kInvalid) << name;
    call = base;
    call.tensors[name].dtype = ACL_INT32;
    EXPECT_EQ(code_of(call), kInvalid) << name;
  }
  EntryCall call = base;
  call.epsilon = 0;
  EXPECT_EQ(code_of(call), kInvalid);
  call = base;
  call.tensors["yOut"].data = call.tensors["gamma"].data;
  EXPECT_EQ(code_of(call), kInvalid);
  call = base;
  for (auto& [name, d] : call.tensors)
    if (name != "gamma") d.dims[0] = 0;
  EXPECT_EQ(call_and_wait(call, stream_), kOk) << text();
}

}  // namespace
}  // namespace weft::cann
