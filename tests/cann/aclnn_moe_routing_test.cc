// SPDX-License-Identifier: Apache-2.0
// The routing operators: values, when indices are read, executors, memory.
#include <gmock/gmock.h>

#include <array>
#include <cmath>
#include <cstring>
#include <span>

#include "aclnn_calls.h"

namespace weft::cann {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int kOk = ACLNN_SUCCESS;
constexpr std::int64_t kN = 3, kE = 4, kK = 2, kH = 2;

Described described(aclDataType dtype, Dims dims, const void* data) {
  Described d(dtype, std::move(dims));
  d.data = const_cast<void*>(data);
  return d;
}

class MoeRouting : public RuntimeTest {
 protected:
  void SetUp() override {
    RuntimeTest::SetUp();
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    ASSERT_EQ(aclrtCreateStream(&stream_), ACL_SUCCESS);
  }

  EntryCall gating() {
    EntryCall c;
    c.op = "aclnnMoeGatingTopKSoftmax";
    c.k = kK;
    c.tensors["x"] = described(ACL_FLOAT, {kN, kE}, logits_.data());
    c.tensors["yOut"] = described(ACL_FLOAT, {kN, kK}, gates_.data());
    c.tensors["expertIdxOut"] = described(ACL_INT32, {kN, kK}, experts_.data());
    c.tensors["rowIdxOut"] = described(ACL_INT32, {kN, kK}, rows_.data());
    return c;
  }
  EntryCall init() {
    EntryCall c;
    c.op = "aclnnMoeInitRouting";
    c.active_num = kN;
    c.tensors["x"] = described(ACL_FLOAT, {kN, kH}, tokens_.data());
    c.tensors["rowIdx"] = described(ACL_INT32, {kN, kK}, rows_.data());
    c.tensors["expertIdx"] = described(ACL_INT32, {kN, kK}, experts_.data());
    c.tensors["expandedXOut"] = described(ACL_FLOAT, {kN * kK, kH}, expanded_.data());
    c.tensors["expandedRowIdxOut"] = described(ACL_INT32, {kN * kK}, places_.data());
    c.tensors["expandedExpertIdxOut"] = described(ACL_INT32, {kN * kK}, sorted_.data());
    return c;
  }
  EntryCall finalize(const char* op) {
    EntryCall c;
    c.op = op;
    c.tensors["expandedX"] = described(ACL_FLOAT, {kN * kK, kH}, expanded_.data());
    c.tensors["x1"] = described(ACL_FLOAT, {kN, kH}, tokens_.data());
    c.tensors["bias"] = described(ACL_FLOAT, {kE, kH}, bias_.data());
    c.tensors["scales"] = described(ACL_FLOAT, {kN, kK}, gates_.data());
    c.tensors["expandedRowIdx"] = described(ACL_INT32, {kN * kK}, places_.data());
    c.tensors["expertIdx"] = described(ACL_INT32, {kN, kK}, experts_.data());
    c.tensors["out"] = described(ACL_FLOAT, {kN, kH}, out_.data());
    return c;
  }
  /// Both phases. Nothing is waited for.
  void submit(const EntryCall& call) {
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    ASSERT_EQ(first_phase(call, &size, &executor), kOk) << text();
    ASSERT_LE(size, sizeof(workspace_));
    ASSERT_EQ(second_phase(call.op, workspace_, size, executor, stream_), kOk) << text();
  }
  void expect_chain() {
    EXPECT_THAT(experts_, ElementsAre(1, 3, 0, 1, 2, 3));
    EXPECT_THAT(rows_, ElementsAre(0, 3, 1, 4, 2, 5));
    EXPECT_THAT(sorted_, ElementsAre(0, 1, 1, 2, 3, 3));
    EXPECT_THAT(places_, ElementsAre(1, 0, 3, 4, 2, 5));
    EXPECT_THAT(expanded_, ElementsAre(3, 4, 1, 2, 3, 4, 5, 6, 1, 2, 5, 6));
    for (std::size_t i = 0; i < kN; ++i)
      for (std::size_t h = 0; h < kH; ++h) {
        float sum = tokens_[i * kH + h];
        for (std::size_t j = 0; j < kK; ++j) {
          const auto expert = static_cast<std::size_t>(experts_[i * kK + j]);
          const float row = tokens_[i * kH + h] + bias_[expert * kH + h];
          sum += row * gates_[i * kK + j];
        }
        EXPECT_EQ(out_[i * kH + h], sum) << i << " " << h;
      }
  }

