// The page of `roost cases`: for each case what was run, its claims, its chart and its table. The data is the JSON report.
"use strict";
(() => {
  const {element, chart} = roost;
  const report = JSON.parse(document.getElementById("data").textContent);
  const side_color = {before: "bad", between: "warn", after: "good"};
  const verdict_class = {"shown": "good", "not shown": "bad", "could not be tried": "warn"};

  const machine = report.machine;
  document.getElementById("machine").textContent =
    `Linux ${machine.kernel}, ${machine.processors} processor${machine.processors === 1 ? "" : "s"}` +
    (report.quick ? "; a quick run, whose times were not judged" : "");
  const count = (verdict) => report.cases.filter((one) => one.verdict === verdict).length;
  const verdict = document.getElementById("verdict");
  verdict.textContent = `${count("shown")} of ${report.cases.length} shown` +
    (count("could not be tried") ? `, ${count("could not be tried")} could not be tried` : "");
  verdict.classList.add(count("not shown") ? "bad" : count("could not be tried") ? "warn" : "good");

  // Bars of the same labels and unit stand in one figure, a group beside the other; else each group has a figure of its own.
  function bar_charts(place, spec) {
    const groups = new Map();
    for (const bar of spec.bars) groups.set(bar.group, [...(groups.get(bar.group) ?? []), bar]);
    const labels_of = (bars) => bars.map((bar) => bar.label).join("\n");
    const all = [...groups.values()];
    const alike = all.length > 1 && all.every((bars) => labels_of(bars) === labels_of(all[0]) && bars[0].unit === all[0][0].unit);
    const figure_of = (title, note, categories, series, unit, log) => {
      const figure = element("figure", {className: "chart"});
      place.append(figure);
      chart(figure, {title, note, x: {kind: "category", categories}, y: {unit, log}, series, height: 240});
    };
    if (alike) {
      // Without what all of them begin with, so that the names have room below a narrow chart.
      const names = [...groups.keys()];
      const words = names[0].split(" ");
      while (words.length > 0 && !names.every((name) => name.startsWith(words.join(" ") + " "))) words.pop();
      const shared = words.join(" ").length;
      figure_of(spec.title, "log scale", names.map((name) => name.slice(shared).trim()), all[0].map((bar, i) => ({
        label: bar.label, values: all.map((bars) => bars[i].value),
      })), all[0][0].unit, true);
      return;
    }
    for (const [group, bars] of groups) {
      figure_of(group.trim() || spec.title, "", [""], bars.map((bar) => ({label: bar.label, values: [bar.value], color: side_color[bar.side]})),
                bars[0].unit, false);
    }
  }

  function table_of(one) {
    const head = element("tr", {}, element("th"), ...one.columns.map((column) => element("th", {className: "n", textContent: column.title})));
    const rows = one.rows.map((row) => element("tr", {},
      element("th", {textContent: row.label, className: verdict_class[row.side] ?? side_color[row.side]}),
      ...row.texts.map((text) => element("td", {textContent: text === "-" ? "–" : text, className: text === "-" ? "n dash" : "n"}))));
    return element("div", {className: "scroll panel"},
      element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
  }

  for (const one of report.cases) {
    const section = element("section", {id: one.id});
    document.getElementById("cases").append(section);
    section.append(element("h2", {textContent: `${one.number}. ${one.title}`}));
    if (one.untried) {
      section.append(element("p", {className: "warn", textContent: "Could not be tried: " + one.untried}));
      continue;
    }
    section.append(element("p", {className: "muted", textContent: one.method}));
    section.append(element("ul", {className: "claims"}, ...one.claims.map((claim) => element("li",
      {className: claim.holds ? "good" : report.quick && !claim.counted ? "warn" : "bad"},
      element("span", {textContent: claim.text})))));
    const charts = element("div", {className: "charts"});
    section.append(charts);
    if (one.chart.lines) {
      const figure = element("figure", {className: "chart"});
      charts.append(figure);
      chart(figure, {
        title: one.chart.lines_title, x: {kind: "elapsed"}, y: {unit: "count"}, xs: one.chart.times_s, height: 240,
        series: one.chart.lines.map((line) => ({label: line.label, values: line.values, color: side_color[line.side]})),
      });
    }
    bar_charts(charts, one.chart);
    section.append(table_of(one));
  }
})();
