// SPDX-License-Identifier: Apache-2.0
// The narrow forms whose weight is stored as int8 or int4: the same bits as the tile kernel on the
// weight that the scalar row kernel restores.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/gemm/test_support.h"
#include "kernels/rows/rows.h"

namespace weft::gemm {
namespace {

struct Form {
  const Kernel* kernel;
  DType stored;
  bool along_n;
};

enum class Scope { kTensor, kColumn, kGroup };

/// The values scales and offsets take.
struct Values {
  std::string_view name;
  std::function<double(std::mt19937&)> scale;
  std::function<double(std::mt19937&)> offset;  ///< or null: no offset
};

double uniform(std::mt19937& random, double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(random);
}
double any_exponent(std::mt19937& random, int low, int high) {
  const double d =
      std::ldexp(uniform(random, 1, 2), low + static_cast<int>(random() % (high - low)));
  return random() % 2 ? d : -d;
}

const Values kOrdinary[] = {
    {"scale", [](auto& r) { return uniform(r, 0.001, 0.05); }, nullptr},
    {"integer offset", [](auto& r) { return uniform(r, -0.05, 0.05); },
     [](auto& r) { return static_cast<double>(static_cast<int>(r() % 256) - 128); }},
    {"offset", [](auto& r) { return uniform(r, 0.01, 0.05); },
     [](auto& r) { return uniform(r, -9, 9); }},
};

// What makes subnormals and zeros, products that overflow, sums that cancel, that round and that
// swallow the weight.
const Values kUnusual[] = {
    {"small scale", [](auto& r) { return any_exponent(r, -26, -12); }, nullptr},
    {"smallest scale", [](auto& r) { return any_exponent(r, -136, -118); }, nullptr},
    {"some zero scales", [](auto& r) { return r() % 2 ? 0.0 : 0.02; },
     [](auto& r) { return r() % 2 ? 0.0 : -3.0; }},
    {"small scale, offset", [](auto& r) { return any_exponent(r, -26, -8); },
     [](auto& r) { return any_exponent(r, -24, 10); }},
    {"smallest scale, offset", [](auto& r) { return any_exponent(r, -136, -110); },
     [](auto& r) { return any_exponent(r, -130, 10); }},
    {"near an integer", [](auto& r) { return any_exponent(r, -8, 0); },
     [](auto& r) {
       return static_cast<double>(static_cast<int>(r() % 20) - 10) + any_exponent(r, -12, -2);
     }},
    {"one way or the other", [](auto& r) { return r() % 3 ? 0.01 : 1e-7; },
     [](auto& r) { return r() % 2 ? 5.0 : 0.3; }},
    {"large offset", [](auto& r) { return any_exponent(r, -6, -2); },
     [](auto& r) { return any_exponent(r, 5, 13); }},
};

/// What a form and the tile kernel read.
struct Stored {
  Operands x;  ///< bt is the restored weight
  View w;      ///< bytes
  View scale, offset;
  bool has_offset;
  int scale_step;
  std::int64_t group_size, group_stride;
};

class Maker {
 public:
  Maker(const Form& form, const Shape& shape, std::mt19937& random)
      : form_(form), shape_(shape), random_(random) {}

  Stored make(const Values& values, Scope scope, std::int64_t group) {
    static const Guarded memory[4];
    const std::int64_t n = shape_.n, k = shape_.k;
    // Adjacent weights: columns, or rows of k.
    const std::int64_t runs = form_.along_n ? k : n, length = form_.along_n ? n : k;
    const std::int64_t row_bytes = ceil_div(length * info(form_.stored).bits, 8);
    Stored result{};
    result.x = gemm::make(*form_.kernel, shape_, ordinary, random_);
    result.has_offset = values.offset != nullptr;
    result.scale_step = scope == Scope::kTensor ? 0 : 1;
    const std::int64_t groups = scope == Scope::kGroup ? ceil_div(k, group) : 1;
    result.group_size = scope == Scope::kGroup ? group : k + static_cast<int>(random_() % 2) * 99;
    const std::int64_t columns = scope == Scope::kTensor ? 1 : n;
    result.group_stride = columns + shape_.pad;

    std::vector<std::byte> w(runs * row_bytes);
    for (auto& byte : w) byte = static_cast<std::byte>(random_());
    const auto scale = row_values(values.scale, groups * columns);
    const auto offset = row_values(values.offset, result.has_offset ? groups * columns : 0);
    const bool end = shape_.at_end;
    result.w = lay_out(memory[0], w.data(), runs, row_bytes, row_bytes + shape_.pad, 1, end);
    result.scale = lay_out(memory[1], bytes(scale), groups, columns, result.group_stride, 2, end);
    if (result.has_offset)
      result.offset =
          lay_out(memory[2], bytes(offset), groups, columns, result.group_stride, 2, end);

    std::vector<std::uint16_t> restored(n * k);
    for (std::int64_t j = 0; j < n; ++j)
      for (std::int64_t p = 0; p < k; ++p) {
        const std::int64_t s = p / result.group_size * columns + (columns > 1 ? j : 0);
        restored[j * k + p] =
            restore(&w[(form_.along_n ? p : j) * row_bytes], form_.along_n ? j : p, &scale[s],
                    result.has_offset ? &offset[s] : nullptr);
      }
    result.x.bt = lay_out(memory[3], bytes(restored), n, k, k, 2, end);
    return result;
  }

