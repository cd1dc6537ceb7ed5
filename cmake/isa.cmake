# SPDX-License-Identifier: Apache-2.0
# Compiler flags of each instruction set; nothing else knows flags. Names as in src/base/isa.inc.
set(WEFT_ISA_FLAGS_scalar "")
set(WEFT_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(WEFT_ISA_FLAGS_avx512 ${WEFT_ISA_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
set(WEFT_ISA_FLAGS_avx512vnni ${WEFT_ISA_FLAGS_avx512} -mavx512vnni)
set(WEFT_ISA_FLAGS_avx512bf16 ${WEFT_ISA_FLAGS_avx512} -mavx512bf16)
set(WEFT_ISA_FLAGS_amxint8 ${WEFT_ISA_FLAGS_avx512vnni} -mamx-tile -mamx-int8)
set(WEFT_ISA_FLAGS_amxbf16 ${WEFT_ISA_FLAGS_avx512bf16} -mavx512fp16 -mamx-tile -mamx-bf16)

# weft_isa_sources(ISA file.cc ...): adds files to the library, compiled for one instruction set. fp contraction is off, so a
# fused multiply-add is there only where the code writes one, and all ISAs can give the same bits.
function(weft_isa_sources isa)
  if(NOT DEFINED WEFT_ISA_FLAGS_${isa})
    message(FATAL_ERROR "no instruction set '${isa}' in cmake/isa.cmake")
  endif()
  list(TRANSFORM ARGN PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/" OUTPUT_VARIABLE files)
  target_sources(weft_internal PRIVATE ${files})
  set(level -O3)
  if(isa STREQUAL scalar)
    set(level -O2)  # plain loops for CPUs without AVX2, where -O3 takes twice as long to compile
  endif()
  set_property(SOURCE ${files} TARGET_DIRECTORY weft_internal APPEND PROPERTY COMPILE_OPTIONS
    ${WEFT_ISA_FLAGS_${isa}} -ffp-contract=off $<$<CONFIG:Release>:${level}>)
  set_property(SOURCE ${files} TARGET_DIRECTORY weft_internal PROPERTY SKIP_PRECOMPILE_HEADERS ON)  # other flags
endfunction()
