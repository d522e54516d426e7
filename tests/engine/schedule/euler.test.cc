// SPDX-License-Identifier: Apache-2.0
// Expected numbers: diffusers 0.33.1, FlowMatchEulerDiscreteScheduler on the CPU.
#include "tests/engine/schedule/schedule_support.h"

namespace vorta::engine {
namespace {

std::unique_ptr<Sampler> euler(int64_t steps, double shift, EulerGrid grid) {
  SamplerOptions options;
  options.steps = steps;
  options.flow_shift = shift;
  options.euler_grid = grid;
  return find_entry(samplers(), "scheduler", "euler").make(nlohmann::json::object(), "test#", options);
}

TEST_CASE("euler on the unit interval matches the golden values exactly", "[schedule][euler]") {
  const auto sampler = euler(10, 5.0, EulerGrid::kUnitInterval);
  CHECK(max_error(sampler->timesteps(), {1000, 978.2609, 952.381, 921.0526, 882.3529, 833.3333, 769.2308, 681.8182,
                                         555.5556, 357.1429}) < 1e-4);
  const auto x = integrate(
      *sampler, [](const at::Tensor& sample) { return (sample.to(at::kBFloat16) * 0.25 + 0.1).to(at::kBFloat16); });
  CHECK(x[0].scalar_type() == at::kBFloat16);
  CHECK(max_error(x[0], {-1.4921875, -0.5, 0.49609375, 1.4921875}) == 0);
  CHECK(max_error(x[4], {-1.453125, -0.498046875, 0.46484375, 1.421875}) == 0);
  CHECK(max_error(x[9], {-1.25, -0.478515625, 0.298828125, 1.0703125}) == 0);
}

TEST_CASE("euler timesteps of 50 steps match the published schedule", "[schedule][euler]") {
  const at::Tensor t = euler(50, 5.0, EulerGrid::kUnitInterval)->timesteps();
  CHECK(t.scalar_type() == at::kFloat);
  CHECK(max_error(t.narrow(0, 0, 4), {1000, 995.934937, 991.735474, 987.394897}) < 1e-4);
  CHECK(max_error(t.narrow(0, 46, 4), {303.030304, 241.935455, 172.413788, 92.5925827}) < 1e-4);
}

TEST_CASE("euler on the trained range follows WanPipeline's scheduler", "[schedule][euler]") {
  const auto sampler = euler(8, 3.0, EulerGrid::kTrainedRange);
  CHECK(max_error(sampler->sigmas(), {1, 0.947542548, 0.882787764, 0.800837338, 0.693793118, 0.548045576, 0.337972164,
                                      0.00892857183, 0}) < 1e-7);
  CHECK(max_error(sampler->timesteps(),
                  {1000, 947.542542, 882.787781, 800.837341, 693.793091, 548.045593, 337.972168, 8.9285717}) < 1e-4);
  CHECK(max_error(integrate(*sampler, curved_velocity).back(),
                  {-2.12676525, -0.0349193141, -0.0326868221, 2.05805755}) < 2e-6);
  CHECK(max_error(integrate(*euler(2, 3.0, EulerGrid::kTrainedRange), curved_velocity).back(),
                  {-2.55997419, 0.38037318, -0.579824686, 2.36223817}) < 2e-6);
  CHECK(max_error(integrate(*euler(1, 3.0, EulerGrid::kTrainedRange), curved_velocity).back(),
                  {-2.57753015, 0.397494972, -0.59749496, 2.3775301}) < 2e-6);
}

}  // namespace
}  // namespace vorta::engine
