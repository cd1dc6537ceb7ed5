// SPDX-License-Identifier: Apache-2.0
// Tiles: every line of kernels.inc, form and function, gated or not, against the reference and
// against the scalar line, in awkward sizes and panels.
#include <set>

#include "kernels/activation/test_support.h"

namespace weft::activation {
namespace {

enum class Data { kUsual, kAnyBits };

// The numbers of a tile, and a tile that reads them from memory that ends behind them.
class Operands {
 public:
  Operands(Form form, int m, int n, int panel, bool gated) : form_(form), gated_(gated) {
    tile_ = {.m = m, .n = n, .panel_columns = panel};
    const int width = panel != 0 ? panel : n + n % 5;
    const int last = panel != 0 ? (n - 1) % panel + 1 : n;  // columns of the last panel
    const int panels = panel != 0 ? (n + panel - 1) / panel : 1;
    tile_.acc_stride_bytes = width * 4;
    tile_.panel_stride_bytes = (m * width + panels % 3 * 8) * 4;
    bytes_ = tile_.panel_stride_bytes * (panels - 1) + tile_.acc_stride_bytes * (m - 1) + last * 4;
  }

  template <class Number, class Scale>
  void fill(const Number& number, const Scale& scale, int quant_step, float quant_offset) {
    const auto numbers = [&] {
      std::vector<std::uint32_t> all(bytes_ / 4);
      for (auto& bits : all) bits = number();
      return all;
    };
    const auto scales = [&](int n) {
      std::vector<float> all(n);
      for (float& x : all) x = scale();
      return all;
    };
    tile_.acc = memory_[0].put(numbers());
    if (gated_) tile_.gate = memory_[1].put(numbers());
    if (!to_int8(form_)) return;
    tile_.scale = memory_[2].put(scales(tile_.n));
    if (gated_) tile_.gate_scale = memory_[3].put(scales(tile_.n));
    auto quant = scales(quant_step != 0 ? tile_.n : 1);
    for (float& x : quant) x = fp16_to_f32(f32_to_fp16(1000 * x));
    tile_.quant_scale = memory_[4].put(quant);
    tile_.quant_step = quant_step;
    tile_.quant_offset = quant_offset;
  }

  const ActivateTile& tile() const { return tile_; }

  Range range(Function function, int i, int j, bool* finite) const {
    const float h = summand_of(tile_.acc, tile_.scale, i, j);
    const float g = gated_ ? summand_of(tile_.gate, tile_.gate_scale, i, j) : h;
    const Exact a = gated_ ? Exact(function, h, g) : Exact(function, h);
    *finite = std::isfinite(h) && std::isfinite(g);
    if (!*finite) return {};
    return range_of(form_, a, to_int8(form_) ? tile_.quant_scale[j * tile_.quant_step] : 0,
                    tile_.quant_offset);
  }

 private:
  float summand_of(const void* acc, const float* scale, int i, int j) const {
    const int width = tile_.panel_columns != 0 ? tile_.panel_columns : tile_.n;
    const char* p = static_cast<const char*>(acc) + j / width * tile_.panel_stride_bytes +
                    i * tile_.acc_stride_bytes + j % width * 4;
    std::int32_t number;
    float value;
    std::memcpy(&number, p, 4);
    std::memcpy(&value, p, 4);
    return to_int8(form_) ? summand(form_, number, scale[j]) : summand(form_, value, 0);
  }

  const Form form_;
  const bool gated_;
  ActivateTile tile_;
  std::int64_t bytes_;
  EndOfMemory memory_[5];
};

class ActivationTile : public ActivationTest {
 protected:
  void fill(Operands& operands, Form form, Data data) {
    const auto number = [&]() -> std::uint32_t {
      if (to_int8(form)) return static_cast<std::uint32_t>(static_cast<int>(rng_()) >> rng_() % 31);
      const double wide = std::ldexp(normal(1), static_cast<int>(rng_() % 60) - 50);
      const auto value = static_cast<float>(rng_() % 4 ? normal(4) : wide);
      return std::bit_cast<std::uint32_t>(data == Data::kAnyBits ? any_bits() : value);
    };
    const auto scale = [&] {
      return data == Data::kAnyBits && rng_() % 4 == 0 ? any_bits()
                                                       : static_cast<float>(normal(0.01));
    };
    const float offset = fp16_to_f32(f32_to_fp16(static_cast<float>(normal(20))));
    operands.fill(number, scale, static_cast<int>(rng_() % 2), offset);
  }

  // dst of the tile with all that lies around and between its rows, after checking that nothing
  // was written there.
  std::vector<char> run(const Kernels& by, Form form, Function function, const Operands& operands,
                        int offset) {
    ActivateTile tile = operands.tile();
    const int bytes = bytes_of(form), stride = (tile.n + tile.n % 3 * 7) * bytes;
    Canaried<char> dst(tile.m * stride, offset * bytes);
    tile.dst = dst.data();
    tile.dst_stride_bytes = stride;
    by.tile(form, function, tile.gate != nullptr)(tile);
    EXPECT_TRUE(dst.guards_intact()) << "n " << tile.n;
    std::vector<char> rows;
    for (int i = 0; i < tile.m; ++i) {
      const char* row = dst.data() + i * stride;
      for (int at = tile.n * bytes; at < stride; ++at)
        EXPECT_EQ(row[at], static_cast<char>(0xc5)) << "row " << i << " byte " << at;
      rows.insert(rows.end(), row, row + tile.n * bytes);
    }
    return rows;
  }

