// SPDX-License-Identifier: Apache-2.0
#include "ops/weights/fractal_nz.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/context_state.h"
#include "base/fractal_nz.h"
#include "ops/contract.h"
#include "weft/weights.h"

namespace weft {
namespace ops {
namespace {

constexpr std::int64_t kChunk = FractalNz::kChunkBytes;
// Rows that are copied chunk by chunk: their lines stay in L1 from one chunk to the next.
constexpr std::int64_t kBlockRows = 64;

// What one thread takes at a time: long along the axis that is adjacent in memory.
struct Share {
  std::int64_t rows, chunks;
};
constexpr Share kRowMajorShare{kBlockRows, 64}, kColumnMajorShare{32 * kBlockRows, 1};

template <int kSize, bool kPack>
class Copy {
  using Image = std::conditional_t<kPack, std::byte, const std::byte>;
  using Matrix = std::conditional_t<kPack, const std::byte, std::byte>;
  using MatrixRef = std::conditional_t<kPack, ConstTensorRef, TensorRef>;

 public:
  Copy(const MatrixRef& matrices, Image* images)
      : view_(matrices),
        axis_(matrices.rank() - 2),
        rows_(matrices.dim(axis_)),
        columns_(matrices.dim(axis_ + 1)),
        row_stride_(matrices.stride(axis_) * kSize),
        column_stride_(matrices.stride(axis_ + 1) * kSize),
        layout_(matrices.dtype(), rows_, columns_),
        images_(images) {}

  void run(ThreadPool& pool) {
    const Share share = row_stride_ == kSize ? kColumnMajorShare : kRowMajorShare;
    const std::int64_t row_shares = ceil_div(rows_, share.rows),
                       chunk_shares = ceil_div(layout_.chunks, share.chunks),
                       matrices = view_.elements() / (rows_ * columns_);
    pool.parallel_for(matrices * row_shares * chunk_shares, [&](std::int64_t index, int) {
      const std::int64_t in_matrix = index % (row_shares * chunk_shares);
      matrix_share(index / (row_shares * chunk_shares), in_matrix / chunk_shares * share.rows,
                   in_matrix % chunk_shares * share.chunks, share);
    });
  }

 private:
  void matrix_share(std::int64_t matrix, std::int64_t row, std::int64_t chunk, Share share) const {
    Image* const image = images_ + matrix * layout_.bytes();
    Matrix* const data = static_cast<Matrix*>(view_.data()) + offset_of(matrix) * kSize;
    const std::int64_t row_end = std::min(rows_, row + share.rows);
    const std::int64_t chunk_end = std::min(layout_.chunks, chunk + share.chunks);
    for (; row < row_end; row += kBlockRows)
      for (std::int64_t c = chunk; c < chunk_end; ++c)
        copy_block(image, data, c, row, std::min(kBlockRows, row_end - row));
    if constexpr (kPack)
      if (row_end == rows_)
        for (std::int64_t c = chunk; c < chunk_end; ++c)
          std::memset(image + (c * layout_.rows + rows_) * kChunk, 0,
                      static_cast<size_t>((layout_.rows - rows_) * kChunk));
  }

  void copy_block(Image* image, Matrix* data, std::int64_t chunk, std::int64_t row,
                  std::int64_t count) const {
    image += (chunk * layout_.rows + row) * kChunk;
    data += row * row_stride_ + chunk * layout_.c0 * column_stride_;
    const std::int64_t columns = std::min(layout_.c0, columns_ - chunk * layout_.c0);
    if (column_stride_ == kSize && columns == layout_.c0) {
      for (std::int64_t i = 0; i < count; ++i)
        move<kChunk>(image + i * kChunk, data + i * row_stride_);
      return;
    }
    for (std::int64_t j = 0; j < columns; ++j)
      for (std::int64_t i = 0; i < count; ++i)
        move<kSize>(image + i * kChunk + j * kSize, data + i * row_stride_ + j * column_stride_);
    if constexpr (kPack)
      if (columns < layout_.c0)
        for (std::int64_t i = 0; i < count; ++i)
          std::memset(image + i * kChunk + columns * kSize, 0,
                      static_cast<size_t>(kChunk - columns * kSize));
  }

  template <std::int64_t kBytes>
  static void move(Image* image, Matrix* data) {
    if constexpr (kPack)
      std::memcpy(image, data, kBytes);
    else
      std::memcpy(data, image, kBytes);
  }

  // Of a matrix's first element, from the leading axes.
  std::int64_t offset_of(std::int64_t matrix) const {
    std::int64_t offset = 0;
    for (int i = axis_ - 1; i >= 0; --i) {
      offset += matrix % view_.dim(i) * view_.stride(i);
      matrix /= view_.dim(i);
    }
    return offset;
  }

