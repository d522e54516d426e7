// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string_view>

namespace CLI {
class App;
}

namespace vorta::harness {

/// One verb of the command line. `add` declares the options on its sub-command and returns the action that runs once
/// parsing is over; the action returns an ExitCode and may throw the error types of engine/base/error.h.
struct Command {
  std::string_view name;
  std::string_view description;
  std::function<int()> (*add)(CLI::App& sub);
};

/// The verbs in the order `--help` shows them.
std::span<const Command> commands();

}  // namespace vorta::harness
