// SPDX-License-Identifier: Apache-2.0
#include "hccl_checks.h"

#include <fmt/core.h>

#include <cstring>
#include <optional>

#include "hccl_call.h"
#include "ops/rules.h"

namespace weft::cann {

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

void Checks::fail(int code, std::string text) {
  if (error_.ok()) error_ = {code, std::move(text)};
}

void Checks::rule(HcclResult code, bool holds, std::string_view what) {
  if (!holds) fail(code, std::string(what));
}

void Checks::add(const Status& contract) {
  if (!contract.ok())
    fail(cann_code(static_cast<ops::Rule>(contract.rule()), ops::CannEntry::kHccl),
         contract.message());
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

std::vector<std::int64_t> Checks::copy(std::string_view name, const void* array,
                                       std::int64_t entries) {
  if (ok() && !array) error_ = null_argument(name);
  if (!ok()) return {};
  std::vector<std::int64_t> values(static_cast<std::size_t>(entries));
  std::memcpy(values.data(), array, values.size() * sizeof(values[0]));
  return values;
}

}  // namespace weft::cann
