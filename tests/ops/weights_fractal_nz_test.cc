// SPDX-License-Identifier: Apache-2.0
// FRACTAL_NZ images: sizes, packing and unpacking, rewriting in place, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "weft/weights.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;
using Dims = std::vector<std::int64_t>;

constexpr DType kTypes[] = {DType::kFloat16, DType::kBFloat16, DType::kInt8};
constexpr std::uint8_t kCanary = 0xa5;

std::size_t size_of(DType dtype) { return static_cast<std::size_t>(bytes_of(dtype, 1)); }
std::int64_t up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// The order as CANN's documentation gives it, written down once more.
std::int64_t index_of(DType dtype, std::int64_t rows, std::int64_t i, std::int64_t j) {
  const std::int64_t c0 = dtype == DType::kInt8 ? 32 : 16;
  return (((j / c0) * ((rows + 15) / 16) + i / 16) * 16 + i % 16) * c0 + j % c0;
}
std::int64_t image_elements(DType dtype, std::int64_t rows, std::int64_t columns) {
  return up(rows, 16) * up(columns, dtype == DType::kInt8 ? 32 : 16);
}

Context with_threads(int threads) { return Context::create({.threads = threads}).value(); }

// Memory with canaries around it.
struct Memory {
  static constexpr std::size_t kGuard = 96;
  std::vector<std::uint8_t> bytes;

  explicit Memory(std::size_t size) : bytes(size + 2 * kGuard, kCanary) {}
  void* data() { return bytes.data() + kGuard; }
  std::size_t size() const { return bytes.size() - 2 * kGuard; }
  std::uint8_t* at(std::int64_t index, DType dtype) {
    return bytes.data() + kGuard + static_cast<std::size_t>(index) * size_of(dtype);
  }
  bool guards_intact() const {
    const auto intact = [](std::uint8_t byte) { return byte == kCanary; };
    return std::all_of(bytes.begin(), bytes.begin() + kGuard, intact) &&
           std::all_of(bytes.end() - kGuard, bytes.end(), intact);
  }
};

void fill(Memory& memory, std::mt19937& random) {
  for (std::size_t i = 0; i < memory.size(); ++i)
    memory.bytes[Memory::kGuard + i] = static_cast<std::uint8_t>(random());
}

// Strides of a (rows, columns) matrix in some order of memory, and the elements they span.
struct Layout {
  const char* name;
  std::int64_t row, column;
};
std::vector<Layout> layouts(std::int64_t rows, std::int64_t columns) {
  return {{"dense", columns, 1},
          {"padded rows", columns + 3, 1},
          {"swapped axes", 1, rows},
          {"swapped, padded", 1, rows + 5},
          {"no axis adjacent", 2 * columns + 1, 2}};
}

const std::pair<std::int64_t, std::int64_t> kShapes[] = {
    {1, 1}, {16, 32}, {17, 33}, {20, 70}, {1, 100}, {100, 1}, {130, 257}, {2100, 40}, {66, 1100}};

