// SPDX-License-Identifier: Apache-2.0
#include "harness/cli/verbs.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "harness/cli/exit_codes.h"
#include "reports/reports.h"

namespace vorta::harness {
namespace {

struct ReportOptions {
  std::filesystem::path run;
  std::filesystem::path out;
  std::vector<std::string> formats{"html", "md", "csv", "json"};
  std::string run_key;
};

int write(const ReportOptions& options) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(options.run, ignored);
  const std::filesystem::path parent = options.run.has_parent_path() ? options.run.parent_path() : ".";
  const std::filesystem::path beside = folder ? options.run : parent;
  const auto written =
      reports::write_reports(options.run, options.out.empty() ? beside : options.out, options.formats, options.run_key);
  std::fputs(written.terminal_text.c_str(), stdout);
  for (const auto& file : written.files) std::printf("%s\n", file.c_str());
  return written.all_well() ? kDone : kCaseFailed;
}

}  // namespace

std::function<int()> add_report(CLI::App& sub) {
  auto options = std::make_shared<ReportOptions>();
  sub.add_option("run", options->run, "Folder of a run, or its run.sqlite")->required();
  sub.add_option("--format", options->formats, "Formats to write: html, md, tex, csv, json, txt")
      ->delimiter(',')
      ->capture_default_str();
  sub.add_option("--out", options->out, "Folder for the report files (default: beside the database)");
  sub.add_option("--run", options->run_key,
                 "Key of a run, where the database holds many (`db runs` lists them; default: the newest)");
  return [options] { return write(*options); };
}

}  // namespace vorta::harness
