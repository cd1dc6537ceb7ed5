// SPDX-License-Identifier: Apache-2.0
#include "operators/operand_files.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "base/float16.h"

namespace weft::tools {
namespace {

Status bad(std::string text) { return Status(StatusCode::kInvalidArgument, std::move(text)); }

constexpr OperandSet kWeights = {OperandId::kX2, OperandId::kWeight1, OperandId::kWeight2};
constexpr OperandSet kActivations = {OperandId::kX1, OperandId::kX};

void round_floats(const float* from, DType to_dtype, std::int64_t count, void* to) {
  auto* out = static_cast<std::uint16_t*>(to);
  for (std::int64_t i = 0; i < count; ++i)
    out[i] = to_dtype == DType::kFloat16 ? f32_to_fp16(from[i]) : f32_to_bf16(from[i]);
}

bool is_file(std::string_view text) { return text.ends_with(".npy"); }

/// "3,0,5" as expert_tokens.
Result<Operand> tokens_of_text(std::string_view text) {
  std::vector<std::int64_t> tokens;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    std::int64_t value = 0;
    const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, value);
    if (error != std::errc() || stop != text.data() + end)
      return bad(
          fmt::format("--expert-tokens is '{}', it must be rows of each expert, like 3,0,5, "
                      "or a FILE.npy of int64.",
                      text));
    tokens.push_back(value);
    begin = end + 1;
  }
  WEFT_ASSIGN_OR_RETURN(Operand operand,
                        Operands::make(OperandId::kExpertTokens, DType::kInt64,
                                       {static_cast<std::int64_t>(tokens.size())}));
  operand.source = "--expert-tokens";
  std::ranges::copy(tokens, reinterpret_cast<std::int64_t*>(operand.memory.data()));
  return operand;
}

}  // namespace

std::string FileSource::path(OperandId id, int rank) const {
  constexpr std::string_view kRank = "{rank}";
  std::string path = options_.pattern[static_cast<std::size_t>(id)];
  const std::string number = std::to_string(rank);
  for (std::size_t at = 0; (at = path.find(kRank, at)) != std::string::npos; at += number.size())
    path.replace(at, kRank.size(), number);
  return path;
}

Result<DType> FileSource::io_dtype(int rank) const {
  if (options_.dtype) return *options_.dtype;
  for (OperandId id : {OperandId::kResidual, OperandId::kX3, OperandId::kX1, OperandId::kX,
                       OperandId::kExpandX, OperandId::kCommQuantScale1}) {
    if (path(id, rank).empty()) continue;
    WEFT_ASSIGN_OR_RETURN(const NpyHeader header, read_npy_header(path(id, rank)));
    if (!kActivations.has(id) || header.dtype != DType::kInt8) return io_dtype_of(header, id);
  }
  return io_dtype_of_int8(rank);
}

Result<DType> FileSource::io_dtype_of(const NpyHeader& header, OperandId id) const {
  if (header.dtype == DType::kFloat16 || (header.dtype == DType::kFloat32 && options_.round))
    return DType::kFloat16;
  if (header.dtype == DType::kFloat32 && op_.takes(id, DType::kFloat32, DType::kFloat32))
    return DType::kFloat32;
  if (header.dtype == DType::kFloat32) {
    return bad(
        fmt::format("{}: holds float32, the operator computes in float16 or bfloat16.\nPass "
                    "--round to round float32 files (and --dtype bf16 for bfloat16).",
                    header.path));
  }
  if (header.dtype == DType::kBFloat16) {
    return bad(fmt::format("{}: holds uint16. If these are bfloat16 bits, pass --dtype bf16.",
                           header.path));
  }
  return bad(
      fmt::format("{}: holds {}, {} must be float16, uint16 (bfloat16 bits, with "
                  "--dtype bf16) or float32 (with --round).",
                  header.path, header.numpy_name, to_string(id)));
}

/// Nothing has the io dtype but perhaps the scale.
Result<DType> FileSource::io_dtype_of_int8(int rank) const {
  for (OperandId id : {OperandId::kDequantScale, OperandId::kX2Scale, OperandId::kDeqScale1}) {
    if (path(id, rank).empty()) continue;
    WEFT_ASSIGN_OR_RETURN(const NpyHeader header, read_npy_header(path(id, rank)));
    if (header.dtype == DType::kBFloat16 || header.dtype == DType::kFloat16)
      return io_dtype_of(header, id);
    if (op_.takes(id, header.dtype, DType::kFloat16) &&
        op_.takes(id, header.dtype, DType::kBFloat16)) {
      return bad(
          fmt::format("{}: with {} of {} the output can be float16 or bfloat16.\nPass --dtype "
                      "fp16 or --dtype bf16.",
                      header.path, to_string(id), header.numpy_name));
    }
  }
  return DType::kFloat16;
}

Status FileSource::refuse_float32(const NpyHeader& header, OperandId id, DType io) const {
  if (op_.takes(id, io, io))
    return bad(fmt::format("{}: holds float32, {} must be {}.\nPass --round to round it to {}.",
                           header.path, to_string(id), weft::to_string(io), weft::to_string(io)));
  if (op_.takes(id, DType::kUInt64, io))
    return bad(
        fmt::format("{}: holds float32, {} must be uint64 or int64 (packed) where the io "
                    "dtype is {}.\nPack the scales: bits(float32(scale)) & 0xffffe000 | "
                    "1 << 46.",
                    header.path, to_string(id), weft::to_string(io)));
  const DTypeRow& row = op_.traits().rows[0];
  const DType legal = op_.dtype(row, id).value_or(io);
  return bad(
      fmt::format("{}: holds float32, {} must be {}.\nConvert the array with a.astype(...) "
                  "and save it again.",
                  header.path, to_string(id), weft::to_string(legal)));
}