  template <class Fn>
  void each_case(const Fn& fn) {
    for (Form form : kAllForms)
      for (Function function : kAllFunctions)
        for (bool gated : {false, true}) {
          SCOPED_TRACE("form " + std::to_string(static_cast<int>(form)) + " function " +
                       std::to_string(static_cast<int>(function)) + (gated ? " gated" : ""));
          fn(form, function, gated);
          if (HasFailure()) return;
        }
  }
};

constexpr int kPanels[] = {0, 16, 32, 64, 20};

TEST_P(ActivationTile, EverySizeAgainstTheReference) {
  std::vector<int> sizes = {96, 127, 128, 130, 255, 256, 300};
  for (int n = 1; n <= 70; ++n) sizes.push_back(n);
  int finite_elements = 0;
  each_case([&](Form form, Function function, bool gated) {
    for (const int n : sizes) {
      const int m = n > 70 ? 7 : 1 + n % 4;
      Operands operands(form, m, n, kPanels[(n + static_cast<int>(function)) % 5], gated);
      fill(operands, form, Data::kUsual);
      const auto got = run(kernel(), form, function, operands, n % 3 * 15);
      for (int at = 0; at < m * n; ++at) {
        bool finite = false;
        const Range range = operands.range(function, at / n, at % n, &finite);
        if (!finite) continue;
        ++finite_elements;
        const double value = stored(form, got.data(), at);
        ASSERT_TRUE(range.least <= value && value <= range.greatest)
            << "row " << at / n << " column " << at % n << " of " << n << ": " << value
            << " is not in " << range.least << " .. " << range.greatest;
      }
    }
  });
  EXPECT_GT(finite_elements, 100000);
}

TEST_P(ActivationTile, SameBitsAsScalar) {
  each_case([&](Form form, Function function, bool gated) {
    for (const int n : {1, 15, 31, 32, 33, 64, 95, 128, 200, 1000})
      for (const int panel : kPanels)
        for (const Data data : {Data::kUsual, Data::kAnyBits}) {
          const int m = n == 1000 ? 8 : 3;
          Operands operands(form, m, n, panel, gated);
          fill(operands, form, data);
          const auto want = run(scalar(), form, function, operands, 0);
          const auto got = run(kernel(), form, function, operands, 1);
          for (int at = 0; at < m * n; ++at) {
            const int bytes = bytes_of(form);
            if (std::memcmp(&want[at * bytes], &got[at * bytes], bytes) == 0) continue;
            const double x = stored(form, want.data(), at), y = stored(form, got.data(), at);
            ASSERT_TRUE(std::isnan(x) && std::isnan(y)) << x << " and " << y << " at " << at;
          }
        }
  });
}

// Panels of any width give what one panel gives.
TEST_P(ActivationTile, Panels) {
  constexpr int kRows = 3, kColumns = 300;
  std::vector<float> tile(kRows * kColumns), want, got;
  for (float& x : tile) x = static_cast<float>(normal(3));
  const auto activated = [&](int panel) {
    const int width = panel != 0 ? panel : kColumns;
    const int panels = (kColumns + width - 1) / width;
    std::vector<float> acc(panels * kRows * width);
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kColumns; ++j)
        acc[(j / width * kRows + i) * width + j % width] = tile[i * kColumns + j];
    std::vector<U16> dst(tile.size());
    kernel().tile(Form::kBFloat16, Function::kSilu, false)({.m = kRows,
                                                            .n = kColumns,
                                                            .acc = acc.data(),
                                                            .acc_stride_bytes = width * 4,
                                                            .panel_columns = panel,
                                                            .panel_stride_bytes = kRows * width * 4,
                                                            .dst = dst.data(),
                                                            .dst_stride_bytes = kColumns * 2});
    return dst;
  };
  for (const int panel : {1, 7, 16, 32, 33, 48, 64, 96, 128, 160, 320})
    EXPECT_EQ(activated(panel), activated(0)) << "panels of " << panel;
}

INSTANTIATE_TEST_SUITE_P(Kernels, ActivationTile, all_lines(), line_name);

TEST(ActivationTable, BestFirstAndScalarLast) {
  EXPECT_EQ(kernels().back().isa, isa::kScalar);
  EXPECT_EQ(name(0), "activation_scalar");
  EXPECT_EQ(name(isa::kScalar | isa::kAvx2), "activation_avx2");
  EXPECT_EQ(name(~isa::Set{0}), "activation_avx512");
  std::set<ActivateTileFn> functions;
  for (Form form : kAllForms)
    for (Function function : kAllFunctions)
      for (bool gated : {false, true}) {
        const ActivateTileFn fn = select(form, function, gated, isa::kScalar);
        EXPECT_EQ(fn, kernels().back().tile(form, function, gated));
        functions.insert(fn);
      }
  EXPECT_EQ(functions.size(), kForms * kFunctions * 2u);
}

}  // namespace
}  // namespace weft::activation
