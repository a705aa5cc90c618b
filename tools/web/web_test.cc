#include "tools/web/web.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace roost::web {
namespace {

TEST(Web, UPlotComesWithItsLicenceOrNotAtAll) {
  EXPECT_EQ(has_charts(), asset("uplot.license").find("MIT License") != std::string_view::npos);
  EXPECT_EQ(has_charts(), asset("uplot.js").find("uPlot") != std::string_view::npos);
  EXPECT_EQ(has_charts(), asset("uplot.css").find(".uplot") != std::string_view::npos);
}

TEST(Web, AFileIsEmbeddedWhole) {
  const std::string_view charts = asset("charts.js");
  EXPECT_TRUE(charts.starts_with("//"));
  EXPECT_TRUE(charts.ends_with("\n"));
}

TEST(Web, DataInAScriptCannotEndTheElement) {
  const nlohmann::ordered_json data = {{"name", "</script><script>alert(1)</script>"}, {"broken", "\xff"}};
  const std::string text = to_script_text(data);
  EXPECT_EQ(text.find('<'), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(text)["name"], data["name"]);
}

TEST(WebDeathTest, AnAssetThatNobodyEmbeddedIsABug) { EXPECT_DEATH((void)asset("nosuch.js"), "no asset is called nosuch.js"); }

}  // namespace
}  // namespace roost::web
