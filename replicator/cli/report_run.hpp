#pragma once
// `report`: its words, its document as text, and as a page in a file.

#include "replicator/cli/cli_options.hpp"
#include "replicator/control/control.hpp"

#include <optional>
#include <string>

namespace CLI {
class App;
} // namespace CLI

namespace farshore {

void add_report_command(CLI::App &app, invocation &inv);

/// For people: some lines a group.
std::string render_report(const control::json &report);

/// The page (report_page.hpp) to --html; a report that is there is replaced when the new one is
/// whole. Nothing: done.
std::optional<control::failure> write_report_page(const invocation &inv,
                                                  const control::json &report);

} // namespace farshore
