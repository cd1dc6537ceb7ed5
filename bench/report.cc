// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "activation_job.h"
#include "base/topology.h"
#include "benchmarks.h"
#include "jobs/job.h"
#include "operators/shape.h"
#include "report_lines.h"

namespace weft::bench {
namespace {

class Table : private Lines {
 public:
  explicit Table(const Report& report) : Lines(report) {}

  std::string text() {
    machine();
    for (const Section& section : sections())
      for (const auto& [full, times] : report().results) {
        const Name name(full);
        if (name.section == section.name) entry(name, times);
      }
    for (const Skipped& part : report().skipped) {
      const size_t count = part.names.size(), all = count + static_cast<size_t>(part.measured);
      line("{}: {} of {} measurements skipped, from {} on: the time was used up; --long has them",
           part.section, count, all, part.names.front());
    }
    return Lines::text();
  }

 private:
  void entry(const Name& name, const Times& times) {
    if (name.section == "gemm") return gemm(name, times);
    if (name.section == "few rows") return few_rows(name, times);
    if (name.section == "small") return small_entry(*this, name, times);
    if (name.section.starts_with("ffn")) return ffn_entry(*this, name, times);
    if (name.section.starts_with("moe")) return moe_entry(*this, name, times);
    if (name.section == "add_rmsnorm") return add_rmsnorm(name, times);
    if (name.section == "activation") return activation(name, times);
    if (name.section == "int8 communication") {
      if (name.what == "conversions") conversions(name, times);
      if (name.what == "int8") int8_communication(name, times);
      return;
    }
    if (name.section == "collectives") return collective(name, times);
    if (name.section == "hccl" && name.what == "empty task")
      return head(name, times, "{:8.1f} us", times.median() * 1e6);
    if (name.section == "hccl") return collective(name, times);
    if (name.section == "c door" && name.what == "two phases") return c_door(name, times);
    if (name.what != "fused") return;
    if (name.section == "weights") return weights(name, times);
    if (name.section == "decode") return decode(name, times);
    if (name.section == "decode weights") return decode_weights(name, times);
    if (name.section == "8 ranks") return many_ranks(name, times);
    beyond_gemm(name, times);  // fused, allreduce, reduce scatter
  }

  const PeerResult* peer(const std::string& what, const Name& name) const {
    const tools::Shape shape = tools::parse_shape(name.shape).value();
    for (const PeerResult& theirs : report().peers)
      if (theirs.what == what && theirs.dtype == name.dtype && theirs.m == shape.m() &&
          theirs.k == shape.k_of(0) && theirs.n == shape.n && theirs.x2 == name.layout)
        return &theirs;
    return nullptr;
  }
  double byte_bound(const Times& times) const { return times.bytes / report().copy_together; }

  void machine() {
    line("{}: {} cpus, {}AMX, instruction sets {}", topology().cpu_model, topology().usable_cpus,
         has_amx() ? "" : "no ", isa::names(isa_in_use()));
    for (const peak::Peak& p : report().machine.peaks)
      line("  {:28} {:9.0f} Gop/s", p.name, p.ops_per_second * 1e-9);
    line("  {:28} {:9.1f} GB/s", "read from memory", report().machine.bandwidth.read * 1e-9);
    line("  {:28} {:9.1f} GB/s (read + written)", "copy, one core",
         report().machine.bandwidth.copy * 1e-9);
    line("  {:28} {:9.1f} GB/s per core", "copy, two cores at once", report().copy_together * 1e-9);
    line("");
  }

  void gemm(const Name& name, const Times& times) {
    const double seconds = times.median(), speed = times.flops / seconds;
    if (name.what == "2 threads") {
      const auto one = median(name.with("1 thread"));
      if (one)
        head(name, times, "{:8.2f} ms  {:6.0f} Gop/s  {:.2f} x one thread  {}", seconds * 1e3,
             speed * 1e-9, *one / seconds, verdict(*one / seconds, gate("gemm/2 threads")));
      return;
    }
    if (name.layout.starts_with("NZ")) {
      Name strided = name;
      strided.layout = name.layout == "NZ" ? "row-major" : "transposed";
      head(name, times, "{:8.2f} ms", seconds * 1e3);
      return compare(strided.layout, median(strided.with(name.what)), seconds, gate("gemm/NZ"));
    }
    const tools::GemmPeak peak =
        tools::gemm_peak(report().machine, type_of(name.dtype), isa_in_use());
    const double share = speed / peak.ops_per_second;
    const auto here = [&](const char* what) {
      const bool wide = name.shape.starts_with("4096x1024");
      return gate(fmt::format("{}/{}/{}", what, name.dtype, wide ? "wide" : "deep"));
    };
    head(name, times, "{:8.2f} ms  {:6.0f} Gop/s  {:.2f} of {}  {}", seconds * 1e3, speed * 1e-9,
         share, peak.name, verdict(share, here("gemm")));
    compare("PyTorch", peer("gemm", name), seconds, here("gemm/peer"));
    compare("fp32 numpy (OpenBLAS)", peer("gemm fp32 OpenBLAS", name), seconds,
            gate("gemm/fp32 OpenBLAS"));
    compare("fp32 PyTorch", peer("gemm fp32 PyTorch", name), seconds, gate("gemm/fp32 PyTorch"));
  }

