// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "base/topology.h"
#include "benchmarks.h"
#include "operators/shape.h"

namespace weft::bench {
namespace {

// "section/what/dtype/shape/layout".
struct Name {
  std::string section, what, dtype, shape, layout;
  explicit Name(const std::string& text) {
    std::string* parts[] = {&section, &what, &dtype, &shape, &layout};
    size_t begin = 0;
    for (std::string* part : parts) {
      const size_t end = text.find('/', begin);
      *part = text.substr(begin, end == std::string::npos ? end : end - begin);
      begin = end == std::string::npos ? text.size() : end + 1;
    }
  }
  std::string with(const std::string& other) const {
    return fmt::format("{}/{}/{}/{}/{}", section, other, dtype, shape, layout);
  }
};

// What a row must reach. With AMX and without; the first is a share or a ratio that must be at
// least this.
struct Target {
  double amx, other;
  double here(bool amx_here) const { return amx_here ? amx : other; }
};

DType type_of(const std::string& name) { return dtype_from_name(name).value(); }

// Shares of the register peak that a gemm must reach: deep products (k = 4096, first shape) and
// wide ones.
Target gemm_target(const std::string& dtype, bool wide) {
  if (dtype == "float16") return {wide ? 0.70 : 0.55, 0.80};
  if (dtype == "bfloat16")
    return {wide ? 0.50 : 0.38, isa_in_use() & isa::kAvx512Bf16 ? 0.75 : 0.80};
  return {0.38, 0.70};
}
Target gemm_peer_target(const std::string& dtype, bool wide) {
  if (dtype == "bfloat16") return {wide ? 2.0 : 1.2, 0};
  return {2.5, 0};
}

std::string verdict(double value, double target, bool at_most = false) {
  if (target <= 0) return "";
  const bool met = at_most ? value <= target : value >= target;
  return fmt::format("{} {:.2f}  {}", at_most ? "<=" : ">=", target, met ? "met" : "MISSED");
}

class Table {
 public:
  explicit Table(const Report& report) : report_(report) {}

  std::string text() {
    machine();
    for (const Section& section : sections())
      for (const auto& [full, times] : report_.results) {
        const Name name(full);
        if (name.section == section.name) entry(name, times);
      }
    return text_;
  }

 private:
  void entry(const Name& name, const Times& times) {
    if (name.section == "gemm") return gemm(name, times);
    if (name.section == "add_rmsnorm") return add_rmsnorm(name, times);
    if (name.section == "int8 communication") {
      if (name.what == "conversions") conversions(name, times);
      if (name.what == "int8") int8_communication(name, times);
      return;
    }
    if (name.section == "collectives") return collective(name, times, 30);
    if (name.section == "hccl" && name.what == "empty task")
      return line("{:62} {:8.1f} us", title(name), times.median() * 1e6);
    if (name.section == "hccl") return collective(name, times, 60);
    if (name.section == "c door" && name.what == "two phases") return c_door(name, times);
    if (name.what != "fused") return;
    if (name.section == "fused") fused(name, times);
    if (name.section == "allreduce") pair(name, times, {4, 1.8}, {6, 1.8}, {5, 2});
    if (name.section == "reduce scatter") pair(name, times, {4, 1.5}, {4, 1.5}, {0, 0});
    if (name.section == "weights") weights(name, times);
    if (name.section == "decode") decode(name, times);
    if (name.section == "decode weights") decode_weights(name, times);
    if (name.section == "8 ranks") many_ranks(name, times);
  }

  template <typename... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    text_ += fmt::format(format, std::forward<Args>(args)...) + "\n";
  }
  std::optional<double> median(const std::string& name) const {
    const auto found = report_.results.find(name);
    if (found == report_.results.end()) return std::nullopt;
    return found->second.median();
  }
  std::optional<double> peer(const std::string& what, const Name& name) const {
    const tools::Shape shape = tools::parse_shape(name.shape).value();
    for (const PeerResult& theirs : report_.peers)
      if (theirs.what == what && theirs.dtype == name.dtype && theirs.m == shape.m() &&
          theirs.k == shape.k_of(0) && theirs.n == shape.n && theirs.x2 == name.layout)
        return theirs.median_s;
    return std::nullopt;
  }
  static bool wide(const Name& name) { return name.shape.starts_with("4096x1024"); }
  double byte_bound(const Times& times) const { return times.bytes / report_.copy_together; }

