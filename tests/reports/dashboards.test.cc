// SPDX-License-Identifier: Apache-2.0
#include <regex>

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

}  // namespace

TEST_CASE("every dashboard view runs on a stored run and has rows", "[reports][dashboards]") {
  tests::TempFolder folder;
  const Database database(tests::make_sample_run(folder.path()), OpenMode::kReadWrite);
  const std::string sql = read_file(std::filesystem::path(VORTA_SOURCE_DIR) / "dashboards/sql/views.sql");
  database.execute(sql);
  const std::regex view("CREATE TEMP VIEW (\\w+)");
  int views = 0;
  for (std::sregex_iterator it(sql.begin(), sql.end(), view), end; it != end; ++it, ++views) {
    INFO((*it)[1]);
    CHECK(number(database, "SELECT count(*) FROM " + (*it)[1].str()) > 0);
  }
  CHECK(views == 9);
  CHECK(number(database, "SELECT speedup FROM v_pareto WHERE variant = 'dense'") == Approx(1.0));
  CHECK(number(database, "SELECT avg(speedup) FROM v_speed WHERE variant = 'sliding' AND stage = 'step'") == Approx(1.72).epsilon(0.01));
  CHECK(number(database, "SELECT count(*) FROM v_time WHERE variant = 'sliding' AND stage = 'e2e'") == 3);
}
