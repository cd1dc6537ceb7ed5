// SPDX-License-Identifier: Apache-2.0
#include "files/timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "commands/output.h"
#include "files/json.h"
#include "files/waits.h"

namespace weft::tools {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::int64_t kStart = 5'000'000'000;

Timeline two_ranks() {
  Timeline timeline{"op <a> & \"b\"", "m 1", {}};
  timeline.lanes.push_back({0,
                            {{TraceKind::kGemm, 0, -1, kStart, kStart + 6'000'000},
                             {TraceKind::kPublish, 0, -1, kStart + 6'000'000, kStart + 6'001'000},
                             {TraceKind::kWait, 0, 1, kStart + 6'001'000, kStart + 8'000'000}}});
  timeline.lanes.push_back(
      {1,
       {{TraceKind::kGemm, 0, -1, kStart + 1'000'000, kStart + 9'000'000},
        {TraceKind::kReduceNorm, 0, 1, kStart + 9'000'000, kStart + 10'000'000}}});
  return timeline;
}

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
    ++found;
  return found;
}

TEST(TimelineTest, ChromeTraceHasEveryEventInMicroseconds) {
  const JsonValue events = JsonValue::parse(chrome_trace(two_ranks()))["traceEvents"];
  std::vector<JsonValue> spans, names;
  for (std::size_t i = 0; i < events.size(); ++i)
    (events[i]["ph"].string() == "X" ? spans : names).push_back(events[i]);
  ASSERT_EQ(spans.size(), 5u);
  EXPECT_EQ(names.size(), 3u);  // the process and two tracks
  EXPECT_EQ(names[1]["args"]["name"].string(), "rank 0");
  EXPECT_EQ(spans[0]["name"].string(), "gemm");
  EXPECT_EQ(spans[0]["ts"].number(), 0.0);
  EXPECT_EQ(spans[0]["dur"].number(), 6000.0);
  EXPECT_EQ(spans[0]["args"]["tile"].integer(), 0);
  EXPECT_FALSE(spans[0]["args"].has("peer"));
  EXPECT_EQ(spans[2]["args"]["tile"].integer(), 0);
  EXPECT_EQ(spans[2]["args"]["peer"].integer(), 1);
  EXPECT_EQ(spans[4]["tid"].integer(), 1);
  EXPECT_EQ(spans[4]["ts"].number(), 9000.0);
}

TEST(TimelineTest, SvgHasLanesLegendAndAxis) {
  const std::string svg = timeline_svg(two_ranks());
  EXPECT_THAT(svg, HasSubstr("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1200\""));
  EXPECT_THAT(svg, HasSubstr("op &lt;a&gt; &amp; &quot;b&quot;"));
  EXPECT_THAT(svg, HasSubstr(">rank 0<"));
  EXPECT_THAT(svg, HasSubstr(">rank 1<"));
  EXPECT_THAT(svg, HasSubstr(">20 % wait<"));
  EXPECT_THAT(svg, HasSubstr(">gemm 70 %<"));
  EXPECT_THAT(svg, HasSubstr(">wait 10 %<"));
  EXPECT_THAT(svg, HasSubstr(">reduce + norm 5.0 %<"));
  EXPECT_THAT(svg, Not(HasSubstr(">pack")));
  EXPECT_THAT(svg, HasSubstr(">10</text>"));
  EXPECT_THAT(svg, HasSubstr("time, ms"));
  // The publish of 1 us is too small for one; the table has the fifth.
  EXPECT_EQ(count(svg, "<title>"), 5);
  EXPECT_THAT(svg, HasSubstr("<title>rank 0 waited 1.999 ms for rank 1</title>"));
  EXPECT_EQ(count(svg, "<g>"), count(svg, "</g>"));
  EXPECT_EQ(svg.substr(svg.size() - 7), "</svg>\n");
}

/// Ranks that wait for the next one, rank + 1 milliseconds each, and 0.5 ms for no one rank.
Timeline ring(int ranks) {
  Timeline timeline{"ring", "", {}};
  for (int rank = 0; rank < ranks; ++rank) {
    const std::int64_t end = kStart + (rank + 1) * 1'000'000;
    timeline.lanes.push_back({rank,
                              {{TraceKind::kWait, 0, (rank + 1) % ranks, kStart, end},
                               {TraceKind::kGemm, 0, -1, end, end + 1'000'000},
                               {TraceKind::kWait, 1, -1, end, end + 500'000}}});
  }
  return timeline;
}

TEST(WaitsTest, SayWhoWaitedForWhom) {
  const Waits waits(ring(3));
  EXPECT_EQ(waits.ranks(), 3);
  EXPECT_DOUBLE_EQ(waits.ms(0, 1), 1);
  EXPECT_DOUBLE_EQ(waits.ms(2, 0), 3);
  EXPECT_EQ(waits.ms(0, 2), 0);
  EXPECT_DOUBLE_EQ(waits.ms(1, -1), 0.5);
  EXPECT_DOUBLE_EQ(waits.total_ms(1), 2.5);
  EXPECT_DOUBLE_EQ(waits.most_ms(), 3);
  EXPECT_EQ(waits_text(waits),
            "waits in ms, for rank     0     1     2  no one rank  all\n"
            "  of rank 0               0  1.00     0         0.50  1.50\n"
            "  of rank 1               0     0  2.00         0.50  2.50\n"
            "  of rank 2            3.00     0     0         0.50  3.50\n");
}

TEST(WaitsTest, ManyRanksSayWhomTheyWaitedForMost) {
  const std::string text = waits_text(Waits(ring(17)));
  EXPECT_THAT(text, HasSubstr("waits in ms   all    most for rank  of it\n"));
  EXPECT_THAT(text, HasSubstr("  of rank 16  17.50              0  17.00\n"));
  EXPECT_THAT(waits_text(Waits(Timeline{"none", "", {{0, {}}}})),
              HasSubstr("\n  of rank 0            0            0    0\n"));
}

TEST(WaitsTest, TheTableUnderThePictureFitsAScreen) {
  EXPECT_THAT(timeline_svg(ring(3)), HasSubstr(">3.00</text>"));
  EXPECT_THAT(timeline_svg(ring(128)), HasSubstr("<title>rank 127 waited 128.000 ms for rank 0<"));
  EXPECT_THAT(timeline_svg(ring(129)), Not(HasSubstr(" waited ")));
}

TEST(TimelineTest, ManyShortEventsStaySmall) {
  Timeline timeline{"many", "", {}};
  std::vector<TraceEvent> events;
  for (std::int64_t i = 0; i < 60000; ++i)
    events.push_back({i % 2 == 0 ? TraceKind::kGemm : TraceKind::kWait, 0, -1, kStart + i * 1000,
                      kStart + i * 1000 + 999});
  for (int rank = 0; rank < 64; ++rank) timeline.lanes.push_back({rank, events});
  EXPECT_LT(timeline_svg(timeline).size(), 64u * 2100 * 100);
}

TEST(TimelineTest, NothingTracedIsStillAPicture) {
  for (const Timeline& timeline :
       {Timeline{"none", "", {}}, Timeline{"none", "", {{0, {}}, {1, {}}}}}) {
    EXPECT_THAT(timeline_svg(timeline), HasSubstr("</svg>"));
    EXPECT_NO_THROW(JsonValue::parse(chrome_trace(timeline)));
  }
}

}  // namespace
}  // namespace weft::tools
