// SPDX-License-Identifier: Apache-2.0
// weft run and weft check from end to end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/float16.h"
#include "files/json.h"
#include "files/npy.h"
#include "ops/matmul_allreduce_add_rmsnorm/reference.h"
#include "weft_tool.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using tools::read_npy_data;
using tools::read_npy_header;
using tools::write_npy;

const std::string kOp = "matmul_allreduce_add_rmsnorm";
constexpr int kRanks = 3;

/// One operand of one rank, also in a file.
struct Array {
  DType dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::uint16_t> values;

  ConstTensorRef ref() const { return ConstTensorRef(values.data(), dtype, shape); }
};

class WeftRunTest : public ::testing::Test {
 protected:
  /// Writes x1 (2, 3, k), x2 (k, 40) or (40, k), residual (2, 3, 40) and gamma of all ranks; k is
  /// another one on every rank.
  void write_operands(DType dtype, bool transpose_x2) {
    SCOPED_TRACE("seed 11");
    std::mt19937 random(11);
    std::uniform_real_distribution<float> near_one(-1, 1);
    for (int rank = 0; rank < kRanks; ++rank) {
      const std::int64_t k = 20 + 13 * rank;
      const auto make = [&](const char* name, std::vector<std::int64_t> shape) {
        Array array{dtype, std::move(shape), {}};
        array.values.resize(static_cast<std::size_t>(array.ref().elements()));
        for (std::uint16_t& value : array.values) {
          const float f = near_one(random);
          value = dtype == DType::kFloat16 ? f32_to_fp16(f) : f32_to_bf16(f);
        }
        EXPECT_TRUE(write_npy(file(name, rank), dtype, array.shape, array.values.data()).ok());
        return array;
      };
      x1_.push_back(make("x1", {2, 3, k}));
      x2_.push_back(transpose_x2 ? make("x2", {40, k}) : make("x2", {k, 40}));
      residual_.push_back(make("residual", {2, 3, 40}));
      gamma_.push_back(make("gamma", {40}));
    }
  }

  std::string file(const std::string& name, int rank) const {
    return in_ / (name + "_" + std::to_string(rank) + ".npy");
  }

  std::vector<std::string> command(std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"run", kOp, "--ranks", "3", "--threads", "1"};
    for (const char* name : {"x1", "x2", "residual", "gamma"}) {
      arguments.push_back(std::string("--") + name);
      arguments.push_back(in_ / (std::string(name) + "_{rank}.npy"));
    }
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  Array read_result(const std::string& name, int rank, DType dtype) const {
    const auto header = read_npy_header(out_ / (name + "_" + std::to_string(rank) + ".npy"));
    EXPECT_TRUE(header.ok()) << header.status().to_string();
    Array array{dtype, header->shape, {}};
    EXPECT_EQ(header->dtype, dtype);
    EXPECT_EQ(array.shape, (std::vector<std::int64_t>{2, 3, 40}));
    array.values.resize(240);
    EXPECT_TRUE(read_npy_data(*header, array.values.data()).ok());
    return array;
  }

  /// The largest error of all rows of all ranks as a share of its bound.
  double worst_error(DType dtype, bool transpose_x2) {
    std::vector<Array> y, norm_out;
    for (int rank = 0; rank < kRanks; ++rank) {
      y.push_back(read_result("y", rank, dtype));
      norm_out.push_back(read_result("norm_out", rank, dtype));
    }
    std::vector<MatmulAllReduceAddRmsNormArgs> args(kRanks);
    for (std::size_t rank = 0; rank < kRanks; ++rank) {
      args[rank].x1 = x1_[rank].ref();
      args[rank].x2 = transpose_x2 ? x2_[rank].ref().transposed() : x2_[rank].ref();
      args[rank].residual = residual_[rank].ref();
      args[rank].gamma = gamma_[rank].ref();
      args[rank].y = TensorRef(y[rank].values.data(), dtype, y[rank].shape);
      args[rank].norm_out = TensorRef(norm_out[rank].values.data(), dtype, norm_out[rank].shape);
    }
    double worst = 0;
    for (int rank = 0; rank < kRanks; ++rank)
      for (std::int64_t row = 0; row < 6; ++row)
        worst = std::max(worst, ops::check_row(args, rank, row).worst);
    return worst;
  }

  TemporaryFolder in_, out_;
  std::vector<Array> x1_, x2_, residual_, gamma_;
};

TEST_F(WeftRunTest, FilesInFilesOut) {
  write_operands(DType::kFloat16, false);
  const Ran ran = weft(command({"--out", out_.path()}));
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_EQ(ran.err, "");
  EXPECT_THAT(ran.out, HasSubstr("x1 float16 (2, 3, 20)"));
  EXPECT_LE(worst_error(DType::kFloat16, false), 1);
}

TEST_F(WeftRunTest, TransposedBfloat16InPlaceOnThreads) {
  write_operands(DType::kBFloat16, true);
  const Ran ran = weft(command({"--out", out_.path(), "--dtype", "bf16", "--transpose-x2",
                                "--inplace", "--repeat", "3", "--transport", "threads"}));
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_LE(worst_error(DType::kBFloat16, true), 1);
}