  aclrtStream stream_ = nullptr;
  std::byte workspace_[64];
  std::array<float, kN* kE> logits_ = {0, 2, 0, 1, 4, 3, 2, 1, -1, -1, 5, -1};
  std::array<float, kN * kK> gates_{};
  std::array<std::int32_t, kN * kK> experts_{}, rows_{}, places_{}, sorted_{};
  std::array<float, kN*kH> tokens_ = {1, 2, 3, 4, 5, 6}, out_{};
  std::array<float, kE* kH> bias_ = {0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4};
  std::array<float, kN * kK * kH> expanded_{};
};

// One after the other in a stream; the first with null for what may be left out.
TEST_F(MoeRouting, Chain) {
  // The third token has three equal logits: 0 is the lower one.
  logits_[11] = -0.5;
  for (const char* op : {"aclnnMoeFinalizeRouting", "aclnnMoeFinalizeRoutingV2"}) {
    out_.fill(0);
    submit(gating());
    submit(init());
    submit(finalize(op));
    ASSERT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS) << text();
    expect_chain();
  }
}

TEST_F(MoeRouting, Gating) {
  std::array<bool, kN> finished = {false, true, false};
  EntryCall call = gating();
  call.tensors["finished"] = described(ACL_BOOL, {kN}, finished.data());
  ASSERT_EQ(call_and_wait(call, stream_), kOk) << text();
  EXPECT_THAT(experts_, ElementsAre(1, 3, 4, 4, 2, 0));
  EXPECT_THAT(rows_, ElementsAre(0, 3, 1, 4, 2, 5));
  const double sum = 1 + std::exp(-1) + std::exp(-2) + std::exp(-3);
  EXPECT_NEAR(gates_[2], 1 / sum, 1e-7);
  EXPECT_NEAR(gates_[3], std::exp(-1) / sum, 1e-7);
}

// Rows by token, experts with room for two, a row that was dropped; nothing but the sum.
TEST_F(MoeRouting, FinalizeV2InEveryMode) {
  std::array<float, 8> padded = {1, 10, 2, 20, 3, 30, 4, 40};
  std::array<std::int32_t, 4> places = {1, 0, -1, 3};
  std::array<float, 4> scales = {1, 2, 3, 4}, out{};
  EntryCall c;
  c.op = "aclnnMoeFinalizeRoutingV2";
  c.tensors["expandedRowIdx"] = described(ACL_INT32, {4}, places.data());
  c.tensors["scales"] = described(ACL_FLOAT, {2, 2}, scales.data());
  c.tensors["out"] = described(ACL_FLOAT, {2, 2}, out.data());
  for (const std::int64_t mode : {0, 1, 2, 3}) {
    c.drop_pad_mode = mode;
    c.tensors["expandedX"] =
        described(ACL_FLOAT, mode % 2 ? Dims{2, 2, 2} : Dims{4, 2}, padded.data());
    ASSERT_EQ(call_and_wait(c, stream_), kOk) << text();
    if (mode < 2)
      EXPECT_THAT(out, ElementsAre(2, 20, 19, 190));
    else
      EXPECT_THAT(out, ElementsAre(4, 40, 16, 160));
  }
  // Without scales there is one row for each token.
  c.drop_pad_mode = 0;
  c.tensors.erase("scales");
  c.tensors["expandedX"].dims = c.tensors["out"].dims = {2, 2};
  c.tensors["expandedRowIdx"].dims = {2};
  ASSERT_EQ(call_and_wait(c, stream_), kOk) << text();
  EXPECT_THAT(out, ElementsAre(2, 20, 1, 10));
}

TEST_F(MoeRouting, ScalesOfBFloat16MayBeFloat) {
  std::array<std::uint16_t, 2> rows = {0x3f80, 0x4000}, out{};  // 1, 2
  std::array<std::int32_t, 2> places = {0, 1};
  std::array<float, 2> scales = {1, 0.5};
  EntryCall c;
  c.op = "aclnnMoeFinalizeRoutingV2";
  c.tensors["expandedX"] = described(ACL_BF16, {2, 1}, rows.data());
  c.tensors["expandedRowIdx"] = described(ACL_INT32, {2}, places.data());
  c.tensors["scales"] = described(ACL_FLOAT, {1, 2}, scales.data());
  c.tensors["out"] = described(ACL_BF16, {1, 1}, out.data());
  ASSERT_EQ(call_and_wait(c, stream_), kOk) << text();
  EXPECT_THAT(out, ElementsAre(0x4000, 0));
}

