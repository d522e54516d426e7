// SPDX-License-Identifier: Apache-2.0
#include "reports/render/renderer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/registry.h"
#include "reports/reports.h"

namespace vorta::reports {
namespace {

constexpr std::array<Renderer, 6> kRenderers{{
    {"html", "one self-contained page with charts and videos", &render_html},
    {"md", "Markdown tables", &render_markdown},
    {"tex", "LaTeX tables for a paper", &render_latex},
    {"csv", "every number, one a line", &render_csv},
    {"json", "the whole report as one JSON value", &render_json},
    {"txt", "the short table that the terminal shows", &render_terminal},
}};

}  // namespace

std::span<const Renderer> renderers() { return kRenderers; }

std::vector<std::string> report_formats() {
  std::vector<std::string> names;
  for (const Renderer& renderer : kRenderers) names.emplace_back(renderer.name);
  return names;
}

bool WrittenReports::all_well() const {
  return failed_trials == 0 &&
         std::none_of(verdicts.begin(), verdicts.end(), [](const auto& v) { return v.verdict == Verdict::kFails; });
}

WrittenReports write_reports(const std::filesystem::path& database, const std::filesystem::path& out_dir,
                             const std::vector<std::string>& formats, std::string_view run_key) {
  std::vector<const Renderer*> chosen;
  for (const auto& format : formats) chosen.push_back(&find_entry(renderers(), "report format", format));
  const Report report = read_report(database, run_key);
  std::error_code code;
  std::filesystem::create_directories(out_dir, code);
  if (code) throw DataError(out_dir.string(), fmt::format("cannot be made: {}", code.message()));
  RenderOptions options;
  options.out_dir = out_dir;
  WrittenReports written;
  for (const Renderer* renderer : chosen) {
    written.files.push_back(out_dir / fmt::format("report.{}", renderer->name));
    write_file_atomically(written.files.back(), renderer->render(report, options));
  }
  written.verdicts = report.claims;
  written.failed_trials = static_cast<int64_t>(report.failures.size());
  written.terminal_text = render_terminal(report, options);
  return written;
}

}  // namespace vorta::reports