  // Beside what limits it: reading the weight, or the arithmetic units.
  void few_rows(const Name& name, const Times& times) {
    if (name.what != "product") return;
    Name one_row = name;
    one_row.shape = "1x" + name.shape.substr(name.shape.find('x') + 1);
    const auto read = median(one_row.with("read weights"));
    if (!read) return;
    const double seconds = times.median();
    const tools::GemmPeak peak =
        tools::gemm_peak(report().machine, type_of(name.activation_dtype()), isa_in_use());
    const double arithmetic = times.flops / peak.ops_per_second;
    const bool one = name.shape == one_row.shape, reads = one || *read > arithmetic;
    const double limit = reads ? *read : arithmetic;
    head(name, times, "{:8.3f} ms  {:.2f} x {}  {}", seconds * 1e3, seconds / limit,
         reads ? "reading the weight" : peak.name,
         verdict(seconds / limit, gate(reads ? "few rows/read" : "few rows/arithmetic")));
    compare("16-bit weights", unquantised(name), seconds, gate("few rows/weights"));
  }

  // A call beside its product alone, what it must move, and PyTorch.
  void beyond_gemm(const Name& name, const Times& times) {
    const double seconds = times.median();
    head(name, times, "{:8.2f} ms  {:6.0f} Gop/s per rank", seconds * 1e3,
         times.flops / seconds * 1e-9);
    const std::string fused = name.with("fused"), alone = name.with("gemm alone");
    if (const auto longer_s = longer(fused, alone)) {
      const double beyond = *longer_s / byte_bound(times);
      line(
          "    gemm alone {:.2f} ms, byte bound {:.2f} ms: beyond the gemm {:.2f} x the byte bound "
          " {}",
          *median(alone) * 1e3, byte_bound(times) * 1e3, beyond,
          verdict(beyond, gate("beyond gemm")));
    }
    const std::string separate = name.with("separate passes");
    if (const auto saved_s = longer(separate, fused)) {
      const double saved = *saved_s / *longer(separate, alone);
      line(
          "    separate passes {:.2f} ms: {:.2f} x; of what they take beyond the gemm, {:.2f} is "
          "saved  {}",
          *median(separate) * 1e3, *median(separate) / seconds, saved,
          verdict(saved, gate("fused/saved")));
    }
    compare("PyTorch + gloo", peer(name.section, name), seconds,
            gate(name.section + "/peer/" + name.dtype));
    if (const PeerResult* stack = peer(name.section + " composed", name))
      compare(stack->form.empty() ? "composed stack"
                                  : fmt::format("composed stack, product {}", stack->form),
              stack, seconds, gate("fused/composed"));
  }

  void weights(const Name& name, const Times& times) {
    head(name, times, "{:8.2f} ms", times.median() * 1e3);
    compare("16-bit weights", unquantised(name), times.median(), gate("weights"));
  }

  void decode_weights(const Name& name, const Times& times) {
    const double seconds = times.median();
    head(name, times, "{:8.3f} ms", seconds * 1e3);
    const bool int4 = name.dtype.ends_with("int4");
    compare("16-bit weights", unquantised(name), seconds,
            gate(int4 ? "decode weights/int4" : "decode weights/int8"));
    const auto alone = median(name.with("gemm alone")), exchange = median(name.with("exchange"));
    if (!alone || !exchange) return;
    line("    product alone {:.3f} ms; exchange, from the end of the last product: {:.1f} us  {}",
         *alone * 1e3, *exchange * 1e6, verdict(*exchange * 1e6, gate("decode weights/exchange")));
  }

  void add_rmsnorm(const Name& name, const Times& times) {
    const double seconds = times.median();
    const bool one = name.what == "1 thread";
    const double copy = one ? report().machine.bandwidth.copy : 2 * report().copy_together;
    const double share = times.bytes / seconds / copy;
    head(name, times, "{:8.2f} ms  {:6.1f} GB/s  {:.2f} of copying  {}", seconds * 1e3,
         times.bytes / seconds * 1e-9, share, verdict(share, gate("add_rmsnorm")));
  }

