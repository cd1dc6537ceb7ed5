// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "base/affinity.h"
#include "base/memory.h"
#include "base/pause.h"
#include "base/process.h"
#include "base/stay_awake.h"
#include "base/topology.h"

namespace weft {
namespace {

// What a worker, and the caller at the end of a loop, does before it sleeps. Waking a sleeper takes
// 7 us of the caller, and 20 to 40 pass before the sleeper works, so where every thread has a cpu
// it pays to stay awake for about that long: calls that follow each other find all threads awake.
constexpr AwakeTimes kAwake = {.spin_ns = 3'000, .most_ns = 50'000};
// 64 pauses are 1 to 3 us on current CPUs: enough to bridge the gap between two loops of one call,
// and too little to matter to whoever needs the cpu when there are more threads than cpus.
constexpr int kSpinsOfCrowd = 64;

// Loops that take less on one thread are not made faster by others: by those that are awake, by
// those that must be woken up. See docs/measurements/small.md.
constexpr double kLeastNs = 8'000, kLeastNsToWake = 60'000;

std::atomic<bool> every_loop_is_shared{false};

// Threads of all pools of this process that have workers, their callers included.
std::atomic<int> threads_of_pools{0};

bool crowded() { return threads_of_pools.load(std::memory_order_relaxed) > topology().usable_cpus; }

// Waits until word differs from old: for a while awake, then in a futex sleep.
// Acquire: partner is the seq_cst, hence release, change of the word that ends the wait.
void wait_while_equal(const std::atomic<std::uint32_t>& word, std::uint32_t old) {
  const auto changed = [&] { return word.load(std::memory_order_acquire) != old; };
  if (!crowded()) {
    if (stay_awake(now_ns(), kAwake, changed)) return;
  } else {
    for (int i = 0; i < kSpinsOfCrowd; ++i) {
      if (changed()) return;
      cpu_pause();
    }
  }
  word.wait(old, std::memory_order_acquire);
}

// The number of a loop (high half) and how many of its indices nobody has taken yet (low half).
// An index is taken by lowering the low half. A worker that slept through a loop can't take an
// index of it, so the caller waits only for indices that were taken, not until every worker has
// woken up: with more threads than cores that would cost a time slice each. (A worker would have to
// stop between two instructions for 2^32 loops to be fooled.)
constexpr std::uint64_t tickets_of(std::uint32_t loop, std::uint32_t left) {
  return (std::uint64_t{loop} << 32) | left;
}
constexpr std::uint32_t left_of(std::uint64_t tickets) {
  return static_cast<std::uint32_t>(tickets);
}

}  // namespace

struct ThreadPool::Shared {
  // The current loop. Plain memory: read only by those who hold one of its indices, and written
  // only when nobody does.
  struct Loop {
    Call call = nullptr;
    void* object = nullptr;
    std::int64_t first = 0;
    std::uint32_t count = 0;
  };
  Loop loop;

  alignas(kCacheLine) std::atomic<std::uint64_t> tickets{0};
  alignas(kCacheLine) std::atomic<std::uint32_t> unfinished{0};  // indices of the current loop
  alignas(kCacheLine) std::atomic<std::uint32_t> signal{0};      // changes when a loop starts
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;

  // Of the caller alone.
  std::int64_t ended_ns = 0;  // the last loop
  int loops_in_a_row = 0;     // that began soon after one had ended

