// SPDX-License-Identifier: Apache-2.0
#include "vorta_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/sha256.h"
#include "reports/query/controls.h"
#include "reports/render/json_format.h"
#include "reports/render/renderer.h"
#include "reports/render/tables.h"

namespace vorta::reports {
namespace {

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t left = std::min<std::size_t>(3, bytes.size() - at);
    uint32_t block = 0;
    for (std::size_t i = 0; i < 3; ++i)
      block = block << 8 | (i < left ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    for (std::size_t i = 0; i < 4; ++i) out += i <= left ? kDigits[block >> (18 - 6 * i) & 63] : '=';
  }
  return out;
}

// The Content-Security-Policy allows exactly our scripts: prompts can never become one.
std::string script_hash(std::string_view script) {
  const std::string hex = sha256_hex(script);
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return fmt::format("'sha256-{}'", base64(bytes));
}

// JSON that may stand inside a script element: no "<" can end the element or open a comment.
std::string script_json(const nlohmann::json& value) {
  std::string out;
  for (const char c : canonical_json(value)) {
    if (c == '<') out += "\\u003c";
    else out += c;
  }
  return out;
}

// Replaces each {{name}} once, left to right, so that inserted text is never searched.
std::string fill(std::string_view page, const std::map<std::string, std::string, std::less<>>& values) {
  std::string out;
  while (true) {
    const std::size_t open = page.find("{{");
    out += page.substr(0, open);
    if (open == std::string_view::npos) return out;
    const std::size_t close = page.find("}}", open);
    VORTA_CHECK(close != std::string_view::npos, "page placeholder is not closed");
    const auto found = values.find(page.substr(open + 2, close - open - 2));
    VORTA_CHECK(found != values.end(), "page placeholder has no value");
    out += found->second;
    page.remove_prefix(close + 2);
  }
}

constexpr std::size_t kManyRows = 600;

// Tables that repeat a chart number by number start folded, and those that nobody reads from top to bottom.
bool starts_folded(const Table& table) {
  return table.id == "routes" || table.id == "layers" || table.id == "operators" || table.rows.size() > kManyRows;
}

std::string html_table(const Table& table) {
  const bool folded = starts_folded(table);
  std::string out = fmt::format("<section id=\"{}\">{}<h2>{}</h2>{}", table.id, folded ? "<details><summary>" : "",
                                escape_html(table.title) + (folded ? ", as a table" : ""), folded ? "</summary>" : "");
  if (!table.note.empty()) out += fmt::format("<p class=\"note\">{}</p>", escape_html(table.note));
  out += "<div class=\"scroll\"><table><thead><tr>";
  const auto is_number = [&table](std::size_t column) { return static_cast<int>(column) >= table.text_columns; };
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    out += fmt::format("<th{}>{}</th>", is_number(i) ? " class=\"number\"" : "", escape_html(table.columns[i]));
  }
  // Rows that wait are text until their table is unfolded: tens of thousands would keep the page from opening.
  const bool wait = table.rows.size() > kManyRows;
  out += wait ? "</tr></thead><tbody></tbody></table><script type=\"text/plain\">\n" : "</tr></thead><tbody>\n";
  for (const auto& row : table.rows) {
    out += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      std::string attribute = is_number(i) ? " class=\"number\"" : "";
      if (table.id == "claims" && i == 1) {
        std::string verdict = row[i];
        std::replace(verdict.begin(), verdict.end(), ' ', '-');
        attribute = fmt::format(" class=\"verdict-{}\"", escape_html(verdict));
      }
      out += fmt::format("<td{}>{}</td>", attribute, escape_html(row[i]));
    }
    out += "</tr>\n";
  }
  return out + (wait ? "</script></div>" : "</tbody></table></div>") + (folded ? "</details>" : "") + "</section>\n";
}

std::string chart(std::string_view id, std::string_view title, std::string_view note) {
  return fmt::format(
      "<section id=\"of-{2}\"><h2>{0}</h2><p class=\"note\">{1}</p><noscript><p class=\"note\">Charts need JavaScript; "
      "the tables "
      "on this page hold the same numbers.</p></noscript><div class=\"chart\" id=\"chart-{2}\"></div></section>\n",
      title, note, id);
}

