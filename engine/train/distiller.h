// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/schedule/recipe.h"
#include "engine/train/teacher.h"

#include <filesystem>

namespace vorta::engine {

/// How a student of few steps learns from its teacher.
enum class DistillMethod {
  /// Phased consistency (Wang et al., arXiv 2405.18407; the published recipe of HunyuanVideo's students): the student's
  /// jump to the end of its phase must agree with the jump that follows some guided Euler steps of the teacher.
  kConsistency,
  /// Distribution matching (Yin et al., arXiv 2405.14867): the student's own samples move to where the guided teacher
  /// and a critic, which learns what the student makes, disagree least.
  kMatching,
};

/// Distillation of a model into one of `student_steps` steps without guidance. The student has the teacher's
/// architecture and text encoder, and starts from its weights.
struct DistillTraining {
  Schooling school;
  DistillMethod method = DistillMethod::kConsistency;
  std::filesystem::path initial_student;  // transformer folder to start from; empty: the teacher's
  /// Of low-rank changes to the matrices inside blocks, which are then all that learns; 0: every weight does.
  int64_t lora_rank = 0;
  int64_t student_steps = 4;  // phases
  double flow_shift = 7;  // of the student's sigmas and of the teacher's grid
  double guidance = 5;  // of the teacher, folded into the student
  int64_t teacher_steps = 40;  // grid of the teacher's Euler steps; a multiple of student_steps
  int64_t hops = 1;  // consistency: teacher's steps before the student's own jump is the target
  double huber = 1e-3;  // consistency: c of sqrt(d^2 + c^2) - c
  int64_t critic_steps = 2;  // matching: steps of the critic for one of the student
  double match_shift = 3;  // matching: shift of the noise at which both are compared
  int64_t evaluation_prompts = 20;
};

/// Trains and writes <output>/student: config.json, weights in bf16, and recipe.json, which says how to sample them.
/// With a lora_rank <output>/student.safetensors, low-rank changes to the teacher in PEFT's names, and
/// student.recipe.json.
TrainSummary train_student(const DistillTraining& training);

/// How the student of `training` is sampled.
SamplingRecipe student_recipe(const DistillTraining& training);

}  // namespace vorta::engine
