// A diagnosis as text for a terminal, as JSON for programs, and as files that keep the settings after a reboot.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "tools/doctor/apply.h"
#include "tools/doctor/diagnosis.h"
#include "tools/doctor/folklore.h"

namespace roost::doctor {

struct Look {
  std::size_t columns = 80;
  bool color = false;
  bool utf8 = true;      // otherwise the marks are ASCII
  bool details = false;  // explain the checks that are in order, too
};

// What a terminal on `fd` can show: its width (else $COLUMNS, else 80), colour unless NO_COLOR is set, marks by locale.
[[nodiscard]] Look look_of(int fd);

[[nodiscard]] std::string render_text(const Diagnosis& diagnosis, const Look& look);
[[nodiscard]] std::string render_json(const Diagnosis& diagnosis);

// A file for /etc/sysctl.d: what is to be changed, with the reason above each line; what has a price as a comment.
[[nodiscard]] std::string render_sysctl_file(const Diagnosis& diagnosis);
// A drop-in for the server's unit.
[[nodiscard]] std::string render_systemd_file(const Diagnosis& diagnosis);

[[nodiscard]] std::string render_text(const std::vector<Applied>& applied, std::string_view title, const Look& look);
[[nodiscard]] std::string render_json(const std::vector<Applied>& applied);

[[nodiscard]] std::string render_text(const std::vector<FolkloreNow>& folklore, const Look& look);
[[nodiscard]] std::string render_json(const std::vector<FolkloreNow>& folklore);

}  // namespace roost::doctor
