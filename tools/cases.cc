// SPDX-License-Identifier: Apache-2.0
#include "cases.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "base/float16.h"

namespace weft::tools {
namespace {

constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16;
constexpr DTypeRow kRows[] = {
    // name, x1, x2, bias, scale, residual = gamma = y = norm_out
    {"A1", kF16, kF16, kF16, kF16, kF16},
    {"A2", kBf16, kBf16, kBf16, kBf16, kBf16},
    {"A3", DType::kInt8, DType::kInt8, DType::kInt32, DType::kUInt64, kF16},
    {"A4", DType::kInt8, DType::kInt8, DType::kInt32, DType::kInt64, kF16},
    {"A5", DType::kInt8, DType::kInt8, DType::kInt32, kBf16, kBf16},
    {"A6", kF16, DType::kInt8, kF16, kF16, kF16},
    {"A7", kBf16, DType::kInt8, kBf16, kBf16, kBf16},
    {"A8", kF16, DType::kInt4, kF16, kF16, kF16},
    {"A9", kBf16, DType::kInt4, kBf16, kBf16, kBf16},
};

std::string_view to_string(ScaleShape scale) {
  constexpr std::string_view kNames[] = {"per tensor", "per column", "per column (1, n)",
                                         "per group"};
  return kNames[static_cast<int>(scale)];
}

std::uint16_t round_to(DType dtype, double value) {
  return dtype == kF16 ? f64_to_fp16(value) : f64_to_bf16(value);
}

// Root mean square of integers that take all values of `bits` bits equally often.
double spread_of_integers(int bits) { return std::ldexp(1.0, bits - 1) / std::sqrt(3.0); }

/// Makes the operands of one rank; one method per operand or group of them.
class Maker {
 public:
  Maker(const Case& c, int rank, int ranks, bool with_values)
      : case_(c),
        row_(*c.row),
        rank_(rank),
        with_values_(with_values),
        k_(c.shape.k_of(rank)),
        root_k_(std::sqrt(static_cast<double>(std::max<std::int64_t>(c.shape.k_total(ranks), 1)))) {
  }

  Result<Operands> make() {
    std::vector<std::int64_t> x1_dims = case_.shape.rows;
    x1_dims.push_back(k_);
    // residual is always 3-D, also for a 2-D x1.
    std::vector<std::int64_t> residual_dims = case_.shape.rows;
    if (residual_dims.size() == 1) residual_dims.insert(residual_dims.begin(), 1);
    residual_dims.push_back(case_.shape.n);
    WEFT_RETURN_IF_ERROR(add(OperandId::kX1, row_.x1, x1_dims, -1, 1));
    WEFT_RETURN_IF_ERROR(add_x2());
    WEFT_RETURN_IF_ERROR(add_scales());
    WEFT_RETURN_IF_ERROR(add_bias());
    WEFT_RETURN_IF_ERROR(add(OperandId::kResidual, row_.io, residual_dims, -2, 2));
    WEFT_RETURN_IF_ERROR(add(OperandId::kGamma, row_.io, {case_.shape.n}, 0.5, 1.5));
    made_.epsilon = case_.epsilon;
    return std::move(made_);
  }

 private:
  Random random(OperandId id) const {
    const bool tail = id == OperandId::kResidual || id == OperandId::kGamma;
    return Random(case_.seed, tail && case_.equal_tail ? 0 : rank_, static_cast<int>(id));
  }

  /// Floats are uniform in [low, high); int8 and int4 use all their values.
  Status add(OperandId id, DType dtype, std::vector<std::int64_t> dims, double low, double high) {
    WEFT_ASSIGN_OR_RETURN(Operand operand, Operands::make(id, dtype, std::move(dims)));
    operand.source = "random";
    Random values = random(id);
    const std::int64_t count = operand.tensor.elements();
    std::byte* to = operand.memory.data();
    if (!with_values_) {
      // Fresh pages are never touched, so this costs nothing.
    } else if (info(dtype).unit_roundoff > 0) {
      fill_floats(values, dtype, low, high, count, to);
    } else {
      const std::int64_t bytes = bytes_of(dtype, count);
      for (std::int64_t i = 0; i < bytes; i += 8) {
        const std::uint64_t word = values.next();
        std::memcpy(to + i, &word, static_cast<std::size_t>(std::min<std::int64_t>(8, bytes - i)));
      }
    }
    made_[id] = std::move(operand);
    return {};
  }

  Status add_x2() {
    // x1 uniform in (-1, 1) and this range give a sum over all ranks with variance 1.
    const double high = 3 / root_k_;
    std::vector<std::int64_t> dims = {k_, case_.shape.n};
    if (case_.transpose_x2) std::swap(dims[0], dims[1]);
    WEFT_RETURN_IF_ERROR(add(OperandId::kX2, row_.x2, dims, -high, high));
    Operand& x2 = made_[OperandId::kX2];
    if (case_.transpose_x2) x2.tensor = x2.tensor.transposed();
    return {};
  }

  std::vector<std::int64_t> scale_dims() const {
    switch (case_.scale) {
      case ScaleShape::kTensor:
        return {1};
      case ScaleShape::kColumn:
        return {case_.shape.n};
      case ScaleShape::kColumn2d:
        return {1, case_.shape.n};
      case ScaleShape::kGroup:
        break;
    }
    return {ceil_div(k_, case_.group_size), case_.shape.n};
  }

