// SPDX-License-Identifier: Apache-2.0
#include "files/timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "files/json.h"

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
  EXPECT_EQ(count(svg, "<title>"), 4);  // the publish of 1 us is too small for one
  EXPECT_EQ(count(svg, "<g>"), count(svg, "</g>"));
  EXPECT_EQ(svg.substr(svg.size() - 7), "</svg>\n");
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
