// SPDX-License-Identifier: Apache-2.0
// What becomes of a mixture, by the definition: rows copied one by one, sums in fp32 one by one.
#include <algorithm>
#include <cmath>

#include "base/float16.h"
#include "moe_case.h"

namespace weft::cann {

bool MoeCase::active(int device, std::int64_t token, std::int64_t slot) const {
  if (world.mask_axes != 2) return active(device, token);
  return of(device, "xActiveMask").get(token * world.k + slot) != 0;
}

bool MoeCase::active(int device, std::int64_t token) const {
  if (world.mask_axes == 0) return true;
  const MoeOperand& mask = of(device, "xActiveMask");
  std::int64_t set = 0;
  if (world.mask_axes == 1) {
    for (std::int64_t i = 0; i < mask.size(); ++i) set += mask.get(i) != 0;
    return token < set;
  }
  for (std::int64_t k = 0; k < world.k; ++k) set += active(device, token, k);
  return set > 0;
}

std::vector<MoeRow> MoeCase::rows_of(int device) const {
  const int r = device / world.tp, q = device % world.tp;
  std::vector<MoeRow> rows;
  const std::int64_t on = world.shared_ranks;
  for (int s = 0; s < world.ep && r < on; ++s) {
    const int source = s * world.tp + q;
    std::int64_t begin = 0, end = world.tokens_of(source);
    const std::int64_t n = end, replicas = world.version == 1 ? on : on / world.shared;
    if (world.version == 1 && s < on) end = s == r ? n : 0;
    if (world.version == 1 && s >= on) {
      begin = (r + s) * n / on - s * n / on;
      end = (r + 1 + s) * n / on - s * n / on;
    }
    if (world.version != 1 && s % replicas != r % replicas) continue;
    for (std::int64_t t = begin; t < end; ++t)
      if (active(source, t))
        rows.push_back({source, t, world.k + r / replicas, world.experts + r / replicas});
  }
  if (r < on) return rows;
  for (std::int64_t e = (r - on) * world.local(r); e < (r - on + 1) * world.local(r); ++e)
    for (int s = 0; s < world.ep; ++s) {
      const int source = s * world.tp + q;
      const MoeOperand& ids = of(source, "expertIds");
      for (std::int64_t i = 0; i < ids.size(); ++i)
        if (static_cast<std::int64_t>(ids.get(i)) == e && active(source, i / world.k, i % world.k))
          rows.push_back({source, i / world.k, i % world.k, e});
    }
  return rows;
}

std::vector<MoeRow> MoeCase::all_rows_of(int device) const {
  std::vector<MoeRow> rows = rows_of(device);
  if (world.tp == 1) return rows;
  const std::vector<MoeRow> other = rows_of(device ^ 1);
  rows.insert(rows.end(), other.begin(), other.end());
  return rows;
}

namespace {

struct Quantised {
  std::vector<float> values;
  float scale;
};

/// A row as int8: the numbers, and what to multiply them with.
Quantised quantised(const MoeOperand& x, std::int64_t token, const MoeOperand* scales,
                    std::int64_t row, std::int64_t hidden) {
  Quantised q{std::vector<float>(static_cast<std::size_t>(hidden)), 0};
  float most = 0;
  for (std::int64_t h = 0; h < hidden; ++h) {
    auto v = static_cast<float>(x.get(token * hidden + h));
    if (scales) v = v * static_cast<float>(scales->get(row * hidden + h));
    q.values[static_cast<std::size_t>(h)] = v;
    most = std::max(most, std::fabs(v));
  }
  const float d = 127.0f / most;
  for (float& v : q.values) v = std::nearbyint(v * d);
  q.scale = 1.0f / d;
  return q;
}

}  // namespace

void MoeCase::check_row(int device, std::int64_t j, const MoeRow& row) const {
  const MoeOperand &rows = of(device, "expandX"), &x = of(row.device, "x");
  const std::int64_t h = world.hidden;
  std::int64_t wrong = 0;
  if (world.int8) {
    // Smooth factors are those of the expert, which all ranks know.
    const std::int64_t first = world.experts;
    const std::int64_t at = row.expert >= first ? row.expert - first : row.expert + world.shared;
    const MoeOperand* scales = world.scales ? &of(row.device, "scales") : nullptr;
    const Quantised q = quantised(x, row.token, scales, at, h);
    for (std::int64_t i = 0; i < h; ++i)
      wrong += rows.get(j * h + i) != q.values[static_cast<std::size_t>(i)];
    EXPECT_EQ(of(device, "dynamicScales").get(j), q.scale) << "row " << j;
  } else {
    for (std::int64_t i = 0; i < h; ++i) wrong += rows.bits(j * h + i) != x.bits(row.token * h + i);
    EXPECT_TRUE(of(device, "dynamicScales").untouched(j));
  }
  EXPECT_EQ(wrong, 0) << "device " << device << " row " << j;
}

void MoeCase::check_dispatch(int device) const {
  SCOPED_TRACE("device " + std::to_string(device));
  const std::vector<MoeRow> all = all_rows_of(device), own = rows_of(device);
  const auto n = static_cast<std::int64_t>(all.size());
  for (std::int64_t j = 0; j < n; ++j) check_row(device, j, all[static_cast<std::size_t>(j)]);
  const MoeOperand& rows = of(device, "expandX");
  for (std::int64_t i = n * world.hidden; i < rows.size(); ++i) ASSERT_TRUE(rows.untouched(i)) << i;
  for (std::int64_t i = 0; i < of(device, "expandScales").size(); ++i)
    ASSERT_TRUE(of(device, "expandScales").untouched(i));
  for (std::int64_t j = n; j < of(device, "dynamicScales").size(); ++j)
    ASSERT_TRUE(of(device, "dynamicScales").untouched(j));
  if (world.version != 1) {
    const MoeOperand& route = of(device, "assistInfoForCombine");
    for (std::size_t j = 0; j < own.size(); ++j) {
      const auto at = static_cast<std::int64_t>(3 * j);
      EXPECT_EQ(route.get(at), own[j].device / world.tp);
      EXPECT_EQ(route.get(at + 1), own[j].token);
      EXPECT_EQ(route.get(at + 2), own[j].slot);
    }
    EXPECT_TRUE(route.untouched(static_cast<std::int64_t>(3 * own.size())));
  }
  check_counts(device);
}

void MoeCase::check_counts(int device) const {
  const int r = device / world.tp;
  const std::int64_t local = world.local(r),
                     first = r < world.shared_ranks ? 0 : local * (r - world.shared_ranks);
  const MoeOperand &counts = of(device, "epRecvCounts"), &nums = of(device, "expertTokenNums");
  std::vector<std::int64_t> rows_of_expert(static_cast<std::size_t>(local));
  for (int half = 0; half < world.tp; ++half) {
    const std::vector<MoeRow> rows = rows_of(half == 0 ? device : device ^ 1);
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < local; ++i)
      for (int s = 0; s < world.ep; ++s) {
        const auto mine = std::ranges::count_if(rows, [&](const MoeRow& row) {
          return row.device / world.tp == s && (r < world.shared_ranks || row.expert == first + i);
        });
        sum += mine;
        rows_of_expert[static_cast<std::size_t>(i)] += mine;
        std::int64_t wanted = sum;
        if (world.version == 1 && r < world.shared_ranks && s < world.shared_ranks) {
          const std::int64_t own = world.tokens_of(device), on = world.shared_ranks;
          wanted = (s + 1 + r) * own / on - r * own / on;
        }
        EXPECT_EQ(counts.get(half * world.ep * local + i * world.ep + s), wanted) << i << " " << s;
      }
  }
  EXPECT_TRUE(counts.untouched(counts.size() - 1));
  std::int64_t end = 0;
  for (std::int64_t i = 0; i < local; ++i) {
    const std::int64_t here = rows_of_expert[static_cast<std::size_t>(i)];
    end += here;
    EXPECT_EQ(nums.get(i), world.ends ? end : here);
  }
  for (int q = 0; q < world.tp && world.tp == 2; ++q)
    EXPECT_EQ(of(device, "tpRecvCounts").get(q), static_cast<double>(rows_of(r * 2 + q).size()));
  if (world.version != 1) return;
  const MoeOperand &places = of(device, "expandIdx"), &ids = of(device, "expertIds");
  for (std::int64_t i = 0; i < places.size(); ++i) {
    std::int64_t before = 0;
    for (std::int64_t other = 0; other < i; ++other)
      before += ids.get(other) == ids.get(i) && active(device, other / world.k, other % world.k);
    EXPECT_EQ(places.get(i), before);
  }
}

