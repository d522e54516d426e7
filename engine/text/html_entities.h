// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace vorta::engine {

/// "name=hex+hex name=hex ..." of every HTML5 entity; names without a closing semicolon are those that HTML allows
/// bare.
std::string_view html_entity_list();
/// The same form for the capitals of lower-case entities, which ftfy also decodes.
std::string_view upper_case_entity_list();

/// Python's html.unescape: named and numeric references, with and without semicolon, as the HTML standard repairs them.
std::u32string html_unescape(std::u32string_view text);
/// ftfy's unescape_html: only references that end in a semicolon, and all-capitals names.
std::u32string html_unescape_strict(std::u32string_view text);

}  // namespace vorta::engine
