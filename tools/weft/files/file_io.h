// SPDX-License-Identifier: Apache-2.0
// Files as the tool reads and writes them: whole, with errors that name the file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "weft/status.h"

namespace weft::tools {

/// An open regular file. Move-only.
class File {
 public:
  static Result<File> open_to_read(const std::string& path);
  static Result<File> open_to_write(const std::string& path);
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  std::int64_t bytes() const { return bytes_; }  ///< when it was opened
  /// Bytes read: fewer than asked for only at the end of the file.
  Result<std::int64_t> read_at(void* to, std::int64_t bytes, std::int64_t offset);
  Status read_exactly_at(void* to, std::int64_t bytes, std::int64_t offset);
  Status write(const void* from, std::int64_t bytes);
  /// Reports what a full disk or a network file system says only now.
  Status close();

 private:
  File(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::string path_;
  int fd_ = -1;
  std::int64_t bytes_ = 0;
};

/// Writes a text file as a whole.
Status write_text_file(const std::string& path, std::string_view text);
/// Makes a folder and the folders above it.
Status make_folder(const std::string& path);

}  // namespace weft::tools
