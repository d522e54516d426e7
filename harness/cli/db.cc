// SPDX-License-Identifier: Apache-2.0
// The verb db: what is done with whole result databases.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <nlohmann/json.hpp>

#include "db_parquet.h"
#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/nearest.h"
#include "harness/cli/exit_codes.h"
#include "harness/cli/verbs.h"
#include "harness/gate/measure.h"
#include "harness/gate/policy.h"
#include "harness/stats/paired.h"
#include "reports/query/audit.h"
#include "reports/query/measured.h"
#include "reports/store/database.h"
#include "reports/store/history.h"
#include "reports/store/maintain.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

struct DbOptions {
  fs::path database, out;
  std::vector<fs::path> sources;
  std::string format = "csv", table = "measurements", python = "python3";
  std::string run, name = "main", author, reason, variant = "*", quantity = "time/step";
  fs::path policy;
  bool digest = false;
};

fs::path file_of(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored) ? path / "run.sqlite" : path;
}

int merge(const DbOptions& options) {
  const auto summary = reports::merge_databases(file_of(options.database), options.sources);
  fmt::print("{}: {} runs, {} trials ({} new), {} artefact files brought\n", options.database.string(), summary.runs,
             summary.trials, summary.new_trials, summary.artefacts);
  return kDone;
}

int migrate(const DbOptions& options) {
  const fs::path file = file_of(options.database);
  int64_t before = 0;
  {
    const reports::Database old(file, reports::OpenMode::kReadOnly);  // refuses a missing file and other programs'
    reports::require_sound(old);
    before = old.schema();
  }
  const reports::Database database(file, reports::OpenMode::kReadWrite);
  fmt::print("{}: schema {} to {}\n", file.string(), before, database.schema());
  return kDone;
}

int verify(const DbOptions& options) {
  const fs::path file = file_of(options.database);
  const auto found = reports::verify_database(file);
  for (const std::string& problem : found.problems) fmt::print("problem: {}\n", problem);
  fmt::print("{}: schema {} of {}, {} runs, {} trials ({} unfinished), {} samples, {} problems\n", file.string(),
             found.schema, reports::schema_version(), found.runs, found.trials, found.unfinished, found.samples,
             found.problems.size());
  if (options.digest && found.problems.empty()) fmt::print("digest {}\n", reports::content_digest(file));
  return found.problems.empty() ? kDone : kCaseFailed;
}

// Parquet comes from pyarrow: a reader of its own has no place in this program.
int export_parquet(const DbOptions& options, const fs::path& file) {
  if (options.out.empty()) throw ConfigError("--out", "Parquet goes to a file");
  const fs::path script = options.out.string() + ".export.py", log = options.out.string() + ".export.log";
  write_file_atomically(script, embedded::export_parquet_py());
  const std::string sql = options.table == "measurements" ? std::string(reports::measurements_sql())
                                                          : fmt::format("SELECT * FROM {}", options.table);
  reports::export_rows(file, options.table, reports::ExportFormat::kJsonLines,
                       *std::make_unique<std::ofstream>("/dev/null"));  // refuses unknown tables
  const int code =
      run_program({"/usr/bin/env", options.python, script.string(), file.string(), sql, options.out.string()}, log);
  std::ifstream said(log);
  const std::string words((std::istreambuf_iterator<char>(said)), {});
  std::error_code ignored;
  fs::remove(script, ignored);
  fs::remove(log, ignored);
  if (code == kMachineLacks)
    throw MachineError("--format parquet",
                       fmt::format("{} has no pyarrow (pip install pyarrow; --python names another)", options.python));
  if (code != 0)
    throw MachineError("--format parquet",
                       words.empty() ? fmt::format("{} ended with {}", options.python, code) : words);
  fmt::print("{}\n", options.out.string());
  return kDone;
}

reports::ExportFormat export_format(const std::string& name) {
  if (name == "csv") return reports::ExportFormat::kCsv;
  if (name == "json") return reports::ExportFormat::kJson;
  if (name == "jsonl") return reports::ExportFormat::kJsonLines;
  throw ConfigError("--format", unknown_name_message("format", name, {"csv", "json", "jsonl", "parquet"}));
}

int export_table(const DbOptions& options) {
  const fs::path file = file_of(options.database);
  if (options.format == "parquet") return export_parquet(options, file);
  const auto format = export_format(options.format);
  if (options.out.empty()) {
    reports::export_rows(file, options.table, format, std::cout);
    return kDone;
  }
  reports::require_folder_of(options.out);
  const reports::ScratchFile partial(options.out.string() + ".partial");  // whole, or not there
  std::ofstream out(partial.path(), std::ios::binary);
  if (!out) throw DataError(options.out.string(), "cannot be written");
  const int64_t rows = reports::export_rows(file, options.table, format, out);
  out.close();
  if (!out) throw DataError(options.out.string(), "cannot be written");
  partial.keep_as(options.out);
  fmt::print("{}: {} rows\n", options.out.string(), rows);
  return kDone;
}

