// SPDX-License-Identifier: Apache-2.0
#include "collectives_case.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <type_traits>

#include "base/float16.h"

namespace weft::testing {
namespace {

constexpr std::int64_t kGuard = 128;
constexpr std::byte kCanary{0xc5};

using Elements = std::vector<std::byte>;

template <class T>
T combine(ReduceOp op, T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::uint64_t;  // wraps
    if (op == ReduceOp::kSum) return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
    if (op == ReduceOp::kProd) return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
    if (op == ReduceOp::kBand) return static_cast<T>(a & b);
    if (op == ReduceOp::kBor) return static_cast<T>(a | b);
    if (op == ReduceOp::kBxor) return static_cast<T>(a ^ b);
  } else {
    if (op == ReduceOp::kSum || op == ReduceOp::kAvg) return a + b;
    if (op == ReduceOp::kProd) return a * b;
    if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
  }
  return op == ReduceOp::kMax ? (a > b ? a : b) : (a < b ? a : b);
}

template <class T>
T element(const Elements& from, std::int64_t i) {
  T value;
  std::memcpy(&value, from.data() + i * static_cast<std::int64_t>(sizeof(T)), sizeof value);
  return value;
}

/// `count` elements of all ranks become those of the result; rank r's begin at begin[r].
template <class T, class Sum = T>
void reduce_as(
    ReduceOp op, const std::vector<Elements>& inputs, const std::vector<std::int64_t>& begin,
    std::int64_t count, std::byte* to,
    Sum (*widen)(T) = [](T value) { return static_cast<Sum>(value); },
    T (*narrow)(Sum) = [](Sum value) { return static_cast<T>(value); }) {
  for (std::int64_t i = 0; i < count; ++i) {
    Sum sum = widen(element<T>(inputs[0], begin[0] + i));
    for (std::size_t r = 1; r < inputs.size(); ++r)
      sum = combine(op, sum, widen(element<T>(inputs[r], begin[r] + i)));
    if (op == ReduceOp::kAvg)
      sum = static_cast<Sum>(sum * (Sum{1} / static_cast<Sum>(inputs.size())));
    const T result = narrow(sum);
    std::memcpy(to + i * static_cast<std::int64_t>(sizeof(T)), &result, sizeof result);
  }
}

void reduce_elements(DType dtype, ReduceOp op, const std::vector<Elements>& inputs,
                     const std::vector<std::int64_t>& begin, std::int64_t count, std::byte* to) {
  switch (dtype) {
    case DType::kFloat16:
      return reduce_as<std::uint16_t, float>(op, inputs, begin, count, to, fp16_to_f32,
                                             f32_to_fp16);
    case DType::kBFloat16:
      return reduce_as<std::uint16_t, float>(op, inputs, begin, count, to, bf16_to_f32,
                                             f32_to_bf16);
#define WEFT_REDUCE_TYPE(enumerator, name, type) \
  case DType::enumerator:                        \
    return reduce_as<type>(op, inputs, begin, count, to);
#include "kernels/reduce/types.inc"
#undef WEFT_REDUCE_TYPE
    default:
      FAIL() << to_string(dtype);
  }
}

template <class Float>
bool both_nan(const std::byte* a, const std::byte* b) {
  Float x, y;
  std::memcpy(&x, a, sizeof x);
  std::memcpy(&y, b, sizeof y);
  return std::isnan(x) && std::isnan(y);
}

bool both_nan(DType dtype, const std::byte* a, const std::byte* b) {
  std::uint16_t x, y;
  std::memcpy(&x, a, sizeof x);
  std::memcpy(&y, b, sizeof y);
  if (dtype == DType::kFloat16) return std::isnan(fp16_to_f32(x)) && std::isnan(fp16_to_f32(y));
  if (dtype == DType::kBFloat16) return std::isnan(bf16_to_f32(x)) && std::isnan(bf16_to_f32(y));
  if (dtype == DType::kFloat32) return both_nan<float>(a, b);
  return dtype == DType::kFloat64 && both_nan<double>(a, b);
}

std::int64_t sum(const std::vector<std::int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

constexpr const char* kNames[] = {"allreduce", "reduce",     "reduce_scatter", "reduce_scatterv",
                                  "allgather", "allgatherv", "broadcast",      "scatter",
                                  "alltoall",  "alltoallv",  "alltoallvc"};

/// A part that travels: `count` elements from `from` on in the sender's buffer to `to` on.
struct Part {
  int sender;
  std::int64_t from, to, count;
};

std::vector<std::int64_t> row(const CollectiveCase& c, int rank) {
  const auto all = c.matrix();
  return {all.begin() + rank * c.ranks, all.begin() + (rank + 1) * c.ranks};
}

std::vector<std::int64_t> column(const CollectiveCase& c, int rank) {
  const auto all = c.matrix();
  std::vector<std::int64_t> column;
  for (int r = 0; r < c.ranks; ++r)
    column.push_back(all[static_cast<std::size_t>(r * c.ranks + rank)]);
  return column;
}

/// Where parts of these counts begin: in an order of the rank's own, with gaps. `dense`: in rank
/// order, without gaps.
std::vector<std::int64_t> place(const std::vector<std::int64_t>& counts, int rank, bool dense) {
  std::vector<std::int64_t> offsets(counts.size());
  std::int64_t next = dense ? 0 : rank % 3;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const std::size_t q = dense ? i : (i + static_cast<std::size_t>(rank)) % counts.size();
    offsets[q] = next;
    next += counts[q] + (dense ? 0 : static_cast<std::int64_t>(q) % 3);
  }
  return offsets;
}

std::int64_t end_of(const std::vector<std::int64_t>& counts,
                    const std::vector<std::int64_t>& offsets) {
  std::int64_t end = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) end = std::max(end, offsets[i] + counts[i]);
  return end;
}

