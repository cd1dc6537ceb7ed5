// SPDX-License-Identifier: Apache-2.0
#include "roofline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace weft::bench {
namespace {

using ::testing::DoubleEq;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

Report report_of(Results results) {
  Report report;
  report.results = std::move(results);
  report.machine.peaks = {{"fp32 FMA", isa::kAvx2, 100e9}, {"int8 VNNI", isa::kAvx512Vnni, 400e9}};
  report.machine.bandwidth = {20e9, 30e9};
  report.machine.cores = 2;
  report.copy_together = 24e9;
  return report;
}

Times times(Work work, double seconds) { return {work, {seconds, seconds, seconds}}; }

TEST(Roofline, APointIsTheSpeedOfOneCoreOverOperationsPerByte) {
  const Work of_a_rank = {.flops = 6e9, .bytes = 1e9, .memory_bytes = 2e9, .ranks = 8, .cores = 2};
  const Roofline all = roofline(
      report_of({{"8 ranks/fused/float16/4x8:8x8/row-major", times(of_a_rank, 0.5)},
                 {"8 ranks/gemm of one rank/float16/4x8:8x8/row-major", times(of_a_rank, 0.1)}}));
  ASSERT_THAT(all.points, SizeIs(1));  // not what it is compared with
  EXPECT_EQ(all.points[0].section, "8 ranks");
  EXPECT_EQ(all.points[0].title, "8 ranks float16 4x8:8x8 row-major");
  EXPECT_THAT(all.points[0].intensity, DoubleEq(3));
  EXPECT_THAT(all.points[0].ops_per_second, DoubleEq(6e9 * 8 / 2 / 0.5));
  EXPECT_TRUE(all.copies.empty());
}

TEST(Roofline, WithoutAProductTheShareIsOfCopyingWithAsManyCores) {
  const Roofline all = roofline(report_of(
      {{"add_rmsnorm/1 thread/float16/4x8", times({.bytes = 15e9}, 1)},
       {"add_rmsnorm/2 threads/float16/4x8", times({.bytes = 24e9, .cores = 2}, 1)},
       {"moe dispatch/copying/int8/8 ranks", times({.bytes = 1e9, .ranks = 8, .cores = 2}, 1)},
       {"moe dispatch/fused/int8/8 ranks", times({.bytes = 3e9, .ranks = 8, .cores = 2}, 1)}}));
  EXPECT_TRUE(all.points.empty());
  ASSERT_THAT(all.copies, SizeIs(3));
  EXPECT_THAT(all.copies[0].share, DoubleEq(0.5));  // of 30 GB/s
  EXPECT_THAT(all.copies[1].share, DoubleEq(0.5));  // each core of 24 GB/s
  EXPECT_THAT(all.copies[2].share, DoubleEq(0.5));
  EXPECT_EQ(all.copies[2].title, "moe dispatch int8 8 ranks");
}

Roofline picture() {
  Roofline all;
  all.title = "a < b";
  all.read_bytes_per_second = 20e9;
  all.roofs = {{"fp32 FMA", 100e9}, {"other units", 101e9}};
  all.points = {{"gemm", "float16", "gemm & float16", 700, 80e9},
                {"gemm", "bfloat16 int4", "gemm of int4", 700, 80e9}};
  all.copies = {{"add_rmsnorm float32", 0.875}};
  return all;
}

// The numbers behind `attribute` of everything that is drawn.
std::vector<double> numbers_after(const std::string& text, const std::string& before) {
  std::vector<double> found;
  for (std::size_t at = text.find(before); at != std::string::npos; at = text.find(before, at + 1))
    found.push_back(std::stod(text.substr(at + before.size())));
  return found;
}

TEST(RooflineSvg, HasEveryRoofPointAndShare) {
  const std::string svg = roofline_svg(picture());
  EXPECT_THAT(svg, HasSubstr("a &lt; b"));
  EXPECT_THAT(svg, HasSubstr("<title>gemm &amp; float16: 80.0 Gop/s, 700 operations a byte; "
                             "memory allows 14000 Gop/s</title>"));
  EXPECT_THAT(svg, HasSubstr(">fp32 FMA: 100</text>"));
  EXPECT_THAT(svg, HasSubstr("reading memory, one core alone: 20.0 GB/s"));
  EXPECT_THAT(svg, HasSubstr(">bfloat16, int4 weights</text>"));
  EXPECT_THAT(svg, HasSubstr(">add_rmsnorm float32</text>"));
  EXPECT_THAT(svg, HasSubstr(">0.88</text>"));
}

TEST(RooflineSvg, PointsAndTextsThatWouldHideEachOtherStandApart) {
  const std::string svg = roofline_svg(picture());
  const std::vector<double> marks = numbers_after(svg, "</title><path transform=\"translate(");
  ASSERT_THAT(marks, SizeIs(2));
  EXPECT_GE(marks[1] - marks[0], 9);
  const std::vector<double> roofs = numbers_after(svg, "<text x=\"1036\" y=\"");
  ASSERT_THAT(roofs, SizeIs(2));
  EXPECT_GE(roofs[0] - roofs[1], 14);
}

TEST(RooflineSvg, LeavesOutThePartThatHasNothing) {
  Roofline all = picture();
  all.copies.clear();
  EXPECT_THAT(roofline_svg(all), Not(HasSubstr("Calls without a product")));
  all = picture();
  all.points.clear();
  EXPECT_THAT(roofline_svg(all), Not(HasSubstr("Gop/s")));
  EXPECT_THAT(roofline_svg(all), Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace weft::bench
