// SPDX-License-Identifier: Apache-2.0
// One call of add_rmsnorm with random operands in any layout, for its tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "guarded_tensor.h"
#include "weft/ops/add_rmsnorm.h"

namespace weft::testing {

using Dims = std::vector<std::int64_t>;

enum class InPlace { kNo, kX1, kX2 };
/// Numbers of the usual size; or exponents all over the range, with zeros, infinities and nan.
enum class Numbers { kNormal, kWide };

struct AddRmsNormCase {
  DType type = DType::kFloat16;
  Dims dims;
  int gamma_axes = 1;
  Dims x1 = {}, x2 = {}, y = {}, rstd_strides = {}, x = {}, gamma = {};  ///< strides; empty: dense
  InPlace in_place = InPlace::kNo;
  bool rstd = true;
  double epsilon = 1e-5;
  Numbers numbers = Numbers::kNormal;
  unsigned seed = 1;

  std::string text() const;
};

class AddRmsNormData {
 public:
  explicit AddRmsNormData(const AddRmsNormCase& c);

  /// For plan() and run().
  AddRmsNormArgs args() const;
  /// The same with x1 and x2 from before the call, for the reference.
  AddRmsNormArgs reference_args() const;
  /// The bits of y, rstd and x, one after the other; every nan as the same.
  std::vector<std::uint32_t> bits() const;
  /// Nothing but the elements of the outputs has changed.
  bool guards_intact() const;
  bool outputs_untouched() const;
  void reset();

 private:
  std::vector<GuardedTensor*> all();

  AddRmsNormCase case_;
  GuardedTensor x1_, x2_, gamma_, y_, rstd_, x_;
};

/// All rows within the bounds of the reference and with the bits of the plain row function.
void expect_correct(const AddRmsNormCase& c, const AddRmsNormData& data);

}  // namespace weft::testing