  void activation(const Name& name, const Times& times) {
    head(name, times, "{:8.3f} ns per element", times.median() * 1e9 / kActivationElements);
  }

  // name.dtype is the link here.
  void int8_communication(const Name& name, const Times& times) {
    const auto float16 = median(name.with("float16"));
    if (!float16) return;
    const bool slow = name.dtype[0] < '4' && name.dtype != "memory";  // slower than 4 GB/s
    head(name, times, "{:8.2f} ms", times.median() * 1e3);
    compare("as float16", float16, times.median(),
            gate(slow ? "int8 communication/slow link" : "int8 communication/fast link"));
  }

  void conversions(const Name& name, const Times& times) {
    const auto call = median(name.with("int8"));
    if (!call) return;
    const double share = times.median() / *call;
    head(name, times, "{:8.2f} ms: {:.2f} of the call  {}", times.median() * 1e3, share,
         verdict(share, gate("int8 communication/conversions")));
  }

  void decode(const Name& name, const Times& times) {
    const double seconds = times.median();
    head(name, times, "{:8.3f} ms", seconds * 1e3);
    if (const auto read = median(name.with("read weights"))) {
      const double reads = (seconds - 30e-6) / *read;
      line("    reading the weights {:.3f} ms: {:.2f} x that + 30 us  {}", *read * 1e3, reads,
           verdict(reads, gate("decode/read")));
    }
    compare("PyTorch + gloo", peer("decode", name), seconds, gate("decode/peer"));
  }

  void c_door(const Name& name, const Times& times) {
    const auto native = median(name.with("plan and run")), again = median(name.with("run again"));
    const auto empty = median(name.with("empty task"));
    if (!native || !again || !empty) return;
    const double above = (times.median() - *native) * 1e6;
    head(name, times, "{:8.3f} ms", times.median() * 1e3);
    line(
        "    plan and run {:.1f} us, run of a kept plan {:.1f} us, an empty task {:.1f} us: "
        "{:.1f} us above plan and run  {}",
        *native * 1e6, *again * 1e6, *empty * 1e6, above, verdict(above, gate("c door")));
  }

  void many_ranks(const Name& name, const Times& times) {
    const double seconds = times.median();
    head(name, times, "{:8.2f} ms", seconds * 1e3);
    compare("separate passes", median(name.with("separate passes")), seconds,
            gate("8 ranks/separate passes"));
    const auto one = median(name.with("gemm of one rank"));
    if (!one) return;
    constexpr int kRanks = 8;
    const int cores = std::min(kRanks, report().machine.cores);
    // Bytes of all ranks go through the cores there are.
    const double gemms = *one * kRanks / cores, bytes = byte_bound(times) * kRanks / cores;
    const double part = seconds / (1.15 * gemms + bytes);
    line(
        "    gemms alone / cores {:.2f} ms, byte bound {:.2f} ms: {:.2f} of 1.15 x gemms + bytes  "
        "{}",
        gemms * 1e3, bytes * 1e3, part, verdict(part, gate("8 ranks")));
  }

  // name.shape is "16384 KiB".
  void collective(const Name& name, const Times& times) {
    const double seconds = times.median();
    const std::int64_t kib = std::stoll(name.shape);
    head(name, times, "{:9.4f} ms  {:.2f} x copying", seconds * 1e3, seconds / byte_bound(times));
    const bool allreduce = name.what == "allreduce";
    if (allreduce && kib == 64 && name.dtype != "float32")
      line("    {:.1f} us  {}", seconds * 1e6,
           verdict(seconds * 1e6, gate(name.section + "/64 KiB")));
    std::string gate_name = "collectives/peer/other";
    if (allreduce && kib > 64)
      gate_name = fmt::format("collectives/peer/{}/{} MiB", name.dtype, kib > 1024 ? 16 : 1);
    for (const PeerResult& theirs : report().peers)
      if (theirs.what == "collectives/" + name.what && theirs.dtype == name.dtype &&
          theirs.kib == kib)
        compare("gloo", &theirs, seconds, gate(gate_name));
  }
};

}  // namespace

isa::Set isa_in_use() { return isa::capped("").value(); }

bool has_amx() { return kind_of(isa_in_use()) == kAmx; }

double Times::median() const { return tools::median(seconds); }

std::string Report::table() const { return Table(*this).text(); }

}  // namespace weft::bench