Result<DType> FileSource::dtype_in_memory(const NpyHeader& header, OperandId id, DType io) const {
  const DType dtype = header.dtype;
  if (dtype == DType::kFloat32 && !op_.takes(id, dtype, io)) {
    if (options_.round && op_.takes(id, io, io)) return io;
    return refuse_float32(header, id, io);
  }
  if (dtype == DType::kBFloat16 && io != DType::kBFloat16) {
    return bad(
        fmt::format("{}: holds uint16, {} must be {}.\nIf these are bfloat16 bits, pass "
                    "--dtype bf16.",
                    header.path, to_string(id), weft::to_string(io)));
  }
  if (dtype == DType::kFloat16 && io == DType::kBFloat16) {
    return bad(
        fmt::format("{}: holds float16, {} must be uint16 (bfloat16 bits) because of "
                    "--dtype bf16.\nSave bfloat16 bits, or float32 and pass --round.",
                    header.path, to_string(id)));
  }
  if (dtype == DType::kBool && !op_.takes(id, dtype, io))
    return bad(fmt::format("{}: holds bool.", header.path));
  if (!kWeights.has(id)) return dtype;
  WEFT_RETURN_IF_ERROR(check_weight(header, id));
  return options_.int4 ? DType::kInt4 : dtype;
}

Status FileSource::check_weight(const NpyHeader& header, OperandId id) const {
  const std::size_t axes = header.shape.size();
  const bool experts = id != OperandId::kX2;
  if (options_.transposed.has(id) && axes != 2 && !(experts && axes == 3)) {
    std::string option = option_name(id);
    option.insert(2, "transpose-");
    return bad(fmt::format("{}: has shape {}, {} must be {} with {}.", header.path,
                           shape_text(header.shape), to_string(id),
                           experts ? "(n, k) or (experts, n, k)" : "2-D: (n, k)", option));
  }
  if (!options_.int4 || (header.dtype == DType::kInt8 && axes > 0)) return {};
  return bad(
      fmt::format("{}: holds {} {}, with --int4 {} must be int8 with two int4 in each "
                  "byte, the lower nibble first.\nLeave --int4 out, or save such pairs.",
                  header.path, header.numpy_name, shape_text(header.shape), to_string(id)));
}

void FileSource::set_attributes(Operands* operands, int rank, DType io) const {
  operands->io = io;
  operands->rank = rank;
  operands->epsilon = options_.epsilon;
  operands->group_size = options_.group_size;
  operands->ffn = options_.ffn;
  operands->moe = options_.moe;
}

Status FileSource::check(int ranks) const {
  std::vector<Operands> shapes(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    WEFT_ASSIGN_OR_RETURN(const DType io, io_dtype(rank));
    Operands& operands = shapes[static_cast<std::size_t>(rank)];
    set_attributes(&operands, rank, io);
    for (int i = 0; i < kOperands; ++i) {
      const auto id = static_cast<OperandId>(i);
      if (path(id, rank).empty()) continue;
      if (id == OperandId::kExpertTokens && !is_file(path(id, rank))) {
        WEFT_RETURN_IF_ERROR(tokens_of_text(path(id, rank)).status());
        continue;
      }
      WEFT_ASSIGN_OR_RETURN(const NpyHeader header, read_npy_header(path(id, rank)));
      WEFT_ASSIGN_OR_RETURN(const DType dtype, dtype_in_memory(header, id, io));
      operands[id].tensor = ConstTensorRef(nullptr, dtype, header.shape);
    }
  }
  return op_.check_shapes_of_ranks(shapes);
}

Result<Operand> FileSource::read(const NpyHeader& header, OperandId id, DType io) const {
  WEFT_ASSIGN_OR_RETURN(const DType dtype, dtype_in_memory(header, id, io));
  std::vector<std::int64_t> dims = header.shape;
  if (dtype == DType::kInt4) dims.back() *= 2;
  WEFT_ASSIGN_OR_RETURN(Operand operand, Operands::make(id, dtype, dims));
  operand.source = header.path;
  if (dtype == header.dtype || dtype == DType::kInt4) {
    WEFT_RETURN_IF_ERROR(read_npy_data(header, operand.memory.data()));
  } else {
    WEFT_ASSIGN_OR_RETURN(Operand file, Operands::make(id, header.dtype, header.shape));
    WEFT_RETURN_IF_ERROR(read_npy_data(header, file.memory.data()));
    round_floats(reinterpret_cast<const float*>(file.memory.data()), dtype,
                 operand.tensor.elements(), operand.memory.data());
  }
  if (options_.transposed.has(id)) operand.tensor = operand.tensor.transposed();
  return operand;
}

Result<Operands> FileSource::make(int rank, int) const {
  WEFT_ASSIGN_OR_RETURN(const DType io, io_dtype(rank));
  Operands operands;
  for (int i = 0; i < kOperands; ++i) {
    const auto id = static_cast<OperandId>(i);
    const std::string source = path(id, rank);
    if (source.empty()) continue;
    if (id == OperandId::kExpertTokens && !is_file(source)) {
      WEFT_ASSIGN_OR_RETURN(operands[id], tokens_of_text(source));
      continue;
    }
    WEFT_ASSIGN_OR_RETURN(const NpyHeader header, read_npy_header(source));
    WEFT_ASSIGN_OR_RETURN(operands[id], read(header, id, io));
  }
  set_attributes(&operands, rank, io);
  return operands;
}

}  // namespace weft::tools
