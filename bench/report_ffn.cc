// SPDX-License-Identifier: Apache-2.0
#include "jobs/machine.h"
#include "report_lines.h"

namespace weft::bench {
namespace {

class FfnLines {
 public:
  FfnLines(Lines& lines, const Name& name, const Times& times)
      : lines_(lines), name_(name), times_(times), seconds_(times.median()) {}

  void fused() {
    lines_.head(name_, times_, "{:8.2f} ms  {}", seconds_ * 1e3, speed());
    lines_.compare("two products", lines_.median(name_.with("two products")), seconds_,
                   lines_.gate("ffn/two products"));
    lines_.compare("16-bit weights", lines_.unquantised(name_), seconds_,
                   lines_.gate("ffn/weights"));
    beside_peer(name_.section + "/peer/" + name_.dtype);
  }

  void two_threads() {
    const auto one = lines_.median(name_.with("fused"));
    if (!one) return;
    lines_.head(name_, times_, "{:8.2f} ms  {:6.0f} Gop/s  {:.2f} x one thread  {}", seconds_ * 1e3,
                times_.flops / seconds_ * 1e-9, *one / seconds_,
                verdict(*one / seconds_, lines_.gate("ffn/2 threads")));
  }

  void decode() {
    const bool experts = name_.shape.find("top-") != std::string::npos;
    const bool one_token = name_.shape.starts_with("1x");
    lines_.head(name_, times_, "{:8.3f} ms  {}", seconds_ * 1e3, one_token ? "" : speed());
    // Reading is the same for any tokens and any layout.
    const auto read = lines_.median(fmt::format("{}/read weights/{}/{}", name_.section, name_.dtype,
                                                name_.shape.substr(name_.shape.find('x') + 1)));
    if (read) {
      const int apart_us = experts ? 50 : 30;
      const double reads = (seconds_ - apart_us * 1e-6) / *read;
      const Gate gate = lines_.gate(experts     ? "ffn decode/read/experts"
                                    : one_token ? "ffn decode/read/1 token"
                                                : "ffn decode/read/8 tokens");
      lines_.line("    reading the weights {:.3f} ms: {:.2f} x that + {} us  {}", *read * 1e3,
                  reads, apart_us, verdict(reads, gate));
    }
    lines_.compare("16-bit weights", lines_.unquantised(name_), seconds_,
                   lines_.gate("ffn decode/weights"));
    beside_peer(experts ? "ffn decode/peer/experts" : "ffn decode/peer/dense");
  }

 private:
  std::string speed() const {
    const DType x = type_of(name_.activation_dtype());
    const tools::GemmPeak peak = tools::gemm_peak(lines_.report().machine, x, isa_in_use());
    const double ops = times_.flops / seconds_;
    return fmt::format("{:6.0f} Gop/s  {:.2f} of {}", ops * 1e-9, ops / peak.ops_per_second,
                       peak.name);
  }

  void beside_peer(const std::string& gate) {
    const PeerResult* const theirs = lines_.peer(name_);
    if (theirs == nullptr) return;
    lines_.compare(theirs->x2.empty() ? "PyTorch" : fmt::format("PyTorch, {} weights", theirs->x2),
                   theirs, seconds_, lines_.gate(gate));
  }

  Lines& lines_;
  const Name& name_;
  const Times& times_;
  const double seconds_;
};

}  // namespace

void ffn_entry(Lines& lines, const Name& name, const Times& times) {
  FfnLines ffn(lines, name, times);
  if (name.what == "2 threads") return ffn.two_threads();
  if (name.what != "fused") return;
  if (name.section == "ffn decode") return ffn.decode();
  ffn.fused();
}

}  // namespace weft::bench
