// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <regex>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "reports/query/report.h"
#include "reports/render/renderer.h"
#include "reports/reports.h"
#include "tests/reports/sample_run.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::reports;
using vorta::tests::make_sample_run;
using vorta::tests::TempFolder;

namespace {

Report sample_report(const std::filesystem::path& folder) {
  Report report = read_report(make_sample_run(folder));
  report.started_utc = "2026-01-01T00:00:00Z";
  report.elapsed_seconds = 0;
  return report;
}

// The page without the chart library, whose bytes belong to its wheel's version.
std::string without_bundle(std::string page) {
  const auto start = page.find("<script>const n=");
  if (start != std::string::npos) page.erase(start, page.find("</script>", start) - start);
  return std::regex_replace(page, std::regex("'sha256-[^']*'"), "'sha256-'");
}

void approve(const std::string& name, const std::string& text) {
  const std::filesystem::path file = std::filesystem::path(VORTA_SOURCE_DIR) / "tests/reports/approved" / name;
  if (std::getenv("VORTA_UPDATE_GOLDEN") != nullptr) {
    write_file_atomically(file, text);
    return;
  }
  const std::string approved = read_file(file);
  std::size_t at = 0;
  while (at < approved.size() && at < text.size() && approved[at] == text[at]) ++at;
  INFO(name << " differs at byte " << at << "\napproved: " << approved.substr(at, 200)
            << "\nfound:    " << text.substr(std::min(at, text.size()), 200));
  CHECK((approved == text));
}

const Variant& variant(const Report& report, const std::string& name) {
  for (const Variant& v : report.variants) {
    if (v.row.variant == name) return v;
  }
  throw std::runtime_error("no variant " + name);
}

}  // namespace

TEST_CASE("each format of a stored run is as approved", "[reports][render]") {
  TempFolder folder;
  const Report report = sample_report(folder.path());
  for (const Renderer& renderer : renderers()) {
    std::string text = renderer.render(report, {folder.path()});
    if (renderer.name == "html") text = without_bundle(text);
    approve("sample." + std::string(renderer.name), text);
  }
}

TEST_CASE("speed-ups are paired by prompt and leave failed trials out", "[reports][query]") {
  TempFolder folder;
  const Report report = sample_report(folder.path());
  const Variant& sliding = variant(report, "sliding");
  CHECK(sliding.ok == 3);
  CHECK(sliding.failed == 1);
  CHECK(sliding.speedups.at("step").prompts == 3);
  CHECK(sliding.speedups.at("step").value == Approx(100.0 / 58).epsilon(0.01));
  CHECK(variant(report, "dense").speedups.at("e2e").value == Approx(1.0));
  CHECK(variant(report, "vorta").step_seconds.size() == 8);
  REQUIRE(report.failures.size() == 1);
  CHECK(report.failures[0].error.step == 3);
}

TEST_CASE("claims are judged on the interval", "[reports][claims]") {
  TempFolder folder;
  const Report report = sample_report(folder.path());
  std::map<std::string, Verdict> verdicts;
  for (const ClaimVerdict& v : report.claims) verdicts[v.claim.key] = v.verdict;
  CHECK(verdicts.at("vorta-step") == Verdict::kHolds);
  CHECK(verdicts.at("vorta-e2e") == Verdict::kFails);
  CHECK(verdicts.at("predicted") == Verdict::kHolds);
  CHECK(verdicts.at("flicker") == Verdict::kHolds);
  CHECK(verdicts.at("absent") == Verdict::kNotMeasured);
}

TEST_CASE("intervals average seeds inside a prompt and are refused for few prompts", "[reports][query]") {
  CHECK_FALSE(mean_estimate({}).has_value());
  const auto two = *mean_estimate({{1, 1.0}, {1, 3.0}, {2, 4.0}});
  CHECK(two.prompts == 2);
  CHECK(two.value == Approx(3.0));
  CHECK_FALSE(two.low.has_value());
  // Mean 2, sd 1, n 3: 2 +- 4.303 / sqrt(3).
  const auto three = *mean_estimate({{1, 1.0}, {2, 2.0}, {3, 3.0}});
  CHECK(*three.low == Approx(2 - 4.303 / std::sqrt(3.0)));
  CHECK(ratio_estimate({{1, 2.0}, {2, 8.0}})->value == Approx(4.0));
  CHECK(student_t_975(60) == Approx(2.0003).epsilon(0.001));
}

TEST_CASE("a prompt cannot become markup or a script in the page", "[reports][render]") {
  TempFolder folder;
  const std::string page = render_html(sample_report(folder.path()), {folder.path()});
  CHECK(page.find("alert(\"prompt\")") == std::string::npos);
  CHECK(page.find("<script>alert") == std::string::npos);
  CHECK(page.find("&lt;script&gt;alert(&quot;prompt&quot;)&lt;/script&gt; &amp; {{title}}") != std::string::npos);
  CHECK(page.find("default-src 'none'") != std::string::npos);
  CHECK_FALSE(std::regex_search(without_bundle(page), std::regex("(src|href)=\"https?:")));
}

TEST_CASE("media above the limit are linked, and a path out of the run's folder is refused", "[reports][render]") {
  TempFolder folder;
  Report report = sample_report(folder.path());
  std::string page = render_html(report, {folder.path(), 200});
  CHECK(page.find("src=\"data:image/png;base64,") != std::string::npos);
  CHECK(page.find("src=\"strip.png\"") != std::string::npos);
  std::ofstream(folder.path().parent_path() / "outside.png") << "secret";
  for (Variant& v : report.variants) {
    for (ItemResult& item : v.items) item.artefacts = {{"filmstrip", "../outside.png", "image/png", 6}};
  }
  page = render_html(report, {folder.path()});
  std::filesystem::remove(folder.path().parent_path() / "outside.png");
  CHECK(page.find("outside.png is missing") != std::string::npos);
  CHECK(page.find("c2VjcmV0") == std::string::npos);
}

TEST_CASE("reports are written beside each other, unknown formats are refused", "[reports][render]") {
  TempFolder folder;
  make_sample_run(folder.path());
  const WrittenReports written = write_reports(folder.path(), folder.path() / "out", {"md", "json"});
  CHECK(written.files.size() == 2);
  CHECK(written.failed_trials == 1);
  CHECK_FALSE(written.all_well());
  const auto json = read_json_file(folder.path() / "out/report.json");
  CHECK(json.at("variants").size() == 3);
  CHECK(json.at("published_elsewhere").at(0).at("value") == "1.76x");
  CHECK_THROWS_AS(write_reports(folder.path(), folder.path(), {"pdf"}), ConfigError);
  CHECK_THROWS_AS(write_reports(folder.path(), "/dev/null/reports", {"md"}), DataError);
}
