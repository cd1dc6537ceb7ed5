// SPDX-License-Identifier: Apache-2.0
// The tables of aclnnMoeDistribute… and of the barriers; groups of two ranks, or of 16 for the
// reset.
#pragma once

#include "aclnn_rules.h"

namespace weft::cann {

EntryCall dispatch_call();  // V3
Rules dispatch_rules(const World& world);
EntryCall combine_call();  // V3
Rules combine_rules(const World& world);
EntryCall combine_norm_call();  // V2
Rules combine_norm_rules(const World& world);
EntryCall barrier_call();  // V2
Rules barrier_rules(const World& world);
EntryCall reset_call();
Rules reset_rules(const World& world);

}  // namespace weft::cann