TEST(FractalNzWeight, PackAndUnpackAgreeWithTheOrder) {
  std::mt19937 random(1);
  for (const DType dtype : kTypes)
    for (const auto& [rows, columns] : kShapes)
      for (const Layout& layout : layouts(rows, columns))
        for (const bool transposed : {false, true})
          for (const int threads : {1, 3}) {
            SCOPED_TRACE(::testing::Message()
                         << to_string(dtype) << " " << rows << "x" << columns << " " << layout.name
                         << (transposed ? " transposed image" : "") << " threads " << threads);
            Context context = with_threads(threads);
            const std::int64_t dims[] = {rows, columns}, strides[] = {layout.row, layout.column};
            const std::int64_t span = (rows - 1) * layout.row + (columns - 1) * layout.column + 1;
            Memory matrix(static_cast<std::size_t>(span) * size_of(dtype));
            fill(matrix, random);
            // The image of the matrix, or that of the transposed matrix seen as the matrix.
            const std::int64_t r = transposed ? columns : rows, c = transposed ? rows : columns;
            const std::int64_t elements = image_elements(dtype, r, c);
            Memory image(static_cast<std::size_t>(elements) * size_of(dtype));
            TensorRef nz = TensorRef::fractal_nz(image.data(), dtype, r, c);
            if (transposed) nz = nz.transposed();
            const TensorRef view(matrix.data(), dtype, dims, strides);
            const Status packed = pack_fractal_nz(context, view, nz);
            ASSERT_TRUE(packed.ok()) << packed.to_string();
            EXPECT_TRUE(image.guards_intact());

            std::vector<std::uint8_t> want(image.size(), 0);  // padding is zero
            for (std::int64_t i = 0; i < rows; ++i)
              for (std::int64_t j = 0; j < columns; ++j)
                std::memcpy(&want[static_cast<std::size_t>(
                                      index_of(dtype, r, transposed ? j : i, transposed ? i : j)) *
                                  size_of(dtype)],
                            matrix.at(i * layout.row + j * layout.column, dtype), size_of(dtype));
            ASSERT_EQ(std::memcmp(want.data(), image.data(), want.size()), 0);

            Memory back(matrix.size());
            const Status unpacked = unpack_fractal_nz(context, nz, view.with_data(back.data()));
            ASSERT_TRUE(unpacked.ok()) << unpacked.to_string();
            // Elements came back, the gaps between them still hold the canary.
            Memory expected(matrix.size());
            for (std::int64_t i = 0; i < rows; ++i)
              for (std::int64_t j = 0; j < columns; ++j) {
                const std::int64_t at = i * layout.row + j * layout.column;
                std::memcpy(expected.at(at, dtype), matrix.at(at, dtype), size_of(dtype));
              }
            ASSERT_TRUE(back.bytes == expected.bytes);
          }
}

TEST(FractalNzWeight, EmptyMatricesAreLeftAlone) {
  Context context = with_threads(1);
  for (const auto& [rows, columns] : {std::pair{0, 5}, std::pair{5, 0}}) {
    const TensorRef matrix(nullptr, DType::kInt8, {rows, columns});
    const TensorRef image = TensorRef::fractal_nz(nullptr, DType::kInt8, rows, columns);
    EXPECT_TRUE(pack_fractal_nz(context, matrix, image).ok());
    EXPECT_TRUE(unpack_fractal_nz(context, image, matrix).ok());
  }
}

