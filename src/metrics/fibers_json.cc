// What fibers do, as JSON, and back.
#include <nlohmann/json.hpp>

#include <roost/metrics.h>

namespace roost::metrics {
namespace {

using nlohmann::json;

double seconds_of(std::chrono::nanoseconds span) { return std::chrono::duration<double>(span).count(); }
std::chrono::nanoseconds span_of(const json& seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds.get<double>()));
}

json to_object(const FiberExample& example) {
  json object{{"id", example.id}, {"name", example.name}, {"waited_s", seconds_of(example.waited)}};
  if (example.descriptor >= 0) {
    object["descriptor"] = example.descriptor;
    object["endpoint"] = example.endpoint;
  }
  return object;
}

json to_object(const FiberGroup& group) {
  json object{{"state", group.state},
              {"reason", group.reason},
              {"name", group.name},
              {"count", group.count},
              {"shortest_s", seconds_of(group.shortest)},
              {"longest_s", seconds_of(group.longest)},
              {"stack", group.stack},
              {"examples", json::array()}};
  for (const FiberExample& example : group.examples) object["examples"].push_back(to_object(example));
  return object;
}

FiberExample example_of(const json& object) {
  FiberExample example;
  example.id = object.at("id").get<std::uint64_t>();
  example.name = object.at("name").get<std::string>();
  example.waited = span_of(object.at("waited_s"));
  if (object.contains("descriptor")) {
    example.descriptor = object.at("descriptor").get<int>();
    example.endpoint = object.at("endpoint").get<std::string>();
  }
  return example;
}

FiberGroup group_of(const json& object) {
  FiberGroup group;
  group.state = object.at("state").get<std::string>();
  group.reason = object.at("reason").get<std::string>();
  group.name = object.at("name").get<std::string>();
  group.count = object.at("count").get<std::uint64_t>();
  group.shortest = span_of(object.at("shortest_s"));
  group.longest = span_of(object.at("longest_s"));
  group.stack = object.at("stack").get<std::vector<std::string>>();
  for (const json& example : object.at("examples")) group.examples.push_back(example_of(example));
  return group;
}

}  // namespace

std::string to_json(const FiberDump& dump) {
  json object{{"processes", dump.processes},
              {"fibers", dump.fibers},
              {"asleep", dump.asleep},
              {"took_s", seconds_of(dump.took)},
              {"groups", json::array()}};
  for (const FiberGroup& group : dump.groups) object["groups"].push_back(to_object(group));
  // A peer's name for itself (a path of a Unix socket) may be any bytes.
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<FiberDump> parse_fibers(std::string_view text) {
  try {
    const json object = json::parse(text);
    FiberDump dump;
    dump.processes = object.at("processes").get<std::uint64_t>();
    dump.fibers = object.at("fibers").get<std::uint64_t>();
    dump.asleep = object.at("asleep").get<std::uint64_t>();
    dump.took = span_of(object.at("took_s"));
    for (const json& group : object.at("groups")) dump.groups.push_back(group_of(group));
    return dump;
  } catch (const json::exception&) {
    return fail(std::errc::invalid_argument);
  }
}

}  // namespace roost::metrics
