// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "reports/query/report.h"

namespace vorta::reports {

struct RenderOptions {
  /// Where the file will lie: media above the inline limit are linked relative to it.
  std::filesystem::path out_dir;
  /// Videos and pictures are put inside the HTML until they sum to this many bytes (before base64).
  int64_t inline_media_bytes = 16 << 20;
};

/// One row of the table of formats. `render` is a pure function but for reading media files (html).
struct Renderer {
  std::string_view name;  ///< Also the file's extension.
  std::string_view description;
  std::string (*render)(const Report& report, const RenderOptions& options);
};

/// html, md, tex, csv, json and txt (the terminal's form).
std::span<const Renderer> renderers();

/// The script that sets `vegaEmbed`: Vega, Vega-Lite and Vega-Embed, as the page holds it.
std::string_view chart_library();

std::string render_html(const Report& report, const RenderOptions& options);
std::string render_markdown(const Report& report, const RenderOptions& options);
std::string render_latex(const Report& report, const RenderOptions& options);
std::string render_csv(const Report& report, const RenderOptions& options);
std::string render_json(const Report& report, const RenderOptions& options);
std::string render_terminal(const Report& report, const RenderOptions& options);

}  // namespace vorta::reports