/// What an expert that lives somewhere makes of a token.
double MoeCase::computed(int device, std::int64_t token, std::int64_t expert,
                         std::int64_t h) const {
  auto x = static_cast<float>(of(device, "x").get(token * world.hidden + h));
  if (world.int8) {
    const std::int64_t first = world.experts;
    const std::int64_t row = expert >= first ? expert - first : expert + world.shared;
    const Quantised q = quantised(
        of(device, "x"), token, world.scales ? &of(device, "scales") : nullptr, row, world.hidden);
    x = q.values[static_cast<std::size_t>(h)] * q.scale;
  }
  return x * factor(expert);
}

/// ... and what came back of it.
float MoeCase::returned(int device, std::int64_t token, std::int64_t expert, std::int64_t h) const {
  const double y = computed(device, token, expert, h);
  if (world.int8_way_back) {
    float most = 0;
    for (std::int64_t i = h / 8 * 8; i < std::min(h / 8 * 8 + 8, world.hidden); ++i)
      most =
          std::max(most, std::fabs(static_cast<float>(value(computed(device, token, expert, i)))));
    const float g = most * (1.0f / 127.0f);
    const float q = std::nearbyint(fp16_to_f32(f32_to_fp16(static_cast<float>(value(y)) / g)));
    return static_cast<float>(value(q * static_cast<float>(value(g))));
  }
  if (world.tp == 1) return static_cast<float>(value(y));
  return static_cast<float>(
      value(static_cast<float>(value(y * 0.25)) + static_cast<float>(value(y * 0.75))));
}