  std::uint32_t take_indices(int thread);
  void work(int thread);
  bool worth_waking(double ns);
  void run(const Loop& next, bool wake);
  void join();
};

// Runs indices of the current loop until none is left; says how many it ran.
std::uint32_t ThreadPool::Shared::take_indices(int thread) {
  std::uint32_t ran = 0;
  std::uint64_t seen = tickets.load(std::memory_order_relaxed);
  while (left_of(seen) > 0) {
    // Acquire: partner is the release store in run(); makes `loop` visible. Once this succeeds,
    // that loop can't end before the index has run.
    if (!tickets.compare_exchange_weak(seen, seen - 1, std::memory_order_acquire)) continue;
    const std::uint32_t index = loop.count - left_of(seen);
    loop.call(loop.object, loop.first + index, thread);
    ++ran;
    seen = tickets.load(std::memory_order_relaxed);
  }
  return ran;
}

void ThreadPool::Shared::work(int thread) {
  std::uint32_t seen = 0;
  while (true) {
    wait_while_equal(signal, seen);
    seen = signal.load(std::memory_order_acquire);
    if (stop.load(std::memory_order_relaxed)) return;  // ordered by `signal`
    const std::uint32_t ran = take_indices(thread);
    // Release: partner is the acquire load in run(). seq_cst because notify looks for a sleeper
    // after this change, and a sleeper looks at the word after it has said that it sleeps.
    if (ran > 0 && unfinished.fetch_sub(ran) == ran) unfinished.notify_one();
  }
}

// A loop that is too short to wait for sleepers is not the last one if others have just been.
bool ThreadPool::Shared::worth_waking(double ns) {
  constexpr int kLoopsOfOneCall = 3;
  loops_in_a_row = now_ns() - ended_ns < kAwake.most_ns ? loops_in_a_row + 1 : 0;
  return ns >= kLeastNsToWake || loops_in_a_row > kLoopsOfOneCall ||
         every_loop_is_shared.load(std::memory_order_relaxed);
}

void ThreadPool::Shared::run(const Loop& next, bool wake) {
  loop = next;  // nobody holds an index now
  unfinished.store(next.count, std::memory_order_relaxed);
  const auto number = static_cast<std::uint32_t>(tickets.load(std::memory_order_relaxed) >> 32) + 1;
  // Release: partner is the acquire exchange in take_indices().
  tickets.store(tickets_of(number, next.count), std::memory_order_release);
  signal.fetch_add(1);  // seq_cst: notify looks for sleepers after this change
  if (wake && next.count > workers.size())
    signal.notify_all();
  else if (wake)
    for (std::uint32_t i = 1; i < next.count; ++i) signal.notify_one();

  unfinished.fetch_sub(take_indices(0), std::memory_order_relaxed);
  // Acquire: partner is the fetch_sub in work(); what the bodies wrote is visible from here on.
  for (std::uint32_t left; (left = unfinished.load(std::memory_order_acquire)) != 0;)
    wait_while_equal(unfinished, left);
}

void ThreadPool::Shared::join() {
  stop.store(true, std::memory_order_relaxed);
  signal.fetch_add(1);
  signal.notify_all();
  for (std::thread& worker : workers) worker.join();
}

ThreadPool::ThreadPool(int threads, const std::vector<int>& cpus)
    : threads_(std::max(1, threads)), process_(this_process()) {
  const auto cpus_of = [&cpus](int thread) {
    return cpus.empty() ? std::vector<int>()
                        : std::vector{cpus[static_cast<std::size_t>(thread) % cpus.size()]};
  };
  // A refusal only costs speed.
  if (!cpus.empty()) bind_this_thread(cpus_of(0));
  if (threads_ == 1) return;
  shared_ = std::make_unique<Shared>();
  threads_of_pools.fetch_add(threads_, std::memory_order_relaxed);
  shared_->workers.reserve(static_cast<size_t>(threads_ - 1));
  try {
    for (int thread = 1; thread < threads_; ++thread)
      shared_->workers.emplace_back([shared = shared_.get(), thread, own = cpus_of(thread)] {
        if (!own.empty()) bind_this_thread(own);
        shared->work(thread);
      });
  } catch (...) {
    shared_->join();
    threads_of_pools.fetch_sub(threads_, std::memory_order_relaxed);
    throw;
  }
}

ThreadPool::~ThreadPool() {
  if (!shared_) return;
  if (this_process() != process_) {
    static_cast<void>(shared_.release());  // nobody is left to join, and a thread must be
    return;
  }
  shared_->join();
  threads_of_pools.fetch_sub(threads_, std::memory_order_relaxed);
}

int ThreadPool::threads_for(double ns) const {
  return ns >= kLeastNs || every_loop_is_shared.load(std::memory_order_relaxed) ? threads_ : 1;
}

void ThreadPool::share_every_loop(bool yes) {
  every_loop_is_shared.store(yes, std::memory_order_relaxed);
}

void ThreadPool::run(std::int64_t count, double ns, void* object, Call call) {
  if (count <= 1 || threads_for(ns) == 1 || this_process() != process_) {
    for (std::int64_t index = 0; index < count; ++index) call(object, index, 0);
    return;
  }
  const bool wake = shared_->worth_waking(ns);
  constexpr std::int64_t kMostIndices = 0xffffffff;  // the low half of the tickets
  for (std::int64_t first = 0; first < count; first += kMostIndices)
    shared_->run({.call = call,
                  .object = object,
                  .first = first,
                  .count = static_cast<std::uint32_t>(std::min(count - first, kMostIndices))},
                 wake);
  shared_->ended_ns = now_ns();
}

}  // namespace weft
