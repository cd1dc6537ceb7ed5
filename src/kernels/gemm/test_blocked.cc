// SPDX-License-Identifier: Apache-2.0
// Products on all threads against the reference, and their promise: blocking, threads, layout, the
// number of rows and of other products do not change a bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/float16.h"
#include "base/memory.h"
#include "kernels/gemm/batch.h"
#include "kernels/gemm/narrow.h"
#include "kernels/gemm/pack_rows.h"

namespace weft::gemm {
namespace {

constexpr std::uint32_t kUntouched = 0xdeadbeef;

enum class Order { kRowMajor, kTransposed };

// Operands of one product and what run() makes of them.
struct Problem {
  const Kernel& kernel;
  std::int64_t m, n, k;
  Order order;
  std::vector<std::uint16_t> a, b;  // int8 uses one byte each, below
  std::vector<std::int8_t> a8, b8;
  std::vector<float> bias_f32;
  std::vector<std::int32_t> bias_s32;

  Problem(const Kernel& kernel, std::int64_t m, std::int64_t n, std::int64_t k, Order order,
          unsigned seed)
      : kernel(kernel), m(m), n(n), k(k), order(order) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const auto value = [&] {
      return kernel.a == DType::kFloat16 ? f32_to_fp16(normal(random))
                                         : f32_to_bf16(normal(random));
    };
    const std::int64_t padded_n = round_up(n, kernel.nr);
    for (std::int64_t j = 0; j < padded_n; ++j) {
      bias_f32.push_back(normal(random));
      bias_s32.push_back(static_cast<std::int32_t>(random() % 2001) - 1000);
    }
    if (kernel.a == DType::kInt8) {
      for (std::int64_t i = 0; i < m * k; ++i) a8.push_back(static_cast<std::int8_t>(random()));
      for (std::int64_t i = 0; i < k * n; ++i) b8.push_back(static_cast<std::int8_t>(random()));
    } else {
      for (std::int64_t i = 0; i < m * k; ++i) a.push_back(value());
      for (std::int64_t i = 0; i < k * n; ++i) b.push_back(value());
    }
  }

  const void* a_data() const { return a8.empty() ? static_cast<const void*>(a.data()) : a8.data(); }
  const void* b_data() const { return b8.empty() ? static_cast<const void*>(b.data()) : b8.data(); }
  std::int64_t k_stride() const { return order == Order::kRowMajor ? n : 1; }
  std::int64_t n_stride() const { return order == Order::kRowMajor ? 1 : k; }

  Weight weight() const {
    Weight w;
    w.stored = kernel.b;
    w.data = b_data();
    w.k_stride = k_stride();
    w.n_stride = n_stride();
    return w;
  }

  // acc bits of all elements, as the callback brings them.
  struct Out {
    std::vector<std::uint32_t> acc;
    std::int64_t n;
    Out(std::int64_t rows, std::int64_t n) : acc(static_cast<size_t>(rows * n), kUntouched), n(n) {}
  };

  const void* bias() const {
    return kernel.acc == DType::kInt32 ? static_cast<const void*>(bias_s32.data())
                                       : bias_f32.data();
  }

  // What both forms need, but for scratch.
  Batch batch(Out& out, const Blocking& blocking, const rows::Kernels& rows,
              std::span<Product> products) const {
    const std::int64_t dims[] = {m, k};
    Batch gemm{};
    gemm.kernel = &kernel;
    gemm.rows = &rows;
    gemm.blocking = blocking;
    gemm.n = n;
    gemm.k = k;
    gemm.a = {static_cast<const std::byte*>(a_data()),
              RowOffsets(ConstTensorRef(a_data(), kernel.a, dims), 1), 1};
    gemm.products = products;
    gemm.epilogue = {&out, [](void* object, const FinishedTile& tile) {
                       Out& to = *static_cast<Out*>(object);
                       for (int i = 0; i < tile.m; ++i)
                         for (int j = 0; j < tile.n; ++j)
                           std::memcpy(
                               &to.acc[static_cast<size_t>((tile.row + i) * to.n + tile.col + j)],
                               static_cast<const std::byte*>(tile.acc) + i * tile.acc_stride_bytes +
                                   j / tile.panel_columns * tile.panel_stride_bytes +
                                   j % tile.panel_columns * 4,
                               4);
                     }};
    return gemm;
  }