std::vector<Part> parts_to(const CollectiveCase& c, int rank) {
  std::vector<Part> parts;
  const bool dense = c.function == Function::kAllToAllVC;
  for (int r = 0; r < c.ranks; ++r) {
    const auto q = static_cast<std::size_t>(r), me = static_cast<std::size_t>(rank);
    switch (c.function) {
      case Function::kAllGather:
        parts.push_back({r, 0, r * c.count, c.count});
        break;
      case Function::kAllGatherV:
        parts.push_back({r, 0, c.offsets(rank)[q], c.counts()[q]});
        break;
      case Function::kAllToAll:
        parts.push_back({r, rank * c.count, r * c.count, c.count});
        break;
      case Function::kAllToAllV:
      case Function::kAllToAllVC:
        parts.push_back({r, place(row(c, r), r, dense)[me], place(column(c, rank), rank, dense)[q],
                         row(c, r)[me]});
        break;
      case Function::kBroadcast:
        if (r == c.root) parts.push_back({r, 0, 0, c.count});
        break;
      case Function::kScatter:
        if (r == c.root) parts.push_back({r, rank * c.count, 0, c.count});
        break;
      default:
        break;
    }
  }
  return parts;
}

/// Elements of one type of which none is common: half are random bits, half are near one.
void fill(DType dtype, std::vector<std::byte>& elements, std::mt19937_64& random) {
  for (std::byte& byte : elements) byte = static_cast<std::byte>(random());
  const auto write = [&](auto make) {
    for (std::size_t i = 0; i + sizeof(make()) <= elements.size(); i += sizeof(make())) {
      if (random() % 2) continue;
      const auto value = make();
      std::memcpy(elements.data() + i, &value, sizeof value);
    }
  };
  const auto near_one = [&] { return std::normal_distribution<double>()(random); };
  if (dtype == DType::kFloat16) write([&] { return f64_to_fp16(near_one()); });
  if (dtype == DType::kBFloat16) write([&] { return f64_to_bf16(near_one()); });
  if (dtype == DType::kFloat32) write([&] { return static_cast<float>(near_one()); });
  if (dtype == DType::kFloat64) write(near_one);
}

}  // namespace

bool reduces(Function function) { return function <= Function::kReduceScatterV; }

bool reducible(DType dtype, ReduceOp op) {
  const bool floats = dtype == DType::kFloat16 || dtype == DType::kBFloat16 ||
                      dtype == DType::kFloat32 || dtype == DType::kFloat64;
  if (op == ReduceOp::kAvg) return floats;
  return dtype != DType::kBool && (op < ReduceOp::kBand || !floats);
}

std::string CollectiveCase::text() const {
  return fmt::format("{} {} {} ranks {} count {} root {}{} misaligned {} seed {}",
                     kNames[static_cast<int>(function)], to_string(dtype), to_string(op), ranks,
                     count, root, in_place ? " in place" : "", misaligned, seed);
}

std::vector<std::int64_t> CollectiveCase::counts() const {
  std::vector<std::int64_t> counts;
  for (int q = 0; q < ranks; ++q) counts.push_back(q % 3 == 1 ? 0 : count + q % 2 * (count / 2));
  return counts;
}

std::vector<std::int64_t> CollectiveCase::offsets(int rank) const {
  return place(counts(), rank, false);
}