  Status add_scales() {
    if (row_.scenario() == ops::Scenario::kFloat) return {};
    if (row_.scenario() == ops::Scenario::kQuant) {
      const double spread = spread_of_integers(8);
      return add_dequant_scale(1 / (spread * spread * root_k_));
    }
    const int bits = info(row_.x2).bits;
    const double scale = std::sqrt(3.0) / (spread_of_integers(bits) * root_k_);
    WEFT_RETURN_IF_ERROR(
        add(OperandId::kAntiquantScale, row_.scale, scale_dims(), 0.5 * scale, 1.5 * scale));
    const double offset = bits == 8 ? 16 : 2;
    if (case_.offset) {
      WEFT_RETURN_IF_ERROR(
          add(OperandId::kAntiquantOffset, row_.scale, scale_dims(), -offset, offset));
    }
    if (case_.scale == ScaleShape::kGroup) made_.group_size = case_.group_size;
    return {};
  }

  Status add_dequant_scale(double scale) {
    if (row_.scale == kBf16)
      return add(OperandId::kDequantScale, kBf16, scale_dims(), 0.5 * scale, 1.5 * scale);
    WEFT_ASSIGN_OR_RETURN(Operand operand,
                          Operands::make(OperandId::kDequantScale, row_.scale, scale_dims()));
    operand.source = "random";
    Random values = random(OperandId::kDequantScale);
    auto* words = reinterpret_cast<std::uint64_t*>(operand.memory.data());
    for (std::int64_t i = 0; i < operand.tensor.elements(); ++i)
      words[i] = pack_scale(static_cast<float>(values.uniform(0.5 * scale, 1.5 * scale)));
    made_[OperandId::kDequantScale] = std::move(operand);
    return {};
  }

  Status add_bias() {
    if (!case_.bias) return {};
    if (row_.bias != DType::kInt32) return add(OperandId::kBias, row_.bias, {case_.shape.n}, -1, 1);
    WEFT_ASSIGN_OR_RETURN(Operand operand,
                          Operands::make(OperandId::kBias, DType::kInt32, {case_.shape.n}));
    operand.source = "random";
    Random values = random(OperandId::kBias);
    const double most = spread_of_integers(8) * spread_of_integers(8) * root_k_;
    auto* to = reinterpret_cast<std::int32_t*>(operand.memory.data());
    for (std::int64_t i = 0; i < case_.shape.n; ++i)
      to[i] = static_cast<std::int32_t>(values.uniform(-most, most));
    made_[OperandId::kBias] = std::move(operand);
    return {};
  }

  const Case& case_;
  const DTypeRow& row_;
  int rank_;
  bool with_values_;
  std::int64_t k_;
  double root_k_;
  Operands made_;
};

}  // namespace

std::span<const DTypeRow> dtype_rows() { return kRows; }

Result<const DTypeRow*> find_dtype_row(std::string_view name) {
  std::string names;
  for (const DTypeRow& row : kRows) {
    if (row.name == name) return &row;
    names +=
        fmt::format("\n  {}  x1 {}, x2 {}, bias {}, scale {}, the rest {}", row.name,
                    weft::to_string(row.x1), weft::to_string(row.x2), weft::to_string(row.bias),
                    row.scenario() == ops::Scenario::kFloat ? "none" : weft::to_string(row.scale),
                    weft::to_string(row.io));
  }
  return Status(StatusCode::kInvalidArgument,
                fmt::format("there is no row '{}'. The rows are:{}", name, names));
}

std::string Case::text(int ranks) const {
  std::string text = fmt::format("{} {} ranks {}", row->name, shape.text(), ranks);
  if (row->scenario() != ops::Scenario::kFloat) text += fmt::format(", scale {}", to_string(scale));
  if (offset && row->scenario() == ops::Scenario::kWeightQuant) text += ", offset";
  if (bias) text += ", bias";
  if (transpose_x2) text += ", x2 transposed";
  return text + fmt::format(", seed {}", seed);
}

Result<Operands> RandomSource::make(int rank, int ranks) const {
  return Maker(case_, rank, ranks, with_values_).make();
}

Random::Random(std::uint64_t seed, int rank, int stream) : state_(seed) {
  // next() mixes well, so hashing the keys in one after the other separates the sequences.
  state_ = next() ^ static_cast<std::uint64_t>(rank);
  state_ = next() ^ static_cast<std::uint64_t>(stream);
  state_ = next();
}

// SplitMix64: one add, two multiplies; passes BigCrush, and any state is a good state.
std::uint64_t Random::next() {
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

double Random::uniform(double low, double high) {
  return low + (high - low) * static_cast<double>(next() >> 11) * 0x1p-53;
}

void fill_floats(Random& random, DType dtype, double low, double high, std::int64_t count,
                 void* to) {
  auto* out = static_cast<std::uint16_t*>(to);
  // Rounding each of hundreds of millions of values costs seconds. A table of values that were
  // drawn and rounded one by one, read at random places, costs one random word for four of them.
  constexpr std::int64_t kTable = 1 << 14;
  std::int64_t i = 0;
  if (count > 4 * kTable) {
    std::vector<std::uint16_t> table(kTable);
    for (std::uint16_t& entry : table) entry = round_to(dtype, random.uniform(low, high));
    for (; i + 4 <= count; i += 4) {
      const std::uint64_t word = random.next();
      for (int j = 0; j < 4; ++j) out[i + j] = table[(word >> (16 * j)) % kTable];
    }
  }
  for (; i < count; ++i) out[i] = round_to(dtype, random.uniform(low, high));
}

std::uint64_t pack_scale(float scale) {
  return (std::uint64_t{1} << 46) | (std::bit_cast<std::uint32_t>(scale) & 0xffffe000u);
}

}  // namespace weft::tools
