// SPDX-License-Identifier: Apache-2.0
#include "add_rmsnorm_case.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstring>

#include "kernels/rows/reference.h"
#include "ops/add_rmsnorm/reference.h"

namespace weft::testing {
namespace {

double random_number(std::mt19937& rng, Numbers numbers) {
  const double value = std::normal_distribution<double>()(rng);
  if (numbers == Numbers::kNormal) return value;
  switch (rng() % 64) {
    case 0:
      return 0;
    case 1:
      return rng() % 16 ? -0.0 : NAN;
    case 2:
      return rng() % 16 ? 1 : INFINITY;
    default:
      return std::ldexp(value, static_cast<int>(rng() % 24) - 16);
  }
}

GuardedTensor random_tensor(const AddRmsNormCase& c, const Dims& dims, const Dims& strides,
                            std::mt19937& rng) {
  const ConstTensorRef shape(nullptr, c.type, dims);
  std::vector<std::byte> memory(static_cast<std::size_t>(bytes_of(c.type, shape.elements())));
  for (std::int64_t i = 0; i < shape.elements(); ++i)
    rows::reference::store(c.type, memory.data(), i, random_number(rng, c.numbers));
  const Dims dense(shape.strides().begin(), shape.strides().end());
  return {shape.with_data(memory.data()), strides.empty() ? dense : strides};
}

GuardedTensor output_tensor(DType type, const Dims& dims, const Dims& strides) {
  const ConstTensorRef shape(nullptr, type, dims);
  return {type, dims,
          strides.empty() ? Dims(shape.strides().begin(), shape.strides().end()) : strides};
}

/// body(offset in elements), in row-major order.
template <typename Body>
void for_elements(const ConstTensorRef& t, const Body& body) {
  for (std::int64_t i = 0; i < t.elements(); ++i) {
    std::int64_t rest = i, offset = 0;
    for (int axis = t.rank() - 1; axis >= 0; --axis) {
      offset += rest % t.dim(axis) * t.stride(axis);
      rest /= t.dim(axis);
    }
    body(offset);
  }
}

std::vector<std::byte> dense_copy(const ConstTensorRef& t) {
  const std::int64_t size = bytes_of(t.dtype(), 1);
  std::vector<std::byte> copy;
  const auto* base = static_cast<const std::byte*>(t.data());
  for_elements(t, [&](std::int64_t at) {
    copy.insert(copy.end(), base + at * size, base + (at + 1) * size);
  });
  return copy;
}

void append_bits(const ConstTensorRef& t, std::vector<std::uint32_t>& bits) {
  if (!t.given()) return;
  const std::int64_t size = bytes_of(t.dtype(), 1);
  for_elements(t, [&](std::int64_t at) {
    std::uint32_t element = 0;
    std::memcpy(&element, static_cast<const std::byte*>(t.data()) + at * size,
                static_cast<std::size_t>(size));
    bits.push_back(std::isnan(rows::reference::load(t.dtype(), &element, 0)) ? ~0u : element);
  });
}

/// What bits() gives if every row is that of the plain row function.
std::vector<std::uint32_t> reference_bits(const AddRmsNormArgs& a) {
  const DType type = a.x1.dtype();
  const std::int64_t n = a.gamma.elements(), rows = a.x1.elements() / n;
  const std::int64_t row_bytes = bytes_of(type, n);
  const auto x1 = dense_copy(a.x1), x2 = dense_copy(a.x2), gamma = dense_copy(a.gamma);
  std::vector<std::byte> y(x1.size()), x(x1.size());
  std::vector<float> rstd(static_cast<std::size_t>(rows)), scratch(static_cast<std::size_t>(n));
  for (std::int64_t row = 0; row < rows; ++row)
    rows::reference::add_rmsnorm_row(type, {.n = n,
                                            .m = x1.data() + row * row_bytes,
                                            .residual = x2.data() + row * row_bytes,
                                            .gamma = gamma.data(),
                                            .epsilon = static_cast<float>(a.epsilon),
                                            .y = x.data() + row * row_bytes,
                                            .out = y.data() + row * row_bytes,
                                            .scratch = scratch.data(),
                                            .store = rows::Store::kPlain,
                                            .rstd = &rstd[static_cast<std::size_t>(row)]});
  std::vector<std::uint32_t> bits;
  append_bits(ConstTensorRef(y.data(), type, a.x1.dims()), bits);
  if (a.rstd.given()) append_bits(ConstTensorRef(rstd.data(), DType::kFloat32, {rows}), bits);
  append_bits(ConstTensorRef(x.data(), type, a.x1.dims()), bits);
  return bits;
}

}  // namespace

std::string AddRmsNormCase::text() const {
  return fmt::format(
      "{} ({}) gamma axes {}, strides x1 ({}) x2 ({}) y ({}) rstd ({}) x ({}) gamma ({}), in place "
      "{}, rstd {}, epsilon {}, numbers {}, seed {}",
      to_string(type), fmt::join(dims, ", "), gamma_axes, fmt::join(x1, ", "), fmt::join(x2, ", "),
      fmt::join(y, ", "), fmt::join(rstd_strides, ", "), fmt::join(x, ", "), fmt::join(gamma, ", "),
      static_cast<int>(in_place), rstd, epsilon, static_cast<int>(numbers), seed);
}

AddRmsNormData::AddRmsNormData(const AddRmsNormCase& c) : case_(c) {
  std::mt19937 rng(c.seed);
  const auto leading = static_cast<std::ptrdiff_t>(c.dims.size()) - c.gamma_axes;
  const Dims gamma(c.dims.begin() + leading, c.dims.end());
  Dims rstd = c.dims;
  std::fill(rstd.begin() + leading, rstd.end(), 1);
  x1_ = random_tensor(c, c.dims, c.x1, rng);
  x2_ = random_tensor(c, c.dims, c.x2, rng);
  gamma_ = random_tensor(c, gamma, c.gamma, rng);
  y_ = output_tensor(c.type, c.dims, c.y);
  if (c.rstd) rstd_ = output_tensor(DType::kFloat32, rstd, c.rstd_strides);
  if (c.in_place == InPlace::kNo) x_ = output_tensor(c.type, c.dims, c.x);
}

AddRmsNormArgs AddRmsNormData::args() const {
  AddRmsNormArgs a;
  a.x1 = x1_.view();
  a.x2 = x2_.view();
  a.gamma = gamma_.view();
  a.epsilon = case_.epsilon;
  a.y = y_.writable();
  a.rstd = rstd_.writable();
  a.x = case_.in_place == InPlace::kX1   ? x1_.writable()
        : case_.in_place == InPlace::kX2 ? x2_.writable()
                                         : x_.writable();
  return a;
}

AddRmsNormArgs AddRmsNormData::reference_args() const {
  AddRmsNormArgs a = args();
  a.x1 = x1_.original();
  a.x2 = x2_.original();
  return a;
}

std::vector<std::uint32_t> AddRmsNormData::bits() const {
  const AddRmsNormArgs a = args();
  std::vector<std::uint32_t> bits;
  append_bits(a.y, bits);
  append_bits(a.rstd, bits);
  append_bits(a.x, bits);
  return bits;
}

std::vector<GuardedTensor*> AddRmsNormData::all() {
  return {&x1_, &x2_, &gamma_, &y_, &rstd_, &x_};
}

bool AddRmsNormData::guards_intact() const {
  const bool x1_ok = case_.in_place == InPlace::kX1 ? x1_.guards_intact() : x1_.unchanged();
  const bool x2_ok = case_.in_place == InPlace::kX2 ? x2_.guards_intact() : x2_.unchanged();
  return x1_ok && x2_ok && gamma_.unchanged() && y_.guards_intact() && rstd_.guards_intact() &&
         x_.guards_intact();
}

bool AddRmsNormData::outputs_untouched() const {
  return y_.unchanged() && rstd_.unchanged() && x_.unchanged() && x1_.unchanged() &&
         x2_.unchanged();
}

void AddRmsNormData::reset() {
  for (GuardedTensor* tensor : all()) tensor->reset();
}

void expect_correct(const AddRmsNormCase& c, const AddRmsNormData& data) {
  SCOPED_TRACE(c.text());
  const AddRmsNormArgs a = data.reference_args();
  ASSERT_EQ(data.bits(), reference_bits(a));
  const std::int64_t rows = a.x1.elements() / a.gamma.elements();
  for (std::int64_t row = 0; row < rows; ++row) {
    const ops::RowError error = ops::check_row(a, row);
    ASSERT_LE(error.worst, 1) << error.where << ", row " << row;
  }
  EXPECT_TRUE(data.guards_intact());
}

}  // namespace weft::testing
