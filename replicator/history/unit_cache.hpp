#pragma once
// Units of packed stretches that were read lately, decoded: a reader of neighbouring blocks needs
// each of them many times. Least recently used goes first.
//
// Threads: any.

#include "replicator/base/bytes.hpp"

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace farshore {

class unit_cache {
  public:
    static constexpr std::size_t units_max = 256; ///< of 64 KiB

    /// `stretch`: its number, which no other one has. Null: not here.
    std::shared_ptr<const buffer> find(std::uint64_t stretch, std::uint64_t unit);
    void put(std::uint64_t stretch, std::uint64_t unit, std::shared_ptr<const buffer> content);
    void clear();

  private:
    using key = std::pair<std::uint64_t, std::uint64_t>;
    struct entry {
        key of;
        std::shared_ptr<const buffer> content;
    };

    std::mutex mutex_;
    std::list<entry> recent_; ///< first: latest
    std::map<key, std::list<entry>::iterator> places_;
};

} // namespace farshore
