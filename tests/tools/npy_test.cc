// SPDX-License-Identifier: Apache-2.0
#include "files/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "temporary_folder.h"

namespace weft::tools {
namespace {

using ::testing::HasSubstr;
using testing::read_file;
using testing::TemporaryFolder;
using testing::write_file;

/// A file as numpy would write it, from its parts.
std::string file_bytes(std::string_view dict, std::string_view data, int major = 1) {
  std::string text(dict);
  const std::size_t head = major == 1 ? 10 : 12;
  text.append((64 - (head + text.size() + 1) % 64) % 64, ' ');
  text += '\n';
  std::string bytes = "\x93NUMPY";
  bytes += static_cast<char>(major);
  bytes += '\0';
  for (int i = 0; i < (major == 1 ? 2 : 4); ++i)
    bytes += static_cast<char>(text.size() >> (8 * i) & 0xff);
  return bytes + text + std::string(data);
}

class NpyTest : public ::testing::Test {
 protected:
  /// The error of reading these bytes, without the folder's name.
  std::string error_of(std::string_view bytes) {
    write_file(file_, bytes);
    const Result<NpyHeader> header = read_npy_header(file_);
    if (header.ok()) return "no error";
    EXPECT_EQ(header.status().code(), StatusCode::kInvalidArgument);
    std::string text = header.status().message();
    const std::size_t at = text.find(folder_.path());
    if (at != std::string::npos) text.erase(at, folder_.path().size() + 1);
    return text;
  }

  TemporaryFolder folder_;
  std::string file_ = folder_ / "a.npy";
};

TEST_F(NpyTest, WritesWhatNumpyWrites) {
  const std::uint16_t data[6] = {0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600};
  const std::int64_t shape[2] = {2, 3};
  ASSERT_TRUE(write_npy(file_, DType::kFloat16, shape, data).ok());
  // numpy.save of numpy.arange(1, 7, dtype='<f2').reshape(2, 3)
  std::string want("\x93NUMPY\x01\x00\x76\x00", 10);
  want += "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }";
  want.append(127 - want.size(), ' ');
  want += "\n";
  want += std::string("\x00\x3c\x00\x40\x00\x42\x00\x44\x00\x45\x00\x46", 12);
  EXPECT_EQ(read_file(file_), want);
}

TEST_F(NpyTest, RoundTripsEveryType) {
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kInt8,
                      DType::kInt32, DType::kInt64, DType::kUInt64, DType::kBool}) {
    SCOPED_TRACE(to_string(dtype));
    for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{},
                                                   {5},
                                                   {1, 1, 7},
                                                   {3, 4, 5},
                                                   {0, 4},
                                                   {1, 2, 1, 2, 1, 2, 1, 3}}) {
      std::int64_t count = 1;
      for (std::int64_t extent : shape) count *= extent;
      std::vector<std::uint8_t> data(static_cast<std::size_t>(bytes_of(dtype, count)));
      std::iota(data.begin(), data.end(), std::uint8_t{1});
      ASSERT_TRUE(write_npy(file_, dtype, shape, data.data()).ok());
      const Result<NpyHeader> header = read_npy_header(file_);
      ASSERT_TRUE(header.ok()) << header.status().to_string();
      EXPECT_EQ(header->dtype, dtype);
      EXPECT_EQ(header->shape, shape);
      EXPECT_EQ(header->data_offset % 64, 0);
      std::vector<std::uint8_t> back(data.size() + 1, 0xee);
      ASSERT_TRUE(read_npy_data(*header, back.data()).ok());
      EXPECT_EQ(back.back(), 0xee);
      back.pop_back();
      EXPECT_EQ(back, data);
    }
  }
}