  const MatrixRef view_;
  const int axis_;                                                  // of the rows
  const std::int64_t rows_, columns_, row_stride_, column_stride_;  // strides in bytes
  const FractalNz layout_;
  Image* const images_;
};

}  // namespace

Status invalid(std::string_view op, std::string_view text) {
  return Status(StatusCode::kInvalidArgument, fmt::format("{}: {}", op, text));
}

bool has_fractal_nz(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBFloat16 || dtype == DType::kInt8;
}

Result<std::int64_t> fractal_nz_elements(std::string_view op, std::string_view name,
                                         std::span<const std::int64_t> dims, DType dtype) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const std::int64_t c0 = kChunk * 8 / info(dtype).bits;
  std::int64_t elements = 1;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    const std::int64_t multiple = i + 1 == dims.size()   ? c0
                                  : i + 2 == dims.size() ? FractalNz::kRowMultiple
                                                         : 1;
    if (dims[i] > kMost - multiple ||
        __builtin_mul_overflow(elements, round_up(dims[i], multiple), &elements))
      return invalid(op, fmt::format("{}.dim({}) is {}, which makes more elements than 2^63 - 1; "
                                     "check the shape",
                                     name, i, dims[i]));
  }
  return elements;
}

void copy_to_fractal_nz(ThreadPool& pool, const ConstTensorRef& matrices, void* images) {
  auto* to = static_cast<std::byte*>(images);
  if (matrices.dtype() == DType::kInt8)
    Copy<1, true>(matrices, to).run(pool);
  else
    Copy<2, true>(matrices, to).run(pool);
}

void copy_from_fractal_nz(ThreadPool& pool, const void* images, const TensorRef& matrices) {
  const auto* from = static_cast<const std::byte*>(images);
  if (matrices.dtype() == DType::kInt8)
    Copy<1, false>(matrices, from).run(pool);
  else
    Copy<2, false>(matrices, from).run(pool);
}

namespace {

// A matrix and its image fit each other.
Status check_pair(std::string_view op, const ConstTensorRef& matrix, const ConstTensorRef& image) {
  if (!matrix.given()) return invalid(op, "matrix is missing");
  if (!image.given()) return invalid(op, "image is missing");
  if (!has_fractal_nz(matrix.dtype()))
    return invalid(op, fmt::format("matrix is {} but must be float16, bfloat16 or int8",
                                   to_string(matrix.dtype())));
  if (image.dtype() != matrix.dtype())
    return invalid(op, fmt::format("image is {} but matrix is {}; they must be the same",
                                   to_string(image.dtype()), to_string(matrix.dtype())));
  if (matrix.format() != Format::kStrided || matrix.rank() != 2)
    return invalid(
        op, fmt::format("matrix is {} but must be (rows, columns) by strides", to_string(matrix)));
  if (image.format() != Format::kFractalNz)
    return invalid(op, fmt::format("image is {} but must be FRACTAL_NZ; make the view with "
                                   "fractal_nz(data, dtype, rows, columns)",
                                   to_string(image)));
  if (!std::ranges::equal(image.dims(), matrix.dims()))
    return invalid(op, fmt::format("image is {} but matrix is {}; they must be the same",
                                   shape_text(image), shape_text(matrix)));
  if (matrix.dim(0) < 0 || matrix.dim(1) < 0)
    return invalid(
        op, fmt::format("matrix is {} but no dimension may be negative", shape_text(matrix)));
  if (matrix.elements() == 0) return {};
  if (!matrix.data() || !image.data())
    return invalid(op, fmt::format("{} has no memory", matrix.data() ? "image" : "matrix"));
  const ConstTensorRef storage = image.fractal_nz_transposed() ? image.transposed() : image;
  WEFT_ASSIGN_OR_RETURN(const std::int64_t elements,
                        fractal_nz_elements(op, "image", storage.dims(), image.dtype()));
  if (overlap(matrix, ConstTensorRef(image.data(), image.dtype(), {elements})))
    return invalid(op,
                   "matrix and image overlap in memory; use trans_matmul_weight to convert in "
                   "place, or other memory");
  return {};
}

}  // namespace
}  // namespace ops

Status pack_fractal_nz(Context& context, const ConstTensorRef& matrix, const TensorRef& image) {
  WEFT_RETURN_IF_ERROR(ops::check_pair("pack_fractal_nz", matrix, image));
  if (matrix.elements() == 0) return {};
  ops::copy_to_fractal_nz(context.state().pool,
                          image.fractal_nz_transposed() ? matrix.transposed() : matrix,
                          image.data());
  return {};
}

Status unpack_fractal_nz(Context& context, const ConstTensorRef& image, const TensorRef& matrix) {
  constexpr std::string_view kOp = "unpack_fractal_nz";
  WEFT_RETURN_IF_ERROR(ops::check_pair(kOp, matrix, image));
  if (matrix.elements() == 0) return {};
  if (!ops::elements_are_apart(matrix))
    return ops::invalid(kOp, fmt::format("matrix is {}: its elements share memory; give it memory "
                                         "for each of them",
                                         to_string(ConstTensorRef(matrix))));
  ops::copy_from_fractal_nz(context.state().pool, image.data(),
                            image.fractal_nz_transposed() ? matrix.transposed() : matrix);
  return {};
}

}  // namespace weft