std::vector<std::int64_t> CollectiveCase::matrix() const {
  std::vector<std::int64_t> matrix;
  for (int r = 0; r < ranks; ++r)
    for (int q = 0; q < ranks; ++q) matrix.push_back((r + 2 * q) % 4 == 3 ? 0 : count + r * q);
  return matrix;
}

CollectiveCase::Exchanged CollectiveCase::exchanged(int rank) const {
  const bool dense = function == Function::kAllToAllVC;
  const auto sent = row(*this, rank), received = column(*this, rank);
  return {sent, place(sent, rank, dense), received, place(received, rank, dense)};
}

std::int64_t CollectiveCase::send_elements(int rank) const {
  switch (function) {
    case Function::kReduceScatter:
    case Function::kAllToAll:
      return count * ranks;
    case Function::kReduceScatterV:
      return end_of(counts(), offsets(rank));
    case Function::kAllGatherV:
      return counts()[static_cast<std::size_t>(rank)];
    case Function::kBroadcast:
      return rank == root ? count : 0;
    case Function::kScatter:
      return rank == root ? count * ranks : 0;
    case Function::kAllToAllV:
      return end_of(row(*this, rank), place(row(*this, rank), rank, false));
    case Function::kAllToAllVC:
      return sum(row(*this, rank));
    default:
      return count;
  }
}

std::int64_t CollectiveCase::recv_elements(int rank) const {
  switch (function) {
    case Function::kReduce:
      return rank == root ? count : 0;
    case Function::kReduceScatterV:
      return counts()[static_cast<std::size_t>(rank)];
    case Function::kAllGather:
    case Function::kAllToAll:
      return count * ranks;
    case Function::kAllGatherV:
      return end_of(counts(), offsets(rank));
    case Function::kAllToAllV:
      return end_of(column(*this, rank), place(column(*this, rank), rank, false));
    case Function::kAllToAllVC:
      return sum(column(*this, rank));
    default:
      return count;
  }
}

std::vector<std::byte> CollectiveCase::input(int rank) const {
  std::vector<std::byte> elements(static_cast<std::size_t>(bytes_of(dtype, send_elements(rank))));
  std::mt19937_64 random(seed * 64 + static_cast<std::uint64_t>(rank));
  // A prime number of elements, again and again: no block of a power of two looks like another.
  constexpr std::int64_t kPeriod = 4099;
  const auto period = static_cast<std::size_t>(bytes_of(dtype, kPeriod));
  std::vector<std::byte> first(std::min(elements.size(), period));
  fill(dtype, first, random);
  for (std::size_t i = 0; i < elements.size(); i += period)
    std::copy_n(first.begin(), std::min(period, elements.size() - i), elements.begin() + i);
  return elements;
}

CollectiveMemory::CollectiveMemory(const CollectiveCase& c, int rank) : case_(c), rank_(rank) {
  const std::int64_t element = bytes_of(c.dtype, 1);
  const std::int64_t send_bytes = c.send_elements(rank) * element;
  const std::int64_t recv_bytes = c.recv_elements(rank) * element;
  block_bytes_ = send_bytes + recv_bytes + 3 * kGuard + c.misaligned;
  memory_.assign(static_cast<std::size_t>(block_bytes_ + 64), kCanary);
  const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
  block_ = memory_.data() + (64 - address % 64) % 64;
  send_ = block_ + kGuard + c.misaligned;
  recv_ = send_ + send_bytes + kGuard;
  const auto me = static_cast<std::size_t>(rank);
  if (c.function == Function::kBroadcast) {
    recv_ = send_;
  } else if (c.in_place) {
    switch (c.function) {
      case Function::kAllReduce:
      case Function::kAllToAll:
        recv_ = send_;
        break;
      case Function::kReduce:
        if (rank == c.root) recv_ = send_;
        break;
      case Function::kReduceScatter:  // any part
        recv_ = send_ + (rank + static_cast<int>(c.seed)) % c.ranks * c.count * element;
        break;
      case Function::kReduceScatterV:
        recv_ = send_ + c.offsets(rank)[me] * element;
        break;
      case Function::kAllGather:
        send_ = recv_ + rank * c.count * element;
        break;
      case Function::kAllGatherV:
        send_ = recv_ + c.offsets(rank)[me] * element;
        break;
      case Function::kScatter:
        if (rank == c.root) recv_ = send_ + static_cast<int>(c.seed) % c.ranks * c.count * element;
        break;
      default:
        break;
    }
  }
  const std::vector<std::byte> input = c.input(rank);
  std::ranges::copy(input, send_);
  before_.assign(block_, block_ + block_bytes_);
}