  // In two runs whose seam is inside of a panel: what operators do with rotated tiles.
  static std::array<RowRun, 2> two_runs(std::int64_t rows) {
    return {{{0, rows / 3}, {rows / 3, rows}}};
  }

  // The bits of the narrow form, or nothing if it refuses.
  std::vector<std::uint32_t> run_narrow_form(int threads, std::int64_t rows_wanted) const {
    return run_narrow_form(threads, rows_wanted, weight(), 0);
  }
  std::vector<std::uint32_t> run_narrow_form(int threads, std::int64_t rows_wanted,
                                             const Weight& weight,
                                             std::int64_t scratch_for_scales) const {
    const auto runs = two_runs(rows_wanted);
    Product product{.runs = runs, .weight = weight, .bias = bias()};
    Out out(rows_wanted, n);
    const Blocking blocking{kernel.k_step, kernel.k_step, kernel.nr};
    Batch gemm =
        batch(out, blocking, rows::select(DType::kFloat16, isa::available()), {&product, 1});
    // A panel needs no more than its sums, a strip what is asked for.
    gemm.scratch_bytes = weight.k_is_adjacent() ? 4 * kernel.narrow.rows * kernel.narrow.columns
                                                : narrow_scratch_bytes(kernel, 1);
    gemm.scratch_bytes += scratch_for_scales;
    product.narrow = true;
    product.m = rows_wanted;
    Buffer x = Buffer::allocate(kernel.x_panel_bytes(k), "x").value();
    Buffer gather = Buffer::allocate(gather_bytes(kernel, k), "gather").value();
    Buffer scratch = Buffer::allocate(gemm.scratch_bytes, "scratch").value();
    product.packed = x.data();
    pack_rows(gemm, product, 0, gather.data());
    const std::int64_t turn = round_up(ceil_div(n, threads), kernel.nr);
    bool done = true;
    if (kernel.narrow.enter) kernel.narrow.enter(static_cast<int>(rows_wanted));
    for (std::int64_t begin = 0; begin < n; begin += turn)
      done = multiply_narrow(gemm, {0, begin, std::min(n, begin + turn)}, scratch.data()) && done;
    if (kernel.leave) kernel.leave();
    return done ? out.acc : std::vector<std::uint32_t>();
  }

  std::vector<std::uint32_t> run(const Blocking& blocking, int threads, const Weight& weight,
                                 const rows::Kernels& rows, std::int64_t rows_wanted) const {
    ThreadPool pool(threads);
    const auto runs = two_runs(rows_wanted);
    Product product{.runs = runs, .weight = weight, .bias = bias()};
    Out out(rows_wanted, n);
    Batch gemm = batch(out, blocking, rows, {&product, 1});
    Buffer packed = Buffer::allocate(packed_a_bytes(kernel, k, rows_wanted, 1), "a").value();
    gemm.packed_a = packed.data();
    gemm.scratch_bytes = batch_scratch_bytes(kernel, weight, blocking, rows_wanted, k);
    Buffer scratch = Buffer::allocate(threads * gemm.scratch_bytes, "scratch").value();
    gemm.scratch = scratch.data();
    gemm::run(pool, gemm);
    return out.acc;
  }

  std::vector<std::uint32_t> run(const Blocking& blocking, int threads) const {
    return run(blocking, threads, weight(), rows::select(DType::kFloat16, isa::available()), m);
  }

