// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/cli/commands.h"

namespace vorta::harness {

/// The whole program: parses `arguments` (without the program's name), runs the verb, and turns every error into a
/// message on stderr and an ExitCode. The only place that catches, besides the runner of suites.
int run_command_line(const std::vector<std::string>& arguments, std::span<const Command> verbs);

/// A command line without a verb but with options, such as `--suite NAME`, is one of `run`: inserts the verb.
std::vector<std::string> with_default_verb(std::vector<std::string> arguments, std::span<const Command> verbs);

/// The text below the options in `--help`.
std::string exit_code_help();

}  // namespace vorta::harness
