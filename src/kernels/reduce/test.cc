// SPDX-License-Identifier: Apache-2.0
// Every line of kernels.inc against plain loops: lengths around a line, any alignment, in place,
// canaries, and the numbers on which orders and conventions show.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "kernels/reduce/reduce.h"

namespace weft::reduction {
namespace {

template <class T>
T expected(Op op, T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::uint64_t;  // wider than any product's kept bits
    if (op == Op::kSum) return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
    if (op == Op::kProd) return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
    if (op == Op::kBand) return static_cast<T>(static_cast<U>(a) & static_cast<U>(b));
    if (op == Op::kBor) return static_cast<T>(static_cast<U>(a) | static_cast<U>(b));
    if (op == Op::kBxor) return static_cast<T>(static_cast<U>(a) ^ static_cast<U>(b));
  } else {
    if (op == Op::kSum || op == Op::kAvg) return a + b;
    if (op == Op::kProd) return a * b;
    if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
  }
  return op == Op::kMax ? (a > b ? a : b) : (a < b ? a : b);
}

template <class T>
bool same(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return std::memcmp(&a, &b, sizeof a) == 0;
}

template <class T>
T any(std::mt19937_64& random) {
  if constexpr (std::is_floating_point_v<T>) {
    const T special[] = {T(0),
                         -T(0),
                         std::numeric_limits<T>::infinity(),
                         -std::numeric_limits<T>::infinity(),
                         std::numeric_limits<T>::quiet_NaN(),
                         std::numeric_limits<T>::denorm_min()};
    if (random() % 16 == 0) return special[random() % std::size(special)];
    return static_cast<T>(static_cast<double>(static_cast<std::int64_t>(random())) * 0x1p-61);
  }
  return static_cast<T>(random());
}

template <class T>
void check(const Kernels& kernel) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << kernel.name << ", seed " << seed);
  std::mt19937_64 random(seed);
  constexpr std::int64_t kLine = 64 / sizeof(T);
  for (std::int64_t n : {std::int64_t{0}, std::int64_t{1}, kLine - 1, kLine, kLine + 1,
                         3 * kLine + kLine / 2 + 1, std::int64_t{1000}}) {
    for (int op = 0; op < kOps; ++op) {
      if (!kernel.reduce[op]) continue;
      for (int turn = 0; turn < 6; ++turn) {
        const int count = 1 + static_cast<int>(random() % 5);
        const bool stream = turn % 2;
        // Sources and destination anywhere within a line, the last turns not even on an element.
        const auto offset = [&] {
          return static_cast<std::int64_t>(turn < 4 ? random() % kLine * sizeof(T) : random() % 64);
        };
        constexpr std::int64_t kGuard = 128;
        const auto bytes = n * static_cast<std::int64_t>(sizeof(T)) + 2 * kGuard;
        std::vector<std::vector<std::byte>> memory(static_cast<std::size_t>(count) + 1);
        for (auto& one : memory) one.assign(static_cast<std::size_t>(bytes), std::byte{0xc5});
        std::vector<const void*> src;
        std::vector<T> want(static_cast<std::size_t>(n));
        for (int r = 0; r < count; ++r) {
          std::byte* const at = memory[static_cast<std::size_t>(r)].data() + offset();
          for (std::int64_t j = 0; j < n; ++j) {
            const T value = any<T>(random);
            std::memcpy(at + j * static_cast<std::int64_t>(sizeof(T)), &value, sizeof value);
            T& sum = want[static_cast<std::size_t>(j)];
            sum = r == 0 ? value : expected(static_cast<Op>(op), sum, value);
            if (static_cast<Op>(op) == Op::kAvg && r == count - 1)
              sum = static_cast<T>(sum * (T{1} / static_cast<T>(count)));
          }
          src.push_back(at);
        }
        // In place of one of the sources in a third of the turns.
        std::byte* dst = memory.back().data() + kGuard + offset() % kGuard;
        std::vector<std::byte>* holder = &memory.back();
        if (turn % 3 == 2) {
          const auto r = static_cast<std::size_t>(random() % static_cast<unsigned>(count));
          dst = static_cast<std::byte*>(const_cast<void*>(src[r]));
          holder = &memory[r];
        }
        const std::vector<std::byte> before = *holder;
        kernel.reduce[op]({src.data(), count, n, dst, stream});
        stream_fence();
        for (std::int64_t j = 0; j < n; ++j) {
          T got;
          std::memcpy(&got, dst + j * static_cast<std::int64_t>(sizeof(T)), sizeof got);
          ASSERT_TRUE(same(got, want[static_cast<std::size_t>(j)]))
              << "op " << op << " n " << n << " element " << j << " of " << count
              << " sources: " << +got << " instead of " << +want[static_cast<std::size_t>(j)];
        }
        const std::int64_t begin = dst - holder->data();
        for (std::int64_t i = 0; i < bytes; ++i) {
          if (i >= begin && i < begin + n * static_cast<std::int64_t>(sizeof(T))) continue;
          ASSERT_EQ((*holder)[static_cast<std::size_t>(i)], before[static_cast<std::size_t>(i)])
              << "byte " << i - begin << " from the result";
        }
      }
    }
  }
}