TEST_F(WeftRunTest, RoundedFloat32IsTheSameAsFloat16Files) {
  write_operands(DType::kFloat16, false);
  ASSERT_EQ(weft(command({"--out", out_.path()})).exit_code, 0);
  const std::string want = read_file(out_ / "norm_out_2.npy");
  for (int rank = 0; rank < kRanks; ++rank) {
    const Array& x2 = x2_[static_cast<std::size_t>(rank)];
    std::vector<float> wide;
    for (std::uint16_t value : x2.values) wide.push_back(fp16_to_f32(value));
    ASSERT_TRUE(write_npy(file("x2", rank), DType::kFloat32, x2.shape, wide.data()).ok());
  }
  const Ran refused = weft(command());
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_EQ(refused.err, "weft: " + file("x2", 0) +
                             ": holds float32, x2 must be float16.\nPass --round to round it to "
                             "float16.\n");
  ASSERT_EQ(weft(command({"--out", out_.path(), "--round"})).exit_code, 0);
  EXPECT_EQ(read_file(out_ / "norm_out_2.npy"), want);
}

TEST_F(WeftRunTest, WrongFilesAreNamed) {
  write_operands(DType::kFloat16, false);
  const std::string good = read_file(file("x2", 1));

  write_file(file("x2", 1), good.substr(0, good.size() - 2));
  Ran ran = weft(command());
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_EQ(ran.err, "weft: " + file("x2", 1) +
                         ": is truncated: shape (33, 40) of float16 needs 2640 bytes of data, the "
                         "file has 2638.\nCopy or save it again.\n");

  // A shape that does not fit is the operator's to refuse; the tool adds where it came from.
  write_file(file("x2", 1), read_file(file("x2", 0)));
  ran = weft(command({"--timeout", "20"}));
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_THAT(ran.err, StartsWith("weft: rank 1: " + kOp));
  EXPECT_THAT(ran.err, HasSubstr("\noperands of rank 1: x1 float16 (2, 3, 33) from " +
                                 file("x1", 1) + "; x2 float16 (20, 40) from " + file("x2", 1)));

  std::filesystem::remove(file("x2", 1));
  ran = weft(command());
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_EQ(ran.err, "weft: " + file("x2", 1) +
                         ": cannot be opened: No such file or directory.\nCheck the path.\n");
}

TEST_F(WeftRunTest, Int4WeightsAreInt8Files) {
  write_operands(DType::kFloat16, false);
  const Ran ran = weft(command({"--int4"}));
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_EQ(ran.err, "weft: " + file("x2", 0) +
                         ": holds float16 (20, 40), with --int4 x2 must be int8 with two int4 in "
                         "each byte, the lower nibble first.\nLeave --int4 out, or save such "
                         "pairs.\n");
}

TEST_F(WeftRunTest, BfloatBitsMustBeAskedFor) {
  write_operands(DType::kBFloat16, false);
  const Ran ran = weft(command());
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_EQ(ran.err, "weft: " + file("residual", 0) +
                         ": holds uint16. If these are bfloat16 bits, pass --dtype bf16.\n");
  EXPECT_THAT(weft(command({"--dtype", "fp16"})).err,
              HasSubstr("x1_0.npy: holds uint16, x1 must be float16.\nIf these are bfloat16 bits"));
}

TEST_F(WeftRunTest, RandomDataTraceAndJson) {
  const std::string trace = out_ / "t.json", picture = out_ / "t.svg";
  const Ran ran =
      weft({"run", kOp, "--ranks", "2", "--random", "2x33x64:64x48", "--row", "A6", "--repeat", "3",
            "--antiquant-group-size", "32", "--trace", trace, "--timeline", picture, "--json"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const auto json = tools::JsonValue::parse(ran.out);
  EXPECT_EQ(json["ranks"].integer(), 2);
  EXPECT_EQ(json["m"].integer(), 66);
  EXPECT_EQ(json["x2"].string(), "int8 (64, 48)");
  EXPECT_EQ(json["seconds"].size(), 3u);
  EXPECT_GT(json["median_seconds"].number(), 0);
  const auto events = tools::JsonValue::parse(read_file(trace))["traceEvents"];
  bool gemm[2] = {};
  for (std::size_t i = 0; i < events.size(); ++i)
    if (events[i]["name"].string() == "gemm") gemm[events[i]["tid"].integer()] = true;
  EXPECT_TRUE(gemm[0] && gemm[1]);
  EXPECT_THAT(read_file(picture), HasSubstr(">rank 1<"));
}

TEST_F(WeftRunTest, CheckPrintsOneLinePerCase) {
  const Ran ran = weft({"check", kOp, "5x33,64:33,64x24", "--ranks", "1,2", "--row", "A2,A8"});
  EXPECT_EQ(ran.exit_code, 0) << ran.out << ran.err;
  EXPECT_THAT(ran.out, StartsWith("ok "));
  EXPECT_THAT(ran.out,
              HasSubstr("  A8 5x33,64:33,64x24 ranks 2, scale per group, bias, antiquant_offset"));
  EXPECT_THAT(ran.out, HasSubstr("\n14 cases, 0 failed; largest error "));
}

TEST_F(WeftRunTest, APackedScaleIsNotInvented) {
  // int8 without its scale: the operator's own message, and where the operands came from.
  write_operands(DType::kFloat16, false);
  for (int rank = 0; rank < kRanks; ++rank) {
    const std::vector<std::int8_t> zeros(4000);
    const std::int64_t k = 20 + 13 * rank;
    ASSERT_TRUE(
        write_npy(file("x1", rank), DType::kInt8, std::vector<std::int64_t>{2, 3, k}, zeros.data())
            .ok());
    ASSERT_TRUE(
        write_npy(file("x2", rank), DType::kInt8, std::vector<std::int64_t>{k, 40}, zeros.data())
            .ok());
  }
  const Ran ran = weft(command({"--timeout", "20"}));
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_THAT(ran.err, HasSubstr("dequant_scale"));
}

}  // namespace
}  // namespace weft::testing
