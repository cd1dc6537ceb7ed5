// SPDX-License-Identifier: Apache-2.0
// Dispatch and combine of a whole mixture with memory on every device, and what must become of it.
// Devices lie in a grid: rank r of the experts' group and rank q of its pair are device r · tp + q.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "aclnn_calls.h"

namespace weft::cann {

struct MoeWorld {
  int ep = 2, tp = 1;
  std::int64_t experts = 4, shared = 0, shared_ranks = 0;
  std::int64_t zero = 0, copy = 0, constants = 0;
  std::int64_t hidden = 1024, k = 2;
  std::vector<std::int64_t> tokens = {3};  ///< of each device, the last of all others
  std::int64_t global_bs = 0;
  int version = 2;
  aclDataType dtype = ACL_BF16;
  bool int8 = false, scales = false;
  int mask_axes = 0;
  bool strided = false;        ///< inputs with gaps
  bool ends = false;           ///< expertTokenNumsType 0
  bool int8_way_back = false;  ///< commQuantMode 2
  bool shared_x = false, norm = false, two_streams = false;

  int devices() const { return ep * tp; }
  std::int64_t tokens_of(int device) const;
  std::int64_t most_tokens() const;
  std::int64_t local(int r) const;  ///< experts of a rank
  std::int64_t capacity(int r) const;
  std::int64_t ids() const { return experts + zero + copy + constants; }
};

/// Memory of one operand, with a sentinel in every byte at first.
class MoeOperand {
 public:
  MoeOperand() = default;
  MoeOperand(aclDataType dtype, Dims dims, bool strided = false);
  Described describe() const;
  /// By position in row-major order; 16-bit floats are converted.
  double get(std::int64_t i) const;
  void set(std::int64_t i, double value);
  std::uint16_t bits(std::int64_t i) const;
  bool untouched(std::int64_t i) const;
  std::int64_t size() const;
  const Dims& dims() const { return dims_; }

 private:
  std::byte* at(std::int64_t i) const;
  aclDataType dtype_ = ACL_FLOAT;
  Dims dims_, strides_;
  int width_ = 0;
  std::shared_ptr<std::vector<std::byte>> memory_;
};

/// One entry that travels: row of a token for an expert.
struct MoeRow {
  int device;  ///< its source
  std::int64_t token, slot;
  std::int64_t expert;  ///< or experts + shared expert
};

class MoeCase {
 public:
  MoeCase(const MoeWorld& world, unsigned seed);

  const MoeWorld world;
  /// Of device d: operands by the names of the parameters.
  std::vector<std::map<std::string, MoeOperand>> operands;

  EntryCall dispatch(int device, const char* group_ep, const char* group_tp) const;
  /// The experts: in place of what dispatch gave, row by row.
  void compute(int device);
  EntryCall combine(int device, const char* group_ep, const char* group_tp) const;

  void check_dispatch(int device) const;
  void check_combine(int device) const;

  std::vector<MoeRow> rows_of(int device) const;  ///< that come from the device's own group
  bool active(int device, std::int64_t token, std::int64_t slot) const;
  bool active(int device, std::int64_t token) const;

 private:
  double value(double number) const;  ///< rounded to the dtype
  double factor(std::int64_t expert) const { return 0.5 + static_cast<double>(expert % 5) * 0.25; }
  void make_tokens(int device, std::uint64_t seed);
  void make_outputs(int device);
  void set_ranks(EntryCall& call, int device, const char* group_ep, const char* group_tp) const;
  std::vector<MoeRow> all_rows_of(int device) const;  ///< the pair's, too
  void check_row(int device, std::int64_t j, const MoeRow& row) const;
  void check_counts(int device) const;
  double computed(int device, std::int64_t token, std::int64_t expert, std::int64_t h) const;
  float returned(int device, std::int64_t token, std::int64_t expert, std::int64_t h) const;
  float special(int device, std::int64_t token, std::int64_t id, std::int64_t h) const;
  float sum(int device, std::int64_t token, std::int64_t h) const;
  void check_norm(int device, std::int64_t token) const;
  const MoeOperand& of(int device, const std::string& name) const {
    return operands[static_cast<std::size_t>(device)].at(name);
  }
};

/// The communicators of a grid.
class MoeGroups {
 public:
  explicit MoeGroups(const MoeWorld& world);
  const char* ep(int device) const { return ep_[static_cast<std::size_t>(device % tp_)].name(); }
  const char* tp(int device) const {
    return tp_ == 1 ? "" : pairs_[static_cast<std::size_t>(device / tp_)].name();
  }
  /// body(device, stream) in a thread per device.
  void run(const std::function<void(int, aclrtStream)>& body) const { all_->run(body); }

 private:
  int tp_;
  std::deque<CannRanks> ep_, pairs_;
  std::unique_ptr<CannRanks> all_;  // only to run threads
};

}  // namespace weft::cann
