// SPDX-License-Identifier: Apache-2.0
#include "ops/weights/packed_weight_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/context_state.h"
#include "base/xxhash64.h"
#include "comm/unique_fd.h"
#include "ops/weights/packed_weight.h"

namespace weft {
namespace internal {

std::uint64_t header_checksum(const PackedWeightHeader& header) {
  return xxhash64(
      std::as_bytes(std::span(&header, 1)).first(offsetof(PackedWeightHeader, header_checksum)));
}

}  // namespace internal

namespace {

using internal::PackedWeightHeader;
using internal::PackedWeightState;

constexpr std::int64_t kHeaderBytes = sizeof(PackedWeightHeader);

template <typename... Args>
Status invalid(std::string_view call, const std::string& path, fmt::format_string<Args...> format,
               Args&&... args) {
  return Status(StatusCode::kInvalidArgument,
                fmt::format("PackedWeight::{}: '{}' {}", call, path,
                            fmt::format(format, std::forward<Args>(args)...)));
}

// A new file beside `path`; removed again unless it was renamed.
class PartialFile {
 public:
  explicit PartialFile(const std::string& path) : file_(open_beside(path, name_)) {}
  ~PartialFile() {
    if (file_ && !renamed_) unlink(name_.c_str());
  }
  bool is_open() const { return bool(file_); }

  // The first false leaves its reason in errno.
  bool write_all(const void* data, std::int64_t bytes) {
    const char* p = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t wrote = write(file_.get(), p, static_cast<size_t>(bytes));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) return false;
      p += wrote;
      bytes -= wrote;
    }
    return true;
  }
  // On the disk before it has its name: the name must not outlive the contents in a crash.
  bool rename_to(const std::string& path) {
    renamed_ = fsync(file_.get()) == 0 && std::rename(name_.c_str(), path.c_str()) == 0;
    return renamed_;
  }

 private:
  static int open_beside(const std::string& path, std::string& name) {
    static std::atomic<unsigned> next{0};  // other threads of this process; other processes: pid
    constexpr int kTries = 100;            // what crashed processes of the same id left behind
    for (int i = 0; i < kTries; ++i) {
      name = fmt::format("{}.{}-{}.part", path, getpid(),
                         next.fetch_add(1, std::memory_order_relaxed));
      const int fd = open(name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
      if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
  }

  std::string name_;  // before file_, which sets it
  internal::UniqueFd file_;
  bool renamed_ = false;
};

void put_text(std::string_view text, std::span<char> field) {
  const std::size_t length = std::min(text.size(), field.size() - 1);
  std::memcpy(field.data(), text.data(), length);
}

PackedWeightHeader header_of(const PackedWeightState& state) {
  PackedWeightHeader header{};
  std::memcpy(header.magic, internal::kPackedWeightMagic, sizeof(header.magic));
  header.format = internal::kPackedWeightFormat;
  header.header_bytes = kHeaderBytes;
  put_text(state.kernel->name, header.kernel);
  header.experts = state.experts;
  header.k = state.k;
  header.n = state.n;
  header.kc = state.kc;
  header.panel_bytes = state.panel_bytes;
  put_text(state.source, header.source);
  header.panels_checksum =
      xxhash64({state.panels.data(), static_cast<std::size_t>(state.panel_bytes)});
  header.header_checksum = internal::header_checksum(header);
  return header;
}

std::string_view text_of(std::span<const char> field) {
  return {field.data(), strnlen(field.data(), field.size())};
}

// False at the end of the file, and with errno set after an error.
bool read_all(int fd, void* data, std::int64_t bytes, std::int64_t offset) {
  char* p = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t got = pread(fd, p, static_cast<size_t>(bytes), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) errno = 0;
    if (got <= 0) return false;
    p += got;
    bytes -= got;
    offset += got;
  }
  return true;
}

class Loader {
 public:
  Loader(Context& context, const std::string& path)
      : isa_(context.state().isa),
        pool_(context.state().pool),
        path_(path),
        // Not blocking: opening a pipe must not wait for a writer. Files do not care.
        file_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}

  Result<std::unique_ptr<PackedWeightState>> load() {
    WEFT_RETURN_IF_ERROR(check_file());
    WEFT_RETURN_IF_ERROR(read_header());
    WEFT_RETURN_IF_ERROR(check_kernel());
    WEFT_RETURN_IF_ERROR(check_sizes());
    auto state = std::make_unique<PackedWeightState>();
    state->kernel = kernel_;
    state->experts = header_.experts;
    state->k = header_.k;
    state->n = header_.n;
    state->kc = header_.kc;
    state->panel_bytes = header_.panel_bytes;
    state->source = text_of(header_.source);
    WEFT_ASSIGN_OR_RETURN(state->panels, Buffer::allocate(header_.panel_bytes, "a packed weight"));
    WEFT_RETURN_IF_ERROR(read_panels(state->panels.data()));
    return state;
  }

 private:
  template <typename... Args>
  Status error(fmt::format_string<Args...> format, Args&&... args) const {
    return invalid("load", path_, format, std::forward<Args>(args)...);
  }

  Status check_file() {
    if (!file_) return error("cannot be opened ({}); check the path", std::strerror(errno));
    struct stat info {};
    if (fstat(file_.get(), &info) != 0)
      return error("cannot be examined ({}); check the path", std::strerror(errno));
    if (!S_ISREG(info.st_mode))
      return error("is {}; give the file that save() wrote",
                   S_ISDIR(info.st_mode) ? "a directory" : "not a regular file");
    file_bytes_ = info.st_size;
    return {};
  }

