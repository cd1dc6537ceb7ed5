// SPDX-License-Identifier: Apache-2.0
#include "ffn_case.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "base/float16.h"

namespace weft::cann {
namespace {

using Make = std::function<double(std::int64_t)>;

constexpr std::uint64_t kFlag = std::uint64_t{1} << 46;  // aclnnTransQuantParam sets it

int mantissa_bits(aclDataType dtype) { return dtype == ACL_FLOAT16 ? 11 : 8; }

double nearest(aclDataType dtype, double v) {
  return dtype == ACL_FLOAT16 ? fp16_to_f32(f64_to_fp16(v)) : bf16_to_f32(f64_to_bf16(v));
}
/// Ties away from zero. No subnormals.
double away(aclDataType dtype, double v) {
  if (v == 0) return v;
  const double ulp = std::ldexp(1, std::ilogb(v) + 1 - mantissa_bits(dtype));
  return std::round(v / ulp) * ulp;
}

double apply(const std::string& name, double v) {
  if (name == "relu" || name == "reglu") return std::max(v, 0.0);
  if (name == "silu" || name == "swiglu") return v / (1 + std::exp(-v));
  if (name == "fastgelu") return v / (1 + std::exp(-1.702 * v));
  return v / (1 + std::exp(-1.5957691216057308 * (v + 0.044715 * v * v * v)));
}
bool is_gate(const std::string& name) { return name.ends_with("glu"); }

/// The bits that a dequantisation scale leaves unread, set to something.
std::uint32_t with_low_bits(float value, std::size_t i) {
  return std::bit_cast<std::uint32_t>(value) |
         static_cast<std::uint32_t>((i * 2654435761U) & 0x1fff);
}

template <typename T>
void put(std::vector<std::byte>& memory, std::size_t i, T value) {
  std::memcpy(memory.data() + i * sizeof(T), &value, sizeof(T));
}

void store(FfnOperand& o, std::size_t at, double value, std::size_t i) {
  const auto integer = static_cast<std::int64_t>(value);
  switch (o.dtype) {
    case ACL_FLOAT16:
      return put(o.memory, at, f64_to_fp16(value));
    case ACL_BF16:
      return put(o.memory, at, f64_to_bf16(value));
    case ACL_FLOAT:
      return put(o.memory, at, static_cast<float>(value));
    case ACL_INT8:
      return put(o.memory, at, static_cast<std::int8_t>(integer));
    case ACL_INT32:
      return put(o.memory, at, static_cast<std::int32_t>(integer));
    case ACL_INT4:
      o.memory[at / 2] |= static_cast<std::byte>((integer & 0xf) << (at % 2 * 4));
      return;
    default:  // a word that packs a scale
      put(o.memory, at, kFlag | with_low_bits(static_cast<float>(value), i));
  }
}

std::int64_t count(const Dims& dims) {
  std::int64_t product = 1;
  for (std::int64_t dim : dims) product *= dim;
  return product;
}

std::size_t bytes_of(aclDataType dtype, std::int64_t elements) {
  const auto n = static_cast<std::size_t>(elements);
  return dtype == ACL_INT4 ? (n + 1) / 2 : n * aclDataTypeSize(dtype);
}

/// Values by their index; matrices lie transposed if asked for.
FfnOperand made(aclDataType dtype, Dims dims, const Make& value, bool transposed = false) {
  FfnOperand o{dtype, dims, {}, {}, std::vector<std::byte>(bytes_of(dtype, count(dims)))};
  const std::int64_t n = dims.back(), k = transposed ? dims[dims.size() - 2] : 1;
  if (transposed && dims.size() == 3) o.strides = {k * n, 1, k};
  if (transposed && dims.size() == 2) o.strides = {1, k};
  for (std::int64_t i = 0; i < count(dims); ++i) {
    o.values.push_back(value(i));
    const std::int64_t matrix = i / (k * n) * (k * n), within = i % (k * n);
    const std::int64_t at = transposed ? matrix + within % n * k + within / n : i;
    store(o, static_cast<std::size_t>(at), o.values.back(), static_cast<std::size_t>(i));
  }
  return o;
}

}  // namespace

const std::vector<FfnRow>& ffn_rows() {
  constexpr auto f16 = ACL_FLOAT16, bf = ACL_BF16, s8 = ACL_INT8, s4 = ACL_INT4, s32 = ACL_INT32,
                 f32 = ACL_FLOAT, u64 = ACL_UINT64, s64 = ACL_INT64, none = ACL_DT_UNDEFINED;
  static const std::vector<FfnRow> rows = {
      {"float16", f16, f16, f16, f16, 1},
      {"float16 high precision", f16, f16, f16, f16, 0},
      {"bfloat16", bf, bf, f32, bf, 0},
      {"int8 uint64", s8, s8, s32, f16, 0, u64},
      {"int8 uint64 per channel", s8, s8, s32, f16, 1, u64, true},
      {"int8 int64", s8, s8, s32, f16, 1, s64},
      {"int8 float", s8, s8, s32, f16, 0, f32},
      {"int8 bfloat16", s8, s8, s32, bf, 0, bf},
      {"int8 bfloat16 per channel", s8, s8, s32, bf, 1, bf, true},
      {"float16 int8 weights", f16, s8, f16, f16, 0},
      {"float16 int4 weights", f16, s4, f16, f16, 1},
      {"float16 int4 weights per group", f16, s4, f16, f16, 0, none, false, 3, 4},
      {"bfloat16 int8 weights", bf, s8, f32, bf, 1},
      {"bfloat16 int4 weights per group", bf, s4, f32, bf, 0, none, false, 4, 2},
  };
  return rows;
}

const FfnRow& ffn_row(const std::string& name) {
  for (const FfnRow& row : ffn_rows())
    if (name == row.name) return row;
  ADD_FAILURE() << name;
  return ffn_rows()[0];
}

Described FfnOperand::describe() {
  Described d(dtype, dims);
  d.strides = strides;
  d.storage = {count(dims)};  // flat, as PyTorch's are
  d.data = memory.data();
  return d;
}

FfnCase::FfnCase(const FfnRow& of, const Options& options)
    : row(of), with(options), tokens(options.counts) {
  if (row.is_int8())
    make_int8();
  else if (row.is_restored())
    make_restored();
  else
    make_float();
  y.assign(static_cast<std::size_t>(2 * with.m * with.k1), kUntouched);
}

std::int64_t FfnCase::columns() const { return is_gate(with.activation) ? with.n1 / 2 : with.n1; }

namespace {

/// What the operands of one case are made with.
struct Maker {
  std::mt19937 random;
  std::int64_t experts;

