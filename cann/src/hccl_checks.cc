// SPDX-License-Identifier: Apache-2.0
#include "hccl_checks.h"

#include <fmt/core.h>

#include <cstring>
#include <optional>

#include "hccl_call.h"

namespace weft::cann {

using ops::most_elements;

namespace {

std::optional<DType> dtype_of(int type) {
  switch (type) {
    case HCCL_DATA_TYPE_INT8:
      return DType::kInt8;
    case HCCL_DATA_TYPE_INT16:
      return DType::kInt16;
    case HCCL_DATA_TYPE_INT32:
      return DType::kInt32;
    case HCCL_DATA_TYPE_FP16:
      return DType::kFloat16;
    case HCCL_DATA_TYPE_FP32:
      return DType::kFloat32;
    case HCCL_DATA_TYPE_INT64:
      return DType::kInt64;
    case HCCL_DATA_TYPE_UINT64:
      return DType::kUInt64;
    case HCCL_DATA_TYPE_UINT8:
      return DType::kUInt8;
    case HCCL_DATA_TYPE_UINT16:
      return DType::kUInt16;
    case HCCL_DATA_TYPE_UINT32:
      return DType::kUInt32;
    case HCCL_DATA_TYPE_FP64:
      return DType::kFloat64;
    case HCCL_DATA_TYPE_BFP16:
      return DType::kBFloat16;
    default:
      return std::nullopt;
  }
}

}  // namespace

void Checks::fail(HcclResult code, std::string text) {
  if (error_.ok()) error_ = {code, std::move(text)};
}

Checks& Checks::rule(HcclResult code, bool holds, std::string_view what) {
  if (!holds) fail(code, std::string(what));
  return *this;
}

DType Checks::type(std::string_view name, const HcclDataType& type) {
  const std::optional<DType> dtype = dtype_of(number_of(type));
  if (!dtype)
    fail(HCCL_E_NOT_SUPPORT,
         fmt::format("{} is {}, which is not supported; supported are int8 to int64, uint8 to "
                     "uint64, fp16, bfp16, fp32 and fp64",
                     name, number_of(type)));
  return dtype.value_or(DType::kInt8);
}

ReduceOp Checks::op(const HcclReduceOp& op) {
  switch (number_of(op)) {
    case HCCL_REDUCE_SUM:
      return ReduceOp::kSum;
    case HCCL_REDUCE_PROD:
      return ReduceOp::kProd;
    case HCCL_REDUCE_MAX:
      return ReduceOp::kMax;
    case HCCL_REDUCE_MIN:
      return ReduceOp::kMin;
    default:
      fail(HCCL_E_PARA, fmt::format("op is {} but must be 0 (sum), 1 (prod), 2 (max) or 3 (min)",
                                    number_of(op)));
      return ReduceOp::kSum;
  }
}

int Checks::rank(std::string_view name, std::uint32_t rank) {
  if (rank < static_cast<std::uint32_t>(ranks())) return static_cast<int>(rank);
  fail(HCCL_E_PARA, fmt::format("{} is {} but must be 0 to {}", name, rank, ranks() - 1));
  return 0;
}

int Checks::peer(std::string_view name, std::uint32_t peer) {
  const int value = rank(name, peer);
  if (ok() && value == rank())
    fail(HCCL_E_PARA,
         fmt::format("{} is this rank itself; HcclBatchSendRecv can send to itself", name));
  return value;
}

std::int64_t Checks::count(std::string_view name, std::uint64_t count, DType type, int parts) {
  const std::int64_t most = most_elements(type) / parts;
  if (count <= static_cast<std::uint64_t>(most)) return ok() ? static_cast<std::int64_t>(count) : 0;
  fail(HCCL_E_PARA, fmt::format("{} is {} but must be 0 to {}", name, count, most));
  return 0;
}

std::vector<std::int64_t> Checks::copy(std::string_view name, const void* array,
                                       std::int64_t entries, DType type) {
  if (!ok()) return {};
  if (!array) {
    error_ = null_argument(name);
    return {};
  }
  std::vector<std::int64_t> values(static_cast<std::size_t>(entries));
  std::memcpy(values.data(), array, values.size() * sizeof(values[0]));
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] < 0 || values[i] > most_elements(type))
      fail(HCCL_E_PARA, fmt::format("{}[{}] is {} but must be 0 to {}", name, i,
                                    static_cast<std::uint64_t>(values[i]), most_elements(type)));
  return values;
}

std::vector<std::int64_t> Checks::counts(std::string_view name, const void* array,
                                         std::int64_t entries, DType type) {
  std::vector<std::int64_t> values = copy(name, array, entries, type);
  std::int64_t left = most_elements(type);
  for (std::size_t i = 0; i < values.size() && ok(); ++i) {
    if (values[i] > left)
      fail(HCCL_E_PARA,
           fmt::format("{} has more than {} elements together", name, most_elements(type)));
    left -= values[i];
  }
  return ok() ? values : std::vector<std::int64_t>();
}

std::vector<std::int64_t> Checks::offsets(std::string_view name, const void* array, DType type) {
  std::vector<std::int64_t> values = copy(name, array, ranks(), type);
  return ok() ? values : std::vector<std::int64_t>();
}

Checks& Checks::given(const Buffer& buffer) {
  if (!buffer.data && buffer.size > 0 && ok()) error_ = null_argument(buffer.name);
  return *this;
}

Checks& Checks::apart(const Buffer& a, const Buffer& b, bool as_allowed) {
  if (!as_allowed && overlap(a, b))
    fail(HCCL_E_PARA, fmt::format("{} overlaps {}; give it other memory", a.name, b.name));
  return *this;
}

}  // namespace weft::cann
