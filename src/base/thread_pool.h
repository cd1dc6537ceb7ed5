// SPDX-License-Identifier: Apache-2.0
// The threads of one Context: fork-join over indices.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

namespace weft {

/// `threads` includes the calling thread; threads == 1 starts none. Workers spin briefly, then
/// sleep.
class ThreadPool {
 public:
  /// Thread i is bound to cpus[i % their number], if there are any; thread 0 is the one that
  /// constructs the pool. Throws std::system_error if the OS gives no more threads.
  explicit ThreadPool(int threads, const std::vector<int>& cpus = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  /// Calls body(index, thread) once for every index in [0, count), thread in [0, threads()).
  /// Indices are handed out one by one in rising order. Returns when all calls have returned.
  /// Allocates nothing. Not reentrant: one parallel_for of a pool at a time. `body` must not throw.
  template <typename Body>
  void parallel_for(std::int64_t count, Body&& body) {
    using Decayed = std::remove_reference_t<Body>;
    run(count, const_cast<void*>(static_cast<const void*>(&body)),
        [](void* object, std::int64_t index, int thread) {
          (*static_cast<Decayed*>(object))(index, thread);
        });
  }

 private:
  using Call = void (*)(void* object, std::int64_t index, int thread);
  void run(std::int64_t count, void* object, Call call);

  struct Shared;
  int threads_;
  std::unique_ptr<Shared> shared_;  // null with one thread
};

}  // namespace weft
