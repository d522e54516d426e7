// SPDX-License-Identifier: Apache-2.0
// The report's tables as text cells: made once, drawn by the Markdown, HTML and terminal renderers.
#pragma once

#include <string>
#include <vector>

#include "reports/query/controls.h"
#include "reports/query/report.h"

namespace vorta::reports {

struct Table {
  std::string id;     ///< Stable name: "speed", "quality", ...
  std::string title;
  std::string note;   ///< How to read it; may be empty.
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
  int text_columns = 1;  ///< Leading columns of words; the rest are numbers, set to the right.
};

/// All tables that have rows, in reading order.
std::vector<Table> make_tables(const Report& report);
/// Of make_tables, those of the GPU: kernels, kernel time by part and branch, steps, counters, clocks and power. Empty
/// tables where nothing ran on a GPU.
std::vector<Table> make_gpu_tables(const Report& report);
/// Of make_tables, those of caches: variants beside their controls, Pareto fronts, calls of the network.
std::vector<Table> make_control_tables(const Report& report);
/// The short table for a terminal: one row a variant.
Table make_headline(const Report& report);
/// One line that says where the numbers come from and that the published ones are not ours.
std::string provenance(const Report& report);

std::string seconds_text(double seconds);  // "1.23 s", "45.6 ms"
std::string bytes_text(double bytes);      // "1.2 GiB"
std::string estimate_text(const Estimate& estimate, std::string_view suffix = "");  // "1.52x (1.48 to 1.57)"

}  // namespace vorta::reports
