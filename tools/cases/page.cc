#include "tools/cases/page.h"

#include <sys/utsname.h>

#include "tools/common/proc.h"
#include "tools/web/web.h"

namespace roost::cases {

nlohmann::ordered_json report_of(const std::vector<Outcome>& outcomes, bool quick) {
  utsname kernel{};
  ::uname(&kernel);
  nlohmann::ordered_json report{{"schema", "roost.cases/1"},
                                {"quick", quick},
                                {"machine", {{"kernel", kernel.release}, {"processors", tools::processor_count()}}},
                                {"cases", nlohmann::ordered_json::array()}};
  for (const Outcome& outcome : outcomes) report["cases"].push_back(to_json(outcome));
  return report;
}

std::string to_html(const nlohmann::ordered_json& report) { return web::page("cases.html", report); }

}  // namespace roost::cases