  void machine() {
    line("{}: {} cpus, {}AMX, instruction sets {}", topology().cpu_model, topology().usable_cpus,
         has_amx() ? "" : "no ", isa::names(isa_in_use()));
    for (const peak::Peak& p : report_.machine.peaks)
      line("  {:28} {:9.0f} Gop/s", p.name, p.ops_per_second * 1e-9);
    line("  {:28} {:9.1f} GB/s", "read from memory", report_.machine.bandwidth.read * 1e-9);
    line("  {:28} {:9.1f} GB/s (read + written)", "copy, one core",
         report_.machine.bandwidth.copy * 1e-9);
    line("  {:28} {:9.1f} GB/s per core", "copy, two cores at once", report_.copy_together * 1e-9);
    line("");
  }

  void gemm(const Name& name, const Times& times) {
    const double seconds = times.median(), speed = times.flops / seconds;
    if (name.what == "2 threads") {
      const auto one = median(name.with("1 thread"));
      if (one)
        line("{:62} {:8.2f} ms  {:6.0f} Gop/s  {:.2f} x one thread  {}", title(name), seconds * 1e3,
             speed * 1e-9, *one / seconds, verdict(*one / seconds, 1.85));
      return;
    }
    if (name.layout.starts_with("NZ")) {
      Name strided = name;
      strided.layout = name.layout == "NZ" ? "row-major" : "transposed";
      line("{:62} {:8.2f} ms", title(name), seconds * 1e3);
      return compare(strided.layout, median(strided.with(name.what)), seconds, 0.95);
    }
    const tools::GemmPeak peak =
        tools::gemm_peak(report_.machine, type_of(name.dtype), isa_in_use());
    const double share = speed / peak.ops_per_second;
    line("{:62} {:8.2f} ms  {:6.0f} Gop/s  {:.2f} of {}  {}", title(name), seconds * 1e3,
         speed * 1e-9, share, peak.name,
         verdict(share, gemm_target(name.dtype, wide(name)).here(has_amx())));
    compare("PyTorch", peer("gemm", name), seconds,
            gemm_peer_target(name.dtype, wide(name)).here(has_amx()));
  }

  // A call beside its product alone and what it must move.
  void beyond_gemm(const Name& name, const Times& times) {
    const double seconds = times.median();
    line("{:62} {:8.2f} ms  {:6.0f} Gop/s per rank", title(name), seconds * 1e3,
         times.flops / seconds * 1e-9);
    const auto alone = median(name.with("gemm alone"));
    if (!alone) return;
    const double beyond = (seconds - *alone) / byte_bound(times);
    line(
        "    gemm alone {:.2f} ms, byte bound {:.2f} ms: beyond the gemm {:.2f} x the byte bound  "
        "{}",
        *alone * 1e3, byte_bound(times) * 1e3, beyond, verdict(beyond, 1.5, true));
  }

  void fused(const Name& name, const Times& times) {
    beyond_gemm(name, times);
    compare("separate passes", median(name.with("separate passes")), times.median(),
            has_amx() ? 1.25 : 1.1);
    const double target = name.dtype == "int8" ? (has_amx() ? 4 : 2) : (has_amx() ? 6 : 2);
    compare("PyTorch + gloo", peer("fused", name), times.median(), target);
  }

  void pair(const Name& name, const Times& times, Target bfloat16, Target float16, Target int8) {
    beyond_gemm(name, times);
    const Target target = name.dtype == "int8"       ? int8
                          : name.dtype == "bfloat16" ? bfloat16
                                                     : float16;
    compare("PyTorch + gloo", peer(name.section, name), times.median(), target.here(has_amx()));
  }

  // Restored weights beside the 16-bit ones of the same type.
  std::optional<double> unquantised(const Name& name) const {
    Name other = name;
    other.dtype = name.dtype.substr(0, name.dtype.find(' '));
    return other.dtype == name.dtype ? std::nullopt : median(other.with(name.what));
  }

  void weights(const Name& name, const Times& times) {
    line("{:62} {:8.2f} ms", title(name), times.median() * 1e3);
    compare("16-bit weights", unquantised(name), times.median(), 0.85);
  }

  void decode_weights(const Name& name, const Times& times) {
    const double seconds = times.median();
    line("{:62} {:8.3f} ms", title(name), seconds * 1e3);
    const bool int4 = name.dtype.ends_with("int4");
    compare("16-bit weights", unquantised(name), seconds,
            has_amx() ? (int4 ? 1.8 : 1.4) : (int4 ? 1.4 : 1.2));
    const auto alone = median(name.with("gemm alone"));
    if (!alone || name.shape[0] != '8') return;  // 64 KiB of partial sums
    line("    product alone {:.3f} ms: {:.1f} us above it  {}", *alone * 1e3,
         (seconds - *alone) * 1e6, verdict((seconds - *alone) * 1e6, 20, true));
  }

  void add_rmsnorm(const Name& name, const Times& times) {
    const double seconds = times.median();
    const bool one = name.what == "1 thread";
    const double copy = one ? report_.machine.bandwidth.copy : 2 * report_.copy_together;
    const double share = times.bytes / seconds / copy;
    line("{:62} {:8.2f} ms  {:6.1f} GB/s  {:.2f} of copying  {}", title(name), seconds * 1e3,
         times.bytes / seconds * 1e-9, share, verdict(share, 0.8));
  }

