#pragma once
// capture.state: what a group remembers besides its maps: ids used, the acknowledged position and
// by whom.
//
// Interval ids never go back, but a power cut may take back what the mapping said last. So ids are
// reserved durably ahead, and after another boot the reserve counts as used.
//
// The acknowledged position is what both sites are known to have in common: acknowledge() is called
// before the dirty bits are cleared that it allows to clear, and begin() after all that differs is
// durably dirty. It may be older than the bits (then more is compared), never newer. The stream is
// durable before it is used, so a copy in a stream that is not known here tells that state was put
// back (session/handshake.hpp).
//
// Threads: any; its own lock, taken with no other held.

#include "replicator/base/error.hpp"
#include "replicator/format/dirty_map_file.hpp"
#include "replicator/storage/file_system.hpp"

#include <memory>
#include <mutex>
#include <string>

namespace farshore {

class capture_state {
  public:
    /// Opens or makes the file and locks it. errc::busy: another daemon uses the directory;
    /// errc::unsupported: written by a newer version.
    static result<std::unique_ptr<capture_state>> open(file_system &files, const std::string &path,
                                                       const std::string &boot_id);

    /// As found at open: last_interval is the highest id that may have been used.
    const capture_record &found() const { return found_; }
    /// Kept over a kill at once, over a power cut perhaps.
    void acknowledge(stream_position position, const std::array<std::byte, 16> &receiver);
    /// Durable on return: `stream` is about to be used, from interval `first` on, and but for what
    /// is dirty the volumes are what `receiver` has at `common`.
    result<> begin(stream_id stream, interval_id first, stream_position common,
                   const std::array<std::byte, 16> &receiver);
    /// Before an interval of this id leaves the group.
    result<> use(interval_id id);
    /// Durable on return: ids up to some beyond `id` may be used. Syncs only when the reserve is
    /// low.
    result<> reserve(interval_id id);
    /// Durable on return: no id above the last one was used.
    result<> close_clean();

  private:
    capture_state() = default;
    void store_locked();
    result<> reserve_beyond(interval_id id, std::uint64_t low);

    std::mutex sync_mutex_; ///< of those who sync: taken first
    std::mutex
        mutex_; ///< over no disk work: use() and acknowledge() are called by who must not wait
    std::unique_ptr<file> file_;
    std::unique_ptr<shared_map> map_;
    capture_record found_;
    capture_record now_;
    interval_id reserved_durably_;
};

} // namespace farshore
