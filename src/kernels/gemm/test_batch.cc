// SPDX-License-Identifier: Apache-2.0
// Several products in a batch: each has the bits it has alone, whoever its neighbours are; two
// sides have the bits of one product of all columns, wherever the second side begins; and a weight
// whose elements lie anywhere has those of a dense one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "base/float16.h"
#include "base/memory.h"
#include "kernels/gemm/batch.h"

namespace weft::gemm {
namespace {

constexpr std::uint32_t kUntouched = 0xdeadbeef;
using Bits = std::vector<std::uint32_t>;

// `count` elements of a type, random, as bytes.
std::vector<std::byte> random_elements(DType type, std::int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<std::byte> bytes(static_cast<size_t>(bytes_of(type, count)));
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    if (type == DType::kInt8) {
      bytes[i] = static_cast<std::byte>(random());
      continue;
    }
    const std::uint16_t value =
        type == DType::kFloat16 ? f32_to_fp16(normal(random)) : f32_to_bf16(normal(random));
    std::memcpy(&bytes[2 * i], &value, 2);
  }
  return bytes;
}

// Weights of (k, columns) each, and rows of A.
struct Operands {
  const Kernel& kernel;
  std::int64_t rows, columns, k, size;
  std::vector<std::byte> a, weights;
  std::vector<std::uint32_t> bias;  // bits, padded

  Operands(const Kernel& kernel, std::int64_t rows, std::int64_t columns, std::int64_t k,
           std::int64_t count)
      : kernel(kernel), rows(rows), columns(columns), k(k), size(info(kernel.a).bits / 8) {
    std::mt19937 random(17);
    a = random_elements(kernel.a, rows * k, random);
    weights = random_elements(kernel.b, count * k * columns, random);
    std::normal_distribution<float> normal;
    for (std::int64_t j = 0; j < columns + kernel.nr - 1; ++j)
      bias.push_back(kernel.acc == DType::kInt32 ? random() % 1000
                                                 : std::bit_cast<std::uint32_t>(normal(random)));
  }
  Weight weight(std::int64_t index, bool transposed) const {
    Weight w;
    w.stored = kernel.b;
    w.data = weights.data() + index * k * columns * size;
    w.k_stride = transposed ? 1 : columns;
    w.n_stride = transposed ? k : 1;
    return w;
  }
};

// acc of every product: rows of all columns, a side after the other.
struct Out {
  std::vector<Bits> acc;
  std::int64_t n, columns;
  void put(const FinishedTile& tile) {
    for (int side = 0; side < (tile.twin ? 2 : 1); ++side)
      for (int i = 0; i < tile.m; ++i)
        for (int j = 0; j < tile.n; ++j)
          std::memcpy(&acc[static_cast<size_t>(tile.product)]
                          [static_cast<size_t>((tile.row + i) * columns + side * n + tile.col + j)],
                      static_cast<const std::byte*>(side == 0 ? tile.acc : tile.twin) +
                          i * tile.acc_stride_bytes +
                          j / tile.panel_columns * tile.panel_stride_bytes +
                          j % tile.panel_columns * 4,
                      4);
  }
};

struct Part {
  RowRun rows;
  Weight weight;
};

std::vector<Bits> multiply(const Operands& x, std::span<const Part> parts, const Blocking& blocking,
                           int threads) {
  ThreadPool pool(threads);
  Out out{{}, x.columns / blocking.sides, x.columns};
  std::vector<Product> products;
  std::int64_t rows = 0, most = 0;
  for (const Part& part : parts) {
    products.push_back({.runs = {&part.rows, 1}, .weight = part.weight, .bias = x.bias.data()});
    out.acc.emplace_back(static_cast<size_t>(part.rows.count() * x.columns), kUntouched);
    rows += part.rows.count();
    most = std::max(most, part.rows.count());
  }
  const auto count = static_cast<std::int64_t>(parts.size());
  const std::int64_t scratch_bytes =
      batch_scratch_bytes(x.kernel, parts[0].weight, blocking, most, x.k);
  Buffer packed = Buffer::allocate(packed_a_bytes(x.kernel, x.k, rows, count), "a").value();
  Buffer scratch = Buffer::allocate(threads * scratch_bytes, "scratch").value();
  const std::int64_t dims[] = {x.rows, x.k};
  run(pool,
      {.kernel = &x.kernel,
       .rows = &rows::select(x.kernel.a == DType::kBFloat16 ? DType::kBFloat16 : DType::kFloat16,
                             isa::available()),
       .blocking = blocking,
       .n = out.n,
       .k = x.k,
       .a = {x.a.data(), RowOffsets(ConstTensorRef(x.a.data(), x.kernel.a, dims), 1), 1},
       .products = products,
       .packed_a = packed.data(),
       .scratch = scratch.data(),
       .scratch_bytes = scratch_bytes,
       .epilogue = {&out, [](void* object, const FinishedTile& tile) {
                      static_cast<Out*>(object)->put(tile);
                    }}});
  return out.acc;
}

class BatchTest : public testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    if (kernel().isa & ~isa::available())
      GTEST_SKIP() << "this machine lacks " << isa::names(kernel().isa);
  }
  const Kernel& kernel() const { return kernels()[GetParam()]; }
  Blocking blocking(int sides) const {
    return {2 * kernel().k_step, 4 * kernel().k_step, 2 * kernel().nr, sides};
  }
};

