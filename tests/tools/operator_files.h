// SPDX-License-Identifier: Apache-2.0
// Operands of several ranks in files, and results read back, with their values as double.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <random>

#include "base/float16.h"
#include "files/npy.h"
#include "weft_tool.h"

namespace weft::testing {

using Dims = std::vector<std::int64_t>;

inline constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16, kF32 = DType::kFloat32;
inline constexpr int kRanks = 3;

/// A dense array with its values as double.
struct Array {
  Dims dims;
  std::vector<double> values;

  double at(std::int64_t i, std::int64_t j) const {
    return values[static_cast<std::size_t>(i * dims.back() + j)];
  }
};

inline void encode(DType dtype, double value, std::vector<std::byte>& bytes) {
  const auto put = [&bytes](const auto& element) {
    const auto* from = reinterpret_cast<const std::byte*>(&element);
    bytes.insert(bytes.end(), from, from + sizeof element);
  };
  switch (dtype) {
    case DType::kFloat16:
      return put(f64_to_fp16(value));
    case DType::kBFloat16:
      return put(f64_to_bf16(value));
    case DType::kFloat32:
      return put(static_cast<float>(value));
    case DType::kBool:
      return put(static_cast<std::uint8_t>(value != 0));
    case DType::kInt8:
    case DType::kInt4:  // before pair_up()
      return put(static_cast<std::int8_t>(value));
    case DType::kInt32:
      return put(static_cast<std::int32_t>(value));
    default:  // a packed scale
      put(std::uint64_t{1} << 46 | std::bit_cast<std::uint32_t>(static_cast<float>(value)));
  }
}

/// One int4 a byte becomes two.
inline void pair_up(std::vector<std::byte>& bytes, Dims& dims) {
  for (std::size_t i = 0; i < bytes.size() / 2; ++i)
    bytes[i] = (bytes[2 * i] & std::byte{15}) | bytes[2 * i + 1] << 4;
  bytes.resize(bytes.size() / 2);
  dims.back() /= 2;
}

inline double decode(DType dtype, const std::byte* from) {
  const auto get = [from](auto element) {
    std::memcpy(&element, from, sizeof element);
    return element;
  };
  switch (dtype) {
    case DType::kFloat32:
      return get(float());
    case DType::kInt8:
      return get(std::int8_t());
    case DType::kInt32:
      return get(std::int32_t());
    case DType::kInt64:
      return static_cast<double>(get(std::int64_t()));
    default:
      return dtype == kF16 ? fp16_to_f32(get(std::uint16_t())) : bf16_to_f32(get(std::uint16_t()));
  }
}

inline std::pair<std::int64_t, std::int64_t> last_two(const Dims& dims) {
  return {dims.size() < 2 ? 1 : dims[dims.size() - 2], dims.back()};
}
inline Dims transposed_dims(Dims dims) {
  std::swap(dims[dims.size() - 1], dims[dims.size() - 2]);
  return dims;
}

class OperatorFilesTest : public ::testing::Test {
 protected:
  /// Writes NAME_{rank}.npy of all ranks and adds the option for it; int4 as pairs in int8, the
  /// first of the two in the low nibble. `transposed`: the file holds
  /// the array with its last two axes swapped.
  void operand(const std::string& name, DType dtype, const std::function<Dims(int)>& dims,
               const std::function<double()>& value, bool transposed = false) {
    for (int rank = 0; rank < kRanks; ++rank) {
      Array array{dims(rank), {}};
      std::int64_t count = 1;
      for (std::int64_t extent : array.dims) count *= extent;
      for (std::int64_t i = 0; i < count; ++i) array.values.push_back(value());
      Dims stored = transposed ? transposed_dims(array.dims) : array.dims;
      const auto [rows, columns] = last_two(stored);
      std::vector<std::byte> bytes;
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t at = transposed ? i % (rows * columns) : 0;  // in one of the matrices
        const std::int64_t from = transposed ? i - at + at % columns * rows + at / columns : i;
        encode(dtype, array.values[static_cast<std::size_t>(from)], bytes);
      }
      const std::string path = in_ / (name + "_" + std::to_string(rank) + ".npy");
      if (dtype == DType::kInt4) pair_up(bytes, stored);
      ASSERT_TRUE(
          tools::write_npy(path, dtype == DType::kInt4 ? DType::kInt8 : dtype, stored, bytes.data())
              .ok());
      made_[name].push_back(std::move(array));
    }
    std::string option = "--" + name;
    std::replace(option.begin(), option.end(), '_', '-');
    options_.push_back(option);
    options_.push_back(in_ / (name + "_{rank}.npy"));
  }
  void operand(const std::string& name, DType dtype, const Dims& dims,
               const std::function<double()>& value, bool transposed = false) {
    operand(
        name, dtype, [&](int) { return dims; }, value, transposed);
  }
  /// The same file for all ranks.
  void shared_operand(const std::string& name, DType dtype, const Dims& dims,
                      const std::function<double()>& value) {
    operand(name, dtype, dims, value);
    made_[name].assign(kRanks, made_[name][0]);
    options_.back() = in_ / (name + "_0.npy");
  }

