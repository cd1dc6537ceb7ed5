// SPDX-License-Identifier: Apache-2.0
// <immintrin.h> without GCC 12's false alarms: it takes the deliberately undefined vectors inside
// its own AVX-512 intrinsics for uninitialised variables.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
