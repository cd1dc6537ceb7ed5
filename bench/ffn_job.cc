// SPDX-License-Identifier: Apache-2.0
#include "ffn_job.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/float16.h"
#include "base/topology.h"
#include "kernels/peak/peak.h"
#include "random_bytes.h"

namespace weft::bench {
namespace {

// Random 16-bit weights lie in [-1 / 32, 1 / 32), so that sums over thousands of them stay near 1.
constexpr float kWeights = 1.f / 32;

// The standard deviation of random int8 and int4.
double deviation(DType dtype) { return (dtype == DType::kInt4 ? 16 : 256) / std::sqrt(12.); }

// A row for one expert of each eight: the i-th eight's (i · token mod 8)-th.
constexpr std::int64_t kOfEach = 8;

}  // namespace

DType FfnProblem::x() const {
  const std::string_view text = type;
  return dtype_from_name(text.substr(0, text.find(' '))).value();
}

DType FfnProblem::weights() const {
  const std::string_view text = type;
  const size_t space = text.find(' ');
  return space == text.npos ? x() : dtype_from_name(text.substr(space + 1)).value();
}

std::string FfnProblem::name(const std::string& section, const std::string& what) const {
  const bool batch = deal == Deal::kEqual || deal == Deal::kSkewed;
  const std::string prefix = fmt::format("{}x", tokens);
  std::string text = weights_name(section, what);
  text.insert(text.rfind('/') + 1, prefix);
  return batch ? text : text + (transposed ? "/transposed" : "/row-major");
}

std::string FfnProblem::weights_name(const std::string& section, const std::string& what) const {
  const std::string who = deal == Deal::kDense   ? std::string(to_string(activation))
                          : deal == Deal::kEqual ? fmt::format("{} equal experts", experts)
                          : deal == Deal::kSkewed
                              ? fmt::format("{} skewed experts", experts)
                              : fmt::format("top-{} of {}", experts / kOfEach, experts);
  return fmt::format("{}/{}/{}/{}x{}x{} {}", section, what, type, k1, k2, n2, who);
}

std::vector<std::int64_t> FfnProblem::rows() const {
  if (deal == Deal::kDense) return {tokens};
  std::vector<std::int64_t> of(static_cast<size_t>(experts));
  const auto add = [&](std::int64_t expert) { ++of[static_cast<size_t>(expert)]; };
  if (deal == Deal::kTopOf) {
    for (std::int64_t token = 0; token < tokens; ++token)
      for (std::int64_t i = 0; i < experts / kOfEach; ++i) add(kOfEach * i + i * token % kOfEach);
    return of;
  }
  const std::int64_t first = deal == Deal::kSkewed ? tokens / 2 : 0;  // of the first expert alone
  const std::int64_t others = deal == Deal::kSkewed ? experts - 1 : experts;
  of.front() = first;
  for (std::int64_t row = first; row < tokens; ++row) add(experts - 1 - row % others);
  return of;
}

std::int64_t FfnProblem::all_rows() const {
  const std::vector<std::int64_t> of = rows();
  return std::accumulate(of.begin(), of.end(), std::int64_t{0});
}

double FfnProblem::flops() const {
  return 2.0 * static_cast<double>(all_rows()) * static_cast<double>(k1 * n1() + k2 * n2);
}

const std::byte* FfnWeights::of(Team& team, DType dtype, std::int64_t bytes) {
  if (dtype == DType::kInt4) dtype = DType::kInt8;  // any bits
  for (const Piece& piece : pieces_)
    if (piece.dtype == dtype && piece.buffer.bytes() >= bytes) return piece.buffer.data();
  team.run([&](int) {
    pieces_.push_back({dtype, require(Buffer::allocate(bytes, "weights"))});
    fill_random(pieces_.back().buffer.data(), bytes, dtype, 1, kWeights);
  });
  return pieces_.back().buffer.data();
}

FfnJob::FfnJob(Team& team, const FfnProblem& problem, FfnWeights& weights, Options options)
    : team_(team), problem_(problem), options_(options) {
  const FfnProblem& p = problem_;
  const std::int64_t experts = std::max<std::int64_t>(p.experts, 1);
  first_bytes_ = bytes_of(p.weights(), experts * p.k1 * p.n1());
  weight_bytes_ = first_bytes_ + bytes_of(p.weights(), experts * p.k2 * p.n2);
  touched_bytes_ = weight_bytes_ / experts * (experts - std::ranges::count(p.rows(), 0));
  // What was read before the last so many bytes is in no cache any more.
  const std::int64_t cached_bytes = std::max<std::int64_t>(256 << 20, 2 * topology().l3_bytes);
  if (options.cold) copies_ = static_cast<int>(ceil_div(cached_bytes, touched_bytes_));
  weights_ = weights.of(team, p.weights(), copies_ * weight_bytes_);
  team_.run([&](int) { prepare(); });
  // A call faults in the memory and fills the caches.
  fused();
  if (options.products) products();
}

void FfnJob::prepare() {
  const FfnProblem& p = problem_;
  const std::int64_t rows = p.all_rows();
  std::byte* const x = make(bytes_of(p.x(), rows * p.k1));
  fill_random(x, buffers_.back().bytes(), p.x(), 2);
  args_.x = ConstTensorRef(x, p.x(), {rows, p.k1});
  args_.weight1 = weight(nullptr, p.k1, p.n1());
  args_.weight2 = weight(nullptr, p.k2, p.n2);
  choose_weights(0);
  args_.activation = p.activation;
  args_.y = TensorRef(make(rows * p.n2 * 2), p.io(), {rows, p.n2});
  if (p.deal != Deal::kDense) {
    std::byte* const tokens = make(p.experts * 8);
    std::memcpy(tokens, p.rows().data(), static_cast<size_t>(p.experts) * 8);
    args_.expert_tokens = ConstTensorRef(tokens, DType::kInt64, {p.experts});
  }
  add_scales();
  Context& context = team_.context(0);
  fused_ = std::make_unique<Ffn>(require(Ffn::plan(context, args_)));
  if (options_.products) plan_products(context);
}

// Such that values stay near 1, and near 30 in the int8 activation.
void FfnJob::add_scales() {
  const FfnProblem& p = problem_;
  const double w = deviation(p.weights());
  if (p.x() == DType::kInt8) {
    const auto dequant = [&](std::int64_t k, std::int64_t n, double x) {
      const float scale = static_cast<float>(1 / (x * w * std::sqrt(static_cast<double>(k))));
      return per_channel(DType::kUInt64, n, &scale);
    };
    args_.deq_scale1 = dequant(p.k1, p.n1(), w);
    args_.deq_scale2 = dequant(p.k2, p.n2, 30);
    const float scale = 30, offset = 1.5f;
    args_.scale = per_channel(DType::kFloat32, p.experts > 0 ? 0 : 1, &scale);
    args_.offset = per_channel(DType::kFloat32, p.experts > 0 ? 0 : 1, &offset);
  } else if (p.weights() != p.x()) {
    const auto scale = static_cast<float>(kWeights / std::sqrt(3.) / w);
    const std::uint16_t half = p.x() == DType::kFloat16 ? f32_to_fp16(scale) : f32_to_bf16(scale);
    args_.antiquant_scale1 = per_channel(p.x(), p.n1(), &half);
    args_.antiquant_scale2 = per_channel(p.x(), p.n2, &half);
    args_.antiquant_offset1 = random_per_channel(p.n1());
    args_.antiquant_offset2 = random_per_channel(p.n2);
  }
}

ConstTensorRef FfnJob::per_channel(DType dtype, std::int64_t count, const void* value) {
  std::vector<std::int64_t> dims;
  if (problem_.experts > 0) dims.push_back(problem_.experts);
  if (count > 0) dims.push_back(count);
  std::int64_t all = 1;
  for (const std::int64_t extent : dims) all *= extent;
  const std::int64_t bytes = bytes_of(dtype, 1), given = std::min<std::int64_t>(bytes, 4);
  std::byte* const data = make(all * bytes);
  std::memset(data, 0, static_cast<size_t>(all * bytes));
  for (std::int64_t i = 0; i < all; ++i)
    std::memcpy(data + i * bytes, value, static_cast<size_t>(given));
  return ConstTensorRef(data, dtype, dims);
}

ConstTensorRef FfnJob::random_per_channel(std::int64_t count) {
  const float zero = 0;
  const ConstTensorRef operand = per_channel(problem_.x(), count, &zero);
  fill_random(buffers_.back().data(), bytes_of(operand.dtype(), operand.elements()),
              operand.dtype(), 3);
  return operand;
}

std::byte* FfnJob::make(std::int64_t bytes) {
  buffers_.push_back(require(Buffer::allocate(bytes, "operands of an FFN")));
  return buffers_.back().data();
}

ConstTensorRef FfnJob::weight(const std::byte* data, std::int64_t k, std::int64_t n) const {
  std::vector<std::int64_t> dims = {k, n};
  if (problem_.transposed) std::swap(dims[0], dims[1]);
  if (problem_.experts > 0) dims.insert(dims.begin(), problem_.experts);
  const ConstTensorRef stored(data, problem_.weights(), dims);
  return problem_.transposed ? stored.transposed() : stored;
}

void FfnJob::choose_weights(int copy) {
  const std::byte* const first = weights_ + copy % copies_ * weight_bytes_;
  args_.weight1 = args_.weight1.with_data(first);
  args_.weight2 = args_.weight2.with_data(first + first_bytes_);
}

void FfnJob::plan_products(Context& context) {
  const auto plan = [&](const ops::MatmulOperands& operands) {
    return std::make_unique<LocalGemm>(require(LocalGemm::plan(context, operands, problem_.io())));
  };
  first_operands_ = {.x1 = args_.x,
                     .x2 = args_.weight1,
                     .dequant_scale = args_.deq_scale1,
                     .antiquant_scale = args_.antiquant_scale1,
                     .antiquant_offset = args_.antiquant_offset1};
  first_ = plan(first_operands_);
  // Its result as it is, without a gate's columns; of int8 its bytes.
  const std::int64_t dims[] = {problem_.tokens, problem_.k2};
  const std::int64_t strides[] = {first_->row_bytes() / bytes_of(problem_.x(), 1), 1};
  second_operands_ = {.x1 = ConstTensorRef(first_->row(0), problem_.x(), dims, strides),
                      .x2 = args_.weight2,
                      .dequant_scale = args_.deq_scale2,
                      .antiquant_scale = args_.antiquant_scale2,
                      .antiquant_offset = args_.antiquant_offset2};
  second_ = plan(second_operands_);
}

Work FfnJob::work() const {
  const std::int64_t rows = problem_.all_rows();
  const std::int64_t x_and_y =
      bytes_of(problem_.x(), rows * problem_.k1) + bytes_of(problem_.io(), rows * problem_.n2);
  return {.flops = problem_.flops(),
          .bytes = static_cast<double>(touched_bytes_),
          .memory_bytes = static_cast<double>(touched_bytes_ + x_and_y),
          .ranks = team_.ranks(),
          .cores = team_.cores()};
}

double FfnJob::fused_steps(int count) {
  return team_.run([&](int) {
    for (int i = 0; i < count; ++i) {
      choose_weights(i);
      require(fused_->run(args_));
    }
  }) / count;
}

double FfnJob::products() {
  return team_.run([&](int) {
    first_->run(first_operands_, true);
    second_->run(second_operands_);
  });
}

double FfnJob::read_weights() {
  double seconds = 0;
  team_.run(
      [&](int) { seconds = peak::measure_read_of(weights_, copies_ * touched_bytes_) / copies_; });
  return seconds;
}

}  // namespace weft::bench