std::string cards(const Report& report) {
  std::string out = "<div class=\"cards\">";
  for (const Variant& v : report.variants) {
    const auto speed = v.speedups.find("step");
    const auto time = v.stages.find("step");
    const std::string big = v.is_reference              ? "1x"
                            : speed == v.speedups.end() ? "-"
                                                        : fmt::format("{:.2f}x", speed->second.value);
    std::string small = v.is_reference ? "reference" : "faster per step than the reference";
    if (!v.is_reference && speed != v.speedups.end() && speed->second.value < 1)
      small = "of the reference's speed per step";
    if (time != v.stages.end()) small += ", " + seconds_text(time->second.median) + " a step";
    out += fmt::format(
        "<div class=\"card\"><div class=\"name\">{}</div><div class=\"big\">{}</div><div "
        "class=\"small\">{}</div></div>",
        escape_html(v.row.variant), big, small);
  }
  return out + "</div>";
}

// Puts media files into the page until the budget is spent, then links them relative to the page.
class Media {
 public:
  Media(const Report& report, const RenderOptions& options)
      : folder_(report.folder), out_dir_(options.out_dir), left_(options.inline_media_bytes) {}

  /// URL for the artefact, or "" when the file is gone or its path leaves the run's folder.
  std::string url(const ArtefactRow& artefact) {
    const std::filesystem::path relative = std::filesystem::path(artefact.path).lexically_normal();
    if (relative.is_absolute() || relative.empty() || *relative.begin() == "..") return "";
    const std::filesystem::path file = folder_ / relative;
    std::error_code code;
    const auto bytes = static_cast<int64_t>(std::filesystem::file_size(file, code));
    if (code) return "";
    if (bytes > left_) return link(file);
    left_ -= bytes;
    return fmt::format("data:{};base64,{}", escape_html(artefact.mime), base64(read_file(file)));
  }

 private:
  std::string link(const std::filesystem::path& file) const {
    std::error_code code;
    const std::string target =
        std::filesystem::relative(file, out_dir_.empty() ? folder_ : out_dir_, code).generic_string();
    std::string out;
    for (const char c : target) {
      if (c == '%' || c == '?' || c == '#' || c == ' ') out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
      else out += c;
    }
    return escape_html(out);
  }

  std::filesystem::path folder_;
  std::filesystem::path out_dir_;
  int64_t left_;
};

// `told`: keys of the scores that its caption tells.
std::string figure(const Variant& variant, const ItemResult& result, Media& media, const std::set<std::string>& told) {
  std::string pictures;
  for (const ArtefactRow& artefact : result.artefacts) {
    const bool video = artefact.mime.rfind("video/", 0) == 0;
    if (!video && artefact.mime.rfind("image/", 0) != 0) continue;
    const std::string url = media.url(artefact);
    if (url.empty()) pictures += fmt::format("<figcaption>{} is missing</figcaption>", escape_html(artefact.path));
    else if (video) {
      // The player loads it when it comes near: hundreds at once would keep the page from opening.
      pictures += fmt::format(
          "<video src=\"{}\" aria-label=\"video of {}\" controls muted loop playsinline preload=\"none\"></video>", url,
          escape_html(variant.row.variant));
    } else
      pictures += fmt::format("<img src=\"{}\" alt=\"frames of {}\" loading=\"lazy\" decoding=\"async\">", url,
                              escape_html(variant.row.variant));
  }
  if (pictures.empty()) return "";
  std::string caption = fmt::format("<b>{}</b>", escape_html(variant.row.variant));
  if (const auto time = result.seconds.find("e2e"); time != result.seconds.end())
    caption += ", " + seconds_text(time->second);
  for (const auto& [key, score] : result.scores) {
    if (told.contains(key)) caption += fmt::format("<br>{} {:.4g}", escape_html(key), score);
  }
  return fmt::format("<figure data-variant=\"{}\">{}<figcaption>{}</figcaption></figure>",
                     escape_html(variant.row.variant), pictures, caption);
}

std::string gallery(const Report& report, const RenderOptions& options) {
  Media media(report, options);
  std::set<std::string> told;
  for (const MetricDefRow& metric : report.metrics) {
    if (!is_part_of_total(metric)) told.insert(metric.key);
  }
  std::string out;
  for (const Item& item : report.items) {
    std::string figures;
    for (const Variant& variant : report.variants) {
      for (const ItemResult& result : variant.items) {
        if (result.item == item.id) figures += figure(variant, result, media, told);
      }
    }
    if (figures.empty()) continue;
    const std::string prompt = item.row.prompt.empty() ? "<i>(empty prompt)</i>" : escape_html(item.row.prompt);
    out += fmt::format(
        "<div class=\"item\"><p>{} <span class=\"seed\">seed {}</span></p><p class=\"together\"></p>"
        "<div class=\"media\">{}</div></div>\n",
        prompt, item.row.seed, figures);
  }
  if (out.empty()) return out;
  return "<section id=\"videos\"><h2>Side by side</h2><p class=\"note\">Same prompt, same seed, same starting noise. "
         "All prompts of "
         "the run are shown, none are chosen.</p>" +
         out + "</section>\n";
}