Status CollectiveMemory::call(Context& context, Group& group) {
  const CollectiveCase& c = case_;
  const CollectiveCase::Exchanged parts = c.exchanged(rank_);
  switch (c.function) {
    case Function::kAllReduce:
      return allreduce(context, group, send_, recv_, c.count, c.dtype, c.op);
    case Function::kReduce:
      return weft::reduce(context, group, send_, rank_ == c.root ? recv_ : nullptr, c.count,
                          c.dtype, c.op, c.root);
    case Function::kReduceScatter:
      return reduce_scatter(context, group, send_, recv_, c.count, c.dtype, c.op);
    case Function::kReduceScatterV:
      return reduce_scatterv(context, group, send_, c.counts(), c.offsets(rank_), recv_, c.dtype,
                             c.op);
    case Function::kAllGather:
      return allgather(context, group, send_, recv_, c.count, c.dtype);
    case Function::kAllGatherV:
      return allgatherv(context, group, send_, recv_, c.counts(), c.offsets(rank_), c.dtype);
    case Function::kBroadcast:
      return broadcast(context, group, recv_, c.count, c.dtype, c.root);
    case Function::kScatter:
      return scatter(context, group, rank_ == c.root ? send_ : nullptr, recv_, c.count, c.dtype,
                     c.root);
    case Function::kAllToAll:
      return alltoall(context, group, send_, recv_, c.count, c.dtype);
    case Function::kAllToAllV:
      return alltoallv(
          context, group, send_, recv_,
          {parts.send_counts, parts.send_offsets, parts.recv_counts, parts.recv_offsets}, c.dtype);
    case Function::kAllToAllVC:
      return alltoallvc(context, group, send_, recv_, c.matrix(), c.dtype);
  }
  return {};
}

std::vector<std::byte> CollectiveMemory::expected() const {
  const CollectiveCase& c = case_;
  std::vector<std::byte> block = before_;
  const std::int64_t element = bytes_of(c.dtype, 1);
  std::vector<std::vector<std::byte>> inputs;
  for (int r = 0; r < c.ranks; ++r) inputs.push_back(c.input(r));
  std::byte* const recv = block.data() + (recv_ - block_);
  if (!reduces(c.function)) {
    for (const Part& part : parts_to(c, rank_))
      std::copy_n(inputs[static_cast<std::size_t>(part.sender)].begin() + part.from * element,
                  part.count * element, recv + part.to * element);
    return block;
  }
  std::vector<std::int64_t> begin(inputs.size());
  for (int r = 0; r < c.ranks; ++r) {
    std::int64_t& mine = begin[static_cast<std::size_t>(r)];
    if (c.function == Function::kReduceScatter) mine = rank_ * c.count;
    if (c.function == Function::kReduceScatterV)
      mine = c.offsets(r)[static_cast<std::size_t>(rank_)];
  }
  reduce_elements(c.dtype, c.op, inputs, begin, c.recv_elements(rank_), recv);
  return block;
}

void CollectiveMemory::expect_correct() const { expect_equal(expected()); }
void CollectiveMemory::expect_untouched() const { expect_equal(before_); }

void CollectiveMemory::give_up() {
  given_up_.assign(block_, block_ + block_bytes_);
  std::fill_n(block_, block_bytes_, std::byte{0xee});
}

void CollectiveMemory::expect_equal(const std::vector<std::byte>& wanted) const {
  const std::byte* const got = given_up_.empty() ? block_ : given_up_.data();
  if (std::memcmp(got, wanted.data(), wanted.size()) == 0) return;
  const std::int64_t element = bytes_of(case_.dtype, 1);
  const std::int64_t result = recv_ - block_;
  const std::int64_t result_end = result + case_.recv_elements(rank_) * element;
  for (std::int64_t i = 0; i < block_bytes_; ++i) {
    if (got[i] == wanted[static_cast<std::size_t>(i)]) continue;
    const std::int64_t at = i - result;
    if (i >= result && i < result_end) {  // of a nan only that it is one
      const std::int64_t begin = result + at / element * element;
      if (both_nan(case_.dtype, got + begin, wanted.data() + begin)) continue;
    }
    FAIL() << case_.text() << ", rank " << rank_ << ": byte " << at << " of the result ("
           << (i < result || i >= result_end ? "outside" : "inside") << ") is "
           << static_cast<int>(got[i]) << " instead of "
           << static_cast<int>(wanted[static_cast<std::size_t>(i)]);
  }
}

}  // namespace weft::testing
