// SPDX-License-Identifier: Apache-2.0
#include "kernels/peak/peak.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>

#include "base/float16.h"
#include "base/memory.h"
#include "kernels/peak/kernels.h"
#include "weft/dtype.h"
#include "weft/trace.h"

namespace weft::peak {
namespace {

constexpr struct Compute {
  isa::Set isa;
  std::string_view name;
  DType type;
  double ops_per_round;
  ComputeFn run;
} kCompute[] = {
#define WEFT_PEAK_COMPUTE(isa, name, type, ops, fn) {isa, name, type, ops, fn},
#define WEFT_PEAK_MEMORY(isa, read, copy, copy_stream)
#include "kernels/peak/kernels.inc"
#undef WEFT_PEAK_COMPUTE
#undef WEFT_PEAK_MEMORY
};

constexpr struct Memory {
  isa::Set isa;
  ReadFn read;
  CopyFn copy, copy_stream;
} kMemory[] = {
#define WEFT_PEAK_COMPUTE(isa, name, type, ops, fn)
#define WEFT_PEAK_MEMORY(isa, read, copy, copy_stream) {isa, read, copy, copy_stream},
#include "kernels/peak/kernels.inc"
#undef WEFT_PEAK_COMPUTE
#undef WEFT_PEAK_MEMORY
};

// The last row is scalar, which is always there.
const Memory& select_memory(isa::Set available) {
  for (const Memory& row : kMemory)
    if (row.isa & available) return row;
  return std::end(kMemory)[-1];
}

constexpr int kRuns = 7;

template <typename Run>
double seconds_of(const Run& run) {
  const std::int64_t begin = trace_now_ns();
  run();
  return static_cast<double>(std::max<std::int64_t>(1, trace_now_ns() - begin)) * 1e-9;
}

template <typename Run>
double median_seconds(const Run& run) {
  std::array<double, kRuns> seconds;
  for (double& s : seconds) s = seconds_of(run);
  std::nth_element(seconds.begin(), seconds.begin() + kRuns / 2, seconds.end());
  return seconds[kRuns / 2];
}

struct alignas(64) Data {
  std::byte bytes[kDataBytes];
};

// Floats have a magnitude of 0.5 to 1: never zero, and sums stay finite for ever.
Data random_data(DType type) {
  std::mt19937 random(1);
  Data data;
  for (int at = 0; at < kDataBytes; at += info(type).bits / 8) {
    const auto bits = static_cast<std::uint32_t>(random());
    const float value = (bits & 1 ? -0.5f : 0.5f) * (1 + static_cast<float>(bits >> 8) * 0x1p-24f);
    const std::uint16_t half = f32_to_bf16(value);
    if (type == DType::kFloat32)
      std::memcpy(data.bytes + at, &value, sizeof value);
    else if (type == DType::kBFloat16)
      std::memcpy(data.bytes + at, &half, sizeof half);
    else
      data.bytes[at] = static_cast<std::byte>(bits >> 16);
  }
  return data;
}

double measure(const Compute& row, double seconds) {
  const Data data = random_data(row.type);
  alignas(64) std::byte sink[kSinkBytes];
  const double seconds_per_run = seconds / kRuns;
  std::int64_t rounds = 64;  // grows until a run is long enough; the growing warms the core up
  const auto run = [&] { row.run(data.bytes, rounds, sink); };
  while (seconds_of(run) < seconds_per_run / 2) rounds *= 2;
  return row.ops_per_round * static_cast<double>(rounds) / median_seconds(run);
}

}  // namespace

std::vector<Peak> measure_compute_peaks(isa::Set available, double seconds_each) {
  std::vector<Peak> peaks;
  for (const Compute& row : kCompute) {
    const bool measured = ops_per_second(peaks, row.name) > 0;  // by a better ISA
    if ((row.isa & available) && !measured)
      peaks.push_back({row.name, row.isa, measure(row, seconds_each)});
  }
  return peaks;
}

double ops_per_second(std::span<const Peak> peaks, std::string_view name) {
  for (const Peak& peak : peaks)
    if (peak.name == name) return peak.ops_per_second;
  return 0;
}

Result<Bandwidth> measure_bandwidth(isa::Set available) {
  constexpr std::int64_t kBytes = 256 << 20;
  WEFT_ASSIGN_OR_RETURN(const Buffer buffer, Buffer::allocate(kBytes, "the bandwidth measurement"));
  // Pages that nobody wrote are all the same page of zeros, which would be read from the cache.
  std::memset(buffer.data(), 0x5a, static_cast<size_t>(kBytes));
  const Memory& row = select_memory(available);
  alignas(64) std::byte sink[kSinkBytes];
  const double read = median_seconds([&] { row.read(buffer.data(), kBytes, sink); });

  const auto copy_seconds = [&](CopyFn copy) {
    return median_seconds([&] { copy(buffer.data(), buffer.data() + kBytes / 2, kBytes / 2); });
  };
  double copy = copy_seconds(row.copy);
  if (row.copy_stream) copy = std::min(copy, copy_seconds(row.copy_stream));
  return Bandwidth{.read = kBytes / read, .copy = kBytes / copy};
}

double measure_read_of(const void* data, std::int64_t bytes) {
  alignas(64) std::byte sink[kSinkBytes];
  const ReadFn read = select_memory(isa::available()).read;
  return median_seconds([&] { read(data, bytes, sink); });
}

}  // namespace weft::peak
