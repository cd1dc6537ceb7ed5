// SPDX-License-Identifier: Apache-2.0
// weft cann-flags: how to compile and link a program written for CANN's C interface.
#include <fmt/core.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>

#include "commands/commands.h"
#include "commands/options.h"

namespace weft::tools {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFooter = R"(
Examples:
  weft cann-flags --cflags
  g++ program.cpp $(weft cann-flags --cflags --libs) -o program)";

struct Arguments {
  bool cflags = false, libs = false;
};

struct Folders {
  fs::path headers, library;
};

/// Installed, or in the build tree; the first of the two that is there.
std::optional<Folders> find_folders() {
  std::error_code error;
  const fs::path tool = fs::read_symlink("/proc/self/exe", error);
  const fs::path root = tool.parent_path().parent_path();
  const Folders candidates[] = {
      {root / WEFT_INSTALL_INCLUDEDIR / "weft-cann", root / WEFT_INSTALL_LIBDIR},
      {root / "cann/include/weft-cann", root / "cann/lib"}};
  for (const Folders& folders : candidates)
    if (fs::exists(folders.headers / "acl/acl.h", error) &&
        fs::exists(folders.library / "libweft_cann.so", error))
      return folders;
  return std::nullopt;
}

int cann_flags(const Arguments& arguments) {
  if (!arguments.cflags && !arguments.libs) {
    fmt::print(stderr, "weft: ask for --cflags, --libs or both.\nSee weft cann-flags --help.\n");
    return kUsageExit;
  }
  const std::optional<Folders> folders = find_folders();
  if (!folders) {
    fmt::print(stderr,
               "weft: libweft_cann is neither installed with this tool nor in its build tree.\n"
               "Build weft with WEFT_BUILD_CANN=ON.\n");
    return kFailedExit;
  }
  std::string flags;
  if (arguments.cflags)
    flags = fmt::format("-I{0} -I{0}/aclnnop -I{0}/compat/op/examples", folders->headers.string());
  if (arguments.libs)
    flags += fmt::format("{0}-L{1} -lweft_cann -Wl,-rpath,{1}", flags.empty() ? "" : " ",
                         folders->library.string());
  fmt::print("{}\n", flags);
  return 0;
}

}  // namespace

void add_cann_flags(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  Command& command = line.add_command(
      "cann-flags", "Compiler and linker flags for programs written for CANN's C interface",
      [arguments] { return cann_flags(*arguments); });
  command.add("--cflags", arguments->cflags, "Where the headers are");
  command.add("--libs", arguments->libs, "Where the library is, when linking and running");
  command.footer(kFooter);
}

}  // namespace weft::tools
