// SPDX-License-Identifier: Apache-2.0
#pragma once

// The videos that one call of `generate` makes, and their files.
#include <filesystem>
#include <string>
#include <vector>

#include "harness/cli/generate_flags.h"

namespace vorta::harness {

struct Job {
  std::string prompt;
  fs::path output;
};

/// A video for each prompt, caption and file of text features. ConfigError for none, for text that is not UTF-8 or says
/// nothing, and for outputs whose number or ending does not fit.
std::vector<Job> collect_jobs(const GenerateFlags& flags);

/// Refuses before hours of work what could not be written after it: DataError for a folder that is not there
/// (--output_dir is made) or not writable.
void require_writable_output(const GenerateFlags& flags);

}  // namespace vorta::harness
