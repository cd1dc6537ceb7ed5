// SPDX-License-Identifier: Apache-2.0
// The commands of weft. Each adds its options and what runs when it is the one that is named.
#pragma once

#include "terminal/command_line.h"

namespace weft::tools {

void add_info(CommandLine& line);
void add_run(CommandLine& line);
void add_check(CommandLine& line);
void add_bench(CommandLine& line);
void add_explain(CommandLine& line);
void add_demo(CommandLine& line);
void add_cann_flags(CommandLine& line);

}  // namespace weft::tools
