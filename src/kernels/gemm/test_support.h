// SPDX-License-Identifier: Apache-2.0
// Operands between guard pages and a small driver with canaries, for the tests of the kernels.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "base/float16.h"
#include "base/memory.h"
#include "kernels/gemm/gemm.h"

namespace weft::gemm {
namespace {

using Words = std::vector<std::uint32_t>;  // float32 or int32 bits
constexpr std::uint8_t kCanary = 0xa5;

/// Memory between two pages that may not be touched.
class Guarded {
 public:
  static constexpr std::size_t kBytes = std::size_t{8} << 20;
  Guarded() {
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    auto* base = static_cast<std::byte*>(mmap(nullptr, kBytes + 2 * page, PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_NE(static_cast<void*>(base), MAP_FAILED);
    mprotect(base, page, PROT_NONE);
    mprotect(base + page + kBytes, page, PROT_NONE);
    begin_ = base + page;
  }
  /// Ends at the upper page, or starts at the lower one.
  std::byte* place(std::size_t bytes, bool at_end) const {
    EXPECT_LE(bytes, kBytes);
    return at_end ? begin_ + kBytes - bytes : begin_;
  }

 private:
  std::byte* begin_;
};

struct View {
  const std::byte* data;
  std::int64_t stride;  // elements
};

/// Lays rows x cols elements out with `stride`, its last element (or its first) at a guard page.
View lay_out(const Guarded& memory, const std::byte* dense, std::int64_t rows, std::int64_t cols,
             std::int64_t stride, std::int64_t bytes, bool at_end) {
  std::byte* to = memory.place(((rows - 1) * stride + cols) * bytes, at_end);
  for (std::int64_t r = 0; r < rows; ++r) {
    std::memcpy(to + r * stride * bytes, dense + r * cols * bytes, cols * bytes);
    // 0xff is a nan in both float types: what lies between rows must not be used.
    if (r + 1 < rows) std::memset(to + (r * stride + cols) * bytes, 0xff, (stride - cols) * bytes);
  }
  return {to, stride};
}

/// The bits of one element.
using Fill = std::function<std::uint16_t(DType, std::mt19937&)>;

std::uint16_t to_bits(DType type, double d) {
  if (type == DType::kFloat16) return f64_to_fp16(d);
  if (type == DType::kBFloat16) return f64_to_bf16(d);
  return static_cast<std::uint8_t>(static_cast<std::int8_t>(d));
}

std::uint16_t ordinary(DType type, std::mt19937& random) {
  if (type == DType::kInt8) return random() & 0xff;
  return to_bits(type, std::normal_distribution<double>()(random));
}

// All exponents a sum can hold, subnormals among them, no inf and no nan.
[[maybe_unused]] std::uint16_t wide(DType type, std::mt19937& random) {
  if (type == DType::kInt8) return random() % 2 ? 0x80 : random() & 0xff;
  const int lowest = type == DType::kFloat16 ? -26 : -135;
  const int exponent = lowest + static_cast<int>(random() % (12 - lowest));
  const double d = std::ldexp(1.0 + random() % 1024 / 1024.0, exponent);
  return to_bits(type, random() % 2 ? d : -d);
}

struct Operands {
  DType type;
  std::int64_t m, n, k;
  View a, b, bt;  // bt is b transposed: n rows of k
  Words bias;
  std::vector<double> bias_values;
};

struct Shape {
  std::int64_t m, n, k;
  int pad = 0;  // elements between the rows of the sources
  bool at_end = true;
};

[[maybe_unused]] Operands make(const Kernel& kernel, const Shape& shape, const Fill& fill,
                               std::mt19937& random) {
  static const Guarded memory[3];
  const std::int64_t bytes = bytes_of(kernel.a, 1);
  const auto dense = [&](std::int64_t rows, std::int64_t cols) {
    std::vector<std::byte> data(rows * cols * bytes);
    for (std::int64_t i = 0; i < rows * cols; ++i) {
      const std::uint16_t bits = fill(kernel.a, random);
      std::memcpy(&data[i * bytes], &bits, bytes);
    }
    return data;
  };
  const auto a = dense(shape.m, shape.k), b = dense(shape.k, shape.n);
  std::vector<std::byte> bt(b.size());
  for (std::int64_t p = 0; p < shape.k; ++p)
    for (std::int64_t j = 0; j < shape.n; ++j)
      std::memcpy(&bt[(j * shape.k + p) * bytes], &b[(p * shape.n + j) * bytes], bytes);

  Operands result{kernel.a, shape.m, shape.n, shape.k, {}, {}, {}, {}, {}};
  result.a =
      lay_out(memory[0], a.data(), shape.m, shape.k, shape.k + shape.pad, bytes, shape.at_end);
  result.b =
      lay_out(memory[1], b.data(), shape.k, shape.n, shape.n + shape.pad, bytes, shape.at_end);
  result.bt =
      lay_out(memory[2], bt.data(), shape.n, shape.k, shape.k + shape.pad, bytes, shape.at_end);
  for (std::int64_t j = 0; j < round_up(shape.n, kernel.nr); ++j) {
    const int value = static_cast<int>(random() % 2001) - 1000;
    result.bias_values.push_back(value);
    result.bias.push_back(kernel.acc == DType::kInt32
                              ? std::bit_cast<std::uint32_t>(value)
                              : std::bit_cast<std::uint32_t>(static_cast<float>(value)));
  }
  return result;
}

/// How a product is computed; every choice must give the same bits.
struct Way {
  bool transposed = false;         // pack_bt instead of pack_b
  std::vector<std::int64_t> cuts;  // k where blocks begin, multiples of k_step, without 0
  std::int64_t strip = 0;          // k of one pack_b call, multiple of k_step; 0: the block
  bool with_bias = false;
  bool bias_in_acc = false;  // bias put into acc, first = false
};

std::byte* align(std::vector<std::byte>& storage) {
  return storage.data() + (64 - reinterpret_cast<std::uintptr_t>(storage.data()) % 64) % 64;
}

bool all_canary(const std::byte* data, std::int64_t bytes) {
  return std::all_of(data, data + bytes, [](std::byte b) { return b == std::byte{kCanary}; });
}

/// Packed panels with canaries in front, between and behind.
struct Panels {
  static constexpr std::int64_t kGap = 128;
  Panels(std::int64_t count, std::int64_t bytes)
      : count(count), bytes(bytes), stride(round_up(bytes, 64) + kGap) {
    storage.assign(kGap + count * stride + 64, std::byte{kCanary});
    first = align(storage) + kGap;
  }
  std::byte* panel(std::int64_t i) { return first + i * stride; }
  bool intact() {
    bool ok = all_canary(first - kGap, kGap);
    for (std::int64_t i = 0; i < count; ++i)
      ok = ok && all_canary(panel(i) + bytes, stride - bytes);
    return ok;
  }
  std::int64_t count, bytes, stride;
  std::vector<std::byte> storage;
  std::byte* first;
};

Panels pack_whole_a(const Kernel& kernel, const Operands& x) {
  Panels panels(ceil_div(x.m, kernel.mr), kernel.a_panel_bytes(x.k));
  const std::int64_t stride_bytes = bytes_of(x.type, x.a.stride);
  for (std::int64_t i = 0; i < panels.count; ++i)
    kernel.pack_a({.src = x.a.data + i * kernel.mr * stride_bytes,
                   .stride_bytes = stride_bytes,
                   .m = static_cast<int>(std::min<std::int64_t>(kernel.mr, x.m - i * kernel.mr)),
                   .k = x.k,
                   .dst = panels.panel(i)});
  EXPECT_TRUE(panels.intact()) << "pack_a wrote outside its panel";
  return panels;
}

Panels pack_b_block(const Kernel& kernel, const Operands& x, const Way& way, std::int64_t k_begin,
                    std::int64_t k_end) {
  Panels panels(ceil_div(x.n, kernel.nr), kernel.b_panel_bytes(k_end - k_begin));
  const std::int64_t strip = way.strip ? way.strip : k_end - k_begin;
  const View& source = way.transposed ? x.bt : x.b;
  const std::int64_t stride_bytes = bytes_of(x.type, source.stride);
  for (std::int64_t p = k_begin; p < k_end; p += strip) {
    const std::int64_t k = std::min(strip, k_end - p);
    const PackB args{.src = source.data + (way.transposed ? bytes_of(x.type, p) : p * stride_bytes),
                     .stride_bytes = stride_bytes,
                     .k = k,
                     .n = x.n,
                     .dst = panels.first,
                     .panel_stride_bytes = panels.stride,
                     .k_begin = p - k_begin};
    (way.transposed ? kernel.pack_bt : kernel.pack_b)(args);
    const std::int64_t filled = kernel.b_panel_bytes(p - k_begin + k);
    bool ok = panels.intact();
    for (std::int64_t j = 0; j < panels.count; ++j)
      ok = ok && all_canary(panels.panel(j) + filled, panels.bytes - filled);
    EXPECT_TRUE(ok) << "packing B wrote outside its strip, k " << p << " to " << p + k;
  }
  return panels;
}

/// m x n words.
[[maybe_unused]] Words multiply(const Kernel& kernel, const Operands& x, const Way& way) {
  Panels a = pack_whole_a(kernel, x);
  const std::int64_t acc_stride = kernel.nr * 4 + 64;
  std::vector<std::int64_t> cuts{0};
  cuts.insert(cuts.end(), way.cuts.begin(), way.cuts.end());
  cuts.push_back(x.k);
  std::vector<Panels> b;
  for (std::size_t block = 0; block + 1 < cuts.size(); ++block)
    b.push_back(pack_b_block(kernel, x, way, cuts[block], cuts[block + 1]));

  Words result(x.m * x.n);
  for (std::int64_t i = 0; i < a.count; ++i) {
    for (std::int64_t j = 0; j < b[0].count; ++j) {
      std::vector<std::byte> storage(64 + kernel.mr * acc_stride + 64, std::byte{kCanary});
      std::byte* acc = align(storage);
      const std::uint32_t* bias = x.bias.data() + j * kernel.nr;
      const int m = static_cast<int>(std::min<std::int64_t>(kernel.mr, x.m - i * kernel.mr));
      if (way.bias_in_acc)
        for (int r = 0; r < m; ++r) std::memcpy(acc + r * acc_stride, bias, kernel.nr * 4);
      for (std::size_t block = 0; block + 1 < cuts.size(); ++block)
        kernel.tile({.m = m,
                     .k = kernel.padded_k(cuts[block + 1] - cuts[block]),
                     .a_header = a.panel(i),
                     .a = a.panel(i) + kernel.a_panel_bytes(cuts[block]),
                     .b = b[block].panel(j),
                     .acc = acc,
                     .acc_stride_bytes = acc_stride,
                     .bias = way.with_bias ? bias : nullptr,
                     .first = block == 0 && !way.bias_in_acc});
      bool ok = all_canary(acc + kernel.mr * acc_stride, 64);
      for (int r = 0; r < kernel.mr; ++r)
        ok = ok && all_canary(acc + r * acc_stride + kernel.nr * 4, 64);
      EXPECT_TRUE(ok) << "the tile wrote outside mr x nr";
      const std::int64_t n = std::min<std::int64_t>(kernel.nr, x.n - j * kernel.nr);
      for (int r = 0; r < m; ++r)
        std::memcpy(&result[(i * kernel.mr + r) * x.n + j * kernel.nr], acc + r * acc_stride,
                    n * 4);
    }
  }
  return result;
}

}  // namespace
}  // namespace weft::gemm