std::string body(const Report& report, const RenderOptions& options) {
  std::map<std::string, std::string, std::less<>> tables;
  for (const Table& table : make_tables(report)) tables[table.id] = html_table(table);
  const auto take = [&tables](const char* id) {
    const auto node = tables.extract(id);
    return node.empty() ? std::string() : node.mapped();
  };
  std::string out = take("speed") + take("claims") + take("published") + take("failures");
  out += chart(
      "scatter", "Speed-up against quality",
      "A point a variant; bars are 95 % intervals where there are enough prompts. The line joins the Pareto front.");
  out += take("controls") + take("pareto");
  out += take("quality") + gallery(report, options);
  out += chart("stages", "Time by stage", "Timed trials, only the clock on.") + take("stages");
  out += chart("steps", "Time of each denoising step", "Median over prompts and seeds.");
  out += take("prediction") + take("setup");
  out += chart("routes", "Routing: layer by step",
               "Share of a layer's heads that each branch serves at each step. Routes depend on the "
               "timestep alone; where a cache kept a layer from running there are none.") +
         take("routes");
  out += chart("calls", "Calls of the network: block by step",
               "What the cache did to each block at each step: computed, parts of it broadcast from an earlier step, "
               "replaced by what was cached, or skipped with the whole forward. Where it decided on a number, the "
               "tooltip has it.") +
         take("calls");
  out += chart("layers", "Time by layer", "Separate profiled trials.") + take("layers");
  out += chart("operators", "Time by operator", "Separate profiled trials; the ten longest by self time.") +
         take("operators");
  for (const char* id : {"gpu-kernels", "gpu-roofline", "gpu-places", "gpu-steps", "gpu-counters", "gpu-sparsity",
                         "gpu-power", "gpu-notes"})
    out += take(id);
  out += take("memory") + take("audits") + take("environment") + take("environment-now") + take("model");
  VORTA_CHECK(tables.empty(), "a table has no place on the page");
  return out;
}

// Links to what the page holds, by the ids and titles of its sections.
std::string contents(std::string_view body) {
  constexpr std::string_view kSection = "<section id=\"";
  std::string out = "<ul class=\"contents\">";
  for (std::size_t at = body.find(kSection); at != std::string_view::npos; at = body.find(kSection, at + 1)) {
    const std::string_view rest = body.substr(at + kSection.size());
    const std::size_t title = rest.find("<h2>") + 4;
    if (rest.substr(0, title).find("<details>") != std::string_view::npos) continue;  // the chart above it has the link
    out += fmt::format("<li><a href=\"#{}\">{}</a></li>", rest.substr(0, rest.find('"')),
                       rest.substr(title, rest.find("</h2>") - title));
  }
  return out + "</ul>";
}

std::string warnings(const Report& report) {
  std::string out;
  for (const std::string& warning : report.warnings)
    out += fmt::format("<p class=\"warning\">{}</p>", escape_html(warning));
  return out;
}

}  // namespace

std::string_view chart_library() { return embedded::vega_bundle_js(); }

std::string render_html(const Report& report, const RenderOptions& options) {
  const std::string_view bundle = embedded::vega_bundle_js(), charts = embedded::report_page_js(),
                         player = embedded::report_player_js();
  VORTA_CHECK(bundle.find("</script") == std::string_view::npos, "the chart bundle would end its script element");
  const std::string results = body(report, options);
  return fill(embedded::report_page_html(),
              {{"title", escape_html(report.title)},
               {"provenance", escape_html(provenance(report))},
               {"warnings", warnings(report)},
               {"notes", report.notes.empty() ? "" : fmt::format("<p>{}</p>", escape_html(report.notes))},
               {"version", escape_html(report.tool_version)},
               {"style", std::string(embedded::report_page_css())},
               {"script_hashes", script_hash(bundle) + " " + script_hash(charts) + " " + script_hash(player)},
               {"cards", cards(report)},
               {"contents", contents(results)},
               {"body", results},
               {"data", script_json(report_json(report))},
               {"bundle", std::string(bundle)},
               {"charts", std::string(charts)},
               {"player", std::string(player)}});
}

}  // namespace vorta::reports