float MoeCase::special(int device, std::int64_t token, std::int64_t id, std::int64_t h) const {
  const auto x = static_cast<float>(of(device, "x").get(token * world.hidden + h));
  if (id < world.experts + world.zero + world.copy) return x;
  const std::int64_t c = id - world.experts - world.zero - world.copy;
  const auto of_expert = [&](const char* name) {
    const MoeOperand& alpha = of(device, name);
    return static_cast<float>(alpha.get(alpha.dims().size() == 2 ? c * world.hidden + h : c));
  };
  const float a = of_expert("constExpertAlpha1") * x;
  const float b = of_expert("constExpertAlpha2") *
                  static_cast<float>(of(device, "constExpertV").get(c * world.hidden + h));
  return a + b;
}

float MoeCase::sum(int device, std::int64_t token, std::int64_t h) const {
  float sum = 0;
  for (std::int64_t k = 0; k < world.k; ++k) {
    if (!active(device, token, k)) continue;
    const auto id = static_cast<std::int64_t>(of(device, "expertIds").get(token * world.k + k));
    if (id >= world.experts && id < world.experts + world.zero) continue;
    const auto weight = static_cast<float>(of(device, "expertScales").get(token * world.k + k));
    const float row =
        id < world.experts ? returned(device, token, id, h) : special(device, token, id, h);
    const float product = row * weight;
    sum = sum + product;
  }
  for (std::int64_t j = 0; j < world.shared; ++j)
    sum = sum + returned(device, token, world.experts + j, h);
  if (world.shared_x)
    sum = sum + static_cast<float>(of(device, "sharedExpertX").get(token * world.hidden + h));
  return sum;
}

void MoeCase::check_combine(int device) const {
  SCOPED_TRACE("device " + std::to_string(device));
  const MoeOperand& out = of(device, "xOut");
  const std::int64_t step = world.int8 ? 37 : 1;  // rows are quantised again for every element
  for (std::int64_t t = 0; t < world.tokens_of(device); ++t) {
    if (active(device, t) && world.norm) {
      check_norm(device, t);
      continue;
    }
    for (std::int64_t h = 0; h < world.hidden; h += step) {
      const std::int64_t i = t * world.hidden + h;
      if (active(device, t))
        ASSERT_EQ(out.get(i), value(sum(device, t, h))) << "token " << t << " column " << h;
      else
        ASSERT_TRUE(out.untouched(i)) << "token " << t;
    }
    if (!world.norm || active(device, t)) continue;
    EXPECT_TRUE(of(device, "rstdOut").untouched(t));
    EXPECT_TRUE(of(device, "yOut").untouched(t * world.hidden));
  }
}

void MoeCase::check_norm(int device, std::int64_t t) const {
  const std::int64_t n = world.hidden;
  std::vector<float> f(static_cast<std::size_t>(n));
  double squares = 0;
  for (std::int64_t h = 0; h < n; ++h) {
    float& each = f[static_cast<std::size_t>(h)] =
        sum(device, t, h) + static_cast<float>(of(device, "residualX").get(t * n + h));
    ASSERT_EQ(of(device, "xOut").get(t * n + h), value(each)) << t << " " << h;
    squares += static_cast<double>(each) * each;
  }
  const auto rstd = static_cast<float>(of(device, "rstdOut").get(t));
  EXPECT_NEAR(rstd, 1 / std::sqrt(squares / static_cast<double>(n) + 1e-6), 2e-6 * rstd);
  for (std::int64_t h = 0; h < n; ++h) {
    const auto u = static_cast<float>(value(f[static_cast<std::size_t>(h)] * rstd));
    const auto gamma = static_cast<float>(of(device, "gamma").get(h));
    ASSERT_EQ(of(device, "yOut").get(t * n + h), value(u * gamma)) << t << " " << h;
  }
}

}  // namespace weft::cann
