// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>
#include <map>
#include <regex>
#include <set>
#include <string>

#include "engine/base/json_io.h"
#include "reports/store/database.h"
#include "tests/reports/sample_run.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::reports;

namespace {

double number(const Database& database, const std::string& sql) {
  Statement statement = database.prepare(sql);
  return statement.step() ? statement.number(0) : -1;
}

std::filesystem::path dashboards() { return std::filesystem::path(VORTA_SOURCE_DIR) / "dashboards"; }

// The sample run with the views, as `db publish` leaves them.
Database published(const std::filesystem::path& folder) {
  Database database(tests::make_sample_run(folder), OpenMode::kReadWrite);
  database.execute(read_file(dashboards() / "sql/views.sql"));
  return database;
}

// Steps through all rows: a wrong column or function shows only then.
int64_t count_rows(const Database& database, const std::string& sql) {
  Statement statement = database.prepare(sql);
  int64_t rows = 0;
  while (statement.step()) ++rows;
  return rows;
}

}  // namespace

TEST_CASE("every canned query of Datasette runs on a stored run", "[reports][dashboards]") {
  tests::TempFolder folder;
  const Database database = published(folder.path());
  const auto metadata = read_json_file(dashboards() / "datasette/metadata.json");
  const std::map<std::string, std::string> values{{":suite", "''"},  {":variant", "''"},   {":stage", "''"},
                                                  {":metric", "''"}, {":base", "'dense'"}, {":head", "'vorta'"}};
  int queries = 0;
  for (const auto& [name, query] : metadata.at("databases").at("results").at("queries").items()) {
    INFO(name);
    std::string sql = query.at("sql");
    for (const auto& [parameter, value] : values) sql = std::regex_replace(sql, std::regex(parameter + "\\b"), value);
    const int64_t rows = count_rows(database, sql);
    CHECK((rows > 0 || name == "kernels" || name == "environments"));  // the sample has no GPU and one machine
    ++queries;
  }
  CHECK(queries == 9);
}

TEST_CASE("every panel of Grafana has a query that runs on a stored run", "[reports][dashboards]") {
  tests::TempFolder folder;
  const Database database = published(folder.path());
  std::set<std::string> uids;
  for (const auto& file : std::filesystem::directory_iterator(dashboards() / "grafana/dashboards")) {
    const auto dashboard = read_json_file(file.path());
    CHECK(uids.insert(dashboard.at("uid")).second);
    std::map<std::string, std::string> values;
    for (const auto& variable : dashboard.at("templating").at("list")) {
      Statement first = database.prepare(variable.at("query").get<std::string>());
      INFO(variable.at("name"));
      REQUIRE(first.step());
      values["\\$" + variable.at("name").get<std::string>()] = first.text(0);
    }
    for (const auto& panel : dashboard.at("panels")) {
      INFO(file.path() << ": " << panel.at("title"));
      std::string sql = panel.at("targets").at(0).at("rawQueryText");
      CHECK(sql == panel.at("targets").at(0).at("queryText"));
      for (const auto& [name, value] : values) sql = std::regex_replace(sql, std::regex(name + "\\b"), value);
      CHECK_NOTHROW(count_rows(database, sql));
      CHECK(sql.find('$') == std::string::npos);
    }
  }
  CHECK(uids.size() == 4);
}

TEST_CASE("every dashboard view runs on a stored run and has rows", "[reports][dashboards]") {
  tests::TempFolder folder;
  const Database database = published(folder.path());
  const std::string sql = read_file(dashboards() / "sql/views.sql");
  const std::regex view("CREATE TEMP VIEW (\\w+)");
  int views = 0;
  for (std::sregex_iterator it(sql.begin(), sql.end(), view), end; it != end; ++it, ++views) {
    INFO((*it)[1]);
    if ((*it)[1] == "v_kernel" || (*it)[1] == "v_power") continue;  // the sample has no GPU
    CHECK(number(database, "SELECT count(*) FROM " + (*it)[1].str()) > 0);
  }
  CHECK(views == 12);
  CHECK(number(database, "SELECT speedup FROM v_pareto WHERE variant = 'dense'") == Approx(1.0));
  CHECK(number(database, "SELECT avg(speedup) FROM v_speed WHERE variant = 'sliding' AND stage = 'step'") ==
        Approx(1.72).epsilon(0.01));
  CHECK(number(database, "SELECT count(*) FROM v_time WHERE variant = 'sliding' AND stage = 'e2e'") == 3);
}
