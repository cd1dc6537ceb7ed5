// SPDX-License-Identifier: Apache-2.0
// The threads of one Context: fork-join over indices.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>

namespace weft {

/// `threads` includes the calling thread; threads == 1 starts none. Workers stay awake briefly,
/// then sleep: 50 us if the threads of all pools of this process have a cpu each, else 1 or 3. A
/// forked child has no workers: there the calling thread does everything.
class ThreadPool {
 public:
  /// Thread i is bound to cpus[i % their number], if there are any; thread 0 is the one that
  /// constructs the pool. Throws std::system_error if the OS gives no more threads.
  explicit ThreadPool(int threads, const std::vector<int>& cpus = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }
  /// Threads that take part in a loop of so many ns.
  int threads_for(double ns) const;
  /// Tests only, of all pools: short loops are shared as long ones are.
  static void share_every_loop(bool yes);

  /// Calls body(index, thread) once for every index in [0, count), thread in [0, threads()).
  /// Indices are handed out one by one in rising order. Returns when all calls have returned.
  /// Allocates nothing. Not reentrant: one parallel_for of a pool at a time. `body` must not throw.
  ///
  /// `ns`: about what all calls together take on one thread, and what comes right behind them. Very
  /// little stays on the calling thread; for little, workers are woken up only if loops follow each
  /// other, and those that are awake help.
  template <typename Body>
  void parallel_for(std::int64_t count, Body&& body,
                    double ns = std::numeric_limits<double>::infinity()) {
    using Decayed = std::remove_reference_t<Body>;
    run(count, ns, const_cast<void*>(static_cast<const void*>(&body)),
        [](void* object, std::int64_t index, int thread) {
          (*static_cast<Decayed*>(object))(index, thread);
        });
  }

 private:
  using Call = void (*)(void* object, std::int64_t index, int thread);
  void run(std::int64_t count, double ns, void* object, Call call);

  struct Shared;
  int threads_;
  std::int32_t process_;
  std::unique_ptr<Shared> shared_;  // null with one thread
};

}  // namespace weft