 private:
  static const std::byte* bytes(const std::vector<std::uint16_t>& v) {
    return reinterpret_cast<const std::byte*>(v.data());
  }
  std::vector<std::uint16_t> row_values(const std::function<double(std::mt19937&)>& value,
                                        std::int64_t count) {
    std::vector<std::uint16_t> result;
    for (std::int64_t i = 0; i < count; ++i)
      result.push_back(to_bits(form_.kernel->b, value(random_)));
    return result;
  }
  std::uint16_t restore(const std::byte* run, std::int64_t i, const std::uint16_t* scale,
                        const std::uint16_t* offset) const {
    const rows::Kernels& scalar = rows::select(form_.kernel->b, isa::kScalar);
    const bool int4 = form_.stored == DType::kInt4;
    std::uint16_t value = 0;
    (int4 ? scalar.antiquant_int4_row
          : scalar.antiquant_int8_row)({.src = run + (int4 ? i / 2 : i),
                                        .src_nibble = int4 ? static_cast<int>(i % 2) : 0,
                                        .n = 1,
                                        .scale = scale,
                                        .offset = offset,
                                        .step = 0,
                                        .dst = &value});
    return value;
  }

  const Form& form_;
  const Shape& shape_;
  std::mt19937& random_;
};

struct Result {
  bool done;
  Words acc;  // m x n
};

Result multiply_stored(const Form& form, const Stored& s, bool with_bias) {
  constexpr std::int64_t kBefore = 20;  // acc need not be aligned
  const Kernel& kernel = *form.kernel;
  const Operands& x = s.x;
  Panels packed(1, kernel.x_panel_bytes(x.k));
  const int m = static_cast<int>(x.m), n = static_cast<int>(x.n);
  kernel.narrow.pack_x({x.a.data, bytes_of(x.type, x.a.stride), m, x.k, packed.first});
  const std::int64_t acc_row = (form.along_n ? n : kernel.narrow.columns) * 4,
                     acc_stride = acc_row + 36;
  std::vector<std::byte> storage(64 + kBefore + m * acc_stride + 64, std::byte{kCanary});
  std::byte* acc = align(storage) + kBefore;
  Narrow narrow{};
  narrow.m = m;
  narrow.n = n;
  narrow.k = x.k;
  narrow.x = packed.first;
  narrow.w = s.w.data;
  narrow.stride_bytes = s.w.stride;
  narrow.acc = acc;
  narrow.acc_stride_bytes = acc_stride;
  narrow.bias = with_bias ? x.bias.data() : nullptr;
  narrow.first = m % 2;
  narrow.last = n % 2;
  narrow.scale = s.scale.data;
  narrow.offset = s.has_offset ? s.offset.data : nullptr;
  narrow.scale_step = s.scale_step;
  narrow.group_size = s.group_size;
  narrow.group_stride = s.group_stride;
  if (kernel.narrow.enter) kernel.narrow.enter(m);
  const bool done = kernel.narrow_for(form.stored, form.along_n)(narrow);
  if (kernel.enter) kernel.enter();
  bool ok = all_canary(acc - kBefore, kBefore) && all_canary(acc + m * acc_stride, 64);
  for (int r = 0; r < m; ++r) ok = ok && all_canary(acc + r * acc_stride + acc_row, 36);
  EXPECT_TRUE(ok) << "the narrow kernel wrote outside its sums";
  if (!done) {
    EXPECT_TRUE(all_canary(acc, m * acc_stride)) << "refused, but wrote";
  }
  Result result{done, Words(m * n)};
  for (int r = 0; r < m; ++r) std::memcpy(&result.acc[r * n], acc + r * acc_stride, n * 4);
  return result;
}

class NarrowStoredTest : public testing::TestWithParam<Form> {
 protected:
  void SetUp() override {
    for (const isa::Row& row : isa::rows())
      if (row.bit == kernel.isa && !row.available) GTEST_SKIP() << row.reason;
    if (kernel.enter) kernel.enter();
  }
  void TearDown() override {
    if (!IsSkipped() && kernel.leave) kernel.leave();
  }
  void expect_bits_of_tile(const Stored& s, bool with_bias) {
    const Result got = multiply_stored(GetParam(), s, with_bias);
    ASSERT_TRUE(got.done);
    ASSERT_EQ(got.acc, multiply(kernel, s.x, {.transposed = true, .with_bias = with_bias}));
  }
  /// Columns along k have whole bytes; the last byte of a row of them may be half used.
  std::int64_t even_if_int4(std::int64_t k) const {
    return GetParam().stored == DType::kInt4 && !GetParam().along_n ? round_up(k, 2) : k;
  }
  /// Columns of a panel at most; of a strip, what columns() takes.
  std::int64_t widest() const { return GetParam().along_n ? kernel.nr : kernel.narrow.columns; }
  /// 1..widest() become as many columns of a panel, or other numbers of columns of a strip.
  std::int64_t columns(std::int64_t n) const {
    return GetParam().along_n ? (n * n + 5 * n) % 139 + 1 : n;
  }
  const Kernel& kernel = *GetParam().kernel;
};

// Operands and scales end at (or start behind) a page that may not be touched.
TEST_P(NarrowStoredTest, HasTheBitsOfTheTileKernel) {
  const std::int64_t depths[] = {1, 2, 31, 32, 63, 65, 96, 128, 129, 200, 5 * 64 + 7, 600};
  const std::int64_t groups[] = {32, 64, 96, 128, 160, 256};
  unsigned seed = 100;
  for (std::int64_t m = 1; m <= kernel.narrow.rows; ++m)
    for (std::int64_t n = 1; n <= widest(); n += n < kernel.nr ? 1 : 31) {
      const std::int64_t k = even_if_int4(depths[(m + n) % std::size(depths)]);
      const Shape shape{m, columns(n), k, static_cast<int>((m + 3 * n) % 5), (m + n) % 3 != 0};
      const Values& values = kOrdinary[seed % std::size(kOrdinary)];
      const Scope scope = static_cast<Scope>((m + 2 * n) % 3);
      std::mt19937 random(++seed);
      SCOPED_TRACE(testing::Message()
                   << "m " << m << " n " << shape.n << " k " << k << " pad " << shape.pad << " "
                   << values.name << " scope " << static_cast<int>(scope) << " seed " << seed);
      const Stored s = Maker(GetParam(), shape, random).make(values, scope, groups[seed % 6]);
      ASSERT_NO_FATAL_FAILURE(expect_bits_of_tile(s, seed % 2));
    }
}

TEST_P(NarrowStoredTest, EveryRemainderOfKAndEveryGroup) {
  unsigned seed = 5000;
  for (std::int64_t k = 1; k <= 300; k += (seed % 3 ? 1 : 2) + (GetParam().along_n ? 2 : 0))
    for (const std::int64_t n :
         {std::int64_t{1}, std::int64_t{16}, std::int64_t{kernel.nr}, widest()}) {
      const std::int64_t group = 32 * (1 + static_cast<std::int64_t>(seed % 9));
      std::mt19937 random(++seed);
      SCOPED_TRACE(testing::Message()
                   << "n " << n << " k " << k << " group " << group << " seed " << seed);
      const Shape shape{1 + k % kernel.narrow.rows, columns(n), even_if_int4(k),
                        static_cast<int>(k % 2)};
      const Stored s = Maker(GetParam(), shape, random)
                           .make(kOrdinary[seed % std::size(kOrdinary)], Scope::kGroup, group);
      ASSERT_NO_FATAL_FAILURE(expect_bits_of_tile(s, k % 2));
    }
}

TEST_P(NarrowStoredTest, UnusualScales) {
  unsigned seed = 7000;
  for (const Values& values : kUnusual)
    for (const Scope scope : {Scope::kTensor, Scope::kColumn, Scope::kGroup})
      for (int repeat = 0; repeat < 12; ++repeat) {
        std::mt19937 random(++seed);
        SCOPED_TRACE(testing::Message()
                     << values.name << " scope " << static_cast<int>(scope) << " seed " << seed);
        const Shape shape{1 + repeat % kernel.narrow.rows, columns(kernel.nr - repeat % 2),
                          300 + 2 * repeat};
        const Stored s = Maker(GetParam(), shape, random).make(values, scope, 64);
        ASSERT_NO_FATAL_FAILURE(expect_bits_of_tile(s, repeat % 2));
      }
}

// Every value of the stored type with every scale of a few binades: all that rounding can meet.
TEST_P(NarrowStoredTest, EverySignificandOfTheScale) {
  const int bits = kernel.b == DType::kFloat16 ? 10 : 7;
  const std::int64_t scales = std::int64_t{1} << bits;
  const std::function<double(std::mt19937&)> offsets[] = {
      nullptr, [](auto& r) { return r() % 2 ? uniform(r, -2, 2) : -7.0; },
      [](auto& r) { return static_cast<double>(r() % 1793) - 896; }};
  for (const auto& offset : offsets)
    for (const int exponent : {-14, -13, -6, 0})
      for (std::int64_t first = 0; first < scales; first += kernel.nr) {
        std::mt19937 random(9000 + first);
        std::int64_t column = first;
        const Values values{"all significands",
                            [&](auto&) {
                              return std::ldexp(1 + static_cast<double>(column++ % scales) / scales,
                                                exponent);
                            },
                            offset};
        SCOPED_TRACE(testing::Message() << "exponent " << exponent << " from scale " << first
                                        << " offset " << &offset - offsets);
        const Shape shape{2, kernel.nr, 512};
        const Stored s = Maker(GetParam(), shape, random).make(values, Scope::kColumn, 0);
        ASSERT_NO_FATAL_FAILURE(expect_bits_of_tile(s, false));
      }
}

// Either the bits of the tile kernel or a refusal.
TEST_P(NarrowStoredTest, ScalesThatAreNotFinite) {
  const double inf = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  unsigned seed = 11000;
  for (const double special : {inf, -inf, nan, 65504.0, 3e38})
    for (const bool in_offset : {false, true})
      for (const Scope scope : {Scope::kTensor, Scope::kColumn, Scope::kGroup}) {
        std::mt19937 random(++seed);
        SCOPED_TRACE(testing::Message()
                     << special << (in_offset ? " offset" : " scale") << " seed " << seed);
        const auto now_and_then = [&](double usual) {
          return [&, usual](std::mt19937& r) { return r() % 9 ? usual : special; };
        };
        Values values{"", [](auto&) { return 0.01; }, [](auto&) { return 2.0; }};
        (in_offset ? values.offset : values.scale) = now_and_then(in_offset ? 2.0 : 0.01);
        const Stored s = Maker(GetParam(), {3, kernel.nr, 256}, random).make(values, scope, 64);
        const Result got = multiply_stored(GetParam(), s, true);
        if (!got.done) continue;
        EXPECT_EQ(got.acc, multiply(kernel, s.x, {.transposed = true, .with_bias = true}));
      }
}

std::vector<Form> forms() {
  std::vector<Form> result;
  for (const Kernel& kernel : kernels())
    for (const DType stored : {DType::kInt8, DType::kInt4})
      for (const bool along_n : {false, true})
        if (stored != kernel.b && kernel.narrow_for(stored, along_n))
          result.push_back({&kernel, stored, along_n});
  return result;
}

INSTANTIATE_TEST_SUITE_P(Gemm, NarrowStoredTest, testing::ValuesIn(forms()), [](const auto& info) {
  return std::string(info.param.kernel->name) + "_from_" +
         std::string(to_string(info.param.stored)) + (info.param.along_n ? "_along_n" : "_along_k");
});

TEST(NarrowStoredTable, EveryRowIsFound) {
  std::size_t rows = 0;
#define WEFT_GEMM_NARROW(isa, type, rows_, columns, x_bytes, enter, pack_x, narrow)
#define WEFT_GEMM_NARROW_STORED(isa, type, stored, narrow) ++rows;
#define WEFT_GEMM_NARROW_ROWS(isa, type, stored, narrow) rows += #type != std::string(#stored);
#include "kernels/gemm/narrow.inc"
#undef WEFT_GEMM_NARROW
#undef WEFT_GEMM_NARROW_STORED
#undef WEFT_GEMM_NARROW_ROWS
  EXPECT_EQ(forms().size(), rows);
}

}  // namespace
}  // namespace weft::gemm