int publish(const DbOptions& options) {
  reports::publish_database(file_of(options.database), options.out);
  fmt::print("{}\n", options.out.string());
  return kDone;
}

std::vector<std::string> class_keys(const DbOptions& options) {
  return options.policy.empty() ? Policy{}.environment : read_policy(options.policy).environment;
}

reports::RunLine run_of(const fs::path& file, const std::string& key) { return reports::read_measured(file, key).line; }

std::string utc_text(int64_t unix_ns) {
  const auto seconds = static_cast<std::time_t>(unix_ns / 1'000'000'000);
  std::tm parts{};
  char text[32] = "";
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", ::gmtime_r(&seconds, &parts));
  return text;
}

int runs(const DbOptions& options) {
  const fs::path file = file_of(options.database);
  reports::require_sound(reports::Database(file, reports::OpenMode::kReadOnly));
  const auto all = reports::list_runs(file);
  for (const auto& run : all) {
    fmt::print("{}  {}  {}  class {}  {}  {}\n", run.key, utc_text(run.started_unix_ns), run.suite,
               reports::environment_class(run.identity_json, class_keys(options)),
               run.finished ? "finished" : "unfinished", run.build_json);
  }
  if (all.empty()) fmt::print("no runs yet\n");
  return kDone;
}

int freeze(const DbOptions& options) {
  const fs::path file = file_of(options.database);
  const auto run = run_of(file, options.run);
  reports::freeze_baseline(file, {options.name, reports::environment_class(run.identity_json, class_keys(options)),
                                  run.key, options.author, options.reason});
  fmt::print("baseline {}: {}\n", options.name, run.key);
  return kDone;
}

int accept(const DbOptions& options) {
  const fs::path file = file_of(options.database);
  const auto run = run_of(file, options.run);
  reports::accept_change(file, {run.key, options.variant, options.quantity, options.author, options.reason});
  fmt::print("accepted from {}: {} {}\n", run.key, options.variant, options.quantity);
  return kDone;
}

// Says what there is where the history of something else was asked for.
[[noreturn]] void refuse_history(const fs::path& file, const DbOptions& options) {
  std::set<std::string> variants, quantities;
  for (const auto& line : reports::list_runs(file)) {
    for (const auto& value : reports::read_measured(file, line.key).values) {
      variants.insert(value.variant);
      quantities.insert(value.quantity);
    }
  }
  if (variants.empty()) throw DataError(file.string(), "holds no finished trials yet");
  if (!quantities.contains(options.quantity)) {
    throw ConfigError("--quantity",
                      unknown_name_message("quantity", options.quantity, {quantities.begin(), quantities.end()}));
  }
  const bool any = std::any_of(variants.begin(), variants.end(),
                               [&](const std::string& name) { return matches(options.variant, name); });
  if (!any)
    throw ConfigError("--variant",
                      unknown_name_message("variant", options.variant, {variants.begin(), variants.end()}));
  throw ConfigError("--quantity", fmt::format("no run has {} of {}", options.quantity, options.variant));
}

// Medians of one quantity run by run, with the points at which a new level begins; accepted changes begin a level as
// well.
int history(const DbOptions& options) {
  const fs::path file = file_of(options.database);
  const auto accepted = reports::accepted_changes(file);
  std::map<std::string, std::vector<std::pair<reports::RunLine, double>>> series;  // by class and variant
  for (const auto& line : reports::list_runs(file)) {
    const auto run = reports::read_measured(file, line.key);
    std::map<std::string, std::vector<double>> values;
    for (const auto& value : run.values) {
      if (value.quantity == options.quantity && matches(options.variant, value.variant))
        values[value.variant].push_back(value.value);
    }
    const std::string name = reports::environment_class(line.identity_json, class_keys(options));
    for (const auto& [variant, numbers] : values) series[name + " " + variant].emplace_back(line, median(numbers));
  }
  if (series.empty()) refuse_history(file, options);
  for (const auto& [name, points] : series) {
    std::vector<double> numbers;
    for (const auto& [line, value] : points) numbers.push_back(value);
    const auto changes = change_points(numbers);
    fmt::print("{} {}\n", name, options.quantity);
    for (size_t i = 0; i < points.size(); ++i) {
      std::string note;
      if (std::find(changes.begin(), changes.end(), i) != changes.end()) note = "  <- new level";
      for (const auto& row : accepted) {
        if (row.run_key == points[i].first.key && matches(row.quantity, options.quantity))
          note += "  <- accepted: " + row.reason;
      }
      fmt::print("  {}  {:.6g}  {}{}\n", points[i].first.key, numbers[i], points[i].first.build_json, note);
    }
  }
  return kDone;
}

int audit(const DbOptions& options) {
  bool broken = false;
  for (const auto& one : reports::audit_run(options.database)) {
    broken = broken || one.outcome == reports::AuditOutcome::kBroken;
    fmt::print("{:<13} {}: {} ({})\n", reports::to_string(one.outcome), one.name, one.promise, one.words);
  }
  return broken ? kCaseFailed : kDone;
}

struct Verb {
  const char* name;
  const char* description;
  int (*act)(const DbOptions& options);
  void (*declare)(CLI::App& sub, DbOptions& options);
};

void add_database(CLI::App& sub, DbOptions& options) {
  sub.add_option("database", options.database, "Folder of a run, or a database")->required();
}
void add_policy(CLI::App& sub, DbOptions& options) {
  sub.add_option("--policy", options.policy, "Policy that says what a class of environments is");
}
void add_who(CLI::App& sub, DbOptions& options) {
  sub.add_option("--author", options.author, "Who decided")->required();
  sub.add_option("--reason", options.reason, "Why")->required();
  sub.add_option("--run", options.run, "Key of the run (default: the newest)");
}

constexpr Verb kVerbs[] = {
    {"merge", "add runs and shards to one database; again changes nothing, the order does not matter", merge,
     [](CLI::App& sub, DbOptions& options) {
       sub.add_option("into", options.database, "Database that takes them; made when absent")->required();
       sub.add_option("sources", options.sources, "Folders of runs, or databases")->required();
     }},
    {"migrate", "bring an older database to this program's schema", migrate, add_database},
    {"verify", "check pages, references, finished trials and artefact files; exit code 1 when something is wrong",
     verify,
     [](CLI::App& sub, DbOptions& options) {
       add_database(sub, options);
       sub.add_flag("--digest", options.digest, "Also print a hash of the content, equal for equal content");
     }},
    {"export", "write rows as csv, json, jsonl or parquet (where pyarrow is)", export_table,
     [](CLI::App& sub, DbOptions& options) {
       add_database(sub, options);
       sub.add_option("--format", options.format, "csv, json, jsonl, parquet")->capture_default_str();
       sub.add_option("--table", options.table,
                      "A table of the schema, or measurements: samples, scores, memory, kernels")
           ->capture_default_str();
       sub.add_option("--out", options.out, "File (default: stdout)");
       sub.add_option("--python", options.python, "Python with pyarrow, for parquet")->capture_default_str();
     }},
    {"publish", "write a compact read-only copy for tools such as Datasette and Grafana", publish,
     [](CLI::App& sub, DbOptions& options) {
       add_database(sub, options);
       sub.add_option("copy", options.out, "The copy")->required();
     }},
    {"audit", "look for ways in which the newest run could fool its reader; exit code 1 when one is found", audit,
     add_database},
    {"runs", "list the runs, oldest first: key, start (UTC), suite, class of environments, state, build", runs,
     [](CLI::App& sub, DbOptions& options) {
       add_database(sub, options);
       add_policy(sub, options);
     }},
    {"freeze", "make a run the baseline of its class of environments", freeze,
     [](CLI::App& sub, DbOptions& options) {
       add_database(sub, options);
       sub.add_option("--name", options.name, "Name of the baseline")->capture_default_str();
       add_who(sub, options);
       add_policy(sub, options);
     }},
    {"accept", "record that a change from a run on was wanted", accept,
     [](CLI::App& sub, DbOptions& options) {
       add_database(sub, options);
       add_who(sub, options);
       sub.add_option("--variant", options.variant, "Of this variant; may end in *")->capture_default_str();
       sub.add_option("--quantity", options.quantity, "Of this quantity; may end in *")->required();
     }},
    {"history", "a quantity run by run, with the points where a new level begins", history,
     [](CLI::App& sub, DbOptions& options) {
       add_database(sub, options);
       sub.add_option("--quantity", options.quantity, "time/step, operator/..., score/...")->capture_default_str();
       sub.add_option("--variant", options.variant, "May end in *")->capture_default_str();
       add_policy(sub, options);
     }},
};

}  // namespace

std::function<int()> add_db(CLI::App& sub) {
  auto options = std::make_shared<DbOptions>();
  sub.require_subcommand(1);
  std::vector<std::pair<CLI::App*, int (*)(const DbOptions&)>> verbs;
  for (const Verb& verb : kVerbs) {
    CLI::App* nested = sub.add_subcommand(verb.name, verb.description);
    verb.declare(*nested, *options);
    verbs.emplace_back(nested, verb.act);
  }
  return [options, verbs] {
    for (const auto& [nested, act] : verbs) {
      if (nested->parsed()) return act(*options);
    }
    return static_cast<int>(kBadInput);
  };
}

}  // namespace vorta::harness
