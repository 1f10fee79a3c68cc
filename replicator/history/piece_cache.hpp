#pragma once
// What was read of packed stretches lately, decoded: units of contents and pages of rows. A reader
// of neighbouring blocks needs each of them many times. Least recently used goes first.
//
// Who wants what another thread is just reading waits for that one, so that many readers of one
// unit read it once.
//
// Threads: any. get() may block on a disk.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/format/packed_stretch.hpp"

#include <condition_variable>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace farshore {

template <class T>
class piece_cache {
  public:
    using piece = std::shared_ptr<const T>;

    explicit piece_cache(std::size_t pieces_max) : pieces_max_(pieces_max) {}

    /// `stretch`: its number, which no other one has. `load` is a result<piece>(), called by one
    /// thread at a time for one piece; its error is that thread's alone.
    template <class Load>
    result<piece> get(std::uint64_t stretch, std::uint64_t number, Load load) {
        const key of{stretch, number};
        std::unique_lock lock(mutex_);
        for (;;) {
            const auto at = places_.find(of);
            if (at == places_.end()) {
                break;
            }
            if (at->second->content) {
                recent_.splice(recent_.begin(), recent_, at->second);
                return at->second->content;
            }
            loaded_.wait(lock);
        }
        recent_.push_front({of, nullptr});
        places_.emplace(of, recent_.begin());
        lock.unlock();
        auto read = load();
        lock.lock();
        if (const auto at = places_.find(of); at != places_.end() && !at->second->content) {
            if (read) {
                at->second->content = *read;
            } else {
                forget(at);
            }
        }
        trim();
        loaded_.notify_all();
        return read;
    }
    void clear() {
        const std::scoped_lock lock(mutex_);
        places_.clear();
        recent_.clear();
        loaded_.notify_all();
    }

  private:
    using key = std::pair<std::uint64_t, std::uint64_t>;
    struct entry {
        key of;
        piece content; ///< null: somebody reads it
    };
    using place = std::map<key, typename std::list<entry>::iterator>::iterator;

    void forget(place at) {
        recent_.erase(at->second);
        places_.erase(at);
    }
    void trim() {
        while (recent_.size() > pieces_max_) {
            forget(places_.find(recent_.back().of));
        }
    }

    const std::size_t pieces_max_;
    std::mutex mutex_;
    std::condition_variable loaded_;
    std::list<entry> recent_; ///< first: latest
    std::map<key, typename std::list<entry>::iterator> places_;
};

/// Of one group's stretches.
struct packed_caches {
    static constexpr std::size_t units_max = 256; ///< of 64 KiB
    static constexpr std::size_t pages_max = 256; ///< of some 200 rows of 96 bytes

    piece_cache<buffer> units{units_max};
    piece_cache<std::vector<packed_row>> pages{pages_max};

    void clear() {
        units.clear();
        pages.clear();
    }
};

} // namespace farshore
