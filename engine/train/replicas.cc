// SPDX-License-Identifier: Apache-2.0
#include "engine/train/replicas.h"

#include "engine/train/train_loop.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>
#include <utility>

namespace vorta::engine {
namespace {

// All of them behind one another: one copy between devices instead of hundreds.
at::Tensor flattened(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> flat;
  for (const at::Tensor& tensor : tensors) flat.push_back(tensor.reshape({-1}));
  return at::cat(flat);
}

std::vector<at::Tensor> unflattened(const at::Tensor& flat, const std::vector<at::Tensor>& like) {
  std::vector<int64_t> sizes;
  for (const at::Tensor& tensor : like) sizes.push_back(tensor.numel());
  std::vector<at::Tensor> parts = flat.split_with_sizes(sizes);
  for (size_t i = 0; i < parts.size(); ++i) parts[i] = parts[i].view(like[i].sizes());
  return parts;
}

std::vector<at::Tensor> values_of(const TensorMap& parameters) {
  std::vector<at::Tensor> values;
  for (const auto& [name, parameter] : parameters) values.push_back(parameter.detach());
  return values;
}

}  // namespace

// One thread for the life of a replica: libraries keep handles and tuning results by thread.
class Replicas::Worker {
 public:
  Worker() : thread_([this] { loop(); }) {}
  ~Worker() {
    give({});
    thread_.join();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  std::future<void> start(std::function<void()> work) {
    std::packaged_task<void()> task(std::move(work));
    std::future<void> done = task.get_future();
    give(std::move(task));
    return done;
  }

 private:
  void give(std::packaged_task<void()> task) {
    {
      const std::lock_guard lock(mutex_);
      task_ = std::move(task);
      given_ = true;
    }
    wake_.notify_one();
  }

  void loop() {
    for (;;) {
      std::packaged_task<void()> task;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return given_; });
        task = std::move(task_);
        given_ = false;
      }
      if (!task.valid()) return;
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::packaged_task<void()> task_;
  bool given_ = false;
  std::thread thread_;  // last: it uses the members above
};

Replicas::Replicas(const TensorMap& parameters, const std::string& device, int64_t count) {
  replicas_.push_back({0, open_device(device), parameters});
  for (int64_t index = 1; index < count; ++index) {
    const at::Device where = open_device(device, index);
    TensorMap copy;
    for (const auto& [name, parameter] : parameters) {
      copy[name] = parameter.detach()
                       .to(where, parameter.scalar_type(), /*non_blocking=*/false, /*copy=*/true)
                       .requires_grad_(true);
    }
    replicas_.push_back({index, where, std::move(copy)});
    workers_.push_back(std::make_unique<Worker>());
  }
}

Replicas::~Replicas() = default;

void Replicas::each(const std::function<void(const Replica&)>& work) {
  std::vector<std::future<void>> others;
  for (size_t i = 1; i < replicas_.size(); ++i) {
    others.push_back(workers_[i - 1]->start([&work, replica = &replicas_[i]] {
      const at::AutoGradMode with_grad(true);
      work(*replica);
    }));
  }
  std::exception_ptr failure;
  try {
    work(replicas_.front());
  } catch (...) {
    failure = std::current_exception();  // thrown on below, when nobody uses `work` any more
  }
  for (auto& other : others) other.wait();
  if (failure) std::rethrow_exception(failure);
  for (auto& other : others) other.get();
}

void Replicas::gather_gradients() {
  const at::NoGradGuard no_grad;
  for (size_t i = 1; i < replicas_.size(); ++i) {
    std::vector<at::Tensor> here, there;
    for (auto& [name, parameter] : replicas_[i].parameters) {
      at::Tensor copy = parameter, first = replicas_.front().parameters.at(name);
      if (!copy.grad().defined()) continue;
      if (!first.grad().defined()) first.mutable_grad() = at::zeros_like(first.detach());
      here.push_back(first.grad());
      there.push_back(copy.grad());
      copy.mutable_grad().reset();
    }
    if (there.empty()) continue;
    at::_foreach_add_(here, unflattened(flattened(there).to(replicas_.front().device), there));
  }
}

void Replicas::send_parameters() {
  const at::NoGradGuard no_grad;
  if (replicas_.size() < 2) return;
  const std::vector<at::Tensor> values = values_of(replicas_.front().parameters);
  const at::Tensor flat = flattened(values);
  for (size_t i = 1; i < replicas_.size(); ++i) {
    at::_foreach_copy_(values_of(replicas_[i].parameters), unflattened(flat.to(replicas_[i].device), values));
  }
}

}  // namespace vorta::engine
