// SPDX-License-Identifier: Apache-2.0
// What becomes of a finished tile, and the int8 rows that travel: store_tile_f32, store_tile_s32,
// requant_row, dequant_row of every line of kernels.inc against the reference, bit for bit.
#include <bit>

#include "kernels/rows/test_support.h"

namespace weft::rows {
namespace {

class RowsTile : public RowsTest {
 protected:
  template <class E, class Reference>
  void expect_tile(StoreTile tile, int dst_stride, const Reference& reference_fn, StoreTileFn fn) {
    std::vector<E> want(tile.m * dst_stride);
    std::memset(want.data(), 0xc5, want.size() * sizeof(E));
    tile.dst = want.data();
    tile.dst_stride_bytes = dst_stride * static_cast<int>(sizeof(E));
    reference_fn(type(), tile);
    expect_row(want, [&](E* dst, Store store) {
      tile.dst = dst;
      tile.store = store;
      fn(tile);
    });
  }

  // The tile without and with each of row_scale, addend and quant_scale.
  template <class Reference>
  void expect_every_form(StoreTile tile, const Reference& reference_fn, StoreTileFn fn) {
    const int dst_stride = tile.n + tile.n % 3 * 7, addend_stride = tile.n + tile.n % 4;
    const auto row_scale = random_scales(tile.m), quant_scale = random_scales(tile.n);
    // The last row ends with its last column, as in a caller's matrix.
    auto addend = random_row((tile.m - 1) * addend_stride + tile.n,
                             tile.n % 2 ? Data::kNormal : Data::kAnyBits);
    tile.addend_stride_bytes = addend_stride * 2;
    for (int form = 0; form < 8; ++form) {
      SCOPED_TRACE("n " + std::to_string(tile.n) + " form " + std::to_string(form));
      tile.row_scale = form & 1 ? row_scale.data() : nullptr;
      tile.addend = form & 2 ? memory_[2].put(addend) : nullptr;
      tile.quant_scale = form & 4 ? memory_[3].put(quant_scale) : nullptr;
      if (tile.quant_scale)
        expect_tile<std::int8_t>(tile, dst_stride, reference_fn, fn);
      else
        expect_tile<U16>(tile, dst_stride, reference_fn, fn);
      if (HasFatalFailure()) return;
    }
  }

