// SPDX-License-Identifier: Apache-2.0
// What the kernel made of memory that weft mapped: never on the way of a call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>

#include "weft/memory_use.h"
#include "weft/status.h"

namespace weft {

/// Of whole pages of this process. kUnimplemented if the kernel doesn't say.
Result<MemoryUse> memory_use(const std::byte* data, std::int64_t bytes);

/// How many of the bytes in [begin, end) are in huge pages, from a text like /proc/self/smaps. It
/// counts by mapping, so nullopt if a mapping has some, but not all of its pages huge and reaches
/// beyond the range; and if the text doesn't cover the range or doesn't count huge pages.
std::optional<std::int64_t> huge_page_bytes(std::istream& smaps, std::uint64_t begin,
                                            std::uint64_t end);

/// The chosen words of /sys/kernel/mm/transparent_hugepage: "madvise", "never", …; empty if this
/// kernel has no transparent huge pages.
struct HugePageSettings {
  std::string anonymous;  ///< enabled: packed weights, scratch, windows of ranks as threads
  std::string shared;     ///< shmem_enabled: windows of ranks as processes

  /// Whether memory that asks for huge pages gets them when there are some.
  bool gives_anonymous() const { return anonymous == "always" || anonymous == "madvise"; }
  bool gives_shared() const {
    return shared == "always" || shared == "within_size" || shared == "advise" || shared == "force";
  }
};
/// `root`: where a test has laid out its own files.
HugePageSettings huge_page_settings(const std::string& root = "");

}  // namespace weft
