#include "tools/top/view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>

namespace roost::top {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

Sample sample(double time_s) {
  Sample made;
  Snapshot& s = made.snapshot;
  s.time_s = time_s;
  s.connections = 100'000;
  s.asleep = 80'000;
  s.accepted = 100'000 + 5'000 * time_s;
  s.counts_messages = true;
  s.messages = 33'000 * time_s;
  s.bytes_in = s.bytes_out = 1.2e6 * time_s;
  s.resident_bytes = 440e6;
  s.fibers_running = 1;
  s.fibers_parked = 20'003;
  s.waits = {{"read", 20'000}, {"sleep", 3}};
  s.descriptors_open = 100'016;
  s.descriptors_max = 120'000;
  s.primary_workers = 8;
  s.started_s = 1'000;
  for (int i = 0; i < 8; ++i) {
    s.workers.push_back({.name = std::to_string(i) + ".0", .queue = 2, .cpu_s = 0.1 * (i + 1) * time_s, .descriptors = 12'502});
  }
  made.has_fibers = true;
  made.fibers.processes = 8;
  made.fibers.groups = {
      {.state = "parked", .reason = "read", .name = "connection", .count = 20'000, .stack = {"roost::net::Conn::read()+0x1"},
       .examples = {{.id = 77, .name = "connection", .waited = 90s, .descriptor = 9, .endpoint = "127.0.0.1:8080 from 127.0.0.1:50000"}}},
      {.state = "parked", .reason = "sleep", .name = "", .count = 3, .stack = {"nap()+0x4"},
       .examples = {{.id = 5, .name = "evil\x1b[31m", .waited = 7200s}}}};
  return made;
}

std::string text_of(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

TEST(View, TellsRatesMemoryAndLimits) {
  const std::string text = text_of(render(sample(10), sample(12), {.columns = 120, .target = "here:1", .now_s = 8'200, .trouble = ""}));
  EXPECT_THAT(text, HasSubstr("roost top here:1  up 2 h 00 m  8 processes  8 workers  CPU 0 %"));
  EXPECT_THAT(text, HasSubstr("100,000 (80,000 without a fiber)  accepted +5,000/s"));
  EXPECT_THAT(text, HasSubstr("33,000 messages/s  in 1.2 MB/s  out 1.2 MB/s"));
  EXPECT_THAT(text, HasSubstr("440 MB (4.4 KB a connection)"));
  EXPECT_THAT(text, HasSubstr("20,004: 1 running, 0 runnable, 20,003 parked"));
  EXPECT_THAT(text, HasSubstr("wait for read 20,000, sleep 3"));
  EXPECT_THAT(text, HasSubstr("descriptors 100,016 of 120,000 [########--] 83 %"));
  // The longest wait first; where there is no descriptor the function is named.
  const std::size_t nap = text.find("nap()+0x4");
  const std::size_t read = text.find("127.0.0.1:8080 from 127.0.0.1:50000");
  ASSERT_NE(nap, std::string::npos);
  ASSERT_NE(read, std::string::npos);
  EXPECT_LT(nap, read);
}

TEST(View, TellsHowNearALimitOfConnectionsIs) {
  Sample now = sample(12);
  const auto text = [&now] { return text_of(render(sample(10), now, {.columns = 120, .target = "here:1", .now_s = 8'200, .trouble = ""})); };
  EXPECT_THAT(text(), Not(HasSubstr("      connections "))) << "there is none";
  now.snapshot.served = 99'000;
  now.snapshot.served_max = 110'000;
  EXPECT_THAT(text(), HasSubstr("connections 99,000 of 110,000 [#########-] 90 %"));
}

TEST(View, FitsTheScreen) {
  for (const auto& [columns, rows] : {std::pair{80, 24}, {40, 10}, {200, 50}, {20, 3}, {1, 1}}) {
    const auto lines = render(sample(10), sample(12),
                              {.columns = static_cast<std::size_t>(columns), .rows = static_cast<std::size_t>(rows), .target = "h:1", .trouble = ""});
    EXPECT_LE(lines.size(), static_cast<std::size_t>(rows));
    for (const std::string& line : lines) EXPECT_LE(line.size(), static_cast<std::size_t>(columns)) << line;
  }
}

TEST(View, ShowsTheBusiestWorkersWhereThereIsNoRoomForAll) {
  const std::string text = text_of(render(sample(10), sample(12), {.columns = 100, .rows = 18, .target = "h:1", .trouble = ""}));
  EXPECT_THAT(text, HasSubstr("\n7.0"));
  EXPECT_THAT(text, Not(HasSubstr("\n0.0")));
  EXPECT_THAT(text, HasSubstr("less busy ones"));
}

TEST(View, WarnsInColoursOnlyWhereAskedTo) {
  const ViewOptions plain{.columns = 120, .target = "h:1", .trouble = ""};
  EXPECT_THAT(text_of(render(sample(10), sample(12), plain)), Not(HasSubstr("\x1b")));
  ViewOptions colorful = plain;
  colorful.colors = true;
  EXPECT_THAT(text_of(render(sample(10), sample(12), colorful)), HasSubstr("\x1b[33m[########--] 83 %"));
}

TEST(View, SaysThatTheServerIsGone) {
  const auto lines = render(sample(12), sample(12), {.columns = 100, .rows = 24, .target = "h:1", .trouble = "GONE at 12:00:00: nobody listens there"});
  EXPECT_THAT(lines.front(), HasSubstr("GONE at 12:00:00: nobody listens there"));
  EXPECT_THAT(text_of(lines), HasSubstr("accepted +0/s"));
}

TEST(View, ALimitThatWasMetIsSaid) {
  Sample before = sample(10);
  Sample now = sample(12);
  EXPECT_THAT(text_of(render(before, now, {.columns = 120, .target = "h:1", .trouble = ""})), Not(HasSubstr("turned away")));
  now.snapshot.turned_away = 10;
  EXPECT_THAT(text_of(render(before, now, {.columns = 120, .target = "h:1", .trouble = ""})), HasSubstr("connections turned away: 10 (+5/s now)"));
}

}  // namespace
}  // namespace roost::top
