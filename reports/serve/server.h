// SPDX-License-Identifier: Apache-2.0
// A read-only web server over result databases, for people who watch a sweep or compare runs.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace vorta::reports {

struct ServeOptions {
  std::vector<std::filesystem::path> paths;  ///< Databases, or folders that hold some.
  std::string host = "127.0.0.1";            ///< Loopback unless told otherwise: there is no login.
  int port = 8765;                           ///< 0: any free port.
};

/// Serves until the process is told to end (SIGINT, SIGTERM) and returns then. Folders are searched anew at each
/// question, so runs that begin later appear. `ready` is called once with the address.
///   /                       the live page (dashboards/live)
///   /api/runs               where each run stands
///   /api/history            medians and speed-ups of all runs
///   /runs/ID/report.json    the report as one value; /runs/ID/report.html the page
///   /runs/ID/files/PATH     a video or picture that the run recorded as its artefact, and nothing else
/// Only GET and HEAD are answered. A request whose Host names neither an address, nor "localhost", nor `host` is
/// refused, so that no web page can read the results through a name of its own (DNS rebinding). DataError when no
/// database is found; ConfigError when the address cannot be bound.
void serve(const ServeOptions& options, const std::function<void(const std::string& address)>& ready);

}  // namespace vorta::reports