TEST(FractalNzWeight, RefusesWhatDoesNotFit) {
  Context context = with_threads(1);
  std::vector<std::uint16_t> memory(4096), other(4096);
  const TensorRef matrix(memory.data(), DType::kFloat16, {20, 40});
  const TensorRef image = TensorRef::fractal_nz(other.data(), DType::kFloat16, 20, 40);
  const auto refusal = [&](const TensorRef& m, const TensorRef& nz) {
    const Status pack = pack_fractal_nz(context, m, nz), unpack = unpack_fractal_nz(context, nz, m);
    EXPECT_EQ(pack.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(unpack.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ("un" + pack.message(), unpack.message());
    return pack.message();
  };
  EXPECT_EQ(refusal({}, image), "pack_fractal_nz: matrix is missing");
  EXPECT_EQ(refusal(matrix, {}), "pack_fractal_nz: image is missing");
  EXPECT_EQ(refusal({memory.data(), DType::kFloat32, {20, 40}}, image),
            "pack_fractal_nz: matrix is float32 but must be float16, bfloat16 or int8");
  EXPECT_EQ(refusal({memory.data(), DType::kBFloat16, {20, 40}}, image),
            "pack_fractal_nz: image is float16 but matrix is bfloat16; they must be the same");
  EXPECT_THAT(refusal({memory.data(), DType::kFloat16, {800}}, image),
              HasSubstr("matrix is float16 (800) but must be (rows, columns) by strides"));
  EXPECT_THAT(refusal(image, image), HasSubstr("must be (rows, columns) by strides"));
  EXPECT_THAT(refusal(matrix, matrix.with_data(other.data())),
              HasSubstr("image is float16 (20, 40) but must be FRACTAL_NZ"));
  EXPECT_EQ(refusal(matrix, image.transposed()),
            "pack_fractal_nz: image is (40, 20) but matrix is (20, 40); they must be the same");
  EXPECT_EQ(refusal({memory.data(), DType::kFloat16, {-1, 40}},
                    TensorRef::fractal_nz(other.data(), DType::kFloat16, -1, 40)),
            "pack_fractal_nz: matrix is (-1, 40) but no dimension may be negative");
  EXPECT_EQ(refusal(matrix.with_data(nullptr), image), "pack_fractal_nz: matrix has no memory");
  EXPECT_EQ(refusal(matrix, image.with_data(nullptr)), "pack_fractal_nz: image has no memory");
  EXPECT_THAT(refusal(matrix, image.with_data(memory.data())),
              HasSubstr("matrix and image overlap in memory"));
  // Padding belongs to the image: 32 x 48 elements, not 20 x 40.
  EXPECT_THAT(refusal(matrix.with_data(memory.data() + 1535), image.with_data(memory.data())),
              HasSubstr("matrix and image overlap in memory"));
  EXPECT_TRUE(pack_fractal_nz(context, matrix.with_data(memory.data() + 1536),
                              image.with_data(memory.data()))
                  .ok());
}

TEST(FractalNzWeight, UnpackingNeedsMemoryForEachElement) {
  Context context = with_threads(1);
  const std::vector<std::uint16_t> image(32 * 48);
  const auto nz = ConstTensorRef::fractal_nz(image.data(), DType::kFloat16, 20, 40);
  std::vector<std::uint16_t> memory(4096);
  const std::int64_t dims[] = {20, 40};
  const auto unpack = [&](std::int64_t row, std::int64_t column) {
    const std::int64_t strides[] = {row, column};
    return unpack_fractal_nz(context, nz, TensorRef(memory.data(), DType::kFloat16, dims, strides));
  };
  for (const auto& [row, column] : {std::pair{0, 1}, {40, 0}, {39, 1}, {1, 19}, {1, 1}}) {
    const Status status = unpack(row, column);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << row << ", " << column;
    EXPECT_THAT(status.message(), HasSubstr("its elements share memory"));
  }
  EXPECT_TRUE(unpack(40, 1).ok());
  EXPECT_TRUE(unpack(1, 20).ok());
}

std::string refused_size(const Dims& dims, DType dtype) {
  const auto size = calculate_matmul_weight_size(dims, dtype);
  EXPECT_FALSE(size.ok());
  EXPECT_EQ(size.status().code(), StatusCode::kInvalidArgument);
  return size.status().message();
}

TEST(CalculateMatmulWeightSize, CountsElements) {
  const auto size = [](const Dims& dims, DType dtype) {
    return calculate_matmul_weight_size(dims, dtype).value();
  };
  EXPECT_EQ(size({510, 510}, DType::kFloat16), 262144);
  EXPECT_EQ(size({510, 270}, DType::kInt8), 147456);
  EXPECT_EQ(size({1, 1}, DType::kBFloat16), 256);
  EXPECT_EQ(size({1, 1}, DType::kInt8), 512);
  EXPECT_EQ(size({16, 16}, DType::kFloat16), 256);
  EXPECT_EQ(size({17, 17}, DType::kFloat16), 1024);
  EXPECT_EQ(size({3, 17, 33}, DType::kInt8), 3 * 32 * 64);
  EXPECT_EQ(size({2, 3, 4, 5, 17, 33}, DType::kBFloat16), 120 * 32 * 48);
}

TEST(CalculateMatmulWeightSize, Refuses) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 62;
  EXPECT_EQ(refused_size({5}, DType::kInt8),
            "calculate_matmul_weight_size: dims has 1 axes but must have 2 to 6; the last two are "
            "the rows and columns of the weight");
  EXPECT_THAT(refused_size({1, 1, 1, 1, 1, 1, 1}, DType::kInt8), HasSubstr("has 7 axes"));
  EXPECT_THAT(refused_size({}, DType::kInt8), HasSubstr("has 0 axes"));
  EXPECT_EQ(
      refused_size({4, 0}, DType::kInt8),
      "calculate_matmul_weight_size: dims[1] is 0 but must be at least 1; an empty weight has "
      "no image");
  EXPECT_THAT(refused_size({-3, 4, 4}, DType::kInt8), HasSubstr("dims[0] is -3 but"));
  for (const DType dtype : {DType::kFloat32, DType::kInt4, DType::kInt32, DType::kBool})
    EXPECT_THAT(refused_size({4, 4}, dtype), HasSubstr("must be float16, bfloat16 or int8"));
  EXPECT_THAT(refused_size({kHuge, 4}, DType::kInt8), HasSubstr("more elements than 2^63 - 1"));
  EXPECT_THAT(refused_size({std::numeric_limits<std::int64_t>::max(), 1}, DType::kInt8),
              HasSubstr("dims.dim(0) is 9223372036854775807"));
}

// Rewrites a view of random memory and checks the image of its elements; the rest of the capacity
// is untouched.
void expect_rewritten(DType dtype, const Dims& dims, const Dims& strides, int threads,
                      std::mt19937& random) {
  std::int64_t span = 1;
  for (std::size_t i = 0; i < dims.size(); ++i) span += (dims[i] - 1) * strides[i];
  const std::int64_t rows = dims[dims.size() - 2], columns = dims.back();
  const std::int64_t needed = calculate_matmul_weight_size(dims, dtype).value();
  constexpr std::int64_t kSpare = 7;
  const std::int64_t capacity = std::max(span, needed) + kSpare;
  Memory memory(static_cast<std::size_t>(capacity) * size_of(dtype));
  fill(memory, random);
  Memory before = memory;

  Context context = with_threads(threads);
  const TensorRef weight(memory.data(), dtype, dims, strides);
  const auto result = trans_matmul_weight(context, weight, needed);
  ASSERT_TRUE(result.ok()) << result.status().to_string();

  Memory want = before;
  std::memset(want.data(), 0, static_cast<std::size_t>(needed) * size_of(dtype));
  const std::int64_t matrices =
      std::accumulate(dims.begin(), dims.end() - 2, std::int64_t{1}, std::multiplies<>());
  for (std::int64_t matrix = 0; matrix < matrices; ++matrix) {
    std::int64_t offset = 0, rest = matrix;
    for (std::size_t axis = dims.size() - 2; axis-- > 0; rest /= dims[axis])
      offset += rest % dims[axis] * strides[axis];
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < columns; ++j)
        std::memcpy(want.at(matrix * (needed / matrices) + index_of(dtype, rows, i, j), dtype),
                    before.at(offset + i * strides[dims.size() - 2] + j * strides.back(), dtype),
                    size_of(dtype));
  }
  EXPECT_TRUE(memory.bytes == want.bytes);
  EXPECT_EQ(result->data(), memory.data());
  EXPECT_EQ(result->dtype(), dtype);
  if (dims.size() == 2) {
    EXPECT_EQ(result->format(), Format::kFractalNz);
    EXPECT_FALSE(result->fractal_nz_transposed());
    EXPECT_THAT(result->dims(), ::testing::ElementsAreArray(dims));
    EXPECT_THAT(result->strides(), ::testing::ElementsAre(columns, 1));
  } else {
    EXPECT_TRUE(result->dense());
    EXPECT_EQ(result->rank(), static_cast<int>(dims.size()) + 2);
    EXPECT_EQ(result->elements(), needed);
  }
}