  // Largest error as a share of its bound: (k + 2) roundings of fp32 over the sum of |a·b|;
  // integers exact.
  double worst(const std::vector<std::uint32_t>& acc) const {
    std::vector<double> bias(static_cast<size_t>(n)), want(static_cast<size_t>(m * n)),
        magnitude(want.size());
    for (size_t j = 0; j < bias.size(); ++j)
      bias[j] = kernel.acc == DType::kInt32 ? bias_s32[j] : bias_f32[j];
    reference({kernel.a, m, n, k, a_data(), k, 1, b_data(), k_stride(), n_stride(), bias.data(),
               want.data(), magnitude.data()});
    double worst = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      if (kernel.acc == DType::kInt32) {
        if (static_cast<std::int32_t>(acc[i]) != want[i]) return INFINITY;
        continue;
      }
      const double bound = static_cast<double>(k + 2) * 0x1p-24 * magnitude[i] + 1e-30;
      worst = std::max(worst, std::fabs(std::bit_cast<float>(acc[i]) - want[i]) / bound);
    }
    return worst;
  }
};

class BlockedTest : public testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    if (kernel().isa & ~isa::available())
      GTEST_SKIP() << "this machine lacks " << isa::names(kernel().isa);
  }
  const Kernel& kernel() const { return kernels()[GetParam()]; }
};

TEST_P(BlockedTest, EveryBlockingGivesTheSameBitsAndMatchesTheReference) {
  const Kernel& g = kernel();
  for (const Order order : {Order::kRowMajor, Order::kTransposed}) {
    const Problem problem(g, 2 * g.mr + 3, 3 * g.nr + 5, 4 * g.k_step + 67, order, 7);
    const std::vector<std::uint32_t> first =
        problem.run({g.padded_k(problem.k), g.padded_k(problem.k), round_up(problem.n, g.nr)}, 1);
    EXPECT_LE(problem.worst(first), 1) << g.name;
    for (const std::int64_t kc :
         {std::int64_t{g.k_step}, std::int64_t{3 * g.k_step}, g.padded_k(problem.k)})
      for (const int chunks : {1, 2})
        for (const std::int64_t nc : {g.nr, 2 * g.nr})
          for (const int threads : {1, 3})
            EXPECT_EQ(problem.run({kc, chunks * kc, nc}, threads), first)
                << g.name << " kc " << kc << " chunks " << chunks << " nc " << nc << " threads "
                << threads;
  }
}

TEST_P(BlockedTest, RowsDoNotDependOnHowManyThereAre) {
  const Kernel& g = kernel();
  const Problem problem(g, 3 * g.mr, 2 * g.nr, 5 * g.k_step, Order::kRowMajor, 11);
  const Blocking blocking{2 * g.k_step, 4 * g.k_step, g.nr};
  const rows::Kernels& rows = rows::select(DType::kFloat16, isa::available());
  const std::vector<std::uint32_t> all = problem.run(blocking, 1);
  for (const std::int64_t rows_wanted : {1, 2, g.mr / 2 + 1, g.mr, g.mr + 1}) {
    std::vector<std::uint32_t> some = problem.run(blocking, 1, problem.weight(), rows, rows_wanted);
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin()))
        << g.name << " rows " << rows_wanted;
  }
}

