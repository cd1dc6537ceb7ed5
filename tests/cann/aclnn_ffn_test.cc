// SPDX-License-Identifier: Apache-2.0
// aclnnFFN and its versions: values, when expert tokens are read, executors, memory.
#include <gmock/gmock.h>

#include <cstring>

#include "base/float16.h"
#include "ffn_case.h"

namespace weft::cann {
namespace {

using testing::HasSubstr;

constexpr int kOk = ACLNN_SUCCESS;
const Dims kCounts = {3, 0, 4};
constexpr const char* kOps[] = {"aclnnFFN", "aclnnFFNV2", "aclnnFFNV3"};

class Ffn : public RuntimeTest {
 protected:
  void SetUp() override {
    RuntimeTest::SetUp();
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    ASSERT_EQ(aclrtCreateStream(&stream_), ACL_SUCCESS);
  }
  /// Both phases; what fails is noted. Nothing is waited for.
  void submit(const EntryCall& call) {
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    ASSERT_EQ(first_phase(call, &size, &executor), kOk) << text();
    workspace_.resize(std::max<std::size_t>(workspace_.size(), size));
    ASSERT_EQ(second_phase(call.op, workspace_.data(), size, executor, stream_), kOk) << text();
  }
  void run_and_check(FfnCase& c, const char* op, double slack = 0) {
    ASSERT_EQ(call_and_wait(c.call(op), stream_), kOk) << c.row.name << ": " << text();
    c.check(slack);
  }

