// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/gemm.h"

namespace weft::gemm {

#define WEFT_GEMM(isa, type, acc, mr, nr, k_step, a_bytes, b_bytes, a_header, b_header, tile, \
                  pack_a, pack_b, pack_bt, enter, leave)                                      \
  void tile(const Tile&);                                                                     \
  void pack_a(const PackA&);                                                                  \
  void pack_b(const PackB&);                                                                  \
  void pack_bt(const PackB&);
#include "kernels/gemm/kernels.inc"
#undef WEFT_GEMM
#define WEFT_GEMM_NARROW(isa, type, rows, columns, x_bytes, enter, pack_x, narrow) \
  void pack_x(const PackA&);                                                       \
  bool narrow(const Narrow&);
#define WEFT_GEMM_NARROW_STORED(isa, type, stored, narrow) bool narrow(const Narrow&);
#define WEFT_GEMM_NARROW_ROWS(isa, type, stored, narrow) bool narrow(const Narrow&);
#include "kernels/gemm/narrow.inc"
#undef WEFT_GEMM_NARROW
#undef WEFT_GEMM_NARROW_STORED
#undef WEFT_GEMM_NARROW_ROWS
void enter_amx();
void enter_narrow_amx(int m);
void leave_amx();

namespace {

// The names of the rows mean rows of the other tables. A name that is in neither does not compile.
consteval isa::Set isa_bit(std::string_view name) {
#define WEFT_ISA(enumerator, row_name, implies) \
  if (name == row_name) return isa::enumerator;
#include "base/isa.inc"
#undef WEFT_ISA
  __builtin_unreachable();
}

consteval DType dtype_of(std::string_view name) {
#define WEFT_DTYPE(enumerator, row_name, bits, cann, torch, numpy, unit_roundoff) \
  if (name == row_name) return DType::enumerator;
#include "base/dtype.inc"
#undef WEFT_DTYPE
  __builtin_unreachable();
}

consteval NarrowFn& stored_as(DType stored, DType type, NarrowFns& of) {
  return stored == type ? of.run : stored == DType::kInt8 ? of.run_int8 : of.run_int4;
}

consteval NarrowForm narrow_form(isa::Set isa, DType type) {
  NarrowForm form;
#define WEFT_GEMM_NARROW(row_isa, row_type, row_rows, row_columns, row_x_bytes, row_enter, \
                         row_pack_x, narrow)                                               \
  if (isa == isa_bit(#row_isa) && type == dtype_of(#row_type)) {                           \
    form.rows = row_rows;                                                                  \
    form.columns = row_columns;                                                            \
    form.x_bytes = row_x_bytes;                                                            \
    form.enter = row_enter;                                                                \
    form.pack_x = row_pack_x;                                                              \
    form.along_k.run = narrow;                                                             \
  }
#define WEFT_GEMM_NARROW_STORED(row_isa, row_type, stored, narrow) \
  if (isa == isa_bit(#row_isa) && type == dtype_of(#row_type))     \
    stored_as(dtype_of(#stored), type, form.along_k) = narrow;
#define WEFT_GEMM_NARROW_ROWS(row_isa, row_type, stored, narrow) \
  if (isa == isa_bit(#row_isa) && type == dtype_of(#row_type))   \
    stored_as(dtype_of(#stored), type, form.along_n) = narrow;
#include "kernels/gemm/narrow.inc"
#undef WEFT_GEMM_NARROW
#undef WEFT_GEMM_NARROW_STORED
#undef WEFT_GEMM_NARROW_ROWS
  return form;
}

constexpr Kernel kKernels[] = {
#define WEFT_GEMM(isa, type, acc, mr, nr, k_step, a_bytes, b_bytes, a_header, b_header, tile, \
                  pack_a, pack_b, pack_bt, enter, leave)                                      \
  {"gemm_" #type "_" #type "_" #acc "_" #mr "x" #nr "x" #k_step "_" #isa,                     \
   isa_bit(#isa),                                                                             \
   dtype_of(#type),                                                                           \
   dtype_of(#type),                                                                           \
   dtype_of(#acc),                                                                            \
   mr,                                                                                        \
   nr,                                                                                        \
   k_step,                                                                                    \
   a_bytes,                                                                                   \
   b_bytes,                                                                                   \
   a_header,                                                                                  \
   b_header,                                                                                  \
   tile,                                                                                      \
   pack_a,                                                                                    \
   pack_b,                                                                                    \
   pack_bt,                                                                                   \
   enter,                                                                                     \
   leave,                                                                                     \
   narrow_form(isa_bit(#isa), dtype_of(#type))},
#include "kernels/gemm/kernels.inc"
#undef WEFT_GEMM
};

}  // namespace

std::span<const Kernel> kernels() { return kKernels; }

const Kernel* select(DType type, isa::Set available) {
  for (const Kernel& kernel : kKernels)
    if (kernel.a == type && (kernel.isa & available)) return &kernel;
  return nullptr;
}

}  // namespace weft::gemm
