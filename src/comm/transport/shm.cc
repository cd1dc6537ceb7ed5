// SPDX-License-Identifier: Apache-2.0
#include "comm/transport/shm.h"

#include <poll.h>

#include <atomic>
#include <mutex>
#include <utility>

namespace weft::internal {
namespace {

class Shm final : public Transport {
 public:
  explicit Shm(std::vector<ShmPeer> peers) : peers_(std::move(peers)), ended_(peers_.size()) {
    for (const ShmPeer& peer : peers_) {
      segments_.push_back(peer.mapping.segment());
      polls_.push_back({peer.pidfd ? peer.pidfd.get() : -1, POLLIN, 0});  // poll skips -1
    }
  }

  std::string_view name() const override { return "shm"; }

  const Segment& segment(int rank) const override {
    return segments_[static_cast<std::size_t>(rank)];
  }

  void look_for_ended_processes() override {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return;  // another thread of this rank is looking
    if (poll(polls_.data(), polls_.size(), 0) <= 0) return;
    for (std::size_t rank = 0; rank < polls_.size(); ++rank) {
      if (!polls_[rank].revents) continue;
      polls_[rank].fd = -1;
      ended_[rank].store(true, std::memory_order_release);  // pairs with alive()
    }
  }

  bool alive(int rank) const override {
    const int watch = peers_[static_cast<std::size_t>(rank)].watch;
    return watch < 0 || !ended_[static_cast<std::size_t>(watch)].load(std::memory_order_acquire);
  }

  bool private_futex() const override { return false; }

 private:
  std::vector<ShmPeer> peers_;
  std::vector<Segment> segments_;
  std::vector<std::atomic<bool>> ended_;
  std::mutex mutex_;  // of polls_
  std::vector<pollfd> polls_;
};

}  // namespace

std::unique_ptr<Transport> make_shm(std::vector<ShmPeer> peers) {
  return std::make_unique<Shm>(std::move(peers));
}

}  // namespace weft::internal
