#pragma once
// Frames arrive over several links in any order; the journal takes them in one. Pure bookkeeping:
// frames wait here until it is their turn. Bounded: the sender may be at most a window ahead of
// what was taken, so more than that is a broken peer. Counted as in the window
// (frame_window_bytes), which covers what is allocated: a frame of 64 bytes takes a page.

#include "replicator/format/frame.hpp"
#include "replicator/format/position.hpp"

#include <fmt/format.h>

#include <map>
#include <optional>

namespace farshore {

/// What a frame counts in the window: at least what it costs the receiver while it waits there for
/// its turn, allocated and with its place in a table. So a window of small frames is no more memory
/// than one of large ones, and a window of 64 MiB is at most 4096 frames.
constexpr std::uint64_t frame_window_bytes(std::uint64_t frame_bytes) {
    constexpr std::uint64_t least = 16 * 1024;
    return frame_bytes < least ? least : frame_bytes;
}

class frame_assembly {
  public:
    explicit frame_assembly(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}

    /// What comes next. Drops all that is held.
    void expect(stream_position position, std::uint32_t index) {
        stream_ = position.stream;
        next_ = {position.interval.value, index};
        held_.clear();
        held_bytes_ = 0;
    }

    /// Takes a frame. Frames of another stream (late ones of the stream before) and frames already
    /// taken are ignored. All errors are fault::peer. errc::corrupt: not a frame; errc::limit: more
    /// held than a window.
    result<> add(buffer frame) {
        auto parsed = parse_frame_header(frame.view());
        if (!parsed) {
            return std::unexpected(blame(fault::peer, std::move(parsed).error()));
        }
        const frame_header &header = *parsed;
        if (frame.size() != frame_header_bytes + header.payload_bytes) {
            return fail_peer(errc::corrupt,
                             fmt::format("a frame of {} bytes whose header says {}", frame.size(),
                                         frame_header_bytes + header.payload_bytes));
        }
        const key at{header.interval.value, header.index};
        if (header.stream != stream_ || at < next_) {
            return {};
        }
        held_bytes_ += frame_window_bytes(frame.size());
        if (held_bytes_ > bytes_max_) {
            return fail_peer(
                errc::limit,
                fmt::format("the sender sent more than the window of {} bytes ahead", bytes_max_));
        }
        if (!held_.emplace(at, held{std::move(frame), header.type}).second) {
            return fail_peer(errc::corrupt, fmt::format("frame {} of interval {} came twice",
                                                        at.index, at.interval));
        }
        return {};
    }

    struct taken {
        buffer frame;
        bool barrier = false;
    };
    interval_id next_interval() const { return interval_id{next_.interval}; }
    /// The next frame in order, if it is here.
    std::optional<taken> take() {
        const auto first = held_.begin();
        if (first == held_.end() || first->first != next_) {
            return std::nullopt;
        }
        taken out{std::move(first->second.frame), first->second.type == frame_type::barrier};
        held_bytes_ -= frame_window_bytes(out.frame.size());
        held_.erase(first);
        next_ = out.barrier ? key{next_.interval + 1, 0} : key{next_.interval, next_.index + 1};
        return out;
    }
    std::uint64_t held_bytes() const { return held_bytes_; }
    void set_bytes_max(std::uint64_t bytes_max) { bytes_max_ = bytes_max; }

  private:
    struct key {
        std::uint64_t interval = 0;
        std::uint32_t index = 0;
        auto operator<=>(const key &) const = default;
    };
    struct held {
        buffer frame;
        frame_type type;
    };
    std::uint64_t bytes_max_;
    stream_id stream_;
    key next_;
    std::map<key, held> held_;
    std::uint64_t held_bytes_ = 0;
};

} // namespace farshore
