// SPDX-License-Identifier: Apache-2.0
#include "jobs/memory.h"

#include <fmt/core.h>

#include <cstring>

#include "base/memory_use.h"
#include "comm/transport/mapping.h"
#include "terminal/text.h"

namespace weft::tools {
namespace {

Result<internal::Mapping> map_window(RankKind kind, const internal::SegmentLayout& layout) {
  if (kind == RankKind::kThreads) return internal::Mapping::anonymous(layout);
  WEFT_ASSIGN_OR_RETURN(const internal::UniqueFd file, internal::create_segment_file(layout));
  return internal::Mapping::of_file(file.get(), layout);
}

std::string why_none(RankKind kind, int ranks) {
  if (!internal::SegmentLayout{0, ranks}.wants_huge_pages())
    return "none are asked for with so many ranks";
  const HugePageSettings settings = huge_page_settings();
  const bool threads = kind == RankKind::kThreads;
  const std::string& setting = threads ? settings.anonymous : settings.shared;
  if (threads ? settings.gives_anonymous() : settings.gives_shared())
    return "none were free, or this process may not have any";
  if (setting.empty()) return "this kernel has none";
  return fmt::format("the system's setting is '{}', see docs/binding.md", setting);
}

}  // namespace

Result<MemoryUse> try_window(RankKind kind, int ranks) {
  const internal::SegmentLayout layout{16 << 20, ranks};
  WEFT_ASSIGN_OR_RETURN(const internal::Mapping mapping, map_window(kind, layout));
  std::byte* const window = mapping.segment().window;
  std::memset(window, 1, static_cast<std::size_t>(layout.window_bytes));
  return memory_use(window, layout.window_room());
}

std::string memory_text(const Result<MemoryUse>& use) {
  if (!use.ok()) return use.status().message();
  return fmt::format("{}, of which {} in huge pages",
                     bytes_text(static_cast<double>(use->resident_bytes)),
                     bytes_text(static_cast<double>(use->huge_page_bytes)));
}

std::string window_text(RankKind kind, int ranks) {
  const Result<MemoryUse> use = try_window(kind, ranks);
  const bool none = use.ok() && use->huge_page_bytes == 0;
  return memory_text(use) + (none ? ": " + why_none(kind, ranks) : "");
}

}  // namespace weft::tools
