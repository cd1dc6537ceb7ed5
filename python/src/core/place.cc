// SPDX-License-Identifier: Apache-2.0
#include "core/place.h"

#include "core/array.h"
#include "core/gil.h"

namespace weft::python {

Place Place::of(const char* op, nb::handle target, bool needs_group) {
  Place place;
  if (nb::try_cast(target, place.ranks_, false) && place.ranks_) return place;
  if (needs_group) refuse_type(op, "group", "a weft.Group", target);
  if (target.is_none()) {
    place.default_ = made_without_gil([] { return default_context(); });
    place.context_ = place.default_.get();
  } else if (!nb::try_cast(target, place.context_, false)) {
    refuse_type(op, "context", "a weft.Context or weft.Group", target);
  }
  return place;
}

Status Place::run(const std::function<Status(Context&, Group*)>& call) const {
  if (ranks_)
    return ranks_->run([&](Context& context, Group& group) { return call(context, &group); });
  const std::lock_guard lock(context_->turn);
  return call(context_->context, nullptr);
}

}  // namespace weft::python
