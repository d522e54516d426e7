// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace vorta::harness {

/// Exit codes of the program, as `--help` lists them.
enum ExitCode : int {
  kDone = 0,           ///< Everything asked was done and every claim holds.
  kCaseFailed = 1,     ///< A case failed or a claim did not hold; results are kept.
  kBadInput = 2,       ///< Usage, suite or input-file error.
  kMachineLacks = 3,   ///< This machine lacks what was asked.
  kInternalError = 70  ///< A bug of this program.
};

}  // namespace vorta::harness