  const Array& made(const std::string& name, int rank) const {
    return made_.at(name)[static_cast<std::size_t>(rank)];
  }

  std::vector<std::string> command(const std::string& op, std::vector<std::string> more) const {
    std::vector<std::string> arguments = {"run",       op,  "--ranks", std::to_string(kRanks),
                                          "--threads", "1", "--out",   out_.path()};
    arguments.insert(arguments.end(), options_.begin(), options_.end());
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  void run(const std::string& op, std::vector<std::string> more = {}) const {
    const Ran ran = weft(command(op, std::move(more)));
    ASSERT_EQ(ran.exit_code, 0) << ran.err;
    EXPECT_EQ(ran.err, "");
  }

  Array result(const std::string& name, int rank, DType dtype) const {
    const auto header = tools::read_npy_header(out_ / (name + "_" + std::to_string(rank) + ".npy"));
    if (!header.ok() || header->dtype != dtype) {
      ADD_FAILURE() << name << ": " << header.status().to_string();
      return {};
    }
    std::vector<std::byte> bytes(static_cast<std::size_t>(header->data_bytes));
    EXPECT_TRUE(tools::read_npy_data(*header, bytes.data()).ok());
    Array array{header->shape, {}};
    for (std::size_t at = 0; at < bytes.size();
         at += static_cast<std::size_t>(info(dtype).bits / 8))
      array.values.push_back(decode(dtype, bytes.data() + at));
    return array;
  }

  /// x1 x2 + bias of one rank at (i, j), where weight(p, j) is what stands for x2.
  double product(int rank, std::int64_t i, std::int64_t j,
                 const std::function<double(std::int64_t, std::int64_t)>& weight) const {
    const Array& x1 = made("x1", rank);
    double sum = made_.contains("bias") ? made("bias", rank).at(0, j) : 0;
    for (std::int64_t p = 0; p < x1.dims.back(); ++p) sum += x1.at(i, p) * weight(p, j);
    return sum;
  }
  double product(int rank, std::int64_t i, std::int64_t j) const {
    return product(rank, i, j, [&](std::int64_t p, std::int64_t column) {
      return made("x2", rank).at(p, column);
    });
  }

  /// Every element of output_{rank}.npy is what `want` says about (row, column).
  void expect_output(int rank, DType dtype, const Dims& dims,
                     const std::function<double(std::int64_t, std::int64_t)>& want) const {
    const Array got = result("output", rank, dtype);
    ASSERT_EQ(got.dims, dims);
    const std::int64_t n = dims.back();
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(got.values.size()) / n; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        ASSERT_EQ(got.at(i, j), want(i, j)) << "rank " << rank << ", (" << i << ", " << j << ")";
  }

  std::function<double()> integers(int low, int high) {
    return [this, low, high] {
      return static_cast<double>(std::uniform_int_distribution<int>(low, high)(random_));
    };
  }
  std::function<double()> powers_of_two(int low, int high) {
    return [this, power = integers(low, high)] { return std::exp2(power()); };
  }

  TemporaryFolder in_, out_;
  std::map<std::string, std::vector<Array>> made_;
  std::vector<std::string> options_;
  std::mt19937 random_{17};
};

}  // namespace weft::testing