TEST(Reduce, EveryKernelMatchesPlainLoops) {
  for (const Kernels& kernel : kernels()) {
    if ((kernel.isa & ~isa::available()) != 0) continue;
    switch (kernel.type) {
#define WEFT_REDUCE_TYPE(enumerator, name, type) \
  case DType::enumerator:                        \
    check<type>(kernel);                         \
    break;
#include "kernels/reduce/types.inc"
#undef WEFT_REDUCE_TYPE
      default:
        ADD_FAILURE() << kernel.name;
    }
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST(Reduce, TheFirstSourceComesFirst) {
  const float values[] = {0x1p24f, 1, 1, -0x1p24f};
  const void* src[] = {values, values + 1, values + 2, values + 3};
  const void* other[] = {values + 1, values + 2, values, values + 3};
  for (const Kernels& kernel : kernels()) {
    if (kernel.type != DType::kFloat32 || (kernel.isa & ~isa::available()) != 0) continue;
    float sum;
    kernel.reduce[0]({src, 4, 1, &sum, false});
    EXPECT_EQ(sum, 0) << kernel.name;
    kernel.reduce[0]({other, 4, 1, &sum, false});
    EXPECT_EQ(sum, 2) << kernel.name;
  }
}

TEST(Reduce, CopiesAreExactAndNoLonger) {
  std::mt19937_64 random(1);
  for (const Copy& row : copies()) {
    if ((row.isa & ~isa::available()) != 0) continue;
    for (std::int64_t bytes : {0, 1, 63, 64, 65, 1000, 5000}) {
      for (int turn = 0; turn < 8; ++turn) {
        std::vector<unsigned char> from(static_cast<std::size_t>(bytes) + 64);
        for (auto& byte : from) byte = static_cast<unsigned char>(random());
        std::vector<unsigned char> to(from.size() + 64, 0xc5), want = to;
        const auto at = static_cast<std::ptrdiff_t>(random() % 64),
                   source = static_cast<std::ptrdiff_t>(random() % 64);
        std::copy_n(from.begin() + source, bytes, want.begin() + at);
        row.copy(from.data() + source, to.data() + at, bytes, turn % 2);
        stream_fence();
        ASSERT_EQ(to, want) << row.name << " " << bytes;
      }
    }
  }
}

TEST(Reduce, EveryTypeHasAScalarRowAndBetterOnesComeFirst) {
  for (const Kernels& row : kernels()) {
    const Kernels* scalar = select(row.type, 0);
    ASSERT_NE(scalar, nullptr) << row.name;
    EXPECT_EQ(scalar->isa, isa::kScalar) << row.name;
    const bool floats = row.type == DType::kFloat32 || row.type == DType::kFloat64;
    for (const Op op : {Op::kSum, Op::kProd, Op::kMax, Op::kMin})
      EXPECT_NE(row.reduce[static_cast<int>(op)], nullptr) << row.name;
    EXPECT_EQ(row.reduce[static_cast<int>(Op::kAvg)] != nullptr, floats) << row.name;
    for (const Op op : {Op::kBand, Op::kBor, Op::kBxor})
      EXPECT_EQ(row.reduce[static_cast<int>(op)] == nullptr, floats) << row.name;
    EXPECT_EQ(select(row.type, isa::kScalar | isa::kAvx2 | isa::kAvx512)->isa, isa::kAvx512);
  }
  EXPECT_EQ(select(DType::kFloat16, isa::available()), nullptr);
}

}  // namespace
}  // namespace weft::reduction