  // name.dtype is the link here.
  void int8_communication(const Name& name, const Times& times) {
    const auto float16 = median(name.with("float16"));
    if (!float16) return;
    const bool slow = name.dtype[0] < '4' && name.dtype != "memory";  // slower than 4 GB/s
    line("{:62} {:8.2f} ms", title(name), times.median() * 1e3);
    compare("as float16", float16, times.median(), slow ? 1 : 0);
  }

  void conversions(const Name& name, const Times& times) {
    const auto call = median(name.with("int8"));
    if (!call) return;
    line("{:62} {:8.2f} ms: {:.2f} of the call  {}", title(name), times.median() * 1e3,
         times.median() / *call, verdict(times.median() / *call, 0.25, true));
  }

  void decode(const Name& name, const Times& times) {
    const double seconds = times.median();
    line("{:62} {:8.3f} ms", title(name), seconds * 1e3);
    if (const auto read = median(name.with("read weights")))
      line("    reading the weights {:.3f} ms: {:.2f} x that + 30 us  {}", *read * 1e3,
           (seconds - 30e-6) / *read, verdict((seconds - 30e-6) / *read, 1.25, true));
    compare("PyTorch + gloo", peer("decode", name), seconds, 0);
  }

  void c_door(const Name& name, const Times& times) {
    const auto native = median(name.with("plan and run")), again = median(name.with("run again"));
    const auto empty = median(name.with("empty task"));
    if (!native || !again || !empty) return;
    const double above = (times.median() - *native) * 1e6;
    line("{:62} {:8.3f} ms", title(name), times.median() * 1e3);
    line(
        "    plan and run {:.1f} us, run of a kept plan {:.1f} us, an empty task {:.1f} us: "
        "{:.1f} us above plan and run  {}",
        *native * 1e6, *again * 1e6, *empty * 1e6, above, verdict(above, 20, true));
  }

  void many_ranks(const Name& name, const Times& times) {
    const double seconds = times.median();
    line("{:62} {:8.2f} ms", title(name), seconds * 1e3);
    const auto one = median(name.with("gemm of one rank"));
    if (!one) return;
    constexpr int kRanks = 8;
    const int cores = std::min(kRanks, report_.machine.cores);
    // Bytes of all ranks go through the cores there are.
    const double gemms = *one * kRanks / cores, bytes = byte_bound(times) * kRanks / cores;
    line(
        "    gemms alone / cores {:.2f} ms, byte bound {:.2f} ms: {:.2f} of 1.15 x gemms + bytes  "
        "{}",
        gemms * 1e3, bytes * 1e3, seconds / (1.15 * gemms + bytes),
        verdict(seconds / (1.15 * gemms + bytes), 1, true));
  }

  /// name.shape is "16384 KiB"; most_us: of a call of 64 KiB.
  void collective(const Name& name, const Times& times, double most_us) {
    const double seconds = times.median();
    const std::int64_t kib = std::stoll(name.shape);
    line("{:62} {:9.4f} ms  {:.2f} x copying", title(name), seconds * 1e3,
         seconds / byte_bound(times));
    if (name.what == "allreduce" && kib == 64 && name.dtype != "float32")
      line("    {:.1f} us  {}", seconds * 1e6, verdict(seconds * 1e6, most_us, true));
    double target = 0;
    if (name.what == "allreduce" && kib > 64)
      target = name.dtype == "float16" && kib > 1024 ? 6 : name.dtype == "float32" ? 0 : 4;
    for (const PeerResult& theirs : report_.peers)
      if (theirs.what == "collectives/" + name.what && theirs.dtype == name.dtype &&
          theirs.kib == kib)
        compare("gloo", theirs.median_s, seconds, target);
  }

  void compare(std::string_view with, std::optional<double> theirs, double ours, double target) {
    if (!theirs) return;
    line("    {} {:.2f} ms: {:.2f} x  {}", with, *theirs * 1e3, *theirs / ours,
         verdict(*theirs / ours, target));
  }

  static std::string title(const Name& name) {
    return fmt::format("{} {} {} {} {}", name.section, name.what, name.dtype, name.shape,
                       name.layout);
  }

  const Report& report_;
  std::string text_;
};

}  // namespace

isa::Set isa_in_use() { return isa::capped("").value(); }

bool has_amx() { return isa_in_use() & isa::kAmxBf16; }

double Times::median() const {
  std::vector<double> sorted = seconds;
  std::ranges::sort(sorted);
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

std::string Report::table() const { return Table(*this).text(); }

}  // namespace weft::bench