Dims dense_strides(const Dims& dims) {
  Dims strides(dims.size(), 1);
  for (std::size_t i = dims.size() - 1; i-- > 0;) strides[i] = strides[i + 1] * dims[i + 1];
  return strides;
}

TEST(TransMatmulWeight, WritesTheImageOfTheView) {
  std::mt19937 random(2);
  for (const DType dtype : kTypes)
    for (const auto& [rows, columns] : kShapes)
      for (const Layout& layout : layouts(rows, columns))
        for (const int threads : {1, 3}) {
          SCOPED_TRACE(::testing::Message() << to_string(dtype) << " " << rows << "x" << columns
                                            << " " << layout.name << " threads " << threads);
          expect_rewritten(dtype, {rows, columns}, {layout.row, layout.column}, threads, random);
        }
}

TEST(TransMatmulWeight, WritesEveryMatrixOfABatch) {
  std::mt19937 random(3);
  for (const int threads : {1, 3}) {
    for (const DType dtype : kTypes) {
      const Dims dims{5, 18, 35};
      expect_rewritten(dtype, dims, dense_strides(dims), threads, random);
      expect_rewritten(dtype, dims, {1, 5 * 35, 5}, threads, random);  // the batch is innermost
      expect_rewritten(dtype, dims, {18 * 35, 1, 18}, threads, random);
    }
    const Dims dims{2, 3, 1, 2, 17, 33};
    expect_rewritten(DType::kInt8, dims, dense_strides(dims), threads, random);
    const Dims swapped{3, 2, 4, 20};
    expect_rewritten(DType::kInt8, swapped, {80, 240, 20, 1}, threads, random);
  }
}