TEST_F(NpyTest, ReadsAllVersionsAndSpellings) {
  for (int version : {1, 2, 3}) {
    write_file(file_, file_bytes("{'descr': '<f2', 'fortran_order': False, 'shape': (3,), }",
                                 "abcdef", version));
    const Result<NpyHeader> header = read_npy_header(file_);
    ASSERT_TRUE(header.ok()) << header.status().to_string();
    EXPECT_EQ(header->shape, std::vector<std::int64_t>{3});
    char data[6];
    ASSERT_TRUE(read_npy_data(*header, data).ok());
    EXPECT_EQ(std::memcmp(data, "abcdef", 6), 0);
  }
  for (const char* dict :
       {"{\"shape\":(2L,3L),\"fortran_order\":False,\"descr\":\"|i1\"}",
        "{ 'fortran_order' : False , 'descr' : '>i1' , 'shape' : ( 2 , 3 , ) , }",
        "{'descr': '=i1', 'fortran_order': True, 'shape': (1, 6)}"}) {
    EXPECT_EQ(error_of(file_bytes(dict, "abcdef")), "no error") << dict;
  }
}

TEST_F(NpyTest, EveryMalformedFileHasItsMessage) {
  const std::string good = "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }";
  const std::string data(12, 'x');
  const auto with = [&](std::string_view dict) { return error_of(file_bytes(dict, data)); };

  EXPECT_EQ(error_of(""),
            "a.npy: is not a .npy file: it starts with [], not with [93 4e 55 4d 50 59].\nSave the "
            "array with numpy.save.");
  EXPECT_EQ(error_of("PK\x03\x04rest"),
            "a.npy: is not a .npy file: it starts with [50 4b 03 04 72 65], not with [93 4e 55 4d "
            "50 59].\nIt looks like a .npz archive: save each array alone with numpy.save.");
  EXPECT_EQ(error_of(file_bytes(good, data, 4)),
            "a.npy: has .npy version 4.0, weft reads 1.0, 2.0 and 3.0.\nSave it again with "
            "numpy.save.");
  EXPECT_EQ(error_of(file_bytes(good, data).substr(0, 9)),
            "a.npy: is truncated inside its header: the header needs 10 bytes, the file has 9.\n"
            "Copy or save it again.");
  EXPECT_EQ(error_of(file_bytes(good, data).substr(0, 100)),
            "a.npy: is truncated inside its header: the header needs 128 bytes, the file has "
            "100.\nCopy or save it again.");
  EXPECT_EQ(error_of(file_bytes(good, data).substr(0, 136)),
            "a.npy: is truncated: shape (2, 3) of float16 needs 12 bytes of data, the file has "
            "8.\nCopy or save it again.");
  EXPECT_EQ(error_of(file_bytes(good, data + "y")),
            "a.npy: is too long: shape (2, 3) of float16 needs 12 bytes of data, the file has "
            "13.\nSave one array per file with numpy.save.");
  EXPECT_EQ(with("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }"),
            "a.npy: holds float64 ('<f8'), weft reads float16, float32, uint16 (bfloat16 bits), "
            "int8, int32, int64 and uint64.\nConvert the array with a.astype(...) and save it "
            "again.");
  EXPECT_EQ(with("{'descr': '>f2', 'fortran_order': False, 'shape': (2, 3), }"),
            "a.npy: holds big-endian float16 ('>f2'), weft reads little-endian.\nSave "
            "a.astype(a.dtype.newbyteorder('<')) again.");
  EXPECT_EQ(with("{'descr': '<f2', 'fortran_order': True, 'shape': (2, 3), }"),
            "a.npy: is stored in Fortran order, weft reads C order.\nSave "
            "numpy.ascontiguousarray(a); for a weight you can save a.T instead and pass "
            "--transpose-x2.");
  EXPECT_EQ(with("{'descr': '<f2', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,2,3), }"),
            "a.npy: has 9 axes, weft reads at most 8.\nReshape the array and save it again.");
  EXPECT_THAT(with("{'descr': [('a', '<f2')], 'fortran_order': False, 'shape': (2, 3), }"),
              HasSubstr("holds a structured dtype ('[('a', '<f2')]')"));
  EXPECT_THAT(with("{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }"),
              HasSubstr("holds 'O' ('|O')"));
  EXPECT_THAT(with("{'descr': '', 'fortran_order': False, 'shape': (2, 3), }"),
              HasSubstr("holds '' ('')"));
  EXPECT_THAT(with("{'descr': '<f2', 'fortran_order': False, 'shape': (4611686018427387904, 3), }"),
              HasSubstr("its shape (4611686018427387904, 3) does not fit in memory"));
}

