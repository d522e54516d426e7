// SPDX-License-Identifier: Apache-2.0
#include "engine/base/error.h"
#include "engine/train/distill_losses.h"
#include "engine/train/distiller.h"
#include "engine/train/route_adapter.h"
#include "tests/support/catch.h"

#include <ATen/ATen.h>

namespace vorta::engine {

namespace {

at::Tensor clip_of(const std::vector<double>& values) {
  return at::tensor(values, at::kDouble).to(at::kFloat).view({-1, 1, 1, 1, 1});
}

std::vector<int64_t> list_of(const at::Tensor& x) {
  const at::Tensor whole = x.contiguous();
  return {whole.data_ptr<int64_t>(), whole.data_ptr<int64_t>() + whole.numel()};
}

// A field that notes at which sigmas it was asked, and answers with a constant.
struct Noting {
  double answer = 0;
  std::vector<at::Tensor> asked;

  VelocityField field() {
    return [this](const at::Tensor& x, const at::Tensor& sigmas) {
      asked.push_back(sigmas);
      return at::full_like(x, answer);
    };
  }
};

// The field of a flow to one clean sample: x = s eps + (1 - s) c, so v = (x - c) / s.
VelocityField flow_to(double clean) {
  return [clean](const at::Tensor& x, const at::Tensor& sigmas) {
    return (x - clean) / sigmas.clamp_min(1e-4).view({-1, 1, 1, 1, 1});
  };
}

}  // namespace

TEST_CASE("a grid's phases have equally many steps and end where the student's sigmas are", "[train][distill]") {
  const PhasedGrid grid = phased_grid(8, 4, 7);
  REQUIRE(grid.steps() == 8);
  CHECK(grid.phase == 2);
  CHECK(grid.sigmas.front() == 1);
  CHECK(grid.sigmas.back() == 0);
  CHECK(grid.sigmas[4] == Approx(7 * 0.5 / (1 + 6 * 0.5)));
  CHECK(list_of(grid.phase_ends(at::arange(8, at::kLong))) == std::vector<int64_t>{2, 2, 4, 4, 6, 6, 8, 8});
  DistillTraining training;
  training.student_steps = 4;
  training.flow_shift = 7;
  const SamplingRecipe recipe = student_recipe(training);
  for (int64_t k = 0; k <= 4; ++k)
    CHECK(recipe.sigmas[static_cast<size_t>(k)] == Approx(grid.sigmas[static_cast<size_t>(2 * k)]));
  CHECK_THROWS_AS(phased_grid(8, 3, 7), InternalError);
}

TEST_CASE("the student's recipe says how its method samples", "[train][distill]") {
  DistillTraining training;
  training.student_steps = 4;
  training.flow_shift = 7;
  const SamplingRecipe euler = student_recipe(training);
  CHECK(euler.update == StepUpdate::kEuler);
  CHECK(euler.guidance == 1);  // the teacher's is folded in
  CHECK(euler.sigmas[2] == Approx(0.875));
  CHECK(euler.timesteps[3] == Approx(700));
  training.method = DistillMethod::kMatching;
  CHECK(student_recipe(training).update == StepUpdate::kRenoise);
}

TEST_CASE("a consistency target takes the teacher's hops and jumps with the student", "[train][distill]") {
  const PhasedGrid grid = phased_grid(8, 2, 3);
  const auto sigma = [&](size_t i) { return grid.sigmas[i]; };
  const at::Tensor x = clip_of({10, 10, 10}), index = at::tensor({0, 2, 3}, at::kLong);
  Noting teacher{2, {}}, student{5, {}};
  const at::Tensor target = consistency_target(grid, x, index, 2, teacher.field(), student.field());
  // The first goes two steps and jumps; the second's two steps end the phase; the third has but one left.
  CHECK(at::allclose(target,
                     clip_of({10 + 2 * (sigma(2) - sigma(0)) + 5 * (sigma(4) - sigma(2)),
                              10 + 2 * (sigma(4) - sigma(2)), 10 + 2 * (sigma(4) - sigma(3))}),
                     1e-5, 1e-5));
  REQUIRE(teacher.asked.size() == 2);
  CHECK(at::allclose(teacher.asked[0], grid.sigmas_at(index)));
  CHECK(at::allclose(teacher.asked[1], grid.sigmas_at(at::tensor({1, 3, 4}, at::kLong))));
  CHECK(at::allclose(student.asked.at(0), grid.sigmas_at(at::tensor({2, 4, 4}, at::kLong))));
}

TEST_CASE("hops of a whole phase leave the student out of its target", "[train][distill]") {
  const PhasedGrid grid = phased_grid(8, 2, 3);
  Noting teacher{1, {}}, student{9, {}};
  const at::Tensor target =
      consistency_target(grid, clip_of({0}), at::tensor({4}, at::kLong), 4, teacher.field(), student.field());
  CHECK(student.asked.empty());
  CHECK(teacher.asked.size() == 4);
  CHECK(target.item<float>() == Approx(-grid.sigmas[4]));
}

TEST_CASE("a student that follows the teacher's flow is consistent, another is not", "[train][distill]") {
  const PhasedGrid grid = phased_grid(12, 3, 5);
  const at::Tensor index = at::arange(12, at::kLong), sigma = grid.sigmas_at(index);
  const at::Tensor x = at::sin(at::arange(12, at::kFloat)).view({12, 1, 1, 1, 1});
  const at::Tensor end = grid.sigmas_at(grid.phase_ends(index));
  const auto loss = [&](const VelocityField& student) {
    const at::Tensor target = consistency_target(grid, x, index, 1, flow_to(0.5), student);
    return pseudo_huber(straight_step(x, sigma, end, student(x, sigma)) - target, 1e-3).item<double>();
  };
  CHECK(loss(flow_to(0.5)) < 1e-6);
  CHECK(loss(flow_to(-0.5)) > 1e-2);
}

TEST_CASE("targets carry no gradient, the student's jump does", "[train][distill]") {
  const PhasedGrid grid = phased_grid(4, 2, 3);
  const at::Tensor w = at::ones({1}).requires_grad_(true), index = at::tensor({0}, at::kLong);
  const VelocityField student = [&](const at::Tensor& x, const at::Tensor&) { return w * x; };
  CHECK_FALSE(consistency_target(grid, clip_of({1}), index, 1, student, student).requires_grad());
  CHECK(straight_step(clip_of({1}), grid.sigmas_at(index), grid.sigmas_at(index + 2), student(clip_of({1}), {}))
            .requires_grad());
}

TEST_CASE("guidance is folded in as samplers apply it", "[train][distill]") {
  const at::Tensor both = clip_of({3, 5, 1, 2});  // with captions, then without
  CHECK(at::allclose(guided_velocity(both, 5), clip_of({1 + 5 * 2, 2 + 5 * 3})));
  CHECK(at::allclose(guided_velocity(both, 1), clip_of({3, 5})));
  CHECK(at::allclose(guided_velocity(both, 0), clip_of({1, 2})));
}

TEST_CASE("the pseudo-Huber loss is square near zero and linear far from it", "[train][distill]") {
  CHECK(pseudo_huber(at::zeros({4}), 1e-3).item<double>() == 0);
  CHECK(pseudo_huber(at::full({4}, 1e-3), 1.0).item<double>() == Approx(0.5e-6).epsilon(0.15));
  CHECK(pseudo_huber(at::full({4}, -8.0), 1e-3).item<double>() == Approx(8).epsilon(1e-3));
}

TEST_CASE("distribution matching moves samples by what teacher and critic disagree on", "[train][distill]") {
  const at::Tensor x = clip_of({1, 1, 1}), real = clip_of({3, 3, 1}), made = clip_of({3, 1, 1});
  // No move where both agree; else towards the teacher's, in units of its distance from x.
  CHECK(at::allclose(matching_target(x, real, made), clip_of({1, 1 + 2.0 / 2.0, 1})));
}

TEST_CASE("the dense micro-batches of an adaptation are evenly spread", "[train][distill]") {
  const auto count = [](double share) {
    int64_t dense = 0;
    for (int64_t i = 0; i < 100; ++i) dense += takes_dense_path(i, share) ? 1 : 0;
    return dense;
  };
  CHECK(count(0) == 0);
  CHECK(count(0.25) == 25);
  CHECK(count(1) == 100);
  for (int64_t i = 0; i < 10; ++i) CHECK(takes_dense_path(2 * i, 0.5) != takes_dense_path(2 * i + 1, 0.5));
}

TEST_CASE("trainings that cannot be are refused before anything is loaded", "[train][distill]") {
  DistillTraining training;
  training.school.model = "/no/such/model";
  training.teacher_steps = 6;
  training.student_steps = 4;
  CHECK_THROWS_WITH(train_student(training), Catch::Matchers::Contains("--teacher-steps"));
  training.student_steps = 0;
  CHECK_THROWS_WITH(train_student(training), Catch::Matchers::Contains("--student-steps"));
  training.student_steps = 3;
  training.lora_rank = -1;
  CHECK_THROWS_WITH(train_student(training), Catch::Matchers::Contains("--lora-rank"));
  RouteAdaptation adaptation;
  adaptation.dense_share = 1.5;
  CHECK_THROWS_WITH(adapt_to_routes(adaptation), Catch::Matchers::Contains("--dense-share"));
}

}  // namespace vorta::engine
