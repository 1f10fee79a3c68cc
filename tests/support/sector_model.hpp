#pragma once
// What a disk may hold: of each sector its content as flushed last, or any that was written since.
// The judge of what a crash left. Writes are whole sectors, but for the disk's last one: of a
// smaller one each byte would count by itself.

#include "replicator/base/bytes.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace farshore::test {

constexpr std::uint64_t sector_bytes = 512;

class sector_model {
  public:
    explicit sector_model(byte_vector content) { adopt(content); }

    std::uint64_t size() const { return now_.size(); }
    /// It returned, or is under way when the machine ends.
    void write(std::uint64_t offset, bytes_view data) { put(offset, data, false); }
    /// It failed: each of its sectors may be there, and stays unsure until it is written again.
    void write_failed(std::uint64_t offset, bytes_view data) { put(offset, data, true); }
    /// What was written is flushed.
    void settle() {
        for (std::uint64_t s = 0; s < since_.size(); ++s) {
            if (!unsure_[s]) {
                since_[s] = {of(now_, s)};
            }
        }
    }
    /// The first byte of a sector that holds what it can't.
    std::optional<std::uint64_t> wrong(const byte_vector &found) const {
        for (std::uint64_t s = 0; s < since_.size(); ++s) {
            if (std::ranges::find(since_[s], of(found, s)) == since_[s].end()) {
                return s * sector_bytes;
            }
        }
        return std::nullopt;
    }
    /// It was opened again and shows this, which a flush promises then.
    void adopt(const byte_vector &found) {
        now_ = found;
        since_.assign((now_.size() + sector_bytes - 1) / sector_bytes, {});
        unsure_.assign(since_.size(), false);
        settle();
    }

  private:
    static byte_vector of(const byte_vector &all, std::uint64_t s) {
        const std::uint64_t end = std::min<std::uint64_t>((s + 1) * sector_bytes, all.size());
        return {all.begin() + static_cast<std::ptrdiff_t>(s * sector_bytes),
                all.begin() + static_cast<std::ptrdiff_t>(end)};
    }
    void put(std::uint64_t offset, bytes_view data, bool failed) {
        std::ranges::copy(data, now_.begin() + static_cast<std::ptrdiff_t>(offset));
        for (std::uint64_t s = offset / sector_bytes;
             s <= (offset + data.size() - 1) / sector_bytes; ++s) {
            since_[s].push_back(of(now_, s));
            unsure_[s] = failed;
        }
    }

    byte_vector now_;
    std::vector<std::vector<byte_vector>> since_;
    std::vector<bool> unsure_;
};

} // namespace farshore::test
