// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace vorta::engine {

/// What diffusers' WanPipeline does to a prompt before tokenising (pipeline_wan.py, prompt_clean): ftfy's fix_text,
/// HTML entities decoded twice, white space runs collapsed to one space, ends trimmed. Deviations: README.md.
/// @throws ConfigError when the prompt is not UTF-8.
std::string clean_prompt(std::string_view prompt);

/// ftfy's fix_text (6.3.1) with its defaults.
std::u32string fix_text(std::u32string_view text);
/// Runs of white space as one space, none at the ends.
std::u32string collapse_white_space(std::u32string_view text);

}  // namespace vorta::engine