  Status read_header() {
    if (file_bytes_ < kHeaderBytes)
      return error(
          "has {} bytes but the header of a packed weight takes {}; it is another file or was cut "
          "off: save the weight again",
          file_bytes_, kHeaderBytes);
    if (!read_all(file_.get(), &header_, kHeaderBytes, 0)) return cannot_read();
    if (std::memcmp(header_.magic, internal::kPackedWeightMagic, sizeof(header_.magic)) != 0)
      return error(
          "is not a packed weight (it does not begin with '{}'); give the file that save() "
          "wrote",
          std::string_view(internal::kPackedWeightMagic, sizeof(header_.magic)));
    if (header_.format != internal::kPackedWeightFormat)
      return error("has format {} but this weft reads format {}; save the weight again",
                   header_.format, internal::kPackedWeightFormat);
    const std::uint64_t checksum = internal::header_checksum(header_);
    if (checksum != header_.header_checksum)
      return error(
          "is damaged: the checksum of its header is {:016x} but it says {:016x}; save "
          "the weight again",
          checksum, header_.header_checksum);
    if (header_.header_bytes != kHeaderBytes)
      return error(
          "contradicts itself: its header says it takes {} bytes but it takes {}; save the "
          "weight again",
          header_.header_bytes, kHeaderBytes);
    return {};
  }

  Status check_kernel() {
    const std::string_view name = text_of(header_.kernel);
    for (const gemm::Kernel& kernel : gemm::kernels())
      if (kernel.name == name) kernel_ = &kernel;
    if (!kernel_)
      return error("was packed for {}, which this weft does not have; pack the weight again", name);
    if (kernel_->isa & ~isa_)
      return error("was packed for {}, which this Context may not use ({}); pack the weight again",
                   name, isa::names(isa_));
    return {};
  }

  Status check_sizes() {
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    const auto [experts, k, n, kc] = std::tuple{header_.experts, header_.k, header_.n, header_.kc};
    if (experts < 0 || experts > kMost)
      return error(
          "contradicts itself: it has {} experts but must have 0 to {}; save the weight again",
          experts, kMost);
    if (k < 1 || k > kMost || n < 1 || n > kMost)
      return error(
          "contradicts itself: k and n are {} and {} but must be 1 to {}; save the weight "
          "again",
          k, n, kMost);
    if (kc < 1 || kc % kernel_->k_step != 0 || kc > kernel_->padded_k(k))
      return error(
          "contradicts itself: its chunks have {} rows but must have a multiple of {}, at "
          "most {}; save the weight again",
          kc, kernel_->k_step, kernel_->padded_k(k));
    const auto bytes = internal::packed_bytes(*kernel_, experts, k, n, kc);
    if (!bytes || *bytes != header_.panel_bytes)
      return error(
          "contradicts itself: {} by {} takes {} bytes of panels but its header says {}; "
          "save the weight again",
          k, n, bytes.value_or(-1), header_.panel_bytes);
    if (file_bytes_ - kHeaderBytes != *bytes)
      return error(
          "has {} bytes but should have {}; it was cut off or added to: save the weight "
          "again",
          file_bytes_, kHeaderBytes + *bytes);
    return {};
  }

  Status read_panels(std::byte* panels) {
    // By all threads, so that on several NUMA nodes the panels lie on those of all who read them,
    // as after pack(): a page at a time, whose first touch this is.
    std::atomic<int> failure{-1};  // errno
    pool_.parallel_for(
        ceil_div(header_.panel_bytes, kHugePage), [&](std::int64_t index, int /*thread*/) {
          const std::int64_t begin = index * kHugePage;
          const std::int64_t bytes = std::min(kHugePage, header_.panel_bytes - begin);
          if (!read_all(file_.get(), panels + begin, bytes, kHeaderBytes + begin)) failure = errno;
        });
    if (failure >= 0) {
      errno = failure;
      return cannot_read();
    }
    const std::uint64_t checksum =
        xxhash64({panels, static_cast<std::size_t>(header_.panel_bytes)});
    if (checksum != header_.panels_checksum)
      return error(
          "is damaged: the checksum of its panels is {:016x} but its header says {:016x}; "
          "save the weight again",
          checksum, header_.panels_checksum);
    return {};
  }

  Status cannot_read() const {
    return error("cannot be read ({}); save the weight again",
                 errno ? std::strerror(errno) : "it became shorter meanwhile");
  }

  const isa::Set isa_;
  ThreadPool& pool_;
  const std::string& path_;
  const internal::UniqueFd file_;
  std::int64_t file_bytes_ = 0;
  PackedWeightHeader header_{};
  const gemm::Kernel* kernel_ = nullptr;
};

}  // namespace

Status PackedWeight::save(const std::string& path) const {
  const PackedWeightHeader header = header_of(*state_);
  PartialFile file(path);
  if (!file.is_open())
    return invalid("save", path, "cannot be created ({}); check the folder", std::strerror(errno));
  if (!file.write_all(&header, kHeaderBytes) ||
      !file.write_all(state_->panels.data(), state_->panel_bytes) || !file.rename_to(path))
    return invalid("save", path, "cannot be written ({}); nothing was changed",
                   std::strerror(errno));
  return {};
}

Result<PackedWeight> PackedWeight::load(Context& context, const std::string& path) {
  WEFT_ASSIGN_OR_RETURN(auto state, Loader(context, path).load());
  return PackedWeight(std::move(state));
}

}  // namespace weft
