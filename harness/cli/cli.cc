// SPDX-License-Identifier: Apache-2.0
#include "harness/cli/cli.h"

#include <c10/util/Exception.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <iostream>
#include <new>

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/base/nearest.h"
#include "engine/base/utf8.h"
#include "engine/pipeline/pipeline.h"
#include "harness/cli/exit_codes.h"

namespace vorta::harness {
namespace {

constexpr std::string_view kVersion = VORTA_VERSION;

bool is_verb(std::string_view word, std::span<const Command> verbs) {
  return std::any_of(verbs.begin(), verbs.end(), [&](const Command& verb) { return verb.name == word; });
}

bool is_out_of_memory(std::string_view message) {
  return message.find("can't allocate memory") != std::string_view::npos ||
         message.find("out of memory") != std::string_view::npos;
}

/// Names of the options of the sub-command that was being parsed, for a hint on a mistyped one.
std::string hint_for(const CLI::App& app, const std::vector<std::string>& arguments) {
  const CLI::App* sub = &app;
  for (const CLI::App* parsed : app.get_subcommands()) sub = parsed;
  std::vector<std::string> names;
  for (const CLI::Option* option : sub->get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  for (const std::string& word : arguments) {
    const std::string name = word.substr(0, word.find('='));
    if (name.starts_with("--") && std::find(names.begin(), names.end(), name) == names.end()) {
      const auto nearest = nearest_first(name, names);
      if (!nearest.empty()) return "; nearest to " + name + ": " + nearest.front();
    }
  }
  return "";
}

int usage_error(const CLI::App& app, const CLI::ParseError& error, const std::vector<std::string>& arguments) {
  std::string message = error.what();
  std::replace(message.begin(), message.end(), '\n', ' ');
  std::string hint = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr ? hint_for(app, arguments) : "";
  log_error("[command line] " + message + hint + " (--help lists what there is)");
  return kBadInput;
}

/// Turns the exception in flight into a message and an exit code.
int report_exception() {
  try {
    throw;
  } catch (const engine::NotFiniteError& error) {
    log_error(error.what());
    return kCaseFailed;
  } catch (const ConfigError& error) {
    log_error(error.what());
    return kBadInput;
  } catch (const DataError& error) {
    log_error(error.what());
    return kBadInput;
  } catch (const MachineError& error) {
    log_error(error.what());
    return kMachineLacks;
  } catch (const std::bad_alloc&) {
    log_error("[memory] this machine has too little memory for what was asked");
    return kMachineLacks;
  } catch (const c10::Error& error) {
    const std::string message = first_line(error.what_without_backtrace());
    const bool memory = is_out_of_memory(message);
    log_error((memory ? "[memory] " : "[LibTorch] ") + message);
    return memory ? kMachineLacks : kInternalError;
  } catch (const std::exception& error) {
    log_error(std::string("[internal] ") + error.what());
    return kInternalError;
  }
}

}  // namespace

std::string exit_code_help() {
  return "Without a verb, options go to `run`: vorta-bench --suite NAME.\n\n"
         "Exit codes:\n"
         "  0   everything asked was done and every claim holds\n"
         "  1   a case failed (also: numbers became infinite or NaN), a claim did not hold or a gate found a "
         "regression; results are kept\n"
         "  2   usage, suite or input-file error\n"
         "  3   this machine lacks what was asked (a GPU, memory, disk space), or a gate could not decide\n"
         "  70  internal error: a bug of this program\n";
}

std::vector<std::string> with_default_verb(std::vector<std::string> arguments, std::span<const Command> verbs) {
  if (!is_verb("run", verbs)) return arguments;
  auto word = arguments.begin();
  while (word != arguments.end() && (*word == "--log-level" || word->starts_with("--log-level="))) {
    const bool separate_value = *word == "--log-level" && std::next(word) != arguments.end();
    word += separate_value ? 2 : 1;
  }
  const bool is_option =
      word != arguments.end() && word->starts_with("--") && *word != "--help" && *word != "--version";
  if (is_option) arguments.insert(word, "run");
  return arguments;
}

int run_command_line(const std::vector<std::string>& raw_arguments, std::span<const Command> verbs) {
  const std::vector<std::string> arguments = with_default_verb(raw_arguments, verbs);
  CLI::App app("Measures VORTA's routed sparse attention for video diffusion: generates, times, compares, reports.",
               "vorta-bench");
  app.set_version_flag("--version", std::string(kVersion));
  app.footer(exit_code_help());
  app.add_option_function<std::string>(
         "--log-level", [](const std::string& level) { set_log_level(parse_log_level(level)); },
         "error, warn, info or debug (stderr)")
      ->default_str("info")
      ->trigger_on_parse();
  app.require_subcommand(0, 1);
  try {
    std::function<int()> action;
    for (const Command& verb : verbs) {
      CLI::App* sub = app.add_subcommand(std::string(verb.name), std::string(verb.description));
      sub->footer(exit_code_help());
      sub->parse_complete_callback([&action, run = verb.add(*sub)] { action = run; });
    }
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(reversed);
    if (!action) {
      std::cout << app.help();
      return kBadInput;
    }
    const int code = action();
    std::cout.flush();
    if (!std::cout) throw DataError("stdout", "expected to write the results, the write failed");
    return code;
  } catch (const CLI::Success& done) {
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error, arguments);
  } catch (...) {
    return report_exception();
  }
}

}  // namespace vorta::harness
