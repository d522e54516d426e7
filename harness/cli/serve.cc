// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "harness/cli/exit_codes.h"
#include "harness/cli/verbs.h"
#include "reports/serve/server.h"

namespace vorta::harness {

std::function<int()> add_serve(CLI::App& sub) {
  auto options = std::make_shared<reports::ServeOptions>();
  options->paths = {"runs"};
  sub.add_option("runs", options->paths, "Result databases, or folders that hold some")->capture_default_str();
  sub.add_option("--host", options->host, "Address to listen on; there is no login, so think before it is not loopback")
      ->capture_default_str();
  sub.add_option("--port", options->port, "Port, 0 for any free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  return [options] {
    reports::serve(*options, [](const std::string& address) {
      std::printf("%s (Ctrl-C ends it)\n", address.c_str());
      std::fflush(stdout);
    });
    return kDone;
  };
}

}  // namespace vorta::harness