// A negative stride is a view like any other: the image starts where its first element was.
TEST(TransMatmulWeight, TakesNegativeStrides) {
  constexpr std::int64_t kRows = 3, kColumns = 5;
  std::vector<std::uint8_t> memory(16 + 512);
  std::iota(memory.begin(), memory.begin() + 15, 0);
  Context context = with_threads(1);
  const std::int64_t dims[] = {kRows, kColumns}, strides[] = {-kColumns, 1};
  const auto result =
      trans_matmul_weight(context, TensorRef(&memory[10], DType::kInt8, dims, strides), 512);
  ASSERT_TRUE(result.ok()) << result.status().to_string();
  for (std::int64_t i = 0; i < kRows; ++i)
    for (std::int64_t j = 0; j < kColumns; ++j)
      EXPECT_EQ(memory[static_cast<std::size_t>(10 + index_of(DType::kInt8, kRows, i, j))],
                (kRows - 1 - i) * kColumns + j);
}

TEST(TransMatmulWeight, LeavesAnEmptyWeightAlone) {
  Context context = with_threads(1);
  std::vector<std::uint8_t> memory(64, kCanary);
  // Of any number of axes: emptiness is seen before the number is.
  for (const Dims& dims : {Dims{0, 4}, Dims{4, 0}, Dims{0}, Dims{2, 2, 2, 2, 0, 2, 2}}) {
    const TensorRef weight(memory.data(), DType::kFloat16, dims);
    const auto result = trans_matmul_weight(context, weight, 0);
    ASSERT_TRUE(result.ok()) << result.status().to_string();
    EXPECT_EQ(result->format(), Format::kStrided);
    EXPECT_THAT(result->dims(), ::testing::ElementsAreArray(dims));
  }
  EXPECT_TRUE(trans_matmul_weight(context, {nullptr, DType::kInt8, {0, 4}}, 0).ok());
  EXPECT_THAT(memory, ::testing::Each(kCanary));
}

TEST(TransMatmulWeight, RefusesAndWritesNothing) {
  Context context = with_threads(1);
  std::vector<std::uint8_t> memory(8192, kCanary);
  void* data = memory.data();
  const auto refusal = [&](const TensorRef& weight, std::int64_t capacity = 4096) {
    const auto result = trans_matmul_weight(context, weight, capacity);
    EXPECT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
    return result.status().message();
  };
  EXPECT_EQ(refusal({}), "trans_matmul_weight: weight is missing");
  EXPECT_EQ(refusal({nullptr, DType::kInt8, {4, 4}}), "trans_matmul_weight: weight is missing");
  EXPECT_EQ(refusal({data, DType::kFloat32, {4, 4}}),
            "trans_matmul_weight: weight is float32 but must be float16, bfloat16 or int8");
  EXPECT_EQ(refusal({data, DType::kFloat32, {0, 4}}),  // the dtype comes first
            "trans_matmul_weight: weight is float32 but must be float16, bfloat16 or int8");
  EXPECT_EQ(refusal(TensorRef::fractal_nz(data, DType::kInt8, 4, 4)),
            "trans_matmul_weight: weight is int8 (4, 4) FRACTAL_NZ already; pass it on as it is");
  EXPECT_EQ(refusal({data, DType::kInt8, {-4, 4}}),
            "trans_matmul_weight: weight is (-4, 4) but no dimension may be negative");
  EXPECT_EQ(refusal({data, DType::kInt8, {4}}),
            "trans_matmul_weight: weight is int8 (4), 1 axes, but must have 2 to 6; reshape it");
  EXPECT_THAT(refusal({data, DType::kInt8, {1, 1, 1, 1, 1, 4, 4}}), HasSubstr("7 axes, but"));
  EXPECT_EQ(refusal({data, DType::kFloat16, {1, 1, 4, 4}}),
            "trans_matmul_weight: weight is float16 (1, 1, 4, 4), 4 axes, but must have 2 to 3; "
            "reshape it");
  EXPECT_EQ(
      refusal({data, DType::kFloat16, {17, 33}}, 1535),
      "trans_matmul_weight: capacity is 1535 elements but the image of float16 (17, 33) takes "
      "1536; allocate what calculate_matmul_weight_size says");
  EXPECT_THAT(refusal({data, DType::kInt8, {17, 33}}, -1), HasSubstr("capacity is -1 elements"));
  EXPECT_THAT(memory, ::testing::Each(kCanary));
}

}  // namespace
}  // namespace weft::testing
