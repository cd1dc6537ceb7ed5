// SPDX-License-Identifier: Apache-2.0
#include "pytorch/packed_weight.h"

#include <map>
#include <mutex>

namespace weft::python {
namespace {

struct Registry {
  std::mutex mutex;
  std::int64_t last = 0;  // handles are not used twice: a stale one is an error, not another weight
  std::map<std::int64_t, std::shared_ptr<const PackedWeight>> entries;
};

Registry& registry() {
  static Registry instance;
  return instance;
}

}  // namespace

std::int64_t pack_weight(const at::Tensor& source, const std::optional<std::string>& group) {
  const ConstTensorRef view = weight("weight", source);
  std::shared_ptr<const PackedWeight> made;
  const auto pack = [&](Context& context) -> Status {
    WEFT_ASSIGN_OR_RETURN(PackedWeight packed, PackedWeight::pack(context, view));
    made = std::make_shared<const PackedWeight>(std::move(packed));
    return {};
  };
  if (group)
    run(*group, [&](Context& context, Group&) { return pack(context); });
  else
    run(pack);
  const std::lock_guard lock(registry().mutex);
  registry().entries[++registry().last] = std::move(made);
  return registry().last;
}

std::shared_ptr<const PackedWeight> packed_weight(const char* name, std::int64_t handle) {
  {
    const std::lock_guard lock(registry().mutex);
    const auto entry = registry().entries.find(handle);
    if (entry != registry().entries.end()) return entry->second;
  }
  refuse_operand(name, "is " + std::to_string(handle) +
                           ", which is the handle of no packed weight of this process; keep the "
                           "weft.torch.PackedWeight as long as its handle is used");
}

void release_weight(std::int64_t handle) {
  std::shared_ptr<const PackedWeight> last;  // freed without the lock
  const std::lock_guard lock(registry().mutex);
  const auto entry = registry().entries.find(handle);
  if (entry == registry().entries.end()) return;
  last = std::move(entry->second);
  registry().entries.erase(entry);
}

}  // namespace weft::python
