// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

namespace vorta::engine {

/// Whose regular expressions are meant: Oniguruma as Hugging Face's tokenizers 0.21 embeds it (Unicode 16), or the
/// Python package regex (2026.11), which is ahead of it.
enum class RegexFlavour { kOniguruma, kPython };

/// Code points `first` to `last` have this general category.
struct CategoryRange {
  char32_t first;
  char32_t last;
  char category[3];
};

/// What the flavour knows beyond Unicode 14, the version of PCRE2.
std::vector<CategoryRange> category_additions(RegexFlavour flavour);

}  // namespace vorta::engine