// Few rows with the weight read in place: the same bits, and a value it cannot take is reported.
TEST_P(BlockedTest, NarrowGivesTheBitsOfBlocked) {
  const Kernel& g = kernel();
  if (g.narrow.rows == 0) GTEST_SKIP() << g.name << " has no narrow form";
  for (const Order order : {Order::kTransposed, Order::kRowMajor})
    for (const int rows_wanted : {1, 7, g.narrow.rows})
      for (const int threads : {1, 3}) {
        Problem problem(g, g.narrow.rows, 37 * g.nr + 5, 3 * g.k_step + 7, order, 13);
        const Weight weight = problem.weight();
        if (order == Order::kRowMajor && !g.narrow_for(g.b, true)) {
          EXPECT_FALSE(narrow_applies(g, weight, rows_wanted));
          continue;
        }
        ASSERT_TRUE(narrow_applies(g, weight, rows_wanted));
        EXPECT_FALSE(narrow_applies(g, weight, g.narrow.rows + 1));
        const rows::Kernels& rows = rows::select(DType::kFloat16, isa::available());
        const Blocking blocking{g.k_step, 2 * g.k_step, g.nr};
        EXPECT_EQ(problem.run_narrow_form(threads, rows_wanted),
                  problem.run(blocking, threads, weight, rows, rows_wanted))
            << g.name << " rows " << rows_wanted << " threads " << threads << " order "
            << static_cast<int>(order);
      }
  if (g.a != DType::kFloat16) return;
  Problem problem(g, 2, 3 * g.nr, 2 * g.k_step, Order::kTransposed, 13);
  problem.b[5] = 0x7c00;  // an infinity in the first panel: refused, or multiplied
  const std::vector<std::uint32_t> bits = problem.run_narrow_form(1, 2);
  if (bits.empty()) return;
  const rows::Kernels& rows = rows::select(DType::kFloat16, isa::available());
  const Blocking blocking{g.k_step, 2 * g.k_step, g.nr};
  EXPECT_EQ(bits, problem.run(blocking, 1, problem.weight(), rows, 2)) << g.name;
}

// Small and large caches of machines there are.
constexpr Caches kMachines[] = {
    {32 << 10, 256 << 10}, {32 << 10, 512 << 10}, {32 << 10, 1 << 20}, {48 << 10, 2 << 20}};

TEST_P(BlockedTest, ChosenBlocksCoverTheProblem) {
  const Kernel& g = kernel();
  Weight weight;
  weight.stored = g.b;
  for (const Caches& caches : kMachines)
    for (const std::int64_t n : {1, 31, 33, 4096, 8192, 100000})
      for (const std::int64_t k : {1, 33, 1024, 5000})
        for (const int threads : {1, 2, 7}) {
          const Blocking blocking = choose_blocking(g, weight, n, k, threads, caches);
          EXPECT_EQ(blocking.nc % g.nr, 0);
          EXPECT_EQ(blocking.kc % g.k_step, 0);
          EXPECT_GE(blocking.nc, g.nr);
          EXPECT_EQ(blocking.ks % blocking.kc, 0);
          EXPECT_LE(blocking.nc * blocking.ks * g.b_bytes, caches.l2_bytes);
        }
}

// What a large product's pieces are meant to fit, on any machine.
TEST_P(BlockedTest, ChosenBlocksFitTheCaches) {
  const Kernel& g = kernel();
  if (loads_past_l1(g)) GTEST_SKIP() << g.name << " follows measured sizes";
  Weight weight;
  weight.stored = g.b;
  for (const Caches& caches : kMachines)
    for (const std::int64_t k : {4096, 8192, 11008}) {
      SCOPED_TRACE(testing::Message() << g.name << " L1 " << caches.l1_bytes << " L2 "
                                      << caches.l2_bytes << " k " << k);
      const Blocking b = choose_blocking(g, weight, 8192, k, 1, caches);
      // Two chunks of A and a panel of B fill L1, but for what makes chunks equally long.
      const std::int64_t in_l1 = b.kc * (2 * g.mr * g.a_bytes + g.nr * g.b_bytes);
      EXPECT_LE(in_l1, caches.l1_bytes);
      EXPECT_GE(in_l1, caches.l1_bytes * 3 / 4);
      // A block takes half of L2, and neither reading A again nor sums cost much more than the
      // other.
      const std::int64_t in_l2 = b.ks * b.nc * g.b_bytes;
      EXPECT_LE(in_l2, caches.l2_bytes / 2);
      EXPECT_GE(in_l2, caches.l2_bytes / 4);
      const double rows = static_cast<double>(g.a_bytes) / static_cast<double>(b.nc);
      const double sums = 2.0 * kAccBytes / static_cast<double>(b.ks);
      EXPECT_LT(rows / sums, 2.5);
      EXPECT_GT(rows / sums, 0.4);
    }
}

