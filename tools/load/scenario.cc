#include "tools/load/scenario.h"

#include <functional>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tools/common/input.h"
#include "tools/common/parse.h"

namespace roost::load {
namespace {

using nlohmann::json;
using Taken = std::expected<void, std::string>;

Taken refuse(std::string text) { return std::unexpected(std::move(text)); }

// A value as it would be typed on the command line.
tools::Parsed<std::string> words_of(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer() || value.is_number_float()) return value.dump();
  return std::unexpected(fmt::format("`{}` is neither a text nor a number", value.dump()));
}

// Keys of an object and what each does with its value.
struct Key {
  std::string_view name;
  std::function<Taken(const json& value)> take;
};

// Reads the value by one of the command line's parsers.
template <class T, class U>
Key parsed(std::string_view name, U& place, tools::Parsed<T> (*parse)(std::string_view)) {
  return {name, [&place, parse](const json& value) -> Taken {
            const auto words = words_of(value);
            if (!words) return refuse(words.error());
            auto result = parse(*words);
            if (!result) return refuse(result.error());
            place = std::move(*result);
            return {};
          }};
}

Taken take_object(const json& object, const std::vector<Key>& keys, std::string_view place) {
  for (const auto& [name, value] : object.items()) {
    const Key* known = nullptr;
    for (const Key& key : keys) {
      if (key.name == name) known = &key;
    }
    if (known == nullptr) {
      std::string names;
      for (const Key& key : keys) names += fmt::format("{}{}", names.empty() ? "" : ", ", key.name);
      return refuse(fmt::format("{}unknown key `{}` with value {}; known are {}", place, name, value.dump(), names));
    }
    if (const Taken taken = known->take(value); !taken) return refuse(fmt::format("{}key `{}`: {}", place, name, taken.error()));
  }
  return {};
}

// "--think-time: only ..." of check_stage() as "key `think_time`: only ...".
std::string as_key(std::string_view complaint) {
  if (!complaint.starts_with("--")) return std::string(complaint);
  const std::size_t end = complaint.find_first_of(" :");
  std::string name(complaint.substr(2, end - 2));
  for (char& c : name) c = c == '-' ? '_' : c;
  const std::string_view rest = complaint.substr(end);
  return fmt::format("key `{}`{}{}", name, rest.starts_with(' ') ? ":" : "", rest);
}

Taken take_stage(const json& value, std::size_t number, LoadOptions& options, Stage& stage) {
  stage.name = fmt::format("stage {}", number);
  if (!value.is_object()) return refuse(fmt::format("stage {}: `{}` is not an object; write {{\"connections\": 1000, ...}}", number, value.dump()));
  // First, since it is part of every complaint.
  if (const auto name = value.find("name"); name != value.end()) {
    if (!name->is_string()) return refuse(fmt::format("stage {}: key `name`: `{}` is not a text; put it in quotes", number, name->dump()));
    stage.name = name->get<std::string>();
  }
  const std::string place = value.contains("name") ? fmt::format("stage {} `{}`: ", number, stage.name) : fmt::format("stage {}: ", number);

  std::string_view scheduled_by;  // the key that said when messages are due
  const auto schedule = [&](std::string_view key, MessageSchedule messages) -> Taken {
    if (!scheduled_by.empty()) return refuse(fmt::format("`{}` says already when messages are due; leave one of the two out", scheduled_by));
    scheduled_by = key;
    stage.messages = messages;
    return {};
  };
  const auto scheduling = [&schedule](Key key, MessageSchedule messages) {
    auto take = std::move(key.take);
    return Key{key.name, [&schedule, take = std::move(take), name = key.name, messages](const json& given) -> Taken {
                 if (const Taken taken = take(given); !taken) return taken;
                 return schedule(name, messages);
               }};
  };
  const double rate_before = stage.ramp.rate;
  std::optional<double> rate;
  std::optional<Ramp> ramp;
  bool says_active = false;
  bool says_think = false;
  const std::vector<Key> keys{
      {"name", [](const json&) -> Taken { return {}; }},
      parsed("connections", stage.connections, &tools::parse_count),
      parsed("rate", rate, &tools::parse_rate),
      parsed("ramp", ramp, &parse_ramp),
      scheduling(parsed("interval", stage.interval, &tools::parse_duration), MessageSchedule::interval),
      scheduling(parsed("message_rate", stage.message_rate, &tools::parse_rate), MessageSchedule::rate),
      {"closed_loop",
       [&schedule](const json& given) -> Taken {
         if (!given.is_boolean() || !given.get<bool>()) {
           return refuse(fmt::format("`{}` is not true; leave it out, or say interval or message_rate instead", given.dump()));
         }
         return schedule("closed_loop", MessageSchedule::closed_loop);
       }},
      {"active",
       [&](const json& given) {
         says_active = true;
         return parsed("active", stage.active, &tools::parse_count).take(given);
       }},
      {"think_time",
       [&](const json& given) {
         says_think = true;
         return parsed("think_time", stage.think, &parse_think_time).take(given);
       }},
      parsed("size", stage.sizes, &parse_sizes),
      parsed("churn", stage.churn, &parse_churn),
      parsed("fault", stage.faults, &parse_faults),
      parsed("duration", stage.duration, &tools::parse_duration),
  };
  if (const Taken taken = take_object(value, keys, place); !taken) return taken;
  if (ramp) stage.ramp = *ramp;
  stage.ramp.rate = rate.value_or(rate_before);
  if (!stage.is_closed_loop()) {
    // What the stage before had of a closed loop has no meaning here.
    if (!says_active) stage.active = 0;
    if (!says_think) stage.think = {};
  }
  if (const Taken fine = check_stage(stage, options.protocol); !fine) return refuse(place + as_key(fine.error()));
  return {};
}

Taken take_targets(const json& value, LoadOptions& options) {
  std::vector<net::Endpoint> targets;
  const json list = value.is_array() ? value : json::array({value});
  for (const json& one : list) {
    if (!one.is_string()) return refuse(fmt::format("`{}` is not a text; write \"HOST:PORT\", or several in [ ]", one.dump()));
    const auto target = tools::resolve_host_port(one.get<std::string>());
    if (!target) return refuse(target.error());
    targets.push_back(*target);
  }
  // So that one file serves for several servers.
  if (options.targets.empty()) options.targets = std::move(targets);
  return {};
}

}  // namespace