  Dims of(Dims dims) const {
    if (experts > 0) dims.insert(dims.begin(), experts);
    return dims;
  }
  /// Integers from -most to most, times a factor.
  Make integers(int most, double factor = 1) {
    return [this, most, factor](std::int64_t) {
      return factor * (static_cast<int>(random() % static_cast<unsigned>(2 * most + 1)) - most);
    };
  }
};

}  // namespace

// Sums below 2^24 of integers. y fits float16.
void FfnCase::make_float() {
  const bool gate = is_gate(with.activation);
  Maker make{std::mt19937(with.seed), experts()};
  auto& o = operands;
  o["x"] = made(row.x, {with.m, with.k1}, make.integers(gate ? 3 : 60));
  o["weight1"] = made(row.weight, make.of({with.k1, with.n1}), make.integers(gate ? 3 : 15),
                      with.transposed_weights);
  o["weight2"] =
      made(row.weight, make.of({columns(), with.k1}),
           make.integers(gate ? 3 : 15, std::ldexp(1, gate ? -6 : -10)), with.transposed_weights);
  if (!with.biases) return;
  o["bias1"] = made(row.bias, make.of({with.n1}), make.integers(40));
  o["bias2"] = made(row.bias, make.of({with.k1}), make.integers(40));
}

// Products with the scales are exact. The activation reaches both ends of int8.
void FfnCase::make_int8() {
  Maker make{std::mt19937(with.seed), experts()};
  auto& o = operands;
  o["x"] = made(row.x, {with.m, with.k1}, make.integers(127));
  o["weight1"] =
      made(row.weight, make.of({with.k1, with.n1}), make.integers(127), with.transposed_weights);
  o["weight2"] =
      made(row.weight, make.of({with.n1, with.k1}), make.integers(127), with.transposed_weights);
  const auto steps = [](double factor) {
    return [factor](std::int64_t i) { return static_cast<double>(1 + i % 4) * factor; };
  };
  o["deqScale1"] = made(row.deq_scale, make.of({with.n1}), steps(0x1p-10));
  o["deqScale2"] = made(row.deq_scale, make.of({with.k1}), steps(0x1p-9));
  const Dims one = with.counts.empty() ? Dims{1} : make.of({});
  const auto tenths = [](std::int64_t i) { return static_cast<float>(0.2 + 0.1 * double(i % 3)); };
  o["scale"] = made(ACL_FLOAT, row.per_channel ? make.of({with.n1}) : one, tenths);
  o["offset"] =
      made(ACL_FLOAT, one, [](std::int64_t i) { return static_cast<float>(-130.3 + double(i)); });
  if (!with.biases) return;
  o["bias1"] = made(row.bias, make.of({with.n1}), make.integers(4000));
  o["bias2"] = made(row.bias, make.of({with.k1}), make.integers(4000));
}

// Restored weights are multiples of 2^-10 below 16, both roundings of float16 among them.
void FfnCase::make_restored() {
  Maker make{std::mt19937(with.seed), experts()};
  auto& o = operands;
  const int most = row.weight == ACL_INT4 ? 7 : 127;
  o["x"] = made(row.x, {with.m, with.k1}, make.integers(7));
  o["weight1"] =
      made(row.weight, make.of({with.k1, with.n1}), make.integers(most), with.transposed_weights);
  o["weight2"] =
      made(row.weight, make.of({with.n1, with.k1}), make.integers(most), with.transposed_weights);
  const auto shape = [&](std::int64_t groups, std::int64_t n) {
    return make.of(groups > 0 ? Dims{groups, n} : Dims{n});
  };
  for (const char* which : {"1", "2"}) {
    const bool second = *which == '2';
    const Dims dims = shape(second ? row.groups2 : row.groups1, second ? with.k1 : with.n1);
    o[std::string("antiquantScale") + which] =
        made(row.x, dims, [](std::int64_t i) { return static_cast<double>(1 + i % 3) / 32; });
    o[std::string("antiquantOffset") + which] =
        made(row.x, dims, [](std::int64_t i) { return static_cast<double>(i % 7 * 2 - 7) / 32; });
  }
  if (!with.biases) return;
  o["bias1"] = made(row.bias, make.of({with.n1}), make.integers(20));
  o["bias2"] = made(row.bias, make.of({with.k1}), make.integers(20));
}

EntryCall FfnCase::call(const std::string& op) {
  EntryCall c;
  c.op = op;
  for (auto& [name, operand] : operands) c.tensors[name] = operand.describe();
  Described out(row.y, {with.m, with.k1});
  out.data = y.data();
  c.tensors["y"] = out;
  c.activation = with.activation;
  c.inner_precise = row.inner_precise;
  if (with.counts.empty()) return c;
  Described of_tokens(ACL_INT64, {experts()});
  of_tokens.data = tokens.data();
  if (op == "aclnnFFNV3") c.tensors["expertTokens"] = of_tokens;
  c.expert_tokens = with.counts;
  c.tokens_are_ends = op == "aclnnFFNV2";
  for (std::size_t e = 1; c.tokens_are_ends && e < with.counts.size(); ++e)
    (*c.expert_tokens)[e] += (*c.expert_tokens)[e - 1];
  return c;
}

double FfnCase::at(const std::string& name, std::int64_t expert, std::int64_t i) const {
  const auto found = operands.find(name);
  if (found == operands.end()) return 0;
  const auto& values = found->second.values;
  const auto each = values.size() / (with.counts.empty() ? 1 : with.counts.size());
  return values[static_cast<std::size_t>(expert) * each + static_cast<std::size_t>(i) % each];
}

double FfnCase::weight(int product, std::int64_t e, std::int64_t k, std::int64_t n) const {
  const std::string which = std::to_string(product);
  const std::int64_t rows = product == 1 ? with.k1 : columns();
  const std::int64_t width = product == 1 ? with.n1 : with.k1;
  const double w = at("weight" + which, e, k * width + n);
  if (!row.is_restored()) return w;
  const std::int64_t groups = std::max<std::int64_t>(product == 1 ? row.groups1 : row.groups2, 1);
  const std::int64_t i = k / (rows / groups) * width + n;
  const double scale = at("antiquantScale" + which, e, i);
  const double sum = w + at("antiquantOffset" + which, e, i);
  return nearest(row.x, (row.x == ACL_FLOAT16 ? nearest(row.x, sum) : sum) * scale);
}

std::vector<double> FfnCase::first(std::int64_t r, std::int64_t e) const {
  std::vector<double> h;
  for (std::int64_t n = 0; n < with.n1; ++n) {
    double sum = at("bias1", e, n);
    for (std::int64_t k = 0; k < with.k1; ++k)
      sum +=
          operands.at("x").values[static_cast<std::size_t>(r * with.k1 + k)] * weight(1, e, k, n);
    if (row.is_int8()) sum *= at("deqScale1", e, n);
    const bool to_half =
        row.is_int8() ? row.y == ACL_FLOAT16
                      : row.x == ACL_FLOAT16 && (row.is_restored() || row.inner_precise == 1);
    h.push_back(to_half ? nearest(ACL_FLOAT16, sum) : sum);
  }
  return h;
}

std::vector<double> FfnCase::activated(const std::vector<double>& h, std::int64_t e) const {
  std::vector<double> a;
  const bool gate = is_gate(with.activation);
  for (std::int64_t i = 0; i < columns(); ++i) {
    const auto at_i = static_cast<std::size_t>(i);
    double v = apply(with.activation, h[gate ? at_i + static_cast<std::size_t>(columns()) : at_i]);
    if (gate) v *= h[at_i];
    if (row.is_int8()) {
      const auto half = [](double x) { return nearest(ACL_FLOAT16, x); };
      v = half(half(half(v) * half(at("scale", e, i))) + half(at("offset", e, 0)));
      v = std::clamp(std::nearbyint(v), -128.0, 127.0);
    } else {
      const bool even = gate || (row.x == ACL_FLOAT16 && (row.is_restored() || row.inner_precise));
      v = even ? nearest(row.x, v) : away(row.x, v);
    }
    a.push_back(v);
  }
  return a;
}

// One rounding of y, and one for each term of a sum in fp32.
void FfnCase::check_row(std::int64_t r, std::int64_t e, double slack) const {
  const std::vector<double> a = activated(first(r, e), e);
  const double unit = std::ldexp(1, -mantissa_bits(row.y));
  for (std::int64_t n = 0; n < with.k1; ++n) {
    double sum = at("bias2", e, n), size = std::fabs(sum);
    for (std::int64_t k = 0; k < columns(); ++k) {
      const double term = a[static_cast<std::size_t>(k)] * weight(2, e, k, n);
      sum += term;
      size += std::fabs(term);
    }
    const double scale = row.is_int8() ? at("deqScale2", e, n) : 1;
    const double terms = row.is_int8() ? 0 : static_cast<double>(columns() + 1) * 0x1p-24;
    const double bound =
        scale * (std::fabs(sum) * unit * 1.001 +
                 size * (terms + slack * 2 * std::ldexp(1, -mantissa_bits(row.y))));
    std::uint16_t bits = 0;
    std::memcpy(&bits, y.data() + 2 * (r * with.k1 + n), sizeof bits);
    const double got = row.y == ACL_FLOAT16 ? fp16_to_f32(bits) : bf16_to_f32(bits);
    ASSERT_LE(std::fabs(got - sum * scale), bound)
        << row.name << " " << with.activation << ": row " << r << " column " << n << " expert " << e
        << " is " << got << " but must be " << sum * scale;
  }
}

void FfnCase::check(double slack) const {
  std::int64_t r = 0;
  if (with.counts.empty())
    for (; r < with.m; ++r) check_row(r, 0, slack);
  for (std::int64_t e = 0; e < experts(); ++e)
    for (const std::int64_t end = r + with.counts[static_cast<std::size_t>(e)]; r < end; ++r)
      check_row(r, e, slack);
  for (auto i = static_cast<std::size_t>(2 * r * with.k1); i < y.size(); ++i)
    ASSERT_EQ(y[i], kUntouched) << row.name << ": byte " << i << " of a row without an expert";
}

}  // namespace weft::cann