TEST_P(BatchTest, EveryProductHasTheBitsItHasAlone) {
  const Kernel& g = kernel();
  const std::int64_t counts[] = {3 * g.mr + 1, 0, 1, g.mr + 2, 7, 16, 2};
  std::int64_t rows = 0;
  for (const std::int64_t count : counts) rows += count;
  const Operands x(g, rows, 5 * g.nr + 3, 9 * g.k_step + 1, std::ssize(counts));
  for (const bool transposed : {false, true}) {
    std::vector<Part> parts;
    std::int64_t begin = 0;
    for (const std::int64_t count : counts) {
      const auto index = static_cast<std::int64_t>(parts.size());
      parts.push_back({{begin, begin + count}, x.weight(index, transposed)});
      begin += count;
    }
    std::vector<Bits> alone;
    for (const Part& part : parts) alone.push_back(multiply(x, {&part, 1}, blocking(1), 1)[0]);
    for (const int threads : {1, 2, 5})
      EXPECT_EQ(multiply(x, parts, blocking(1), threads), alone)
          << g.name << " transposed " << transposed << " threads " << threads;
  }
}

// Fewer blocks of columns than threads: the rows are shared out, too.
TEST_P(BatchTest, RowsAreSharedWhereColumnsAreFew) {
  const Kernel& g = kernel();
  const Operands x(g, 40 * g.mr + 5, g.nr - 1, 3 * g.k_step, 1);
  const Part part{{0, x.rows}, x.weight(0, false)};
  EXPECT_EQ(multiply(x, {&part, 1}, blocking(1), 7), multiply(x, {&part, 1}, blocking(1), 1));
}

// The panels of a weight that a caller has packed.
Buffer pack(const Kernel& g, const Operands& x, std::int64_t kc) {
  const std::int64_t count = ceil_div(x.columns, g.nr);
  Buffer panels =
      Buffer::allocate(ceil_div(x.k, kc) * count * g.b_panel_bytes(kc), "panels").value();
  std::byte* chunk = panels.data();
  for (std::int64_t k0 = 0; k0 < x.k; k0 += kc) {
    const std::int64_t depth = std::min(kc, x.k - k0), panel = g.b_panel_bytes(depth);
    pack_block(g, rows::select(DType::kFloat16, isa::available()), x.weight(0, false),
               {k0, depth, 0, x.columns}, chunk, panel, nullptr);
    chunk += count * panel;
  }
  return panels;
}