  // What quant_scale 1 makes of p, an element of T.
  int quantised(double p, float scale = 1) const {
    const auto acc = static_cast<float>(p);
    std::int8_t q = 99;
    kernel().store_tile_f32({.m = 1,
                             .n = 1,
                             .acc = &acc,
                             .acc_stride_bytes = 4,
                             .dst = &q,
                             .dst_stride_bytes = 1,
                             .quant_scale = &scale});
    return q;
  }
};

TEST_P(RowsTile, EveryForm) {
  for (int n = 1; n <= 130; ++n) {
    const int m = n % 32 == 0 ? 32 : 3, acc_stride = n + n % 5;
    std::vector<float> acc(m * acc_stride), scale(n);
    std::vector<std::int32_t> acc_int(acc.size());
    for (float& x : acc) x = static_cast<float>(std::normal_distribution<double>(0, 300)(rng_));
    for (auto& x : acc_int) x = static_cast<std::int32_t>(rng_()) >> (rng_() % 24);
    for (float& x : scale) x = static_cast<float>(std::normal_distribution<double>(0, 1e-4)(rng_));
    acc[0] = INFINITY;
    acc[acc.size() / 2] = 1e38f;
    acc[acc.size() / 3] = NAN;
    acc_int[0] = INT32_MIN;
    StoreTile tile = {
        .m = m, .n = n, .acc = memory_[0].put(acc), .acc_stride_bytes = acc_stride * 4};
    expect_every_form(tile, reference::store_tile_f32, kernel().store_tile_f32);
    tile.acc = memory_[0].put(acc_int);
    for (int step : {0, 1}) {
      tile.scale_step = step;
      tile.scale =
          memory_[1].put(std::vector(scale.begin(), step ? scale.end() : scale.begin() + 1));
      expect_every_form(tile, reference::store_tile_s32, kernel().store_tile_s32);
    }
    if (HasFatalFailure()) return;
  }
}

// Neighbouring scales multiply one after the other, each product rounded to fp32.
TEST_P(RowsTile, RowScaleComesAfterScale) {
  const std::int32_t acc = 3;
  const float scale = 0x1p-120f, row_scale = 0x1p120f, large = 3e38f;
  U16 dst = 0;
  StoreTile tile = {.m = 1,
                    .n = 1,
                    .acc = &acc,
                    .acc_stride_bytes = 4,
                    .dst = &dst,
                    .dst_stride_bytes = 2,
                    .scale = &scale,
                    .row_scale = &row_scale};
  kernel().store_tile_s32(tile);
  EXPECT_EQ(dst, narrow_one(3));
  tile.scale = &large;  // overflows before the row's scale makes it small again
  tile.row_scale = &scale;
  kernel().store_tile_s32(tile);
  EXPECT_EQ(dst, narrow_one(INFINITY));
}

TEST_P(RowsTile, AddendIsAddedToTheRoundedProduct) {
  const double u = type() == DType::kFloat16 ? 0x1p-11 : 0x1p-8;
  const float acc = 1 + static_cast<float>(1.5 * u);  // rounds to 1 + 2u
  const U16 addend = narrow_one(-1);
  U16 dst = 0;
  kernel().store_tile_f32({.m = 1,
                           .n = 1,
                           .acc = &acc,
                           .acc_stride_bytes = 4,
                           .dst = &dst,
                           .dst_stride_bytes = 2,
                           .addend = &addend});
  EXPECT_EQ(dst, narrow_one(2 * u));
}

TEST_P(RowsTile, QuantisedGoldenValues) {
  EXPECT_EQ(quantised(0.5), 0);
  EXPECT_EQ(quantised(1.5), 2);
  EXPECT_EQ(quantised(2.5), 2);
  EXPECT_EQ(quantised(-0.5), 0);
  EXPECT_EQ(quantised(-1.5), -2);
  EXPECT_EQ(quantised(126.5), 126);
  EXPECT_EQ(quantised(127.5), 127);
  EXPECT_EQ(quantised(-127.5), -128);
  EXPECT_EQ(quantised(300), 127);
  EXPECT_EQ(quantised(-300), -128);
  EXPECT_EQ(quantised(INFINITY), 127);
  EXPECT_EQ(quantised(-INFINITY), -128);
  EXPECT_EQ(quantised(NAN), 0);
  EXPECT_EQ(quantised(1, 0.0f), 127);
  EXPECT_EQ(quantised(-1, 0.0f), -128);
  EXPECT_EQ(quantised(1, -0.0f), -128);
  EXPECT_EQ(quantised(0, 0.0f), 0);
  EXPECT_EQ(quantised(1, INFINITY), 0);
  EXPECT_EQ(quantised(1, NAN), 0);
  EXPECT_EQ(quantised(3.3, 0.5f), 7);
  EXPECT_EQ(quantised(-1.2, 0.5f), -2);
  // 1 / scale just above 2.5 becomes 2.5 as a half, and that goes to the even neighbour.
  EXPECT_EQ(quantised(1, 1 / 2.5001f), 2);
  EXPECT_EQ(quantised(1, 1 / 2.51f), 3);
}

// Every T, divided by a few scales. For float16 the rounded fp32 quotient is the half quotient.
TEST_P(RowsTile, QuantisesEveryValue) {
  std::vector<float> all;
  for (int i = 0; i < 65536; ++i) all.push_back(static_cast<float>(widen_one(static_cast<U16>(i))));
  const auto n = static_cast<int>(all.size());
  for (const float value : {1.0f, 0.5f, -3.0f, 0x1p-24f, 0x1p-126f, 0.0999755859375f}) {
    const std::vector<float> scale(n, value);
    std::vector<std::int8_t> got(n);
    kernel().store_tile_f32({.m = 1,
                             .n = n,
                             .acc = all.data(),
                             .acc_stride_bytes = 0,
                             .dst = got.data(),
                             .dst_stride_bytes = n,
                             .quant_scale = scale.data()});
    for (int i = 0; i < n; ++i) {
      ASSERT_EQ(got[i], reference::to_int8(all[i] / value)) << all[i] << " / " << value;
      if (type() != DType::kFloat16) continue;
      const double quotient = double{all[i]} / value;  // 11 bits by 24: no tie of a half is missed
      const double half = fp16_to_f32(f64_to_fp16(quotient));
      const double want =
          std::isnan(half) ? 0 : std::nearbyint(std::fmax(-128, std::fmin(127, half)));
      ASSERT_EQ(got[i], want) << all[i] << " / " << value;
    }
  }
}

// The same elements as one tile and as panels of 32 columns.
TEST_P(RowsTile, Panels) {
  for (const int n : {1, 31, 32, 33, 64, 100}) {
    constexpr int kRows = 5, kColumns = 32;
    const int panels = (n + kColumns - 1) / kColumns;
    std::vector<float> tile(kRows * n), scale(n, 0.25f), in_panels(panels * kRows * kColumns);
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < n; ++j) {
        tile[i * n + j] = static_cast<float>(std::normal_distribution<double>()(rng_));
        in_panels[(j / kColumns * kRows + i) * kColumns + j % kColumns] = tile[i * n + j];
      }
    for (const StoreTileFn fn : {kernel().store_tile_f32, kernel().store_tile_s32}) {
      std::vector<U16> want(kRows * n), got(kRows * n);
      StoreTile store = {.m = kRows, .n = n, .acc = tile.data(), .acc_stride_bytes = n * 4};
      store.dst = want.data();
      store.dst_stride_bytes = n * 2;
      store.scale = scale.data();
      store.scale_step = 1;
      fn(store);
      store.acc = in_panels.data();
      store.acc_stride_bytes = kColumns * 4;
      store.panel_columns = kColumns;
      store.panel_stride_bytes = kRows * kColumns * 4;
      store.dst = got.data();
      fn(store);
      EXPECT_EQ(got, want) << "n " << n;
    }
  }
}

TEST_P(RowsTile, RequantRow) {
  for (std::int64_t n : lengths()) {
    const int count = n > 1000 ? 3 : 1 + static_cast<int>(n % 16);
    std::vector<std::vector<std::int8_t>> rows(count);
    std::vector<const void*> src;
    for (auto& row : rows) {
      row = random_int8(n);
      src.push_back(src.size() < 3 ? memory_[src.size()].put(row) : row.data());
    }
    const float* ratio = memory_[3].put(random_scales(n));
    std::vector<std::int8_t> want(n);
    reference::requant_row({src.data(), count, n, ratio, want.data(), Store::kPlain});
    expect_row(want, [&](std::int8_t* dst, Store store) {
      kernel().requant_row({src.data(), count, n, ratio, dst, store});
    });
    if (HasFatalFailure()) return;
  }
}

TEST_P(RowsTile, RequantRowSumsExactly) {
  // Far beyond 16 bits on the way to 1.
  constexpr int kEach = 32768;
  const std::int8_t high = 127, low = -127, one = 1;
  std::vector<const void*> src(kEach, &high);
  src.insert(src.end(), kEach, &low);
  src.push_back(&one);
  const float ratio = 1;
  std::int8_t dst = 0;
  kernel().requant_row({src.data(), 2 * kEach + 1, 1, &ratio, &dst, Store::kPlain});
  EXPECT_EQ(dst, 1);
  std::vector<std::int8_t> ends = {127, -128};
  const void* two[] = {&ends[0], &ends[1]};
  const float hundred = 100;
  kernel().requant_row({two, 2, 1, &hundred, &dst, Store::kPlain});
  EXPECT_EQ(dst, -100);
}

// Every half, every midpoint between neighbours, and what lies just beside both, as the product.
TEST_P(RowsTile, RequantRowRoundsByWayOfHalf) {
  std::vector<float> ratio;
  for (int i = 0; i < 65536; ++i) {
    const float value = fp16_to_f32(static_cast<U16>(i)),
                next = fp16_to_f32(static_cast<U16>(i + 1));
    for (float x : {value, (value + next) / 2})
      for (int beside : {-1, 0, 1})
        ratio.push_back(std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) + beside));
  }
  for (float x : {65520.0f, 1e10f, 3e38f, INFINITY, NAN, 0x1p-149f, 2147483648.0f})
    for (float y : {x, -x}) ratio.push_back(y);
  const auto n = std::ssize(ratio);
  const std::vector<std::int8_t> ones(n, 1);
  const void* src[] = {ones.data()};
  std::vector<std::int8_t> got(n);
  kernel().requant_row({src, 1, n, ratio.data(), got.data(), Store::kPlain});
  for (std::int64_t j = 0; j < n; ++j)
    ASSERT_EQ(got[j], reference::to_int8(ratio[j])) << std::hexfloat << ratio[j];
}

