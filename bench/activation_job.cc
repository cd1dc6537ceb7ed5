// SPDX-License-Identifier: Apache-2.0
#include "activation_job.h"

#include <bit>
#include <random>

#include "report.h"
#include "weft/trace.h"

namespace weft::bench {
namespace {

using activation::Form;
using activation::Function;

constexpr int kRows = 32, kColumns = 256, kPanel = 32;

bool to_int8(Form form) { return form == Form::kInt8Steps || form == Form::kInt8; }

std::vector<std::uint32_t> sums(Form form, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> value(0, 2);
  std::vector<std::uint32_t> all(kRows * kColumns);
  for (auto& bits : all) {
    const float v = value(random);
    bits = to_int8(form) ? static_cast<std::uint32_t>(static_cast<std::int32_t>(v * 1000))
                         : std::bit_cast<std::uint32_t>(v);
  }
  return all;
}

}  // namespace

std::vector<ActivationCase> activation_cases() {
  constexpr std::pair<std::string_view, Form> kForms[] = {{"float16 steps", Form::kFloat16Steps},
                                                          {"float16", Form::kFloat16},
                                                          {"bfloat16", Form::kBFloat16},
                                                          {"int8 steps", Form::kInt8Steps},
                                                          {"int8", Form::kInt8}};
  constexpr std::pair<std::string_view, Function> kFunctions[] = {{"fastgelu", Function::kFastGelu},
                                                                  {"gelu", Function::kGelu},
                                                                  {"relu", Function::kRelu},
                                                                  {"silu", Function::kSilu}};
  std::vector<ActivationCase> cases;
  for (const auto& [form_name, form] : kForms)
    for (const auto& [function_name, function] : kFunctions)
      for (const bool gated : {false, true})
        cases.push_back({form_name, function_name, form, function, gated});
  return cases;
}

ActivationJob::ActivationJob(const ActivationCase& c)
    : activate_(activation::select(c.form, c.function, c.gated, isa_in_use())),
      acc_(sums(c.form, 1)),
      gate_(sums(c.form, 2)),
      scale_(kColumns, 1e-3f),
      quant_scale_(kColumns, 16.0f),
      dst_(kRows * kColumns),
      tile_({.m = kRows,
             .n = kColumns,
             .acc = acc_.data(),
             .gate = c.gated ? gate_.data() : nullptr,
             .acc_stride_bytes = kPanel * 4,
             .panel_columns = kPanel,
             .panel_stride_bytes = kRows * kPanel * 4,
             .scale = scale_.data(),
             .gate_scale = scale_.data(),
             .dst = dst_.data(),
             .dst_stride_bytes = kColumns * (to_int8(c.form) ? 1 : 2),
             .quant_scale = quant_scale_.data(),
             .quant_step = 1}) {}

double ActivationJob::run() {
  activate_(tile_);  // brings it into the cache
  const std::int64_t begin_ns = trace_now_ns();
  for (int done = 0; done < kActivationElements; done += kRows * kColumns) activate_(tile_);
  return static_cast<double>(trace_now_ns() - begin_ns) * 1e-9;
}

}  // namespace weft::bench
