// SPDX-License-Identifier: Apache-2.0
// Every row of kernels.inc against the reference. Nothing here names a kernel: a new row is tested
// as it is added.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <set>
#include <string>
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
std::uint16_t wide(DType type, std::mt19937& random) {
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

Operands make(const Kernel& kernel, const Shape& shape, const Fill& fill, std::mt19937& random) {
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
Words multiply(const Kernel& kernel, const Operands& x, const Way& way) {
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

struct Expected {
  std::vector<double> sum, sum_abs;
};

Expected expect(const Operands& x, bool with_bias) {
  Expected result{std::vector<double>(x.m * x.n), std::vector<double>(x.m * x.n)};
  reference({.type = x.type,
             .m = x.m,
             .n = x.n,
             .k = x.k,
             .a = x.a.data,
             .a_row = x.a.stride,
             .a_col = 1,
             .b = x.b.data,
             .b_row = x.b.stride,
             .b_col = 1,
             .bias = with_bias ? x.bias_values.data() : nullptr,
             .acc = result.sum.data(),
             .acc_abs = result.sum_abs.data()});
  return result;
}

/// The largest |kernel - exact| the arithmetic of a kernel allows.
///
/// Let u = 2^-24. A product of two 16-bit floats has at most 22 bits, so it is exact in fp32 and
/// every rounding is that of an addition (alone or fused). Whatever the order, a term meets at most
/// one addition per term, t = terms per k, so it ends multiplied by at most (1 + u)^(t k):
/// |error| <= t k u / (1 - t k u) · S, S = sum |a||b| + |bias|, and that is below (t k + 1) u S
/// while (t k)^2 u < 1. One more u pays for the double sums of the reference.
///   t = 1 for one float per operand. float16 split into hi + lo: t = 4, and |hi| + |lo| exceeds
///   |x| by at most 2^-7 |x|, hence the factor 1.02 (> (1 + 2^-7)^2).
/// Underflow: where subnormals are kept, each addition errs by at most 2^-150. The bfloat16 dot
/// instructions take subnormal operands as zero, which loses 2^-126 of the other operand, and flush
/// subnormal products and sums.
double bound(const Kernel& kernel, std::int64_t k, double sum_abs) {
  if (kernel.acc == DType::kInt32) return 0;
  const bool dot = kernel.isa & (isa::kAvx512Bf16 | isa::kAmxBf16);
  const bool split = dot && kernel.a == DType::kFloat16;
  const double terms = (split ? 4.0 : 1.0) * static_cast<double>(k);
  constexpr double kLargest = 8192;  // of fill functions that make subnormals
  const double underflow = terms * (dot ? 0x1p-126 * (2 + 2 * kLargest) : 0x1p-149);
  return (terms + 2) * 0x1p-24 * (split ? 1.02 : 1.0) * sum_abs + underflow;
}

double value_of(const Kernel& kernel, std::uint32_t word) {
  if (kernel.acc == DType::kInt32) return std::bit_cast<std::int32_t>(word);
  return std::bit_cast<float>(word);
}

void compare(const Kernel& kernel, const Operands& x, const Words& got, const Expected& want) {
  int failures = 0;
  for (std::int64_t e = 0; e < x.m * x.n && failures < 3; ++e) {
    const double value = value_of(kernel, got[e]), exact = want.sum[e];
    const double limit = bound(kernel, x.k, want.sum_abs[e]);
    bool ok = false;
    if (std::isnan(exact))
      ok = std::isnan(value);
    else if (std::isinf(exact))
      ok = value == exact;
    else
      ok = std::fabs(value - exact) <= limit;
    if (ok) continue;
    ++failures;
    ADD_FAILURE() << "row " << e / x.n << " column " << e % x.n << " is " << value << ", not "
                  << exact << "; allowed difference " << limit;
  }
}

class GemmKernel : public testing::TestWithParam<const Kernel*> {
 protected:
  void SetUp() override {
    for (const isa::Row& row : isa::rows())
      if (row.bit == kernel.isa && !row.available) GTEST_SKIP() << row.reason;
    if (kernel.enter) kernel.enter();
  }
  void TearDown() override {
    if (kernel.leave && !IsSkipped()) kernel.leave();
  }
  /// The product in all ways, each against the reference.
  void check(const Shape& shape, const Fill& fill) {
    SCOPED_TRACE(testing::Message()
                 << shape.m << "x" << shape.k << "x" << shape.n << " pad " << shape.pad << " at "
                 << (shape.at_end ? "end" : "start") << " seed " << seed_);
    std::mt19937 random(seed_++);
    const Operands x = make(kernel, shape, fill, random);
    const Words plain = multiply(kernel, x, {});
    compare(kernel, x, plain, expect(x, false));
    EXPECT_EQ(plain, multiply(kernel, x, {.transposed = true})) << "pack_bt differs from pack_b";
  }
  const Kernel& kernel = *GetParam();
  // Fixed unless --gtest_shuffle is given; then --gtest_random_seed repeats a run.
  unsigned seed_ = 1u + 1000003u * testing::UnitTest::GetInstance()->random_seed();
};

class GemmIntegerKernel : public GemmKernel {};
class GemmFloatKernel : public GemmKernel {};
class GemmPlainKernel : public GemmKernel {};  // one addition per k in rising k, or exact

// k around one step, around what is transposed at once (16 words), and a few of those.
std::vector<std::int64_t> interesting_k(const Kernel& kernel) {
  std::set<std::int64_t> values;
  const std::int64_t step = kernel.k_step;
  for (std::int64_t k = 1; k <= 2 * step + 1; ++k) values.insert(k);
  for (std::int64_t words : {8, 16, 32, 64})
    for (std::int64_t off : {-step - 1, -step, -step + 1, -1L, 0L, 1L, step - 1, step})
      values.insert(std::max<std::int64_t>(1, words * std::min<std::int64_t>(step, 4) + off));
  return {values.begin(), values.end()};
}

TEST_P(GemmKernel, EveryRowCount) {
  for (std::int64_t m = 1; m <= kernel.mr + 2; ++m)
    for (int pad : {0, 5}) check({m, kernel.nr + 1, 3 * kernel.k_step + 1, pad}, ordinary);
}

TEST_P(GemmKernel, EveryColumnCount) {
  for (std::int64_t n = 1; n <= 2 * kernel.nr + 1; ++n)
    for (int pad : {0, 3}) check({2, n, 2 * kernel.k_step + 1, pad, n % 2 == 0}, ordinary);
}

TEST_P(GemmKernel, EveryDepth) {
  for (std::int64_t k : interesting_k(kernel))
    for (bool at_end : {true, false})
      check({kernel.mr, kernel.nr + 3, k, at_end ? 0 : 1, at_end}, ordinary);
}

TEST_P(GemmKernel, AllExponents) {
  for (int repeat = 0; repeat < 10; ++repeat)
    check({kernel.mr - repeat % 3 % kernel.mr, kernel.nr - repeat % 5, 100 + 7 * repeat, repeat},
          wide);
}

TEST_P(GemmKernel, DeepSums) {
  for (std::int64_t k : {1000, 3333}) check({kernel.mr, kernel.nr, k, 1}, ordinary);
}

TEST_P(GemmIntegerKernel, Extremes) {
  for (int a : {-128, 127})
    for (int b : {-128, 127}) {
      std::int64_t made = 0;  // all of A is made first
      const Shape shape{kernel.mr, kernel.nr, 4096 + 3};
      check(shape, [&](DType type, std::mt19937&) {
        return to_bits(type, made++ < shape.m * shape.k ? a : b);
      });
    }
}

// The sum of an element is taken in one order, whatever surrounds it.
TEST_P(GemmKernel, BitsDoNotDependOnBlocking) {
  for (int repeat = 0; repeat < 12; ++repeat) {
    SCOPED_TRACE(testing::Message() << "seed " << seed_);
    std::mt19937 random(seed_++);
    const std::int64_t step = kernel.k_step;
    const std::int64_t k = 1 + random() % (40 * step);
    const auto up_to = [&](std::int64_t limit) {
      return std::uniform_int_distribution<std::int64_t>(1, limit)(random);
    };
    const Shape shape{up_to(2 * kernel.mr), up_to(3 * kernel.nr), k, static_cast<int>(up_to(9))};
    const Operands x = make(kernel, shape, repeat % 2 ? Fill(wide) : Fill(ordinary), random);
    const bool with_bias = repeat % 3 == 0;
    const Words whole = multiply(kernel, x, {.with_bias = with_bias});
    compare(kernel, x, whole, expect(x, with_bias));
    Way way{.with_bias = with_bias};
    for (std::int64_t cut = step * (1 + random() % 9); cut < k; cut += step * (1 + random() % 19))
      way.cuts.push_back(cut);
    for (bool transposed : {false, true})
      for (std::int64_t strip : {0, 1, 3, 17}) {
        way.transposed = transposed;
        way.strip = strip * step;
        EXPECT_EQ(whole, multiply(kernel, x, way))
            << (transposed ? "pack_bt" : "pack_b") << " in strips of " << way.strip;
      }
  }
}

TEST_P(GemmKernel, BitsDoNotDependOnNeighbours) {
  SCOPED_TRACE(testing::Message() << "seed " << seed_);
  std::mt19937 random(seed_++);
  const Operands x =
      make(kernel, {kernel.mr, kernel.nr, 9 * kernel.k_step + 1, 2}, ordinary, random);
  const Words whole = multiply(kernel, x, {});
  for (std::int64_t m = 1; m < x.m; ++m)
    for (std::int64_t n : {x.n / 2, x.n}) {
      Operands part = x;
      part.m = m;
      part.n = n;
      part.a.data += bytes_of(x.type, x.a.stride) * (x.m - m);  // the last m rows
      const Words got = multiply(kernel, part, {.transposed = m % 2 == 0});
      for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t j = 0; j < n; ++j)
          ASSERT_EQ(got[i * n + j], whole[(x.m - m + i) * x.n + j])
              << "row " << i << " of " << m << ", column " << j << " of " << n;
    }
}

TEST_P(GemmKernel, StartsFromZeroBiasOrAcc) {
  for (std::int64_t k : {1, 2 * kernel.k_step, 50}) {
    SCOPED_TRACE(testing::Message() << "k " << k << " seed " << seed_);
    std::mt19937 random(seed_++);
    const Operands x = make(kernel, {kernel.mr, 2 * kernel.nr - 1, k}, ordinary, random);
    const Words with_bias = multiply(kernel, x, {.with_bias = true});
    compare(kernel, x, with_bias, expect(x, true));
    EXPECT_EQ(with_bias, multiply(kernel, x, {.bias_in_acc = true}));
    // A bias that is given but not first must not be used.
    EXPECT_EQ(with_bias, multiply(kernel, x, {.with_bias = true, .bias_in_acc = true}));
  }
}

TEST_P(GemmFloatKernel, InfAndNanSpreadAsInTheReference) {
  const bool half = kernel.a == DType::kFloat16;
  const std::uint16_t inf = half ? 0x7c00 : 0x7f80, nan = half ? 0x7e01 : 0x7fc1;
  const std::uint16_t specials[] = {inf, static_cast<std::uint16_t>(inf | 0x8000), nan,
                                    static_cast<std::uint16_t>(nan | 0x8000),
                                    static_cast<std::uint16_t>(inf | 1)};  // a signalling nan
  for (int repeat = 0; repeat < 40; ++repeat) {
    // From one special element in about 2000 to one in 10; zeros, so that inf meets 0.
    const unsigned rarity = repeat % 4 == 0 ? 10 : repeat % 4 == 1 ? 100 : 2000;
    const unsigned kinds = repeat % 3 == 0 ? 1 : repeat % 3 == 1 ? 2 : 5;
    check({1 + repeat % (2 * kernel.mr), 1 + 7 * repeat % (2 * kernel.nr), 1 + 3 * repeat, 1},
          [&](DType type, std::mt19937& random) -> std::uint16_t {
            if (random() % rarity == 0) return specials[random() % kinds];
            if (random() % 8 == 0) return random() % 2 ? 0x8000 : 0;
            return ordinary(type, random);
          });
  }
}

// One fused multiply-add per k in rising k, or exact integers: bits equal across instruction sets.
TEST_P(GemmPlainKernel, SameArithmeticAsScalar) {
  const Kernel& scalar = *select(kernel.a, isa::kScalar);
  for (int repeat = 0; repeat < 8; ++repeat) {
    SCOPED_TRACE(testing::Message() << "seed " << seed_);
    std::mt19937 random(seed_++);
    const Operands x = make(kernel, {kernel.mr, kernel.nr + 1, 20 + 31 * repeat},
                            repeat % 2 ? Fill(wide) : Fill(ordinary), random);
    EXPECT_EQ(multiply(kernel, x, {}), multiply(scalar, x, {.transposed = true}));
  }
}

std::vector<const Kernel*> rows_where(bool (*wanted)(const Kernel&)) {
  std::vector<const Kernel*> rows;
  for (const Kernel& kernel : kernels())
    if (wanted(kernel)) rows.push_back(&kernel);
  return rows;
}
std::string row_name(const testing::TestParamInfo<const Kernel*>& info) {
  return std::string(info.param->name);
}
bool any(const Kernel&) { return true; }
bool is_integer(const Kernel& kernel) { return kernel.acc == DType::kInt32; }
bool is_float(const Kernel& kernel) { return !is_integer(kernel); }
bool is_plain(const Kernel& kernel) {
  return is_integer(kernel) || (kernel.isa & (isa::kScalar | isa::kAvx2 | isa::kAvx512));
}
INSTANTIATE_TEST_SUITE_P(Table, GemmKernel, testing::ValuesIn(rows_where(any)), row_name);
INSTANTIATE_TEST_SUITE_P(Table, GemmIntegerKernel, testing::ValuesIn(rows_where(is_integer)),
                         row_name);
INSTANTIATE_TEST_SUITE_P(Table, GemmFloatKernel, testing::ValuesIn(rows_where(is_float)), row_name);
INSTANTIATE_TEST_SUITE_P(Table, GemmPlainKernel, testing::ValuesIn(rows_where(is_plain)), row_name);

TEST(GemmTable, RowsAreConsistent) {
  std::set<std::string_view> names;
  for (const Kernel& kernel : kernels()) {
    SCOPED_TRACE(kernel.name);
    EXPECT_TRUE(names.insert(kernel.name).second) << "two rows with one name";
    EXPECT_EQ(kernel.a, kernel.b);
    EXPECT_EQ(kernel.acc, kernel.a == DType::kInt8 ? DType::kInt32 : DType::kFloat32);
    EXPECT_EQ(kernel.a_header_bytes % 64, 0);
    EXPECT_EQ(kernel.b_header_bytes % 64, 0);
    // Every step of B is whole cache lines, so every k block of every panel is aligned.
    EXPECT_EQ(kernel.nr * kernel.k_step * kernel.b_bytes % 64, 0);
    EXPECT_TRUE(std::has_single_bit(kernel.isa));
  }
}

TEST(GemmTable, SelectsTheFirstRowThatRuns) {
  for (DType type : {DType::kFloat16, DType::kBFloat16, DType::kInt8}) {
    ASSERT_NE(select(type, isa::kScalar), nullptr) << to_string(type);
    EXPECT_EQ(select(type, isa::kScalar)->isa, isa::kScalar);
    EXPECT_EQ(select(type, 0), nullptr);
    const isa::Set all = ~isa::Set{0};
    const auto first = std::find_if(kernels().begin(), kernels().end(),
                                    [&](const Kernel& kernel) { return kernel.a == type; });
    EXPECT_EQ(select(type, all), &*first);
    const Kernel* second = select(type, all & ~first->isa);
    EXPECT_EQ(second == nullptr, first->isa == isa::kScalar);
    EXPECT_TRUE(second == nullptr || second->a == type);
  }
  EXPECT_EQ(select(DType::kInt4, ~isa::Set{0}), nullptr);
}

}  // namespace
}  // namespace weft::gemm