TEST_P(BatchTest, TwoSidesHaveTheBitsOfAllColumns) {
  const Kernel& g = kernel();
  for (const std::int64_t n : {std::int64_t{1}, std::int64_t{g.nr}, std::int64_t{3 * g.nr + 5}})
    for (const std::int64_t rows : {std::int64_t{3}, std::int64_t{2 * g.mr + 1}}) {
      const Operands x(g, rows, 2 * n, 9 * g.k_step + 1, 1);
      const Part row_major{{0, rows}, x.weight(0, false)};
      const Bits want = multiply(x, {&row_major, 1}, blocking(1), 1)[0];
      EXPECT_EQ(multiply(x, {&row_major, 1}, blocking(2), 3)[0], want) << g.name << " n " << n;
      const Buffer panels = pack(g, x, blocking(2).kc);
      Part packed{{0, rows}, {}};
      packed.weight.stored = g.b;
      packed.weight.packed = panels.data();
      packed.weight.packed_kc = blocking(2).kc;
      EXPECT_EQ(multiply(x, {&packed, 1}, blocking(2), 2)[0], want)
          << g.name << " packed, n " << n << " rows " << rows;
      Operands turned = x;  // the same values along k: read in place where rows are few
      for (std::int64_t p = 0; p < x.k; ++p)
        for (std::int64_t j = 0; j < 2 * n; ++j)
          std::memcpy(&turned.weights[static_cast<size_t>((j * x.k + p) * x.size)],
                      &x.weights[static_cast<size_t>((p * 2 * n + j) * x.size)],
                      static_cast<size_t>(x.size));
      const Part transposed{{0, rows}, turned.weight(0, true)};
      EXPECT_EQ(multiply(x, {&transposed, 1}, blocking(2), 3)[0], want)
          << g.name << " transposed, n " << n << " rows " << rows;
    }
}

TEST_P(BatchTest, ElementsMayLieAnywhere) {
  const Kernel& g = kernel();
  const Operands x(g, g.mr + 1, 2 * g.nr + 3, 70, 1);
  const Part dense{{0, x.rows}, x.weight(0, false)};
  std::vector<std::byte> spread(static_cast<size_t>(6 * x.k * x.columns * x.size));
  Part scattered = dense;
  scattered.weight.data = spread.data();
  scattered.weight.k_stride = 3 * x.columns;
  scattered.weight.n_stride = 3;
  for (std::int64_t i = 0; i < x.k * x.columns; ++i)
    std::memcpy(&spread[static_cast<size_t>(3 * i * x.size)],
                &x.weights[static_cast<size_t>(i * x.size)], static_cast<size_t>(x.size));
  EXPECT_EQ(multiply(x, {&scattered, 1}, blocking(1), 2), multiply(x, {&dense, 1}, blocking(1), 1))
      << g.name;
}

// What a narrow kernel refuses is packed after all, and nothing else is made twice or left out.
TEST_P(BatchTest, RefusedProductsAreMadeTheOtherWay) {
  const Kernel& g = kernel();
  if (g.a == DType::kInt8) GTEST_SKIP() << "int8 products refuse nothing";
  const std::int64_t k = 70, n = 2 * g.nr + 4, groups = ceil_div(k, 16);
  const Operands x(g, 9, n, k, 1);
  std::vector<std::int8_t> stored(static_cast<size_t>(k * n));
  std::mt19937 random(23);
  for (std::int8_t& value : stored) value = static_cast<std::int8_t>(random());
  const std::uint16_t one = g.a == DType::kFloat16 ? 0x3c00 : 0x3f80;
  const std::uint16_t infinity = g.a == DType::kFloat16 ? 0x7c00 : 0x7f80;
  std::vector<std::uint16_t> ordinary(static_cast<size_t>(groups * n), one), infinite = ordinary;
  for (std::int64_t group = 0; group < groups; ++group)
    infinite[static_cast<size_t>(group * n + n - 1)] = infinity;
  const auto weight = [&](const std::vector<std::uint16_t>& scale, std::int64_t group_size) {
    Weight w;
    w.stored = DType::kInt8;
    w.data = stored.data();
    w.k_stride = n;
    w.scale = scale.data();
    w.group_size = group_size;
    w.n = n;
    return w;
  };
  // Groups of 16 rows are none that the narrow kernels take.
  const auto products = [&](std::int64_t group_size) {
    return std::vector<Part>{{{0, 4}, weight(infinite, group_size)},
                             {{4, 7}, weight(ordinary, group_size)},
                             {{7, 9}, weight(infinite, group_size)}};
  };
  EXPECT_EQ(multiply(x, products(0), blocking(1), 2), multiply(x, products(16), blocking(1), 2))
      << g.name;
}

INSTANTIATE_TEST_SUITE_P(Kernels, BatchTest, testing::Range(size_t{0}, kernels().size()),
                         [](const auto& test) { return std::string(kernels()[test.param].name); });

}  // namespace
}  // namespace weft::gemm