  aclrtStream stream_ = nullptr;
  std::vector<std::byte> workspace_;
};

TEST_F(Ffn, EveryRow) {
  unsigned seed = 0;
  for (const FfnRow& row : ffn_rows())
    for (const bool transposed : {false, true})
      for (const bool biases : {true, false}) {
        FfnCase c(row, {.transposed_weights = transposed, .biases = biases, .seed = ++seed});
        run_and_check(c, "aclnnFFN");
      }
}

TEST_F(Ffn, EveryRowWithExperts) {
  for (const FfnRow& row : ffn_rows())
    for (const bool transposed : {false, true}) {
      std::vector<std::byte> first;
      for (const char* op : kOps) {
        FfnCase c(row, {.counts = kCounts, .transposed_weights = transposed, .seed = 7});
        run_and_check(c, op);
        if (first.empty()) first = c.y;
        EXPECT_EQ(c.y, first) << row.name << " " << op;
      }
    }
}

TEST_F(Ffn, Activations) {
  for (const char* name : {"gelu", "silu", "fastgelu", "relu"})
    for (const char* row : {"float16", "float16 high precision", "bfloat16", "float16 int8 weights",
                            "bfloat16 int4 weights per group"}) {
      FfnCase c(ffn_row(row), {.activation = name});
      run_and_check(c, "aclnnFFNV2", 1);
    }
  for (const char* name : {"geglu", "swiglu", "reglu"}) {
    FfnCase c(ffn_row("float16"), {.activation = name});
    run_and_check(c, "aclnnFFNV3", 1);
  }
  FfnCase c(ffn_row("float16"), {.activation = "silu"});
  EntryCall call = c.call("aclnnFFN");
  call.activation = "SiLU";
  ASSERT_EQ(call_and_wait(call, stream_), kOk) << text();
  c.check(1);
}

// Of a word only the upper 19 bits of the lower half are read, whatever its dtype is.
TEST_F(Ffn, WordsOfDequantisationScales) {
  FfnCase with_all_bits(ffn_row("int8 uint64"), {});
  run_and_check(with_all_bits, "aclnnFFN");
  for (const std::uint64_t kept : {0xffffe000ULL, 0xffffffffULL, 0x4000ffffe000ULL})
    for (const char* row : {"int8 uint64", "int8 int64"}) {
      FfnCase c(ffn_row(row), {});
      for (const char* name : {"deqScale1", "deqScale2"}) {
        std::vector<std::byte>& memory = c.operands[name].memory;
        for (std::size_t at = 0; at < memory.size(); at += 8) {
          std::uint64_t word = 0;
          std::memcpy(&word, memory.data() + at, 8);
          word &= kept;
          std::memcpy(memory.data() + at, &word, 8);
        }
      }
      run_and_check(c, "aclnnFFN");
      EXPECT_EQ(c.y, with_all_bits.y) << row << " " << kept;
    }
}

// y with gaps between its rows, and with gaps between its elements; x of three axes.
TEST_F(Ffn, Views) {
  for (const std::int64_t step : {1, 2}) {
    FfnCase c(ffn_row("float16"), {.m = 6});
    EntryCall call = c.call("aclnnFFN");
    const std::int64_t row = 24 * step + 5;
    std::vector<std::uint16_t> wide(static_cast<std::size_t>(6 * row), 0x1234);
    Described& y = call.tensors["y"];
    call.tensors["x"].dims = y.dims = {2, 3, 24};
    call.tensors["x"].format = y.format = ACL_FORMAT_NCL;
    call.tensors["weight1"].format = ACL_FORMAT_NCHW;
    y.strides = {3 * row, row, step};
    y.storage = {6 * row};
    y.data = wide.data();
    ASSERT_EQ(call_and_wait(call, stream_), kOk) << text();
    for (std::int64_t i = 0; i < 6 * row; ++i) {
      const std::int64_t column = i % row;
      std::uint16_t& value = wide[static_cast<std::size_t>(i)];
      if (column < 24 * step && column % step == 0)
        std::memcpy(c.y.data() + 2 * (i / row * 24 + column / step), &value, 2);
      else
        ASSERT_EQ(value, 0x1234) << i;
    }
    c.check();
  }
}

TEST_F(Ffn, Extents) {
  for (const char* row : {"float16", "bfloat16", "int8 uint64", "float16 int4 weights"}) {
    FfnCase one(ffn_row(row), {.m = 1});
    run_and_check(one, "aclnnFFN");
    FfnCase alone(ffn_row(row), {.counts = {7}});
    run_and_check(alone, "aclnnFFNV2");
    FfnCase most(ffn_row(row), {.counts = Dims(256, 1), .m = 256, .k1 = 6, .n1 = 10});
    run_and_check(most, "aclnnFFNV2");
    FfnCase axes(ffn_row(row), {.counts = {3, 3}, .m = 6});
    EntryCall call = axes.call("aclnnFFN");
    call.tensors["x"].dims = call.tensors["y"].dims = {1, 2, 1, 3, 1, 1, 1, 24};
    ASSERT_EQ(call_and_wait(call, stream_), kOk) << text();
    axes.check();
  }
}

TEST_F(Ffn, NothingToDo) {
  for (const char* op : kOps) {
    FfnCase c(ffn_row("float16"), {});
    EntryCall call = c.call(op);
    call.inner_precise = 5;  // nobody plans
    call.tensors["x"].dims[0] = call.tensors["y"].dims[0] = 0;
    uint64_t size = 77;
    aclOpExecutor* executor = nullptr;
    ASSERT_EQ(first_phase(call, &size, &executor), kOk) << text();
    EXPECT_EQ(size, 0U);
    EXPECT_EQ(second_phase(op, nullptr, 0, executor, stream_), kOk) << text();
    FfnCase flat(ffn_row("float16"), {.k1 = 0});
    EXPECT_EQ(call_and_wait(flat.call(op), stream_), kOk) << text();
    EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS);
    for (std::byte b : c.y) ASSERT_EQ(b, FfnCase::kUntouched);
  }
}

TEST_F(Ffn, WithoutColumnsBetweenTheProductsThereIsTheBias) {
  for (const FfnRow& row : ffn_rows())
    for (const bool biases : {true, false})
      for (const Dims& counts : {Dims{}, kCounts}) {
        if (row.groups2 > 0) continue;  // no groups of no rows
        FfnCase c(row, {.counts = counts, .biases = biases, .n1 = 0});
        run_and_check(c, "aclnnFFNV3");
      }
}

TEST_F(Ffn, TokensMayBeWrittenByAnEarlierTask) {
  FfnCase c(ffn_row("float16"), {.counts = kCounts});
  const std::vector<std::int64_t> written = c.tokens;
  c.tokens.assign(3, -1);
  Gate gate;
  ASSERT_EQ(aclrtLaunchHostFunc(stream_, Gate::wait, &gate), ACL_SUCCESS);
  ASSERT_EQ(
      aclrtMemcpyAsync(c.tokens.data(), 24, written.data(), 24, ACL_MEMCPY_HOST_TO_DEVICE, stream_),
      ACL_SUCCESS);
  submit(c.call("aclnnFFNV3"));
  gate.open();
  EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS) << text();
  c.check();
}

TEST_F(Ffn, TokensBeyondXFailTheTask) {
  FfnCase c(ffn_row("float16"), {.counts = kCounts});
  const auto fails = [&](std::vector<std::int64_t> tokens, bool ends) {
    c.tokens = std::move(tokens);
    EntryCall call = c.call("aclnnFFNV3");
    call.tokens_are_ends = ends;
    submit(call);
    EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_ERROR_RT_AICORE_EXCEPTION);
    EXPECT_THAT(text(), HasSubstr("expert_tokens"));
    for (std::byte b : c.y) ASSERT_EQ(b, FfnCase::kUntouched);
  };
  fails({3, 0, 5}, false);
  fails({3, -1, 4}, false);
  fails({INT64_MAX, INT64_MAX, 9}, false);
  fails({3, 3, 8}, true);
  fails({3, 2, 7}, true);
  c.tokens = kCounts;  // the stream goes on
  run_and_check(c, "aclnnFFNV3");
}

TEST_F(Ffn, RowsBeyondTheTokensStayAsTheyAre) {
  for (const char* row : {"float16", "int8 uint64", "bfloat16"}) {
    FfnCase c(ffn_row(row), {.counts = {2, 0, 3}});  // of seven rows
    run_and_check(c, "aclnnFFNV3");
  }
}

