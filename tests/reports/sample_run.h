// SPDX-License-Identifier: Apache-2.0
// A small made-up run for the tests of reports: four prompts, three variants, one failure. Its numbers mean nothing.
#pragma once

#include <filesystem>

namespace vorta::tests {

/// A folder that is removed at the end of the scope.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Writes run.sqlite (and a tiny picture and a "video") into `folder`.
std::filesystem::path make_sample_run(const std::filesystem::path& folder);

}  // namespace vorta::tests
