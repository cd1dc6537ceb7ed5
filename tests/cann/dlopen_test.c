/* SPDX-License-Identifier: Apache-2.0 */
/* Loads the library under two of CANN's names, as torch's adapter does: it must be one runtime.
 * usage: dlopen_test FOLDER */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "abi.h"

static void *load(const char *folder, const char *name) {
  char path[4096];
  void *library;
  snprintf(path, sizeof(path), "%s/%s", folder, name);
  library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) fprintf(stderr, "%s\n", dlerror());
  return library;
}

int main(int argc, char **argv) {
  static const char *const names[] = {"libnnopbase.so", "libopapi.so", "libhccl.so", "libhcomm.so",
                                      "libweft_cann.so"};
  aclError (*init)(const char *);
  aclError (*finalize)(void);
  void *first;
  size_t i;
  HcclCommConfig config;
  size_t size;
  if (argc != 2) return 2;
  HcclCommConfigInit(&config);
  memcpy(&size, config.reserved, sizeof(size));
  if (size != 2240 || config.hcclBufferSize != 0xffffffff || config.hcclExecTimeOut != -1) return 1;
  first = load(argv[1], "libascendcl.so");
  if (!first) return 1;
  for (i = 0; i < sizeof(names) / sizeof(names[0]); ++i) {
    void *other = load(argv[1], names[i]);
    if (!other || dlsym(other, "aclInit") != dlsym(first, "aclInit")) {
      fprintf(stderr, "%s has a runtime of its own\n", names[i]);
      return 1;
    }
  }
  *(void **)&init = dlsym(first, "aclInit");
  *(void **)&finalize = dlsym(first, "aclFinalize");
  if (!init || !finalize || init(NULL) != ACL_SUCCESS || finalize() != ACL_SUCCESS) return 1;
  return dlsym(first, "PTAGetExecCache") ? 1 : 0; /* absent: no executor cache to be used */
}