TEST_F(Ffn, ASecondPhaseHasOneCode) {
  for (const char* op : kOps) {
    FfnCase c(ffn_row("float16"), {});
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    const auto prepare = [&] {
      ASSERT_EQ(first_phase(c.call(op), &size, &executor), kOk) << text();
      ASSERT_GT(size, 0U);
      workspace_.resize(size);
    };
    EXPECT_EQ(second_phase(op, nullptr, 0, nullptr, stream_), ACLNN_ERR_INNER);
    EXPECT_THAT(text(), HasSubstr("561000: executor is null"));
    prepare();
    EXPECT_EQ(second_phase(op, nullptr, size, executor, stream_), ACLNN_ERR_INNER);
    EXPECT_THAT(text(), HasSubstr("workspace is null"));
    EXPECT_EQ(second_phase(op, workspace_.data(), size, executor, stream_), ACLNN_ERR_INNER);
    EXPECT_THAT(text(), HasSubstr("used up"));
    prepare();
    EXPECT_EQ(second_phase(op, workspace_.data(), size, executor, &size), ACLNN_ERR_INNER);
    EXPECT_THAT(text(), HasSubstr("no such stream"));
    EntryCall call = c.call(op);
    call.tensors["bias2"].data = nullptr;  // it could still be set
    ASSERT_EQ(first_phase(call, &size, &executor), kOk) << text();
    EXPECT_EQ(second_phase(op, workspace_.data(), size, executor, stream_), ACLNN_ERR_INNER);
    EXPECT_THAT(text(), HasSubstr("bias2 has no memory"));
  }
}

// Operands are counted without the array of V1 and V2 and with the tensor of V3.
TEST_F(Ffn, ARepeatableExecutorTakesNewMemory) {
  for (const char* op : kOps) {
    const bool third = std::string(op).back() == '3';
    FfnCase a(ffn_row("float16"), {.counts = kCounts, .seed = 1});
    FfnCase b(ffn_row("float16"), {.counts = third ? Dims{1, 5, 1} : kCounts, .seed = 2});
    EntryCall call = a.call(op);
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    ASSERT_EQ(first_phase(call, &size, &executor), kOk) << text();
    ASSERT_EQ(aclSetAclOpExecutorRepeatable(executor), kOk);
    workspace_.resize(size);
    ASSERT_EQ(second_phase(op, workspace_.data(), size, executor, stream_), kOk) << text();
    const auto set = [&](std::size_t index, Described d) {
      aclTensor* tensor = d.create();
      EXPECT_EQ(aclSetTensorAddr(executor, index, tensor, d.data), kOk) << index << text();
      EXPECT_EQ(aclDestroyTensor(tensor), kOk);
    };
    const std::size_t shift = third ? 1 : 0;
    EntryCall other = b.call(op);
    set(0, other.tensors["x"]);
    set(1, other.tensors["weight1"]);
    set(2, other.tensors["weight2"]);
    if (third) set(3, other.tensors["expertTokens"]);
    set(3 + shift, other.tensors["bias1"]);
    set(4 + shift, other.tensors["bias2"]);
    set(13 + shift, other.tensors["y"]);
    EXPECT_EQ(aclSetTensorAddr(executor, 14 + shift, nullptr, nullptr), ACLNN_ERR_INNER_NULLPTR);
    ASSERT_EQ(second_phase(op, workspace_.data(), size, executor, stream_), kOk) << text();
    ASSERT_EQ(aclDestroyAclOpExecutor(executor), kOk);
    ASSERT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS) << text();
    a.check();
    b.check();
  }
}

// More layouts than a device keeps, its plans and threads dropped in between.
TEST_F(Ffn, KeptPlansFitTheirCalls) {
  for (int i = 0; i < 60; ++i) {
    if (i == 40) {
      ASSERT_EQ(aclrtResetDevice(0), ACL_SUCCESS);
      ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
      ASSERT_EQ(aclrtCreateStream(&stream_), ACL_SUCCESS);
    }
    const FfnRow& row = ffn_rows()[static_cast<std::size_t>(i) % 5];
    FfnCase c(row, {.activation = i % 3 ? "relu" : "silu",
                    .counts = i % 2 ? Dims{1 + i % 4, 2} : Dims{},
                    .m = 6 + i % 2,
                    .seed = static_cast<unsigned>(i)});
    if (!row.is_int8() || i % 3) run_and_check(c, kOps[i % 2 ? 2 : 0], i % 3 ? 0 : 1);
  }
}

// One past it is a rule of the table.
TEST_F(Ffn, AsManyRowsAsThereCanBe) {
  for (auto [row, most] :
       {std::pair{"float16", 2147483632}, std::pair{"int8 uint64", 2147483616}}) {
    FfnCase c(ffn_row(row), {});
    EntryCall call = c.call("aclnnFFN");
    for (const char* name : {"x", "y"}) {
      call.tensors[name].dims = {most, 24};
      call.tensors[name].storage = {};
      call.tensors[name].data = nullptr;
    }
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    EXPECT_EQ(first_phase(call, &size, &executor), kOk) << text();
    EXPECT_EQ(aclDestroyAclOpExecutor(executor), kOk);
  }
}

}  // namespace
}  // namespace weft::cann
