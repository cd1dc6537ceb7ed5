// SPDX-License-Identifier: Apache-2.0
#include "files/file_io.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace weft::tools {
namespace {

// One read() or write() moves at most 2 GiB on Linux; smaller pieces also keep Ctrl-C prompt.
constexpr std::int64_t kPiece = 64 << 20;

Status failed(const std::string& path, std::string_view what, int error) {
  const char* hint = "Check the path.";
  if (error == EACCES || error == EPERM) hint = "Check its permissions.";
  if (error == ENOSPC || error == EDQUOT) hint = "Free some space or choose another folder.";
  return Status(StatusCode::kInvalidArgument,
                fmt::format("{}: {}: {}.\n{}", path, what, std::strerror(error), hint));
}

}  // namespace

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), bytes_(other.bytes_) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

Result<File> File::open_to_read(const std::string& path) {
  // O_NONBLOCK: opening a pipe by mistake must not hang; it changes nothing for regular files.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return failed(path, "cannot be opened", errno);
  File file(path, fd);
  struct stat stat {};
  if (::fstat(fd, &stat) != 0) return failed(path, "cannot be read", errno);
  if (!S_ISREG(stat.st_mode)) {
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("{}: is {}, not a file.\nCheck the path.", path,
                              S_ISDIR(stat.st_mode) ? "a folder" : "a device or pipe"));
  }
  file.bytes_ = stat.st_size;
  return file;
}

Result<File> File::open_to_write(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return failed(path, "cannot be written", errno);
  return File(path, fd);
}

Result<std::int64_t> File::read_at(void* to, std::int64_t bytes, std::int64_t offset) {
  std::int64_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::pread(fd_, static_cast<char*>(to) + done,
                              static_cast<std::size_t>(std::min(bytes - done, kPiece)),
                              static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(path_, "cannot be read", errno);
    if (n == 0) break;
    done += n;
  }
  return done;
}

Status File::read_exactly_at(void* to, std::int64_t bytes, std::int64_t offset) {
  WEFT_ASSIGN_OR_RETURN(const std::int64_t done, read_at(to, bytes, offset));
  if (done == bytes) return {};
  return Status(StatusCode::kInvalidArgument,
                fmt::format("{}: changed while it was read: {} bytes of {} were there.\nRun again "
                            "when nothing writes to it.",
                            path_, done, bytes));
}

Status File::write(const void* from, std::int64_t bytes) {
  for (std::int64_t done = 0; done < bytes;) {
    const ssize_t n = ::write(fd_, static_cast<const char*>(from) + done,
                              static_cast<std::size_t>(std::min(bytes - done, kPiece)));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(path_, "cannot be written", errno);
    done += n;
  }
  return {};
}

Status File::close() {
  if (::close(std::exchange(fd_, -1)) != 0) return failed(path_, "cannot be written", errno);
  return {};
}

Status write_text_file(const std::string& path, std::string_view text) {
  WEFT_ASSIGN_OR_RETURN(File file, File::open_to_write(path));
  WEFT_RETURN_IF_ERROR(file.write(text.data(), static_cast<std::int64_t>(text.size())));
  return file.close();
}

Status make_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return failed(path, "cannot be made", error.value());
  return {};
}

}  // namespace weft::tools
