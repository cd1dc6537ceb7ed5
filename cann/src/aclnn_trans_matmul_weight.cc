// SPDX-License-Identifier: Apache-2.0
// FRACTAL_NZ weights.
#include "aclnnop/aclnn_trans_matmul_weight.h"

#include "aclnn_first_phase.h"
#include "base/fractal_nz.h"
#include "ops/weights/trans_matmul_weight.h"

using namespace weft;
using namespace weft::cann;

namespace {

constexpr const char* kOp = "aclnnTransMatmulWeight";
constexpr std::size_t kMostAxesOf16Bit = 3;

using Dims = std::vector<std::int64_t>;

/// Elements of the image of a weight of this shape.
aclnnStatus calculate(const char* function, const aclIntArray* shape, aclDataType dtype,
                      std::size_t most_axes, uint64_t* size) {
  return guarded(function, ACLNN_ERR_INNER, ACLNN_ERR_INNER, [&] {
    if (!shape || !size)
      return fail(ACLNN_ERR_PARAM_NULLPTR,
                  !shape ? "tensorShape is null" : "weightTensorSize is null");
    const auto dims = find_int_array(shape);
    if (!dims)
      return fail(ACLNN_ERR_PARAM_INVALID, "tensorShape was destroyed, or is no aclIntArray");
    if (dims->values.size() > most_axes)
      return fail(ACLNN_ERR_PARAM_INVALID, fmt::format("tensorShape has {} extents but at most {} "
                                                       "are possible; use the second version",
                                                       dims->values.size(), most_axes));
    const Result<DType> known = to_dtype("dataType", dtype);
    if (!known.ok()) return fail(ACLNN_ERR_PARAM_INVALID, known.status().message());
    const Result<std::int64_t> elements = calculate_matmul_weight_size(dims->values, *known);
    if (!elements.ok()) return fail(ACLNN_ERR_PARAM_INVALID, elements.status().message());
    *size = static_cast<uint64_t>(*elements);
    return ACLNN_SUCCESS;
  });
}

/// Programs say nothing about the memory behind a tensor, but blocks of aclrtMalloc are known.
Error check_room(const Tensor& weight, DType dtype, std::int64_t elements) {
  const auto bytes = static_cast<std::size_t>(bytes_of(dtype, elements));
  Runtime& runtime = Runtime::instance();
  Error error = runtime.device_memory.check_range("mmWeightRef", weight.data, bytes);
  if (error.ok()) error = runtime.host_memory.check_range("mmWeightRef", weight.data, bytes);
  if (!error.ok()) error.message += "; allocate what aclnnCalculateMatmulWeightSizeV2 says";
  return error;
}

/// The weight is from now on its image.
void describe_image(Tensor& weight, DType dtype) {
  const std::size_t last = weight.dims.size() - 1;
  const FractalNz image(dtype, weight.dims[last - 1], weight.dims[last]);
  weight.storage_dims.assign(weight.dims.begin(), weight.dims.end() - 2);
  weight.storage_dims.insert(
      weight.storage_dims.end(),
      {image.chunks, image.rows / FractalNz::kRowMultiple, FractalNz::kRowMultiple, image.c0});
  weight.storage_format = ACL_FORMAT_FRACTAL_NZ;
  // The strides of a transposed view would call this the image of the transposed matrix.
  const TensorRef dense(nullptr, dtype, weight.dims);
  weight.strides.assign(dense.strides().begin(), dense.strides().end());
}

Error launch(const Operand& operand, std::int64_t elements, Stream& stream) {
  Error error;
  const TensorRef weight = view_now(error, "mmWeightRef", operand);
  if (error.ok()) error = check_room(operand.tensors[0], weight.dtype(), elements);
  if (!error.ok()) return error;
  return submit_local(stream, [weight, elements](Context& context, PlanPool&) {
    return trans_matmul_weight(context, weight, elements).status();
  });
}

}  // namespace

aclnnStatus aclnnCalculateMatmulWeightSize(const aclIntArray* tensorShape,
                                           uint64_t* weightTensorSize) {
  return calculate("aclnnCalculateMatmulWeightSize", tensorShape, ACL_FLOAT16, kMostAxesOf16Bit,
                   weightTensorSize);
}

aclnnStatus aclnnCalculateMatmulWeightSizeV2(const aclIntArray* tensorShape, aclDataType dataType,
                                             uint64_t* weightTensorSize) {
  return calculate("aclnnCalculateMatmulWeightSizeV2", tensorShape, dataType, kMaxDims,
                   weightTensorSize);
}

aclnnStatus aclnnTransMatmulWeightGetWorkspaceSize(aclTensor* mmWeightRef, uint64_t* workspaceSize,
                                                   aclOpExecutor** executor) {
  return first_phase(kOp, [&] {
    const Results results = {workspaceSize, executor};
    Findings findings;
    results.check(findings);
    const TensorRef weight = required(findings, "mmWeightRef", mmWeightRef);
    if (findings.any()) return findings.report();
    const std::shared_ptr<Tensor> described = find_tensor(mmWeightRef);
    if (!described) return fail(ACLNN_ERR_PARAM_INVALID, "mmWeightRef was destroyed");
    findings.require(number_of(described->storage_format) == ACL_FORMAT_ND, ACLNN_ERR_PARAM_INVALID,
                     "mmWeightRef has storage format {} but must have ACL_FORMAT_ND (2)",
                     number_of(described->storage_format));
    const Result<std::int64_t> elements = ops::check_trans_matmul_weight(weight);
    findings.require(elements.ok(), ACLNN_ERR_PARAM_INVALID, "{}", elements.status().message());
    if (findings.any()) return findings.report();
    if (*elements == 0) return finish_empty(kOp, results);
    findings.require(weight.data(), ACLNN_ERR_PARAM_NULLPTR, "mmWeightRef has no memory");
    findings.require(described->offset == 0, ACLNN_ERR_PARAM_INVALID,
                     "mmWeightRef has offset {} but its image begins where its storage does; make "
                     "a tensor without offset",
                     described->offset);
    const Error room = check_room(*described, weight.dtype(), *elements);
    findings.require(room.ok(), ACLNN_ERR_PARAM_INVALID, "{}", room.message);
    if (findings.any()) return findings.report();
    std::vector<Operand> operands = {input(mmWeightRef)};  // as it lies there now
    describe_image(*described, weight.dtype());
    return finish_repeatable(
        kOp, results, std::move(operands),
        [elements = *elements](const std::vector<Operand>& of, Stream& stream) {
          return launch(of[0], elements, stream);
        });
  });
}
WEFT_SECOND_PHASE(aclnnTransMatmulWeight)
