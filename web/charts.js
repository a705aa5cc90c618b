// Charts as all pages of roost draw them: by uPlot, as wide as their figure, in the colours of frame.css, with units.
//
//   const chart = roost.chart(document.getElementById("rate"), {
//     title: "Rate", note: "a second",             // note is optional
//     x: {kind: "elapsed"},                        // "elapsed": seconds since a start; "clock": seconds since 1970;
//                                                  // "percentile": 1 / (1 - q), on a log axis; "log2": 1, 2, 4, ...;
//                                                  // "category": names, with `categories: ["before", "after"]`, as bars
//                                                  // marks: [{at, name}] stand as upright lines; charts of one `sync` share
//                                                  // their cursor and zoom
//     y: {unit: "count", log: false},              // "count", "rate", "us", "bytes", "percent" (0 to 100; open: or more), "seconds"
//     xs: [0, 1, 2],                               // not for categories
//     series: [{label: "sent", values: [1, 2, null], fill: true, step: true, color: "c2"}],   // all but the first two optional
//     height: 220,
//   });
//
// A heat map has, in the place of `xs` and `series`, `heat: {each, edges, columns}`: counts by time and value, on an elapsed x and a
// logarithmic y. A column is of `each` seconds: [all, first, count, count, ...], the first count being of the row from edges[first] to
// edges[first + 1]. Colour is the share of the column, from 1 in 10,000 on.
//
//   chart.update(xs, [values, ...]);               // new data for a page that lives
//
// Where uPlot was left out at build time each figure says so. For tests, the root element tells what became of the page:
// data-charts, how many were drawn; data-error, the first script error; data-overflow, whether it is wider than the window.
"use strict";
const roost = (() => {
  const root = document.documentElement;
  root.dataset.charts = "0";
  const note_error = (message) => { root.dataset.error ??= String(message); };
  window.addEventListener("error", (event) => note_error(event.message));
  window.addEventListener("unhandledrejection", (event) => note_error(event.reason));
  const note_overflow = () => { root.dataset.overflow = root.scrollWidth > root.clientWidth ? "yes" : "no"; };
  window.addEventListener("load", note_overflow);
  window.addEventListener("resize", note_overflow);

  // At most three digits, and no more behind the point than tell something.
  const digits = (value) => {
    const size = Math.abs(value);
    return value.toLocaleString("en-US", {maximumFractionDigits: size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : 2});
  };
  const scaled = (value, base, units) => {
    let at = 0;
    while (at + 1 < units.length && Math.abs(value) >= base * 0.99995) { value /= base; ++at; }
    return digits(value) + " " + units[at];
  };
  // Numbers as people read them. null and undefined are a dash.
  const known = (f) => (value) => (value === null || value === undefined || Number.isNaN(value) ? "–" : f(value));
  const format = {
    count: known((value) => (Math.abs(value) < 10 ? digits(value) : Math.round(value).toLocaleString("en-US"))),
    rate: known((value) => format.count(value) + "/s"),
    us: known((value) => (Math.abs(value) < 999.5 ? scaled(value, 1000, ["µs"]) : scaled(value / 1000, 1000, ["ms", "s"]))),
    bytes: known((value) => scaled(value, 1000, ["B", "KB", "MB", "GB", "TB"])),
    percent: known((value) => digits(value) + " %"),
    seconds: known((value) => {
      const sign = value < 0 ? "-" : "";
      const whole = Math.abs(value);
      if (whole < 120) return sign + digits(whole) + " s";
      const two = (part) => String(Math.floor(part)).padStart(2, "0");
      return sign + (whole < 3600 ? `${Math.floor(whole / 60)}:${two(whole % 60)} min`
                                  : `${Math.floor(whole / 3600)}:${two((whole % 3600) / 60)} h`);
    }),
    clock: known((value) => new Date(value * 1000).toLocaleTimeString("en-GB")),
    // Of x = 1 / (1 - q): 10 is 90 %, 1000 is 99.9 %.
    percentile: known((x) => {
      const q = 100 * (1 - 1 / x);
      return q.toFixed(x < 100 ? (Number.isInteger(Math.round(q * 1e6) / 1e6) ? 0 : 1) : Math.max(0, Math.ceil(Math.log10(x) - 2 - 1e-9))) + " %";
    }),
  };
  // Long numbers at an axis are short: 120k, 1.5M.
  const short_count = (value) => {
    const size = Math.abs(value);
    return size >= 1e6 ? digits(value / 1e6) + "M" : size >= 1e4 ? digits(value / 1e3) + "k" : format.count(value);
  };
  const axis_format = {...format, count: short_count, rate: (value) => short_count(value) + "/s"};

  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  // Shades of a heat map, from the rarest to all of a column: equally far apart on a logarithmic scale.
  const heat_least = 1e-4;
  const heat_shades = () => {
    const stops = ["h1", "h2", "h3", "h4", "h5"].map((name) => color(name).match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16)));
    return Array.from({length: 64}, (_, i) => {
      const at = i / 63 * (stops.length - 1);
      const below = Math.min(Math.floor(at), stops.length - 2);
      return "rgb(" + stops[below].map((part, k) => Math.round(part + (stops[below + 1][k] - part) * (at - below))).join(",") + ")";
    });
  };
  const color = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const faded = (text) => text + "26";  // #rrggbb with an alpha of 15 %

  const elapsed_steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
  const bytes_steps = [1, 2, 5].flatMap((m) => [1, 10, 100].map((t) => m * t)).flatMap((m) => [0, 1, 2, 3, 4].map((k) => m * 1000 ** k)).sort((a, b) => a - b);

  const x_scale = {
    elapsed: {time: false},
    clock: {time: true},
    percentile: {time: false, distr: 3},
    log2: {time: false, distr: 3, log: 2},
    category: {time: false},
  };

  function x_axis(spec) {
    switch (spec.x.kind) {
      case "elapsed": return {incrs: elapsed_steps, values: (_, splits) => splits.map((v) => format.seconds(v).replace(/ (min|h)$/, ""))};
      // In one line, whole seconds: uPlot's own labels have the date in a second line.
      case "clock": return {incrs: elapsed_steps.filter((step) => step >= 1), values: (_, splits) => splits.map(format.clock), space: 80};
      case "percentile": return {
        splits: (u) => {
          const decade = u.bbox.width / devicePixelRatio / Math.max(Math.log10(u.scales.x.max), 1);
          const step = Math.max(Math.ceil(56 / decade), 1);  // so that labels do not touch
          const tens = Array.from({length: 13}, (_, i) => 10 ** i).filter((x, i) => x <= u.scales.x.max * 1.0001 && i % step === 0);
          // The median has its place where there is one.
          return decade * Math.log10(2) > 40 ? [1, 2, ...tens.slice(1)] : tens;
        },
        filter: (_, splits) => splits,
        values: (_, splits) => splits.map(format.percentile),
        space: 20,
      };
      case "log2": return {values: (_, splits) => splits.map((v) => (v === null ? "" : axis_format[spec.x.unit ?? "count"](v)))};
      case "category": return {
        splits: () => spec.x.categories.map((_, i) => i),
        values: () => spec.x.categories,
        grid: {show: false},
      };
    }
    throw new Error("charts.js: no axis is called " + spec.x.kind);
  }

  function x_range(spec) {
    if (spec.x.kind === "category") return (u) => [-0.6, spec.x.categories.length - 0.4];
    if (spec.x.kind === "percentile") return (u, min, max) => [1, Math.max(max ?? 100, 10)];
    // uPlot gives a single point a range of its own, which would show times before the start.
    return (u, min, max) => (min === null ? [spec.x.kind === "log2" ? 1 : 0, 10] : min === max ? [min, min + 1] : [min, max]);
  }

  function y_range(spec) {
    if (spec.heat) {
      const {edges} = spec.heat;
      return () => [10 ** Math.floor(Math.log10(edges[0] || 1)), 10 ** Math.ceil(Math.log10(edges[edges.length - 1]))];
    }
    if (spec.y.log) {
      return (u, min, max) => (min === null || max === null ? [1, 1000]
        : [10 ** Math.floor(Math.log10(Math.max(min, 1e-3))), 10 ** Math.max(Math.ceil(Math.log10(max) - 1e-9), Math.floor(Math.log10(Math.max(min, 1e-3))) + 1)]);
    }
    if (spec.y.unit === "percent" && !spec.y.open) return () => [0, 100];
    return (u, min, max) => [Math.min(0, min ?? 0), (max ?? 0) > 0 ? max * (spec.x.marks ? 1.16 : 1.06) : 1];  // names of marks stand above
  }

  // Bars of several series stand side by side within their category.
  function bars(index, count) {
    const width = 0.8 / count;
    return uPlot.paths.bars({
      disp: {
        x0: {unit: 1, values: (u) => u.data[0].map((x) => x - 0.4 + index * width)},
        size: {unit: 1, values: (u) => u.data[0].map(() => width * 0.92)},
      },
    });
  }

  // Upright lines with a name each, where something began.
  function draw_marks(u, marks) {
    const {ctx, bbox} = u;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = color("muted");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.font = 11 * devicePixelRatio + "px " + getComputedStyle(document.body).fontFamily;
    ctx.textAlign = "left";
    ctx.textBaseline = "top";
    let free = bbox.left;  // names do not overwrite each other
    for (const {at, name} of marks) {
      const x = u.valToPos(at, "x", true);
      if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
      if (x > bbox.left + 2) {
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
      const text_width = ctx.measureText(name).width;
      const begin = x + 4 * devicePixelRatio;
      if (begin < free || begin + text_width > bbox.left + bbox.width) continue;
      ctx.fillText(name, begin, bbox.top + 2 * devicePixelRatio);
      free = begin + text_width + 6 * devicePixelRatio;
    }
    ctx.restore();
  }

  // The counts of neighbouring columns [begin, end), put together.
  function heat_sum({columns}, begin, end) {
    const sum = {all: 0, rows: new Map()};
    for (const [all, first, ...counts] of columns.slice(begin, end)) {
      sum.all += all;
      counts.forEach((count, i) => { if (count > 0) sum.rows.set(first + i, (sum.rows.get(first + i) ?? 0) + count); });
    }
    return sum;
  }

  function draw_heat(u, heat) {
    const {ctx, bbox} = u;
    const {each, edges, columns} = heat;
    const shades = heat_shades();
    const x = (column) => Math.round(u.valToPos(column * each, "x", true));
    const y = (edge) => Math.round(u.valToPos(Math.max(edge, 0.5), "y", true));
    // Of columns that are narrower than two pixels several are put together: a rare one would vanish between two others.
    const together = Math.max(Math.ceil(2 * devicePixelRatio / Math.max(u.valToPos(each, "x", true) - u.valToPos(0, "x", true), 1e-6)), 1);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    let cells = 0;
    for (let begin = 0; begin < columns.length; begin += together) {
      const end = Math.min(begin + together, columns.length);
      const left = x(begin);
      const right = Math.max(x(end), left + 1);
      if (right < bbox.left || left > bbox.left + bbox.width) continue;
      const {all, rows} = heat_sum(heat, begin, end);
      for (const [row, count] of rows) {
        const shade = Math.max(1 - Math.log10(count / all) / Math.log10(heat_least), 0);
        ctx.fillStyle = shades[Math.min(Math.floor(shade * shades.length), shades.length - 1)];
        const top = y(edges[row + 1]);
        ctx.fillRect(left, top, right - left, Math.max(y(edges[row]) - top, 1));
        ++cells;
      }
    }
    ctx.restore();
    // For tests.
    u.root.closest("figure").dataset.cells = String(cells);
  }

  // What the colours mean, and what is under the pointer.
  function heat_key(spec) {
    const at = element("span", {className: "heat-at"});
    const key = element("div", {className: "heat-key"}, element("span", {textContent: format.percent(100 * heat_least)}), element("i"),
                        element("span", {textContent: `100 % of ${spec.heat.each === 1 ? "a second's answers" : `the answers in ${format.seconds(spec.heat.each)}`}`}), at);
    return {key, show(u) {
      const {each, edges, columns} = spec.heat;
      const {left, top} = u.cursor;
      const column = left >= 0 ? Math.floor(u.posToVal(left, "x") / each) : -1;
      if (column < 0 || column >= columns.length) { at.textContent = ""; return; }
      const {all, rows} = heat_sum(spec.heat, column, column + 1);
      const from = format.seconds(column * each);
      // With the pointer in another chart there is a second, and no latency.
      const value = u.over.matches(":hover") ? u.posToVal(top, "y") : 0;
      const row = edges.findLastIndex((edge) => edge <= value);
      if (row < 0 || row + 1 >= edges.length) { at.textContent = `${from}: ${format.count(all)} answers`; return; }
      const count = rows.get(row) ?? 0;
      at.textContent = `${from}: ${format.us(edges[row])} to ${format.us(edges[row + 1])}, ${format.count(count)} of ${format.count(all)}` +
        (all > 0 ? `, ${format.percent(100 * count / all)}` : "");
    }};
  }

  function options(spec, width, key) {
    const value = (text) => (u, v) => text(v);
    const text_of_x = spec.x.kind === "category" ? (v) => spec.x.categories[v] ?? "–"
      : spec.x.kind === "elapsed" ? format.seconds : spec.x.kind === "log2" ? format[spec.x.unit ?? "count"] : format[spec.x.kind];
    const is_bars = spec.x.kind === "category";
    const axis = {stroke: color("muted"), grid: {stroke: color("grid"), width: 1}, ticks: {stroke: color("grid"), width: 1, size: 4}, font: "12px " + getComputedStyle(document.body).fontFamily, gap: 4};
    const y = axis_format[spec.y.unit];
    return {
      width,
      height: spec.height ?? 220,
      padding: [10, 18, 0, 0],
      scales: {
        x: {...x_scale[spec.x.kind], range: x_range(spec)},
        y: {distr: spec.y.log ? 3 : 1, range: y_range(spec)},
      },
      axes: [
        {...axis, size: 30, ...x_axis(spec), grid: {...axis.grid, ...(x_axis(spec).grid ?? {})}},
        {
          ...axis,
          values: (_, splits) => splits.map((v) => (v === null ? "" : y(v))),
          ...(spec.y.unit === "bytes" && !spec.y.log ? {incrs: bytes_steps} : {}),
          size: (u, values) => (values === null ? 40 : 16 + 6.6 * Math.max(...values.map((v) => v.length))),
        },
      ],
      series: [
        {label: {elapsed: "time", clock: "time", percentile: "percentile", category: ""}[spec.x.kind] ?? spec.x.label ?? "", value: value(text_of_x)},
        ...spec.series.map((series, i) => {
          const stroke = color(series.color ?? "c" + (i % 6 + 1));
          return {
            label: series.label,
            stroke,
            width: is_bars ? 0 : 1.6,
            fill: is_bars ? stroke : series.fill ? faded(stroke) : undefined,
            paths: series.hidden ? () => null : is_bars ? bars(i, spec.series.length) : series.step ? uPlot.paths.stepped({align: 1}) : undefined,
            // A line of one point would be nothing to see.
            points: {show: !is_bars && !series.hidden && series.values.length === 1, size: 5},
            value: value(format[spec.y.unit]),
          };
        }),
      ],
      cursor: {y: false, drag: {x: !is_bars, y: false}, points: {size: 7, show: !spec.heat}, ...(spec.x.sync ? {sync: {key: spec.x.sync}} : {})},
      hooks: {
        drawAxes: spec.heat ? [(u) => draw_heat(u, spec.heat)] : [],
        draw: spec.x.marks ? [(u) => draw_marks(u, spec.x.marks)] : [],
        setCursor: spec.heat ? [(u) => key.show(u)] : [],
      },
      legend: {show: !spec.heat, markers: {width: 0, fill: (u, i) => color(spec.series[i - 1]?.color ?? "c" + ((i - 1) % 6 + 1))}},
    };
  }

  const drawn = new Set();

  function chart(figure, spec) {
    const place = element("div", {className: "plot"});
    const caption = element("figcaption", {textContent: spec.title});
    if (spec.note) caption.append(element("small", {textContent: spec.note}));
    figure.replaceChildren(caption, place);
    if (typeof uPlot === "undefined") {
      place.replaceWith(element("p", {textContent: "Charts were left out when this program was built (ROOST_WEB=OFF)."}));
      return {update() {}};
    }
    const key = spec.heat ? heat_key(spec) : null;
    if (spec.heat) {
      figure.append(key.key);
      spec.xs = [0, ...spec.heat.columns.map((_, i) => (i + 1) * spec.heat.each)];
      // Drawn by no one; it gives the axes their ranges.
      spec.series = [{label: "", values: spec.xs.map(() => spec.heat.edges.at(-1)), hidden: true}];
    }
    let plot = null;
    // A log axis has no place for nothing.
    const shown = (values) => (spec.y.log ? values.map((v) => (v > 0 ? v : null)) : values);
    const data = () => [spec.x.kind === "category" ? spec.x.categories.map((_, i) => i) : spec.xs, ...spec.series.map((s) => shown(s.values))];
    const draw = () => {
      plot?.destroy();
      plot = new uPlot(options(spec, Math.max(place.clientWidth, 100), key), data(), place);
    };
    draw();
    drawn.add(draw);
    root.dataset.charts = String(drawn.size);
    const fit = () => {
      const width = place.clientWidth;
      if (width > 0 && width !== plot.width) plot.setSize({width, height: plot.height});
    };
    // Later: a chart that is drawn within the notification can change the sizes that it is about. Not in the next frame, which a
    // page that nobody looks at may never have.
    new ResizeObserver(() => setTimeout(fit)).observe(place);
    window.addEventListener("resize", fit);
    return {
      update(xs, values) {
        spec.xs = xs;
        spec.series.forEach((series, i) => { series.values = values[i]; });
        plot.setData(data());
      },
    };
  }
  // Colours are read when a chart is drawn.
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((draw) => draw()));

  return {chart, format, element};
})();
