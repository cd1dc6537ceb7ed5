// SPDX-License-Identifier: Apache-2.0
// Packing from FRACTAL_NZ gives the bytes that packing the same matrix by strides gives, so every
// gemm has the same bits. Images lie between guard pages, and their padding holds nans.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/fractal_nz.h"
#include "kernels/gemm/narrow.h"
#include "kernels/gemm/test_support.h"

namespace weft::gemm {
namespace {

struct Case {
  const Kernel& kernel;
  DType stored;
  bool transposed;  // the image is that of the (n, k) matrix
  std::int64_t k, n;
};

// The same random weight by strides and as an image that ends (or starts) at a guard page.
class Images {
 public:
  Images(const Case& c, std::mt19937& random, bool at_end)
      : size_(bytes_of(c.stored, 1)), dense_(static_cast<std::size_t>(c.k * c.n * size_)) {
    static const Guarded memory;
    const std::int64_t rows = c.transposed ? c.n : c.k, columns = c.transposed ? c.k : c.n;
    const FractalNz layout(c.stored, rows, columns);
    std::byte* image = memory.place(static_cast<std::size_t>(layout.bytes()), at_end);
    std::memset(image, 0xff, static_cast<std::size_t>(layout.bytes()));
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < columns; ++j) {
        const std::uint16_t bits = ordinary(c.stored, random);
        std::memcpy(&dense_[static_cast<std::size_t>((i * columns + j) * size_)], &bits,
                    static_cast<std::size_t>(size_));
        std::memcpy(image + layout.index(i, j) * size_, &bits, static_cast<std::size_t>(size_));
      }
    const ConstTensorRef dense(dense_.data(), c.stored, {rows, columns});
    const auto nz = ConstTensorRef::fractal_nz(image, c.stored, rows, columns);
    strided = weight_of(c.transposed ? dense.transposed() : dense);
    fractal = weight_of(c.transposed ? nz.transposed() : nz);
  }

  Weight strided, fractal;

 private:
  std::int64_t size_;
  std::vector<std::byte> dense_;
};

// All blocks of the weight, each into memory that held other bytes before.
std::vector<std::byte> packed(const Case& c, const Weight& weight, std::int64_t kc,
                              std::int64_t nc) {
  const Kernel& kernel = c.kernel;
  const rows::Kernels& rows =
      rows::select(kernel.b == DType::kInt8 ? DType::kFloat16 : kernel.b, isa::available());
  const std::int64_t panel = kernel.b_panel_bytes(kc), panels = ceil_div(nc, kernel.nr);
  const Buffer block = Buffer::allocate(panels * panel, "block").value();
  const std::int64_t scratch_bytes = pack_scratch_bytes(kernel, weight, kc, nc);
  constexpr std::int64_t kGuard = 64;
  const Buffer scratch = Buffer::allocate(scratch_bytes + kGuard, "scratch").value();
  std::memset(scratch.data() + scratch_bytes, kCanary, kGuard);
  std::vector<std::byte> all;
  for (std::int64_t k0 = 0; k0 < c.k; k0 += kc)
    for (std::int64_t n0 = 0; n0 < c.n; n0 += nc) {
      std::memset(block.data(), kCanary, static_cast<std::size_t>(panels * panel));
      pack_block(kernel, rows, weight, {k0, std::min(kc, c.k - k0), n0, std::min(nc, c.n - n0)},
                 block.data(), panel, scratch.data());
      all.insert(all.end(), block.data(), block.data() + panels * panel);
    }
  for (std::int64_t i = 0; i < kGuard; ++i)
    EXPECT_EQ(scratch.data()[scratch_bytes + i], std::byte{kCanary}) << "scratch overrun";
  return all;
}

class WeightTest : public testing::TestWithParam<std::size_t> {
 protected:
  void SetUp() override {
    if (kernel().isa & ~isa::available())
      GTEST_SKIP() << "this machine lacks " << isa::names(kernel().isa);
  }
  const Kernel& kernel() const { return kernels()[GetParam()]; }