TEST_P(RowsTile, DequantRow) {
  for (std::int64_t n : lengths()) {
    const std::int8_t* src = memory_[0].put(random_int8(n));
    const float* scale = memory_[1].put(random_scales(n));
    std::vector<U16> want(n);
    reference::dequant_row(type(), {src, n, scale, want.data(), Store::kPlain});
    expect_row(want, [&](U16* dst, Store store) {
      kernel().dequant_row({src, n, scale, dst, store});
    });
    if (HasFatalFailure()) return;
  }
}

// Two ranks, 3.3 and -1.2 with scales 0.5 and 1: 7 and -2 travel, their sum 5 is the tie 2.5.
TEST_P(RowsTile, CommunicationExample) {
  const auto q0 = static_cast<std::int8_t>(quantised(3.3, 0.5f)),
             q1 = static_cast<std::int8_t>(quantised(-1.2, 0.5f));
  const void* src[] = {&q0, &q1};
  const float ratio = 0.5f / 1.0f, scale = 1;
  std::int8_t z = 0;
  kernel().requant_row({src, 2, 1, &ratio, &z, Store::kPlain});
  EXPECT_EQ(z, 2);
  U16 out = 0;
  kernel().dequant_row({&z, 1, &scale, &out, Store::kPlain});
  EXPECT_EQ(out, narrow_one(2.0));
}

INSTANTIATE_TEST_SUITE_P(Kernels, RowsTile, testing::ValuesIn(lines_with(&Kernels::store_tile_f32)),
                         line_name);

}  // namespace
}  // namespace weft::rows