// Weights of int8 or int4 are restored while packing: the same bits as packing the restored weight.
TEST_P(BlockedTest, RestoresQuantisedWeights) {
  const Kernel& g = kernel();
  if (g.a == DType::kInt8) GTEST_SKIP() << "int8 products are not restored";
  const rows::Kernels& rows = rows::select(g.a, isa::available());
  const auto to_t = [&](float f) {
    return g.a == DType::kFloat16 ? f32_to_fp16(f) : f32_to_bf16(f);
  };
  const std::int64_t n = 2 * g.nr + 6, k = 150, group = 32, groups = ceil_div(k, group);
  std::mt19937 random(3);
  std::vector<std::uint16_t> scale(static_cast<size_t>(groups * n)), offset(scale.size());
  for (auto& s : scale) s = to_t(0.01f + static_cast<float>(random() % 100) * 1e-4f);
  for (auto& o : offset) o = to_t(static_cast<float>(random() % 100) * 0.07f - 3);
  for (const DType stored : {DType::kInt8, DType::kInt4})
    for (const Order order : {Order::kRowMajor, Order::kTransposed})
      for (const int mode : {0, 1, 2}) {  // per tensor, per column, per group
        Problem problem(g, g.mr + 1, n, k, order, 5);
        std::vector<std::uint8_t> quantised(static_cast<size_t>(k * n + 1));
        for (auto& q : quantised) q = static_cast<std::uint8_t>(random());
        Weight weight = problem.weight();
        weight.stored = stored;
        weight.data = quantised.data();
        weight.scale = scale.data();
        weight.offset = offset.data();
        weight.per_tensor = mode == 0;
        weight.group_size = mode == 2 ? group : 0;
        weight.n = n;
        // One element at a time through the scalar row kernel.
        const rows::Kernels& scalar = rows::select(g.a, isa::kScalar);
        for (std::int64_t p = 0; p < k; ++p)
          for (std::int64_t j = 0; j < n; ++j) {
            const std::int64_t index = p * problem.k_stride() + j * problem.n_stride();
            const size_t s =
                mode == 0 ? 0 : static_cast<size_t>((mode == 2 ? p / group * n : 0) + j);
            rows::AntiquantRow one{};
            one.src = quantised.data() + (stored == DType::kInt4 ? index / 2 : index);
            one.src_nibble = stored == DType::kInt4 ? static_cast<int>(index % 2) : 0;
            one.n = 1;
            one.scale = &scale[s];
            one.offset = &offset[s];
            one.dst = &problem.b[static_cast<size_t>(index)];
            (stored == DType::kInt4 ? scalar.antiquant_int4_row : scalar.antiquant_int8_row)(one);
          }
        const Blocking blocking{64, 128, 2 * g.nr};
        const std::vector<std::uint32_t> want = problem.run(blocking, 1);
        EXPECT_EQ(problem.run(blocking, 2, weight, rows, problem.m), want)
            << g.name << " " << to_string(stored) << " mode " << mode;
        const std::int64_t few = std::min<std::int64_t>(problem.m, g.narrow.rows);
        if (!narrow_applies(g, weight, few)) continue;
        // Without room for scales, with room for one panel's, for two, for all.
        for (const std::int64_t panels : {0, 1, 2, 9}) {
          const std::vector<std::uint32_t> bits =
              problem.run_narrow_form(1 + mode, few, weight, panels * 2 * groups * g.nr * 2 + 64);
          ASSERT_EQ(bits.size(), static_cast<size_t>(few * n));
          EXPECT_TRUE(std::equal(bits.begin(), bits.end(), want.begin()))
              << g.name << " " << to_string(stored) << " mode " << mode << " panels " << panels;
        }
      }
}

INSTANTIATE_TEST_SUITE_P(Kernels, BlockedTest, testing::Range(size_t{0}, kernels().size()),
                         [](const auto& test) { return std::string(kernels()[test.param].name); });

}  // namespace
}  // namespace weft::gemm