  // `complete` adds what a stored type other than the kernel's needs.
  template <typename Complete>
  void expect_same_bytes(DType stored, unsigned seed, const Complete& complete) {
    const Kernel& g = kernel();
    std::mt19937 random(seed);
    for (const bool transposed : {false, true})
      for (const std::int64_t k : {1, 33, 300})
        for (const std::int64_t n : {1, 15, 2 * g.nr + 7, 193})
          // 125 and 5 start blocks at every place within a chunk, as far as k_step and nr let them.
          for (const std::int64_t kc : {3 * g.k_step, 125 * g.k_step})
            for (const std::int64_t nc : {g.nr, 5 * g.nr, 8 * g.nr}) {
              const Case c{g, stored, transposed, k, n};
              SCOPED_TRACE(testing::Message()
                           << g.name << " " << to_string(stored) << (transposed ? " (n, k)" : "")
                           << " k " << k << " n " << n << " kc " << kc << " nc " << nc << " seed "
                           << seed);
              Images images(c, random, random() % 2 != 0);
              complete(c, images.strided);
              complete(c, images.fractal);
              ASSERT_TRUE(packed(c, images.fractal, kc, nc) == packed(c, images.strided, kc, nc));
            }
  }
};

TEST_P(WeightTest, PacksFractalNzLikeTheMatrixItHolds) {
  expect_same_bytes(kernel().b, 17, [](const Case&, Weight&) {});
}

TEST_P(WeightTest, RestoresFractalNzLikeTheMatrixItHolds) {
  const Kernel& g = kernel();
  if (g.b == DType::kInt8) GTEST_SKIP() << "int8 products are not restored";
  constexpr std::int64_t kGroup = 64, kMost = 300;
  std::mt19937 random(4);
  std::vector<std::uint16_t> scale(ceil_div(kMost, kGroup) * 193), offset(scale.size());
  for (auto& s : scale) s = to_bits(g.b, 0.01 + static_cast<double>(random() % 100) * 1e-4);
  for (auto& o : offset) o = to_bits(g.b, static_cast<double>(random() % 100) * 0.07 - 3);
  for (const int mode : {0, 1, 2})  // per tensor, per column, per group
    expect_same_bytes(DType::kInt8, 19 + mode, [&](const Case& c, Weight& weight) {
      weight.scale = scale.data();
      weight.offset = mode == 1 ? nullptr : offset.data();
      weight.per_tensor = mode == 0;
      weight.group_size = mode == 2 ? kGroup : 0;
      weight.n = c.n;
    });
}

TEST_P(WeightTest, FractalNzIsNeverReadInPlace) {
  const Kernel& g = kernel();
  const std::vector<std::byte> memory(static_cast<std::size_t>(FractalNz(g.b, 64, 64).bytes()));
  const auto image = ConstTensorRef::fractal_nz(memory.data(), g.b, 64, 64);
  EXPECT_FALSE(narrow_applies(g, weight_of(image), 1));
  EXPECT_FALSE(narrow_applies(g, weight_of(image.transposed()), 1));
}

INSTANTIATE_TEST_SUITE_P(Kernels, WeightTest, testing::Range(std::size_t{0}, kernels().size()),
                         [](const auto& test) { return std::string(kernels()[test.param].name); });

// The index of an element, from the published check values of CANN's order.
TEST(FractalNz, KnownIndices) {
  const FractalNz a(DType::kInt8, 17, 33), b(DType::kFloat16, 17, 33), c(DType::kInt8, 20, 70);
  EXPECT_EQ(a.index(16, 32), 1536);
  EXPECT_EQ(a.elements(), 2048);
  EXPECT_EQ(b.index(16, 32), 1280);
  EXPECT_EQ(b.elements(), 1536);
  EXPECT_EQ(c.index(3, 40), 1128);
  EXPECT_EQ(c.elements(), 3072);
}

// Extents of 1 leave the strides open; the orientation of an image must not depend on them.
TEST(WeightOf, DegenerateShapes) {
  const std::int8_t data[1024] = {};
  const auto image = [&](std::int64_t rows, std::int64_t columns) {
    return ConstTensorRef::fractal_nz(data, DType::kInt8, rows, columns);
  };
  EXPECT_FALSE(weight_of(image(1, 5)).nz_transposed);
  EXPECT_FALSE(weight_of(image(5, 1)).nz_transposed);
  EXPECT_TRUE(weight_of(image(1, 5).transposed()).nz_transposed);
  EXPECT_TRUE(weight_of(image(5, 1).transposed()).nz_transposed);
  EXPECT_EQ(weight_of(image(17, 2)).nz_rows, 32);
  EXPECT_EQ(weight_of(image(17, 2).transposed()).nz_rows, 32);
}

}  // namespace
}  // namespace weft::gemm
