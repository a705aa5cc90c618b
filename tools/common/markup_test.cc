#include "tools/common/markup.h"

#include <gtest/gtest.h>

namespace roost::tools {
namespace {

TEST(Markup, XmlSaysWhatItCannotHoldInAnotherWay) {
  EXPECT_EQ(xml_text("p99 > 5 & \"a\" < 'b'"), "p99 &gt; 5 &amp; &quot;a&quot; &lt; 'b'");
  EXPECT_EQ(xml_text("two\nlines\tand"), "two&#10;lines&#9;and");
  EXPECT_EQ(xml_text("größer 😀"), "größer 😀");
}

TEST(Markup, WhatXmlHasNoWayToSayIsReplaced) {
  constexpr std::string_view texts[] = {{"a\0b", 3}, "a\x1b" "b", "a\xff" "b", "a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xef\xbf\xbf"};
  for (const std::string_view text : texts) {
    const std::string xml = xml_text(text);
    EXPECT_NE(xml.find("\xef\xbf\xbd"), std::string::npos) << xml;
    EXPECT_EQ(xml_text(xml), xml) << "what is left is well-formed";
  }
}

TEST(Markup, JunitCountsWhatFailedAndWhatWasLeftOut) {
  EXPECT_EQ(to_junit("roost load", {{"fine"}, {"failed > 0", "3 \"failed\""}, {"few", std::nullopt, "too few"}}, 1.5),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
            "<testsuite name=\"roost load\" tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"1.500\">\n"
            "<testcase classname=\"roost load\" name=\"fine\"/>\n"
            "<testcase classname=\"roost load\" name=\"failed &gt; 0\"><failure message=\"3 &quot;failed&quot;\"/></testcase>\n"
            "<testcase classname=\"roost load\" name=\"few\"><skipped message=\"too few\"/></testcase>\n"
            "</testsuite>\n</testsuites>\n");
}

TEST(Markup, MarkdownTakesNothingForAMark) {
  EXPECT_EQ(markdown_text("a|b <b> *c*\n`d`"), "a\\|b &lt;b&gt; \\*c\\* \\`d\\`");
}

}  // namespace
}  // namespace roost::tools
