// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace weft {

/// Tells the core that this is a spin loop: it gives way to its other hardware thread.
inline void cpu_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

}  // namespace weft
