// SPDX-License-Identifier: Apache-2.0
#include <csignal>

#include "harness/cli/cli.h"

int main(int argc, char** argv) {
  // A closed pipe is a failed write with a message, not a silent death.
  std::signal(SIGPIPE, SIG_IGN);
  return vorta::harness::run_command_line({argv + 1, argv + argc}, vorta::harness::commands());
}