TEST_F(NpyTest, EveryMalformedHeaderHasItsMessage) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "it ends where '{' should be"},
      {"[]", "byte 0 is '[', not '{'"},
      {"{'descr': '<f2', 'fortran_order': False, }", "the key 'shape' is missing"},
      {"{'fortran_order': False, 'shape': (2, 3)}", "the key 'descr' is missing"},
      {"{'descr': '<f2', 'shape': (2, 3)}", "the key 'fortran_order' is missing"},
      {"{'descr': '<f2', 'colour': 'red'}", "the key 'colour' is unknown"},
      {"{'descr' '<f2'}", "byte 9 is ''', not ':'"},
      {"{'descr': <f2}", "byte 10 is '<', not a string"},
      {"{'descr': '<f2}", "a string has no end"},
      {"{'descr': [1", "a list has no end"},
      {"{'fortran_order': 0}", "byte 18 is '0', not True or False"},
      {"{'shape': 3}", "byte 10 is '3', not '('"},
      {"{'shape': (2, x)}", "byte 14 is 'x', not an extent"},
      {"{'shape': (2, -3)}", "an extent is -3"},
      {"{'shape': (2 3)}", "byte 13 is '3', not ',' or ')'"},
      {"{'shape': (99999999999999999999,)}", "an extent is larger than 2^63 - 1"},
      {"{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3)} x",
       "byte 58 is 'x', not the end"},
      {"{'descr': '<f2' 'fortran_order': False}", "byte 16 is ''', not ',' or '}'"},
      {"\x01", "byte 0 is 0x01, not '{'"},
  };
  for (const auto& [dict, what] : cases) {
    EXPECT_EQ(error_of(file_bytes(dict, "")),
              std::string("a.npy: has a header weft cannot read: ") + what +
                  ".\nThe file is damaged: save it again with numpy.save.")
        << dict;
  }
}

TEST_F(NpyTest, NeverReadsOutsideADamagedFile) {
  const std::string good = file_bytes("{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }",
                                      std::string(12, 'x'));
  std::uint64_t state = 7;
  for (int i = 0; i < 500; ++i) {
    std::string bytes = good;
    for (int j = 0; j < 3; ++j) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      bytes[(state >> 33) % bytes.size()] = static_cast<char>(state >> 56);
    }
    bytes.resize(bytes.size() - (state >> 40) % 20);
    write_file(file_, bytes);
    const Result<NpyHeader> header = read_npy_header(file_);
    if (!header.ok()) continue;
    EXPECT_EQ(header->data_offset + header->data_bytes, static_cast<std::int64_t>(bytes.size()));
    std::vector<char> data(static_cast<std::size_t>(header->data_bytes));
    EXPECT_TRUE(read_npy_data(*header, data.data()).ok());
  }
}

TEST_F(NpyTest, PathsThatAreNoFiles) {
  Result<NpyHeader> header = read_npy_header(folder_ / "none.npy");
  EXPECT_EQ(header.status().message(),
            (folder_ / "none.npy") +
                ": cannot be opened: No such file or directory.\nCheck the "
                "path.");
  header = read_npy_header(folder_.path());
  EXPECT_EQ(header.status().message(),
            folder_.path() + ": is a folder, not a file.\nCheck the path.");
  const float value = 1;
  const Status status = write_npy(folder_ / "none/a.npy", DType::kFloat32, {}, &value);
  EXPECT_THAT(status.message(), HasSubstr("none/a.npy: cannot be written: No such file"));
  EXPECT_THAT(write_npy(file_, DType::kInt4, {}, &value).message(),
              HasSubstr("cannot hold int4: numpy has no such type"));
}

TEST_F(NpyTest, AFileThatShrinksIsNoticed) {
  write_file(file_, file_bytes("{'descr': '<f2', 'fortran_order': False, 'shape': (6,), }",
                               std::string(12, 'x')));
  const Result<NpyHeader> header = read_npy_header(file_);
  ASSERT_TRUE(header.ok());
  write_file(file_, file_bytes("{'descr': '<f2', 'fortran_order': False, 'shape': (5,), }",
                               std::string(10, 'x')));
  char data[12];
  EXPECT_THAT(read_npy_data(*header, data).message(),
              HasSubstr("changed while it was read: 10 bytes of 12 were there"));
}

}  // namespace
}  // namespace weft::tools
