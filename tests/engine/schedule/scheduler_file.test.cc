// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>
#include <string>

#include "engine/base/error.h"
#include "tests/engine/schedule/schedule_support.h"

namespace vorta::engine {
namespace {

std::filesystem::path written(const nlohmann::json& config) {
  const auto path = std::filesystem::temp_directory_path() / "vorta-scheduler-file-test.json";
  std::ofstream(path) << config.dump();
  return path;
}

std::string message_of(const nlohmann::json& config, const SamplerOptions& options = {}) {
  try {
    load_sampler(written(config), options);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("the class name in the file chooses the sampler", "[schedule][scheduler-file]") {
  CHECK(load_sampler(written(unipc_json()), {})->name() == "unipc");
  const nlohmann::json euler{{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"shift", 5.0}};
  CHECK(load_sampler(written(euler), {})->name() == "euler");
  CHECK_THAT(message_of({{"_class_name", "FlowMatchEulerScheduler"}}),
             Catch::Matchers::Contains("known: FlowMatchEulerDiscreteScheduler"));
  CHECK_THAT(message_of(nlohmann::json::object()), Catch::Matchers::Contains("_class_name"));
}

TEST_CASE("a name given by the caller wins over the file", "[schedule][scheduler-file]") {
  nlohmann::json config = unipc_json();
  config["flow_shift"] = 3.0;
  CHECK(load_sampler(written(config), {}, "unipc")->name() == "unipc");
  CHECK_THROWS_AS(load_sampler(written(config), {}, "heun"), ConfigError);
  CHECK_THROWS_AS(load_sampler(written({{"_class_name", "UniPCMultistepScheduler"}}), {}, "euler"),
                  ConfigError);  // no flow
}

TEST_CASE("another sampler than the file's takes what both have in common", "[schedule][scheduler-file]") {
  nlohmann::json unipc = unipc_json();
  unipc["flow_shift"] = 3.0;
  const nlohmann::json euler{{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"shift", 3.0}};
  SamplerOptions options;
  options.steps = 5;
  for (const std::string name : {"euler", "unipc"}) {
    const auto from_unipc = load_sampler(written(unipc), options, name);
    CHECK(from_unipc->name() == name);
    CHECK(at::equal(from_unipc->sigmas(), load_sampler(written(euler), options, name)->sigmas()));
  }
}

TEST_CASE("the shift of the file holds unless the caller gives one", "[schedule][scheduler-file]") {
  nlohmann::json config = unipc_json();
  config["flow_shift"] = 3.0;
  SamplerOptions options;
  CHECK(load_sampler(written(config), options)->timesteps()[1].item<int64_t>() == 992);
  options.flow_shift = 5.0;
  CHECK(load_sampler(written(config), options)->timesteps()[1].item<int64_t>() == 995);
  options.flow_shift = -1.0;
  CHECK_THAT(message_of(config, options), Catch::Matchers::Contains("--flow-shift"));
}

TEST_CASE("a file without the flow keys is refused, because diffusers would assume epsilon",
          "[schedule][scheduler-file]") {
  for (const char* key : {"prediction_type", "use_flow_sigmas"}) {
    nlohmann::json config = unipc_json();
    config.erase(key);
    CHECK_THAT(message_of(config), Catch::Matchers::Contains(key) && Catch::Matchers::Contains("nothing"));
  }
}

TEST_CASE("what this engine does not sample is refused by key", "[schedule][scheduler-file]") {
  const std::vector<std::pair<std::string, nlohmann::json>> rows{{"prediction_type", "epsilon"},
                                                                 {"use_karras_sigmas", true},
                                                                 {"predict_x0", false},
                                                                 {"thresholding", true},
                                                                 {"solver_type", "bh1"},
                                                                 {"final_sigmas_type", "sigma_min"},
                                                                 {"solver_order", 4},
                                                                 {"solver_order", 0},
                                                                 {"lower_order_final", false},
                                                                 {"num_train_timesteps", 0},
                                                                 {"disable_corrector", "none"},
                                                                 {"flow_shift", 0},
                                                                 {"flow_shft", 3.0}};
  for (const auto& [key, value] : rows) {
    nlohmann::json config = unipc_json();
    config[key] = value;
    INFO(key);
    CHECK_THAT(message_of(config), Catch::Matchers::Contains(key));
  }
}

TEST_CASE("zero steps are refused", "[schedule][scheduler-file]") {
  SamplerOptions options;
  options.steps = 0;
  CHECK_THAT(message_of(unipc_json(), options), Catch::Matchers::Contains("--steps"));
}

}  // namespace
}  // namespace vorta::engine
