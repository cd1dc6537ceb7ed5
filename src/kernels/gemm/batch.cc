// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/batch.h"

#include <algorithm>
#include <atomic>

#include "base/memory.h"
#include "kernels/gemm/narrow.h"
#include "kernels/gemm/pack_rows.h"

namespace weft::gemm {
namespace {

// What a thread does in a ns, roughly and on the fast side: values of A that it packs, values of a
// weight that it reads or packs, multiplications.
constexpr double kPackedValues = 5, kWeightValues = 40;
double multiplies_per_ns(const Kernel& kernel) {
  if (kernel.isa == isa::kScalar) return 1;
  return kernel.enter ? 800 : 100;  // tiles and vectors
}

// Where a product's rows are packed; several begin one after the other.
std::int64_t packed_bytes(const Kernel& kernel, const Product& product, std::int64_t k) {
  return round_up(product.narrow ? kernel.x_panel_bytes(k)
                                 : ceil_div(product.m, kernel.mr) * kernel.a_panel_bytes(k),
                  kCacheLine);
}

class Run {
 public:
  Run(ThreadPool& pool, const Batch& batch) : pool_(pool), g_(batch), kernel_(*batch.kernel) {}

  void all() {
    for (Product& product : g_.products) {
      product.m = 0;
      for (const RowRun& run : product.runs) product.m += run.count();
      product.narrow =
          product.m > 0 && g_.k > 0 &&
          narrow_applies(kernel_, product.weight, product.m, g_.blocking.sides > 1 ? g_.n : 0);
      product.refused = false;
    }
    once();
    if (std::ranges::none_of(g_.products, &Product::refused)) return;
    // What the narrow kernels have refused is made once more, and nothing else.
    for (Product& product : g_.products) {
      if (!product.refused) product.m = 0;
      product.narrow = product.refused = false;
    }
    once();
  }

 private:
  void once() {
    std::byte* packed = g_.packed_a;
    for (Product& product : g_.products) {
      product.packed = packed;
      packed += packed_bytes(kernel_, product, g_.k);
    }
    ns_ = ns_of_all();
    if (g_.k > 0) pack();
    cut();
    deal([&](const Product& product) { return items_of(product); },
         [&](std::int64_t product, std::int64_t item, int thread) {
           multiply(product, item, g_.scratch + thread * g_.scratch_bytes);
         });
  }

  // What packing the rows and all products take on one thread.
  double ns_of_all() const {
    std::int64_t rows = 0, weights = 0;
    for (const Product& product : g_.products) {
      rows += product.m;
      weights += product.m > 0;
    }
    const auto n = static_cast<double>(g_.n * g_.blocking.sides);
    return static_cast<double>(g_.k) *
           (static_cast<double>(rows) * (1 / kPackedValues + n / multiplies_per_ns(kernel_)) +
            static_cast<double>(weights) * n / kWeightValues);
  }

  void pack() {
    deal([&](const Product& product) { return row_parts(kernel_, product); },
         [&](std::int64_t product, std::int64_t part, int thread) {
           pack_rows(g_, g_.products[static_cast<size_t>(product)], part,
                     g_.scratch + thread * g_.scratch_bytes);
         });
  }

  // How wide and how long items are. All weights lie alike.
  void cut() {
    const std::int64_t threads = pool_.threads_for(ns_);
    std::int64_t blocks = 0, narrow = 0, rows = 0;
    const Weight* weight = nullptr;
    for (const Product& product : g_.products) {
      if (product.m == 0) continue;
      if (product.narrow) {
        ++narrow;
        weight = &product.weight;
      } else {
        blocks += column_blocks();
        rows = std::max(rows, product.m);
      }
    }
    if (weight) {
      const std::int64_t turns = threads == 1 ? 1 : narrow_turns(*weight) * threads;
      const std::int64_t unit = narrow_unit(kernel_, *weight);
      turn_columns_ = round_up(ceil_div(g_.n, ceil_div(turns, narrow)), unit);
    }
    // Every part of the rows packs the weight again: only where a thread would have nothing to do.
    constexpr std::int64_t kLeastPanels = 8;
    const std::int64_t parts = blocks > 0 ? ceil_div(threads, blocks) : 1;
    const std::int64_t panels = ceil_div(rows, kernel_.mr);
    item_rows_ =
        kernel_.mr * (parts == 1 ? panels : std::max(kLeastPanels, ceil_div(panels, parts)));
  }

  std::int64_t column_blocks() const { return ceil_div(g_.n, g_.blocking.nc); }

  std::int64_t items_of(const Product& product) const {
    if (product.m == 0) return 0;
    if (product.narrow) return ceil_div(g_.n, turn_columns_);
    return column_blocks() * ceil_div(product.m, item_rows_);
  }

  void multiply(std::int64_t index, std::int64_t item, std::byte* scratch) {
    Product& product = g_.products[static_cast<size_t>(index)];
    if (product.narrow) {
      if (kernel_.narrow.enter) kernel_.narrow.enter(static_cast<int>(product.m));
      const std::int64_t begin = item * turn_columns_;
      if (!multiply_narrow(g_, {index, begin, std::min(g_.n, begin + turn_columns_)}, scratch))
        // parallel_for returns after it: no partner needed.
        std::atomic_ref(product.refused).store(true, std::memory_order_relaxed);
    } else {
      if (kernel_.enter) kernel_.enter();
      const std::int64_t block = item % column_blocks(), row = item / column_blocks() * item_rows_;
      multiply_block(
          g_, {index, row, std::min(item_rows_, product.m - row), block * g_.blocking.nc}, scratch);
    }
    if (kernel_.leave) kernel_.leave();
    // Callbacks may have written past the cache; the caller sees it when we return.
    rows::stream_fence();
  }

  // Deals out the items of all products, those of one after those of another.
  template <typename Count, typename Body>
  void deal(const Count& count, const Body& body) {
    std::int64_t items = 0;
    for (Product& product : g_.products) {
      product.first_item = items;
      items += count(product);
    }
    const auto one = [&](std::int64_t item, int thread) {
      // The last product that begins here or before: those without items have no part of it.
      const auto next = std::ranges::upper_bound(g_.products, item, {}, &Product::first_item);
      const auto product = next - g_.products.begin() - 1;
      body(product, item - (next - 1)->first_item, thread);
    };
    pool_.parallel_for(items, one, ns_);
  }

  ThreadPool& pool_;
  const Batch& g_;
  const Kernel& kernel_;
  double ns_ = 0;
  std::int64_t turn_columns_ = 0, item_rows_ = 0;
};

}  // namespace

std::int64_t packed_a_bytes(const Kernel& kernel, std::int64_t k, std::int64_t rows,
                            std::int64_t products) {
  const std::int64_t panel = round_up(kernel.a_panel_bytes(k), kCacheLine),
                     few = round_up(kernel.x_panel_bytes(k), kCacheLine);
  return rows / kernel.mr * panel + std::min(products, rows) * std::max(panel, few);
}

std::int64_t batch_scratch_bytes(const Kernel& kernel, const Weight& weight,
                                 const Blocking& blocking, std::int64_t rows, std::int64_t k) {
  return std::max({blocked_scratch_bytes(kernel, weight, blocking, rows, k),
                   gather_bytes(kernel, k), narrow_scratch_bytes(kernel, blocking.sides)});
}

void run(ThreadPool& pool, const Batch& batch) { Run(pool, batch).all(); }

}  // namespace weft::gemm
