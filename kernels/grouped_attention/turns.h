// SPDX-License-Identifier: Apache-2.0
#pragma once

// A source for GPUs defines this before it includes this file.
#ifndef VORTA_TURNS_FUNCTION
#define VORTA_TURNS_FUNCTION inline
#endif

namespace vorta::kernels {

/// How `workers` share jobs of two lengths: `long_jobs`, numbered first, of which each takes as
/// long as `weight` of the `short_jobs` behind them. Long jobs are dealt out in rounds; in a last
/// round that is not full, workers without a long job get `weight` short ones in its stead.
/// Neighbours in number are worked on together.
class Turns {
 public:
  VORTA_TURNS_FUNCTION Turns(int long_jobs, int short_jobs, int weight, int worker, int workers)
      : worker_(worker), workers_(workers), long_jobs_(long_jobs), jobs_(long_jobs + short_jobs), weight_(weight) {
    const int in_last_round = long_jobs % workers;
    spared_ = in_last_round == 0 ? 0 : workers - in_last_round;
    const int first_spared = workers - spared_;
    is_spared_ = worker >= first_spared;
    long_turns_ = long_jobs / workers + (in_last_round > 0 && !is_spared_ ? 1 : 0);
  }

  /// The worker's job of that turn; `jobs()` when there is none any more.
  VORTA_TURNS_FUNCTION int at(int turn) const {
    if (turn < long_turns_) return turn * workers_ + worker_;
    int own = turn - long_turns_, job = long_jobs_;
    if (is_spared_ && own < weight_) {
      job += own * spared_ + worker_ - (workers_ - spared_);
    } else {
      if (is_spared_) own -= weight_;
      job += weight_ * spared_ + own * workers_ + worker_;
    }
    return job < jobs_ ? job : jobs_;
  }
  VORTA_TURNS_FUNCTION int jobs() const { return jobs_; }

 private:
  int worker_, workers_, long_jobs_, jobs_, weight_;
  int spared_ = 0;  // workers without a job in the last round of long ones
  int long_turns_ = 0;
  bool is_spared_ = false;
};

}  // namespace vorta::kernels
