// The report of `roost load --html`, drawn from the data that stands in the page (tools/load/html.cc makes it).
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const {report, series} = data;
  const {format, element, chart} = roost;
  const by_id = (id) => document.getElementById(id);

  document.title = `roost load ${report.target}`;
  by_id("title").textContent = `${format.count(report.connections.requested)} connections to ${report.target}`;
  by_id("when").textContent = `${data.when}, ${format.seconds(report.duration_s)} in all`;
  const verdict = by_id("verdict");
  verdict.textContent = data.verdict;
  verdict.classList.add(report.ok ? "good" : "bad");
  for (const {text, value, crossed} of data.conditions) {
    if (crossed) verdict.append(element("br"), `${text}: it was ${value}`);
  }
  if (report.generator_late) {
    verdict.after(element("p", {className: "verdict warn", textContent: "The generator itself was late (99th percentile " +
      `${format.us(report.lateness_us.p99)}): the latencies include that delay. Use a lower rate, fewer connections or more processors.`}));
  }
  if (report.given_up) verdict.after(element("p", {className: "verdict bad", textContent: "Given up: " + report.given_up}));
  for (const lost of report.lost_processes ?? []) verdict.after(element("p", {className: "verdict bad", textContent: lost}));

  // Cards: what a glance should find.
  const card = (name, value, note, tone) =>
    by_id("cards").append(element("div", {}, element("b", {textContent: value, className: tone ?? ""}), element("span", {textContent: name}),
                                  element("small", {textContent: note ?? ""})));
  const lost_messages = report.messages.timeouts + report.messages.errors + report.messages.mismatched;
  const lost_connections = report.connections.failed + report.connections.dropped;
  card("established", format.count(report.connections.established), `of ${format.count(report.connections.requested)}`);
  card("opened", format.rate(report.connections.rate_per_s), `in ${format.seconds(report.ramp_s)}`);
  if (report.run_s > 0) card("messages", format.rate(report.messages.rate_per_s), `for ${format.seconds(report.run_s)}`);
  if (report.latency_us.count > 0) {
    card("latency p50", format.us(report.latency_us.p50), `mean ${format.us(report.latency_us.mean)}`);
    card("latency p99", format.us(report.latency_us.p99), `max ${format.us(report.latency_us.max)}`);
  }
  if (report.server) card("server memory", format.bytes(report.server.rss_bytes), `${format.bytes(report.server.bytes_per_connection)} a connection`);
  card("lost", format.count(lost_connections + lost_messages), `${format.count(lost_connections)} connections, ${format.count(lost_messages)} messages`,
       lost_connections + lost_messages > 0 ? "bad" : "good");

  // Charts over time share their cursor and their zoom.
  const over_time = {kind: "elapsed", sync: "time", marks: data.marks};
  const add = (id, spec) => {
    const figure = element("figure", {className: "chart", id});
    by_id("charts").append(figure);
    chart(figure, spec);
  };
  const some = (values) => values.some((v) => v > 0);
  // What never happened needs no line.
  const lines = (list) => list.filter((line, i) => i === 0 || some(line.values));
  add("connections", {title: "Connections", note: "open at the end of each second", x: over_time, y: {unit: "count"}, xs: series.t,
    series: [{label: "open", values: series.open, fill: true}]});
  add("rates", {title: "Connections a second", x: over_time, y: {unit: "rate"}, xs: series.t, series: lines([
    {label: "established", values: series.established},
    {label: "renewed", values: series.churned, color: "c3"},
    {label: "failed", values: series.failed, color: "c4"},
    {label: "dropped", values: series.dropped, color: "c2"}])});
  add("messages", {title: "Messages a second", x: over_time, y: {unit: "rate"}, xs: series.t, series: [
    {label: "sent", values: series.sent, color: "c2"}, {label: "answered", values: series.received, color: "c1"}]});
  add("latency", {title: "Latency", note: "of the answers of each second", x: over_time, y: {unit: "us", log: true}, xs: series.t, series: [
    {label: "max", values: series.max, color: "c6"}, {label: "p99.9", values: series.p999, color: "c4"}, {label: "p99", values: series.p99, color: "c2"},
    {label: "p90", values: series.p90, color: "c3"}, {label: "p50", values: series.p50, color: "c1"}]});
  if (data.heat.edges.length > 0) {
    add("heat", {title: "Latency, all answers", note: "how many took how long", x: over_time, y: {unit: "us", log: true}, height: 260, heat: data.heat});
    by_id("heat").classList.add("wide");
  }
  add("distribution", {title: "Latency by percentile", note: "of the whole load", x: {kind: "percentile"},
    y: {unit: "us", log: true}, xs: data.distribution.x, series: data.distribution.series});
  if (some(series.lateness_p99)) {
    add("lateness", {title: "Lateness of the generator", note: "when it sent, against when it was due", x: over_time, y: {unit: "us", log: true},
      xs: series.t, series: [{label: "p99", values: series.lateness_p99, color: "c5"}]});
  }
  add("memory", {title: "Memory", note: "anonymous memory of all processes", x: over_time, y: {unit: "bytes"}, xs: series.t, series: [
    ...(report.server ? [{label: "server", values: series.server_bytes, fill: true}] : []),
    {label: "client", values: series.client_bytes, color: "c2"}]});
  add("cpu", {title: "CPU", note: `100 % is one processor; the machine has ${data.machine.processors}`, x: over_time, y: {unit: "percent", open: true}, xs: series.t,
    series: [...(report.server ? [{label: "server", values: series.server_cpu}] : []),
             {label: "client", values: series.client_cpu, color: "c2"},
             ...(report.attack ? [{label: "attackers", values: series.attack_cpu, color: "c4"}] : []),
             {label: "machine", values: series.machine_cpu, color: "c6"}]});
  if (report.tcp) {
    // Both ends in one namespace count the same segments.
    const {one_namespace} = report.tcp;
    add("tcp", {title: "Trouble in TCP", note: one_namespace ? "a second, of the namespace that both ends share" : "a second, of each end's namespace",
      x: over_time, y: {unit: "count"}, xs: series.t, series: [
        {label: one_namespace ? "segments sent again" : "client's segments sent again", values: series.client_retransmits},
        ...(report.tcp.server ? [
          ...(one_namespace ? [] : [{label: "server's segments sent again", values: series.server_retransmits, color: "c3"}]),
          {label: "accept queue full", values: series.listen_overflows, color: "c4"},
          {label: "not taken by the listener", values: series.listen_drops, color: "c2"}] : [])]});
  }
  if (report.attack && some(series.server_descriptors)) {
    add("descriptors", {title: "Descriptors of the server", note: "at the end of each second", x: over_time, y: {unit: "count"}, xs: series.t,
      series: [{label: "open", values: series.server_descriptors, fill: true}]});
  }
  if (data.errors.length > 0) {
    add("errors", {title: "Errors by kind", note: "failed and dropped connections a second", x: over_time, y: {unit: "count"}, xs: series.t,
      series: data.errors.map(({name, values}) => ({label: name, values, step: true}))});
  }

  // Tables. A cell that is an array is a number or a text of class "n".
  const table = (where, head, rows) => {
    const cell = (content, name) => (Array.isArray(content) ? element(name, {className: "n", textContent: content[0]})
                                                            : element(name, {textContent: content}));
    if (head) where.append(element("thead", {}, element("tr", {}, ...head.map((text) => cell(text, "th")))));
    where.append(element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((content, i) => cell(content, i === 0 ? "th" : "td"))))));
  };
  const share = (asked, reached) => [asked > 0 ? format.percent(100 * reached / asked) : "–"];
  const {connection_rate_per_s, message_rate_per_s} = report.achieved;
  table(by_id("achieved"), ["", ["asked for"], ["reached"], ["share"]], [
    ["connections", [format.count(report.connections.requested)], [format.count(report.connections.established)],
     share(report.connections.requested, report.connections.established)],
    ["connections a second", [format.count(connection_rate_per_s.requested)], [format.count(connection_rate_per_s.achieved)],
     share(connection_rate_per_s.requested, connection_rate_per_s.achieved)],
    ["messages a second", [message_rate_per_s.requested === null ? "as fast as answered" : format.count(message_rate_per_s.requested)],
     [format.count(message_rate_per_s.achieved)], share(message_rate_per_s.requested ?? 0, message_rate_per_s.achieved)],
    ["answers to messages sent", [format.count(report.messages.sent)], [format.count(report.messages.received)],
     share(report.messages.sent, report.messages.received)],
  ]);
  if (report.stages.length > 1) {
    by_id("stages").hidden = false;
    const of_asked = ({requested, achieved}) => [`${format.count(achieved)} of ${requested === null ? "any" : format.count(requested)}`];
    table(by_id("stages").querySelector("table"), ["", ["begins at"], ["runs for"], ["connections"], ["opened a second"], ["messages a second"], ["p50"], ["p99"], ["max"]],
          report.stages.map((stage) => [stage.name, [format.seconds(stage.begin_s)], [format.seconds(stage.run_s)], [format.count(stage.connections)],
            stage.opened.requested > 0 ? of_asked(stage.connection_rate_per_s) : ["–"], of_asked(stage.message_rate_per_s),
            ...["p50", "p99", "max"].map((key) => [stage.latency_us.count > 0 ? format.us(stage.latency_us[key]) : "–"])]));
  }
  if (report.attack) {
    by_id("attack").hidden = false;
    table(by_id("attack").querySelector("table"),
          ["", ["attackers"], ["opened"], ["not opened"], ["cut off"], ["after, p50"], ["at most"], ["to the end"], ["answered"], ["wrong answers"]],
          report.attack.faults.map((fault) => [report.stages.length > 1 ? `${fault.stage}: ${fault.fault}` : fault.fault,
            ...[fault.attackers, fault.opened, fault.failed, fault.cut_off].map((n) => [format.count(n)]),
            ...["p50", "max"].map((key) => [fault.cut_off > 0 ? format.us(fault.held_us[key]) : "–"]),
            ...[fault.standing, fault.answered, fault.mismatched].map((n) => [format.count(n)])]));
  }
  const percentiles = (name, object) => [name, [format.count(object.count)],
    ...["min", "p50", "p90", "p99", "p999", "max"].map((key) => [object.count > 0 ? format.us(object[key]) : "–"])];
  table(by_id("latencies"), ["", ["count"], ["min"], ["p50"], ["p90"], ["p99"], ["p99.9"], ["max"]], [
    percentiles("connect", report.connect_latency_us), percentiles("first echo", report.first_echo_us),
    percentiles("while opening", report.ramp_latency_us), percentiles("in the run", report.latency_us),
    percentiles("from sending", report.service_us), percentiles("generator late by", report.lateness_us)]);
  if (report.thresholds) {
    const section = by_id("conditions");
    section.hidden = false;
    table(section.querySelector("table"), ["fails if", ["was"], ""],
          data.conditions.map(({text, value, crossed}) => [text, [value], crossed ? "CROSSED" : "not crossed"]));
    section.querySelectorAll("tbody tr").forEach((row, i) => row.lastChild.classList.add(data.conditions[i].crossed ? "bad" : "good"));
  }
  const {attack, client, server, kernel, machine} = report;
  const usage = (of) => [[format.seconds(of.cpu_s)], [format.bytes(of.rss_bytes)], [format.bytes(of.bytes_per_connection)], [format.count(of.processes)]];
  const dash = ["–"];
  table(by_id("details"), ["", ["CPU"], ["memory"], ["a connection"], ["processes"]], [
    ...(server ? [["server", ...usage(server)]] : []),
    ["client", ...usage(client)],
    ...(attack ? [[`attackers, at nice ${attack.nice}`, [format.seconds(attack.cpu_s)], dash, dash, [format.count(attack.processes)]]] : []),
    ["kernel, slabs", dash, [format.bytes(kernel.slab_bytes)], [format.bytes(kernel.slab_bytes_per_connection)], dash],
    ["kernel, page tables", dash, [format.bytes(kernel.page_table_bytes)], dash, dash],
    ...(server ? [["server's CPU a message", [format.us(server.cpu_us_per_message)], dash, dash, dash]] : []),
    ["processors busy, opening", [format.percent(100 * machine.ramp_busy)], dash, dash, dash],
    ["processors busy, running", [format.percent(100 * machine.run_busy)], dash, dash, dash],
  ]);
  const causes = Object.entries(report.connections.failures).sort(([, a], [, b]) => b - a);
  if (causes.length > 0) {
    by_id("causes").hidden = false;
    table(by_id("causes").querySelector("table"), ["", ["connections"]], causes.map(([name, times]) => [name, [format.count(times)]]));
  }
  by_id("command").textContent = data.command;
  table(by_id("machine"), null, [
    ["kernel", data.machine.kernel], ["processors", `${data.machine.processors} x ${data.machine.processor}`],
    ["memory", format.bytes(data.machine.memory_bytes)], ["opening was limited by", report.limited_by], ["made by", data.version],
    ...(series.each > 1 ? [["resolution", `${series.each} s a point of the charts`]] : [])]);
  by_id("made").textContent = "Made by roost load. Charts: uPlot, MIT licence, whose text stands in the source of this page. Drag across a chart to zoom, double-click to go back.";
})();
