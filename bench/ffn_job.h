// SPDX-License-Identifier: Apache-2.0
// One FFN on one rank, beside its two products alone and the reading of its weights.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/memory.h"
#include "team.h"
#include "unfused/local_gemm.h"
#include "weft/dtype.h"
#include "weft/ops/ffn.h"

namespace weft::bench {

/// Which experts the rows belong to: none; all alike; half of them the first; or, as in a decode
/// step, each token has a row for one expert of each eight, such that as many are left out as would
/// be by chance (with 8 tokens 43 of 64 have rows). bench/peers/torch_ffn.py deals alike.
enum class Deal { kDense, kEqual, kSkewed, kTopOf };

struct FfnProblem {
  const char* type = "";  ///< of x and the weights: "bfloat16"; "bfloat16 int4" if they differ
  std::int64_t tokens, k1, k2, n2;
  Activation activation = Activation::kGelu;
  bool transposed = false;  ///< the weights are views of (n, k)
  Deal deal = Deal::kDense;
  std::int64_t experts = 0;

  /// "section/what/type/shape/layout"; kEqual and kSkewed have no layout, it is row-major.
  std::string name(const std::string& section, const std::string& what) const;
  /// The name of what is the same for any tokens and any layout.
  std::string weights_name(const std::string& section, const std::string& what) const;

  DType x() const;
  DType weights() const;
  DType io() const { return x() == DType::kInt8 ? DType::kFloat16 : x(); }
  std::int64_t n1() const { return has_gate(activation) ? 2 * k2 : k2; }
  /// Rows of each expert; one number if there are none.
  std::vector<std::int64_t> rows() const;
  std::int64_t all_rows() const;
  double flops() const;
};

/// Random weights. Problems of one section find theirs in the same memory, of which there is a
/// piece for each dtype.
class FfnWeights {
 public:
  const std::byte* of(Team& team, DType dtype, std::int64_t bytes);

 private:
  struct Piece {
    DType dtype;
    Buffer buffer;
  };
  std::vector<Piece> pieces_;
};

class FfnJob {
 public:
  struct Options {
    bool products = false;  ///< the two products alone too; not with experts
    /// Calls take turns with as many copies of the weights as no cache holds.
    bool cold = false;
  };
  FfnJob(Team& team, const FfnProblem& problem, FfnWeights& weights, Options options);

  double fused() { return fused_steps(1); }
  /// Calls that follow each other at once: seconds of one.
  double fused_steps(int count);
  /// x · W1 and its result · W2 as T, on the same kernels.
  double products();
  /// Reading the weights once: those of experts with rows.
  double read_weights();

  /// Its bytes are the weights of experts that have rows; in memory x and y, too.
  Work work() const;

 private:
  void prepare();
  void add_scales();
  void plan_products(Context& context);
  /// One of both weights, of which the second lies behind the first.
  ConstTensorRef weight(const std::byte* data, std::int64_t k, std::int64_t n) const;
  /// Operands of ([experts,] count) values.
  ConstTensorRef per_channel(DType dtype, std::int64_t count, const void* value);
  ConstTensorRef random_per_channel(std::int64_t count);
  void choose_weights(int copy);
  std::byte* make(std::int64_t bytes);

  Team& team_;
  const FfnProblem problem_;
  const Options options_;
  FfnArgs args_;
  std::unique_ptr<Ffn> fused_;
  std::unique_ptr<LocalGemm> first_, second_;  ///< the two products alone
  ops::MatmulOperands first_operands_, second_operands_;
  std::vector<Buffer> buffers_;
  const std::byte* weights_ = nullptr;
  std::int64_t first_bytes_ = 0, weight_bytes_ = 0, touched_bytes_ = 0;
  int copies_ = 1;
};

}  // namespace weft::bench
