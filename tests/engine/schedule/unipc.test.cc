// SPDX-License-Identifier: Apache-2.0
// Expected numbers: diffusers 0.33.1, UniPCMultistepScheduler on the CPU.
#include "engine/base/error.h"
#include "tests/engine/schedule/schedule_support.h"

namespace vorta::engine {
namespace {

std::unique_ptr<Sampler> unipc(int64_t steps, double shift, nlohmann::json changes = nlohmann::json::object()) {
  nlohmann::json config = unipc_json();
  config.update(changes);
  SamplerOptions options;
  options.steps = steps;
  options.flow_shift = shift;
  return find_entry(samplers(), "scheduler", "unipc").make(config, "test#", options);
}

at::Tensor bf16_velocity(const at::Tensor& x) { return (x * 0.25 + 0.1).to(at::kBFloat16); }

TEST_CASE("unipc timesteps and sigmas match the published schedule of 50 steps", "[schedule][unipc]") {
  const auto sampler = unipc(50, 5.0);
  const std::vector<int64_t> expected{999, 995, 991, 987, 982, 978, 973, 968, 963, 957, 952, 946, 940,
                                      934, 927, 920, 913, 906, 898, 890, 882, 873, 863, 854, 843, 833,
                                      821, 809, 796, 783, 768, 753, 737, 720, 701, 681, 660, 636, 611,
                                      584, 555, 522, 487, 448, 405, 356, 302, 241, 172, 92};
  REQUIRE(sampler->timesteps().scalar_type() == at::kLong);
  CHECK(at::equal(sampler->timesteps(), at::tensor(expected, at::kLong)));
  CHECK(sampler->sigmas()[0].item<float>() == 0.999799848f);
  CHECK(sampler->sigmas()[1].item<float>() == 0.995732367f);
  CHECK(sampler->sigmas()[49].item<float>() == 0.0925068557f);
  CHECK(sampler->sigmas()[50].item<float>() == 0.0f);
}

TEST_CASE("unipc timesteps follow another shift", "[schedule][unipc]") {
  const at::Tensor t = unipc(50, 3.0)->timesteps();
  CHECK(at::equal(t.narrow(0, 0, 5), at::tensor({999, 992, 985, 978, 971}, at::kLong)));
  CHECK(at::equal(t.narrow(0, 46, 4), at::tensor({206, 160, 111, 57}, at::kLong)));
}

TEST_CASE("unipc steps of a bf16 velocity match the golden values", "[schedule][unipc]") {
  const auto sampler = unipc(10, 5.0);
  const auto x = integrate(*sampler, bf16_velocity);
  CHECK(x.back().scalar_type() == at::kFloat);
  CHECK(max_error(x[0], {-1.4940085, -0.4994556, 0.4951134, 1.4896743}) < 2e-6);
  CHECK(max_error(x[1], {-1.4869478, -0.4988149, 0.4893344, 1.4775138}) < 2e-6);
  CHECK(max_error(x[2], {-1.4785241, -0.4980412, 0.4823827, 1.4628209}) < 2e-6);
  CHECK(max_error(x[4], {-1.4550140, -0.4959070, 0.4631729, 1.4224871}) < 2e-6);
  CHECK(max_error(x[7], {-1.3842837, -0.4895107, 0.4052721, 1.3001717}) < 2e-6);
  CHECK(max_error(x[8], {-1.3366852, -0.4851867, 0.3664034, 1.2179168}) < 2e-6);
  CHECK(max_error(x[9], {-1.2527008, -0.4775878, 0.2980441, 1.0733856}) < 2e-6);
}

TEST_CASE("unipc of every order and few steps matches diffusers", "[schedule][unipc]") {
  struct Row {
    int64_t order;
    int64_t steps;
    std::vector<double> last;
  };
  const std::vector<Row> rows{
      {1, 1, {-2.57717085, 0.397195637, -0.597128868, 2.37723732}},
      {1, 2, {-2.4648149, 0.200981587, -0.318838984, 2.32079554}},
      {1, 3, {-2.27473307, 0.0632314682, -0.139391303, 2.19004726}},
      {1, 8, {-2.11983728, -0.0402511172, -0.0273423679, 2.05093265}},
      {2, 1, {-2.57717085, 0.397195637, -0.597128868, 2.37723732}},
      {2, 3, {-2.27487421, 0.0648382306, -0.142247751, 2.18995571}},
      {2, 8, {-2.11568427, -0.0439348444, -0.024076093, 2.04605794}},
      {3, 2, {-2.4648149, 0.200981587, -0.318838984, 2.32079554}},
      {3, 3, {-2.27487421, 0.0648382306, -0.142247751, 2.18995571}},
      {3, 8, {-2.11579418, -0.0438959673, -0.0241091512, 2.04614067}},
  };
  for (const Row& row : rows) {
    INFO("order " << row.order << ", " << row.steps << " steps");
    const auto sampler = unipc(row.steps, 3.0, {{"solver_order", row.order}});
    CHECK(max_error(integrate(*sampler, curved_velocity).back(), row.last) < 2e-6);
  }
}

TEST_CASE("unipc skips the corrector where the file says so", "[schedule][unipc]") {
  const auto sampler = unipc(8, 3.0, {{"disable_corrector", {0, 2}}});
  CHECK(max_error(integrate(*sampler, curved_velocity).back(),
                  {-2.11571789, -0.0438646749, -0.0241414793, 2.04608297}) < 2e-6);
}

TEST_CASE("unipc runs more steps than there are int64 timesteps, and stays finite", "[schedule][unipc]") {
  const auto sampler = unipc(1500, 5.0);
  CHECK(at::isfinite(integrate(*sampler, curved_velocity).back()).all().item<bool>());
}

TEST_CASE("a reset sampler repeats itself and a step out of order is a bug", "[schedule][unipc]") {
  const auto sampler = unipc(4, 5.0);
  const at::Tensor first = integrate(*sampler, curved_velocity).back();
  CHECK_THROWS_AS(sampler->step(first, 0, first), InternalError);
  sampler->reset();
  CHECK(at::equal(first, integrate(*sampler, curved_velocity).back()));
  sampler->reset();
  CHECK_THROWS_AS(sampler->step(first, 1, first), InternalError);
}

}  // namespace
}  // namespace vorta::engine
