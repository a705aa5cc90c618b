// The pages of roost's tools: their sources (web/*.html, *.css, *.js) and uPlot, which draws the charts, are embedded in the
// program, so a report is one file that is readable offline and a server needs no directory of files.
//
// A page's source names what it needs as any page does (`<link rel="stylesheet" href="frame.css">`,
// `<script src="charts.js"></script>`); page() puts the named assets in the place of those lines.
//
// With -DROOST_WEB=OFF uPlot is left out. Pages keep their text and tables then, and charts.js writes in the place of each
// chart that it was left out at build time.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace roost::web {

// An embedded file by its name: "uplot.js", "uplot.css", "frame.css", "charts.js", "load.html"... It lives as long as the program.
// Empty for uPlot's files when they were left out. A name that nobody embedded (tools/web/CMakeLists.txt lists them) is a bug and
// ends the program.
[[nodiscard]] std::string_view asset(std::string_view name);

// Whether uPlot is there.
[[nodiscard]] bool has_charts();

// The page "load.html" as one self-contained document: styles and scripts stand in it, none is fetched. uPlot's licence goes
// with uPlot.
[[nodiscard]] std::string page(std::string_view name);
// The same with data for its scripts, which find it by `JSON.parse(document.getElementById("data").textContent)`. The source has
// a line `<script type="application/json" id="data"></script>` for it.
[[nodiscard]] std::string page(std::string_view name, const nlohmann::ordered_json& data);

// JSON that may stand inside a <script>: no text in it can end the element.
[[nodiscard]] std::string to_script_text(const nlohmann::ordered_json& data);

}  // namespace roost::web
