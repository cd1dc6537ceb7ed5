// SPDX-License-Identifier: Apache-2.0
#include "files/npy.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "files/file_io.h"
#include "files/npy_header.h"
#include "weft/tensor.h"

namespace weft::tools {
namespace {

static_assert(std::endian::native == std::endian::little, "files and memory are little-endian");

constexpr char kMagic[6] = {'\x93', 'N', 'U', 'M', 'P', 'Y'};
// Far above any header numpy writes; keeps a corrupt length field from asking for gigabytes.
constexpr std::int64_t kMostHeaderBytes = 1 << 20;

struct Code {
  std::string_view code, name;
};
// numpy's type codes after the byte-order mark, for messages about files that are refused.
constexpr Code kCodes[] = {{"b1", "bool"},      {"i1", "int8"},       {"u1", "uint8"},
                           {"i2", "int16"},     {"u2", "uint16"},     {"i4", "int32"},
                           {"u4", "uint32"},    {"i8", "int64"},      {"u8", "uint64"},
                           {"f2", "float16"},   {"f4", "float32"},    {"f8", "float64"},
                           {"c8", "complex64"}, {"c16", "complex128"}};

std::string name_of_code(std::string_view code) {
  for (const Code& c : kCodes)
    if (c.code == code) return std::string(c.name);
  return fmt::format("'{}'", code);
}

Status bad(const std::string& path, const std::string& what) {
  return Status(StatusCode::kInvalidArgument, fmt::format("{}: {}", path, what));
}

/// Both byte orders name the same one-byte type; '=' and '<' are this machine's order.
Status dtype_of_descr(const std::string& path, const std::string& descr, NpyHeader* header) {
  const std::string_view code = descr.empty() ? "" : std::string_view(descr).substr(1);
  const bool one_byte = code.ends_with('1') && code.size() == 2;
  if (!descr.empty() && descr[0] == '>' && !one_byte) {
    return bad(path, fmt::format("holds big-endian {} ('{}'), weft reads little-endian.\nSave "
                                 "a.astype(a.dtype.newbyteorder('<')) again.",
                                 name_of_code(code), descr));
  }
  // Up to kBool: what operators take. (uint16 files hold bfloat16 bits.)
  for (int i = 0; i <= static_cast<int>(DType::kBool); ++i) {
    const DTypeInfo& row = info(static_cast<DType>(i));
    if (row.numpy.empty() || row.numpy.substr(1) != code) continue;
    header->dtype = row.dtype;
    header->numpy_name = name_of_code(code);
    return {};
  }
  const std::string shown = descr.starts_with('[') ? "a structured dtype" : name_of_code(code);
  return bad(path, fmt::format("holds {} ('{}'), weft reads float16, float32, uint16 (bfloat16 "
                               "bits), int8, int32, int64 and uint64.\nConvert the array with "
                               "a.astype(...) and save it again.",
                               shown, descr));
}

Status check_size(NpyHeader* header, std::int64_t file_bytes) {
  const std::int64_t element = info(header->dtype).bits / 8;
  std::int64_t bytes = element;
  for (std::int64_t extent : header->shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) {
      return bad(header->path, fmt::format("its shape {} does not fit in memory.\nThe file is "
                                           "damaged: save it again.",
                                           shape_text(header->shape)));
    }
  }
  header->data_bytes = bytes;
  const std::int64_t found = file_bytes - header->data_offset;
  if (found == bytes) return {};
  return bad(header->path,
             fmt::format("is {}: shape {} of {} needs {} bytes of data, the file has {}.\n{}",
                         found < bytes ? "truncated" : "too long", shape_text(header->shape),
                         header->numpy_name, bytes, found,
                         found < bytes ? "Copy or save it again."
                                       : "Save one array per file with numpy.save."));
}

/// Reads what comes before the dict: magic, version, length. Returns the dict's text.
Result<std::string> read_dict_text(File& file, NpyHeader* header) {
  unsigned char start[12] = {};
  WEFT_ASSIGN_OR_RETURN(const std::int64_t have, file.read_at(start, sizeof start, 0));
  if (have < 6 || std::memcmp(start, kMagic, 6) != 0) {
    const int shown = static_cast<int>(std::min<std::int64_t>(have, 6));
    std::string hint = "Save the array with numpy.save.";
    if (have >= 2 && start[0] == 'P' && start[1] == 'K')
      hint = "It looks like a .npz archive: save each array alone with numpy.save.";
    return bad(header->path, fmt::format("is not a .npy file: it starts with [{:02x}], not with "
                                         "[93 4e 55 4d 50 59].\n{}",
                                         fmt::join(start, start + shown, " "), hint));
  }
  const int major = start[6];
  if (have >= 8 && (major < 1 || major > 3)) {
    return bad(header->path, fmt::format("has .npy version {}.{}, weft reads 1.0, 2.0 and "
                                         "3.0.\nSave it again with numpy.save.",
                                         major, start[7]));
  }
  const std::int64_t length_bytes = major == 1 ? 2 : 4;
  const std::int64_t text_at = 8 + length_bytes;
  std::int64_t length = 0;
  for (int i = 0; i < length_bytes; ++i) length |= std::int64_t{start[8 + i]} << (8 * i);
  if (have < text_at || text_at + length > file.bytes()) {
    return bad(header->path,
               fmt::format("is truncated inside its header: the header needs {} "
                           "bytes, the file has {}.\nCopy or save it again.",
                           have < text_at ? text_at : text_at + length, file.bytes()));
  }
  if (length > kMostHeaderBytes) {
    return bad(header->path, fmt::format("its header has {} bytes, more than {}.\nThe file is "
                                         "damaged: save it again.",
                                         length, kMostHeaderBytes));
  }
  std::string text(static_cast<std::size_t>(length), '\0');
  WEFT_RETURN_IF_ERROR(file.read_exactly_at(text.data(), length, text_at));
  header->data_offset = text_at + length;
  return text;
}

}  // namespace