Taken parse_scenario(std::string_view text, LoadOptions& options) {
  json document;
  try {
    document = json::parse(text);
  } catch (const json::parse_error& error) {
    // "[json.exception.parse_error.101] parse error at line 3, column 5: syntax error while ..."
    std::string_view what = error.what();
    if (const std::size_t at = what.find("at line"); at != std::string_view::npos) what.remove_prefix(at);
    return refuse(fmt::format("not JSON {}; check commas, quotes and brackets there", what));
  }
  if (!document.is_object()) return refuse("not a scenario; write {\"stages\": [{\"connections\": 1000}]}");

  const json* stages = nullptr;
  const std::vector<Key> keys{
      {"target", [&options](const json& value) { return take_targets(value, options); }},
      parsed("protocol", options.protocol, &parse_protocol),
      parsed("dial_timeout", options.dial_timeout, &tools::parse_duration),
      parsed("io_timeout", options.io_timeout, &tools::parse_duration),
      parsed("sources", options.sources, &tools::parse_address_range),
      parsed("attack_nice", options.attack_nice, &parse_nice),
      {"stages",
       [&stages](const json& value) -> Taken {
         if (!value.is_array() || value.empty()) return refuse("it holds no stages; write a list of at least one: [{\"connections\": 1000}]");
         stages = &value;
         return {};
       }},
  };
  if (const Taken taken = take_object(document, keys, ""); !taken) return taken;
  if (stages == nullptr) return refuse("key `stages` is missing; write a list of at least one: \"stages\": [{\"connections\": 1000}]");
  if (stages->size() > stages_limit) {
    return refuse(fmt::format("key `stages`: {} are too many; write at most {}", stages->size(), stages_limit));
  }

  Stage stage = options.stages.front();
  options.stages.clear();
  for (const json& value : *stages) {
    if (const Taken taken = take_stage(value, options.stages.size() + 1, options, stage); !taken) return taken;
    options.stages.push_back(stage);
  }
  return {};
}

Taken read_scenario(const std::string& path, LoadOptions& options) {
  const auto text = tools::read_input(path, scenario_bytes_max);
  if (!text) return refuse("--scenario " + text.error());
  if (const Taken taken = parse_scenario(*text, options); !taken) return refuse(fmt::format("--scenario {}: {}", path, taken.error()));
  return {};
}

}  // namespace roost::load
