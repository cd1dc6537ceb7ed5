// SPDX-License-Identifier: Apache-2.0
// Calls of the routing operators with random operands in any layout, for their tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "guarded_tensor.h"
#include "weft/ops/moe_finalize_routing.h"
#include "weft/ops/moe_gating_topk_softmax.h"
#include "weft/ops/moe_init_routing.h"

namespace weft::testing {

using Dims = std::vector<std::int64_t>;

inline constexpr DType kFloats[] = {DType::kFloat16, DType::kBFloat16, DType::kFloat32};

Context& context_of(int threads);

/// --gtest_shuffle with --gtest_random_seed gives other data.
unsigned seed_of_this_run();

class Random {
 public:
  explicit Random(unsigned seed) : rng_(seed) {}
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(rng_() % static_cast<std::uint64_t>(n));
  }
  bool one_in(int n) { return below(n) == 0; }
  double normal(double deviation) { return std::normal_distribution<double>(0, deviation)(rng_); }
  std::mt19937& engine() { return rng_; }
  /// Of an input: dense, padded, with axes in another order, backwards or all at one place.
  Dims input_strides(const Dims& dims);
  /// Of an output: dense, or rows (of the last axis) with gaps between them.
  Dims output_strides(const Dims& dims);
  /// Any values of the type's usual size, now and then a special one.
  std::vector<double> numbers(std::int64_t count, double deviation, bool special);

 private:
  std::mt19937 rng_;
};

Dims dense_strides(const Dims& dims);
/// Elements laid out by strides; those that share a place have the value of the last.
GuardedTensor tensor_of(DType type, const Dims& dims, const Dims& strides,
                        const std::vector<double>& values);

/// What a call is made with, its outputs among them.
template <typename Args>
class RoutingData {
 public:
  virtual ~RoutingData() = default;
  virtual Args args() const = 0;
  /// What the results should be, from the inputs as they were.
  virtual void expect_correct() const = 0;
  bool outputs_untouched() const {
    for (const GuardedTensor* tensor : all())
      if (!tensor->unchanged()) return false;
    return true;
  }
  void expect_inputs_unchanged() const {
    for (const GuardedTensor* tensor : inputs()) EXPECT_TRUE(tensor->unchanged());
    for (const GuardedTensor* tensor : outputs()) EXPECT_TRUE(tensor->guards_intact());
  }
  /// The values of all outputs, nan as one number that nothing else is.
  std::vector<double> results() const;
  void reset() {
    for (GuardedTensor* tensor : outputs()) tensor->reset();
  }

 protected:
  virtual std::vector<const GuardedTensor*> inputs() const = 0;
  virtual std::vector<GuardedTensor*> outputs() const = 0;
  std::vector<const GuardedTensor*> all() const {
    std::vector<const GuardedTensor*> tensors = inputs();
    for (const GuardedTensor* tensor : outputs()) tensors.push_back(tensor);
    return tensors;
  }
};

struct GatingCase {
  DType type = DType::kFloat16;
  Dims tokens = {4};
  std::int64_t experts = 8, k = 2;
  bool finished = false, strided = false, special = false;
  double deviation = 2;
  unsigned seed = 1;
  std::string text() const;
};
class GatingData : public RoutingData<MoeGatingTopkSoftmaxArgs> {
 public:
  explicit GatingData(const GatingCase& c);
  MoeGatingTopkSoftmaxArgs args() const override;
  void expect_correct() const override;

 private:
  std::vector<const GuardedTensor*> inputs() const override { return {&x_, &finished_}; }
  std::vector<GuardedTensor*> outputs() const override { return {&y_, &expert_idx_, &row_idx_}; }
  GatingCase case_;
  GuardedTensor x_, finished_;
  mutable GuardedTensor y_, expert_idx_, row_idx_;
};

enum class Ids { kFew, kMany, kAny };  ///< 0 to 7, 0 to 9999, any int32
struct InitCase {
  DType type = DType::kFloat16;
  std::int64_t n = 4, h = 16, k = 2, active_num = 4;
  Ids ids = Ids::kFew;
  bool strided = false;
  bool shuffled = false;  ///< row_idx is any permutation, else that of the gating
  unsigned seed = 1;
  std::string text() const;
};
class InitData : public RoutingData<MoeInitRoutingArgs> {
 public:
  explicit InitData(const InitCase& c);
  MoeInitRoutingArgs args() const override;
  void expect_correct() const override;

 private:
  std::vector<const GuardedTensor*> inputs() const override { return {&x_, &row_idx_, &ids_}; }
  std::vector<GuardedTensor*> outputs() const override { return {&out_x_, &out_row_, &out_id_}; }
  InitCase case_;
  GuardedTensor x_, row_idx_, ids_;
  mutable GuardedTensor out_x_, out_row_, out_id_;
};

struct FinalizeCase {
  DType type = DType::kFloat16;
  std::int64_t n = 4, h = 16, k = 2;
  bool x1 = true, x2 = true, bias = true, scales = true;
  bool padded = false;  ///< expanded_x is (E, C, H), and some rows are dropped
  bool float_scales = false, in_place = false, strided = false, special = false;
  ExpandedRowOrder order = ExpandedRowOrder::kColumnMajor;
  unsigned seed = 1;
  std::string text() const;
};
class FinalizeData : public RoutingData<MoeFinalizeRoutingArgs> {
 public:
  explicit FinalizeData(const FinalizeCase& c);
  MoeFinalizeRoutingArgs args() const override;
  void expect_correct() const override;

 private:
  std::vector<const GuardedTensor*> inputs() const override;
  std::vector<GuardedTensor*> outputs() const override { return {case_.in_place ? &x1_ : &out_}; }
  FinalizeCase case_;
  GuardedTensor expanded_x_, row_idx_, x2_, bias_, scales_, ids_;
  mutable GuardedTensor x1_, out_;
};

}  // namespace weft::testing
