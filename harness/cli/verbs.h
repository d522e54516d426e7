// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace vorta::harness {

// One function a verb, each in its own file `<verb>.cc`; see Command::add.
std::function<int()> add_generate(CLI::App& sub);
std::function<int()> add_run(CLI::App& sub);
std::function<int()> add_check(CLI::App& sub);
std::function<int()> add_list(CLI::App& sub);
std::function<int()> add_doctor(CLI::App& sub);
std::function<int()> add_report(CLI::App& sub);
std::function<int()> add_serve(CLI::App& sub);
std::function<int()> add_train(CLI::App& sub);
std::function<int()> add_compare(CLI::App& sub);
std::function<int()> add_gate(CLI::App& sub);
std::function<int()> add_db(CLI::App& sub);
std::function<int()> add_calibrate(CLI::App& sub);
std::function<int()> add_score(CLI::App& sub);

}  // namespace vorta::harness
