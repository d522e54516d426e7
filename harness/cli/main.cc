// SPDX-License-Identifier: Apache-2.0
#include <malloc.h>

#include <csignal>

#include "harness/cli/cli.h"

namespace {

// Every step frees and allocates the same activations. glibc would hand them back to the kernel each time, and the page
// faults of taking them anew are a tenth of a step.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most glibc takes
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 64 << 20);
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  // A closed pipe is a failed write with a message, not a silent death.
  std::signal(SIGPIPE, SIG_IGN);
  return vorta::harness::run_command_line({argv + 1, argv + argc}, vorta::harness::commands());
}