std::string shape_text(std::span<const std::int64_t> shape) {
  if (shape.size() == 1) return fmt::format("({},)", shape[0]);
  return fmt::format("({})", fmt::join(shape, ", "));
}

Result<NpyHeader> read_npy_header(const std::string& path) {
  NpyHeader header;
  header.path = path;
  WEFT_ASSIGN_OR_RETURN(File file, File::open_to_read(path));
  WEFT_ASSIGN_OR_RETURN(const std::string text, read_dict_text(file, &header));
  NpyDict dict;
  if (const std::string error = parse_npy_dict(text, &dict); !error.empty()) {
    return bad(path, fmt::format("has a header weft cannot read: {}.\nThe file is damaged: save "
                                 "it again with numpy.save.",
                                 error));
  }
  WEFT_RETURN_IF_ERROR(dtype_of_descr(path, dict.descr, &header));
  header.shape = std::move(dict.shape);
  if (header.shape.size() > static_cast<std::size_t>(kMaxDims)) {
    return bad(path, fmt::format("has {} axes, weft reads at most {}.\nReshape the array and save "
                                 "it again.",
                                 header.shape.size(), kMaxDims));
  }
  // An array with at most one axis longer than 1 is the same in both orders.
  const auto long_axes = std::count_if(header.shape.begin(), header.shape.end(),
                                       [](std::int64_t extent) { return extent != 1; });
  if (dict.fortran_order && long_axes > 1) {
    return bad(path,
               "is stored in Fortran order, weft reads C order.\nSave numpy.ascontiguousarray(a); "
               "for a weight you can save a.T instead and pass --transpose-x2.");
  }
  WEFT_RETURN_IF_ERROR(check_size(&header, file.bytes()));
  return header;
}

Status read_npy_data(const NpyHeader& header, void* to) {
  WEFT_ASSIGN_OR_RETURN(File file, File::open_to_read(header.path));
  return file.read_exactly_at(to, header.data_bytes, header.data_offset);
}

Status write_npy(const std::string& path, DType dtype, std::span<const std::int64_t> shape,
                 const void* data) {
  const DTypeInfo& row = info(dtype);
  if (row.numpy.empty()) {
    return bad(path, fmt::format("cannot hold {}: numpy has no such type.", row.name));
  }
  std::string head(kMagic, 6);
  head += {1, 0};
  std::string dict = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}",
                                 row.numpy, shape_text(shape));
  // The data starts at a multiple of 64 bytes, as numpy does it, so that the file can be mapped.
  const std::size_t used = head.size() + 2 + dict.size() + 1;
  dict.append((64 - used % 64) % 64, ' ');
  dict += '\n';
  head += static_cast<char>(dict.size() & 0xff);
  head += static_cast<char>(dict.size() >> 8);
  head += dict;
  std::int64_t count = 1;
  for (std::int64_t extent : shape) count *= extent;
  WEFT_ASSIGN_OR_RETURN(File file, File::open_to_write(path));
  WEFT_RETURN_IF_ERROR(file.write(head.data(), static_cast<std::int64_t>(head.size())));
  WEFT_RETURN_IF_ERROR(file.write(data, bytes_of(dtype, count)));
  return file.close();
}

}  // namespace weft::tools
