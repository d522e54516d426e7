// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace vorta::engine {

/// A Unicode regular expression (PCRE2, UTF and UCP).
class Regex {
 public:
  /// @throws DataError when the pattern is not understood.
  Regex(const std::string& pattern, std::string_view where);
  /// Every match, left to right, replaced by the literal `content`.
  std::string replace_all(std::string_view text, std::string_view content) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

}  // namespace vorta::engine