// Transposed inputs are read by their strides.
TEST_F(MoeRouting, StridedInputs) {
  logits_ = {0, 4, -1, 2, 3, -1, 0, 2, 5, 1, 1, -0.5};
  EntryCall call = gating();
  call.tensors["x"].strides = {1, kN};
  call.tensors["x"].storage = {kE, kN};
  submit(call);
  submit(init());
  tokens_ = {1, 3, 5, 2, 4, 6};
  EntryCall routing = init();
  routing.tensors["x"].strides = {1, kN};
  routing.tensors["x"].storage = {kH, kN};
  ASSERT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS) << text();
  ASSERT_EQ(call_and_wait(routing, stream_), kOk) << text();
  tokens_ = {1, 2, 3, 4, 5, 6};
  ASSERT_EQ(call_and_wait(finalize("aclnnMoeFinalizeRouting"), stream_), kOk) << text();
  expect_chain();
}

// What an earlier task of the stream writes is what is read; what is wrong then fails the task.
TEST_F(MoeRouting, IndicesAreReadWhenTheTaskRuns) {
  ASSERT_EQ(call_and_wait(gating(), stream_), kOk);
  ASSERT_EQ(call_and_wait(init(), stream_), kOk);
  const auto rows = rows_, places = places_;
  const auto fails = [&](const EntryCall& call, const char* what) {
    expanded_.fill(-5), out_.fill(-5);
    ASSERT_EQ(call_and_wait(call, stream_), ACL_ERROR_RT_AICORE_EXCEPTION);
    EXPECT_THAT(text(), HasSubstr(what));
    EXPECT_THAT(expanded_, Each(-5.0F));
    EXPECT_THAT(out_, Each(-5.0F));
  };
  for (const std::int32_t wrong : {-1, 6, INT32_MIN}) {
    rows_ = rows;
    rows_[4] = wrong;
    fails(init(), "row_idx");
  }
  for (const std::int32_t wrong : {-2, 6, INT32_MAX}) {
    places_ = places;
    places_[4] = wrong;
    fails(finalize("aclnnMoeFinalizeRouting"), "expanded_row_idx");
  }
  places_ = places;
  experts_[0] = 4;
  fails(finalize("aclnnMoeFinalizeRoutingV2"), "expert_idx");
}

TEST_F(MoeRouting, NothingToDo) {
  EntryCall none = init();
  for (const char* name : {"x", "rowIdx", "expertIdx", "expandedXOut"})
    none.tensors[name].dims[0] = 0;
  for (const char* name : {"expandedRowIdxOut", "expandedExpertIdxOut"})
    none.tensors[name].dims = {0};
  EntryCall nobody = finalize("aclnnMoeFinalizeRouting");
  for (const char* name : {"expandedX", "x1", "scales", "expandedRowIdx", "expertIdx", "out"})
    nobody.tensors[name].dims[0] = 0;
  for (const EntryCall& call : {none, nobody}) {
    uint64_t size = 77;
    aclOpExecutor* executor = nullptr;
    ASSERT_EQ(first_phase(call, &size, &executor), kOk) << text();
    EXPECT_EQ(size, 0U);
    EXPECT_EQ(second_phase(call.op, nullptr, 0, executor, stream_), kOk) << text();
    EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS);
  }
  EXPECT_THAT(out_, Each(0.0F));
  EXPECT_THAT(places_, Each(0));
}

TEST_F(MoeRouting, ExecutorsCanBeRepeated) {
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  ASSERT_EQ(first_phase(gating(), &size, &executor), kOk);
  ASSERT_EQ(aclSetAclOpExecutorRepeatable(executor), kOk);
  for (const float best : {9.0F, -9.0F, 9.0F}) {
    logits_[0] = best;
    ASSERT_EQ(second_phase("aclnnMoeGatingTopKSoftmax", workspace_, size, executor, stream_), kOk);
    ASSERT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS);
    EXPECT_EQ(experts_[0], best > 0 ? 0 : 1);
  }
  EXPECT_EQ(aclDestroyAclOpExecutor(executor), kOk);
}

// Floats on the host behind tensors declared as float, memory for halves of them: what an example
// gets wrong must not end the process.
TEST_F(MoeRouting, MemoryForLessThanWhatIsDeclared) {
  void* small = nullptr;
  ASSERT_EQ(aclrtMalloc(&small, sizeof(logits_) / 2, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
  std::memset(small, 0, sizeof(logits_) / 2);
  EntryCall call = gating();
  call.tensors["x"].data = small;
  EXPECT_EQ(call_and_wait(call, stream_), kOk) << text();
  EXPECT_THAT(rows_, ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_EQ(aclrtFree(small), ACL_SUCCESS);
}

TEST_F(MoeRouting, MemoryThatIsNotThereYet) {
  EntryCall call = gating();
  call.tensors["x"].data = nullptr;
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  ASSERT_EQ(first_phase(call, &size, &executor), kOk) << text();
  EXPECT_NE(second_phase(call.op, workspace_, size, executor, stream_), kOk);
  EXPECT_THAT(text(), HasSubstr("x has no memory"));
}

}  // namespace
}  // namespace weft::cann
