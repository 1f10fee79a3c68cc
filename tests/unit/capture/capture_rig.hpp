#pragma once
// A capture group on a simulated disk with a model of the DR site beside it.
//
// The model keeps, for each volume: `live`, what the device must read as; `durable`, what the DR
// site holds for good. Closed intervals wait in `line` until deliver() applies them. What must
// always hold:
//   - a region where live and durable differ is dirty (check_dirty);
//   - an interval with a consistent barrier leads to the device's content at its close (deliver);
//   - a change's old content is what the DR site has there (deliver);
//   - what read_unchanged vouches for is what the DR site has (deliver);
//   - a verify entry's digest is of the content at the close (close).
// Failures are collected as text, so that the rig can be used without doctest and from any thread.

#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/capture/capture_group.hpp"
#include "tests/support/sim_clock.hpp"
#include "tests/support/sim_file_system.hpp"

#include <fmt/format.h>

#include <deque>
#include <random>
#include <set>
#include <utility>

namespace farshore::test {

inline digest16 test_digest(bytes_view bytes) {
    digest16 out{};
    if (!is_zero(bytes)) {
        const checksum128 sum = checksum_128(bytes);
        std::memcpy(out.data(), &sum, sizeof sum);
    }
    return out;
}

/// By memcmp: the library compares bytes one by one, most of the time of a crash test and under
/// ThreadSanitizer an hour.
inline bool same_bytes(const byte_vector &a, const byte_vector &b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}
inline bool same_volumes(const std::vector<byte_vector> &a, const std::vector<byte_vector> &b) {
    return std::ranges::equal(a, b, same_bytes);
}

/// Applies an interval's changes to a volume set; returns what is wrong with it, if anything.
inline std::string apply_changes(const interval &closed, std::vector<byte_vector> &volumes) {
    std::uint64_t last_volume = 0;
    std::uint64_t last_end = 0;
    for (const block_change &c : closed.changes()) {
        if (c.volume.value < last_volume ||
            (c.volume.value == last_volume && c.block.value < last_end)) {
            return "changes out of order";
        }
        last_volume = c.volume.value;
        last_end = c.block.value + c.count;
        byte_vector &v = volumes.at(c.volume.value);
        if (c.count == 0 || last_end > block_count(v.size())) {
            return "change beyond the volume's end";
        }
        const std::uint64_t at = c.block.value * block_bytes;
        const std::uint64_t bytes = std::min<std::uint64_t>(c.count * block_bytes, v.size() - at);
        if (c.kind == change_kind::zero) {
            std::fill_n(v.begin() + static_cast<std::ptrdiff_t>(at), bytes, std::byte{0});
            continue;
        }
        if (c.content.size() != block_bytes || !is_zero(c.content.subspan(bytes))) {
            return "content is not a padded block";
        }
        if (!c.before.empty() && std::memcmp(c.before.data(), v.data() + at, bytes) != 0) {
            return fmt::format("old content of volume {} block {} is not what the DR site has",
                               c.volume.value, c.block.value);
        }
        std::memcpy(v.data() + at, c.content.data(), bytes);
    }
    return {};
}

class capture_rig {
  public:
    capture_rig(std::uint64_t seed, std::vector<std::uint64_t> sizes)
        : disk(seed), random(seed * 2654435761U + 1) {
        auto files = disk.process();
        note(files->make_directories("disks"));
        note(files->sync_directory("."));
        for (std::size_t i = 0; i < sizes.size(); ++i) {
            options.volumes.push_back({"v" + std::to_string(i), "disks/v" + std::to_string(i)});
            auto f = files->open(options.volumes[i].path, open_mode::create);
            note((*f)->truncate(sizes[i]));
            note((*f)->sync_data());
            live.emplace_back(sizes[i]);
            durable.emplace_back(sizes[i]);
        }
        note(files->sync_directory("disks"));
        options.state_directory = "state";
        options.boot_id = "boot-0";
        options.time = &clock;
        options.memory.interval_bytes = 1U << 20;
        options.memory.bytes_max = 16U << 20;
    }

    result<> open() {
        process = disk.process();
        FS_TRY(opened, capture_group::open(*process, options));
        group = std::move(opened);
        group->set_attention([this] { ++attentions; });
        last_id = std::max(last_id, group->start().last_interval);
        return {};
    }
    block_device &device(std::size_t v) {
        return *group->device(volume_index{static_cast<std::uint16_t>(v)});
    }

    result<> write(std::size_t v, std::uint64_t offset, bytes_view data) {
        FS_CHECK(device(v).write(offset, data, false));
        std::ranges::copy(data, live[v].begin() + static_cast<std::ptrdiff_t>(offset));
        return {};
    }
    /// False: not possible without waiting.
    result<bool> try_write(std::size_t v, std::uint64_t offset, bytes_view data) {
        FS_TRY(done, device(v).try_write(offset, data));
        if (done) {
            std::ranges::copy(data, live[v].begin() + static_cast<std::ptrdiff_t>(offset));
        }
        return done;
    }
    result<> zero(std::size_t v, byte_range r, bool as_trim, bool try_first = false) {
        FS_TRY(at_once, try_first ? device(v).try_zero(r, {}) : result<bool>(false));
        if (!at_once) {
            FS_CHECK(as_trim ? device(v).trim(r, false) : device(v).write_zeroes(r, {}));
        }
        std::fill_n(live[v].begin() + static_cast<std::ptrdiff_t>(r.offset), r.length,
                    std::byte{0});
        return {};
    }

    void begin_recording() {
        line.clear(); // what is under way belongs to the old stream
        stream = stream_id{stream.value + 1};
        last_id = next(last_id);
        group->begin_recording(stream, last_id);
        --last_id.value;
    }
    bool recording() const { return group->mode() == capture_mode::recording; }

    bool close(bool even_if_empty) {
        auto closed = group->close_interval(clock.wall(), even_if_empty, false);
        if (!closed) {
            return false;
        }
        expect(closed->position().interval == next(last_id), "interval ids have a gap");
        last_id = closed->position().interval;
        for (const verify_entry &e : closed->commit().verify) {
            const bytes_view at =
                bytes_view(live[e.volume.value]).subspan(e.range.offset, e.range.length);
            expect(test_digest(at) == e.digest, "verify entry of other content");
        }
        line.push_back({std::move(closed), {}});
        if (line.back().closed->commit().consistent) {
            line.back().expected = live;
        }
        return true;
    }
    /// The DR site gets the next interval and acknowledges it.
    bool deliver() {
        if (line.empty()) {
            return false;
        }
        sent &s = line.front();
        check_unchanged(*s.closed);
        const std::string wrong = apply_changes(*s.closed, durable);
        expect(wrong.empty(), wrong);
        if (s.closed->commit().consistent) {
            expect(same_volumes(durable, s.expected),
                   "a consistent barrier is not the device's content");
        }
        group->durable(s.closed->position(), digest16{std::byte{7}});
        line.pop_front();
        return true;
    }

    /// What the group vouches for is what the DR site has at the barrier before the interval.
    void check_unchanged(const interval &closed) {
        std::set<std::pair<std::uint16_t, std::uint64_t>> changed;
        for (const block_change &c : closed.changes()) {
            for (std::uint64_t b = 0; b < c.count; ++b) {
                changed.insert({c.volume.value, c.block.value + b});
            }
        }
        buffer page(block_bytes);
        for (std::uint16_t v = 0; v < durable.size(); ++v) {
            for (std::uint64_t b = 0; b < block_count(durable[v].size()); ++b) {
                if (changed.contains({v, b}) ||
                    !group->read_unchanged(volume_index{v}, block_index{b}, closed.position(),
                                           page.span())) {
                    continue;
                }
                const auto at = bytes_view(durable[v]).subspan(b * block_bytes);
                const std::size_t bytes = std::min(at.size(), block_bytes);
                ++vouched;
                expect(std::ranges::equal(at.first(bytes), page.view().first(bytes)) &&
                           is_zero(page.view().subspan(bytes)),
                       fmt::format("volume {} block {} is not what the DR site has", v, b));
            }
        }
    }

    /// One piece of the scan; false when nothing is pending.
    bool scan_step(std::uint64_t unit, bool record_all = false) {
        const auto piece = group->next_pending({}, 0, std::max(unit, region_bytes));
        if (!piece || !recording()) {
            return false;
        }
        resolve(*piece, unit, record_all);
        return true;
    }
    /// The first run of pending regions, where the DR site has zeroes: settled by extents. Returns
    /// how many regions were.
    std::uint64_t hole_step() {
        const auto run = group->next_pending({}, 0, 1ULL << 50);
        std::uint64_t settled = 0;
        if (!run || !recording()) {
            return settled;
        }
        const bytes_view there(durable[run->volume.value]);
        const auto zero_at = [&](std::uint64_t at) {
            return is_zero(
                there.subspan(at, std::min<std::uint64_t>(block_bytes, there.size() - at)));
        };
        for (std::uint64_t at = run->range.offset; at < run->range.end();) {
            std::uint64_t end = at;
            while (end < run->range.end() && zero_at(end)) {
                end = std::min(run->range.end(), end + block_bytes);
            }
            if (end > at) {
                const auto outcome = group->settle_holes({run->volume, {at, end - at}});
                expect(outcome || is(outcome.error(), errc::not_in_sync), "settle_holes failed");
                settled += outcome ? outcome->settled_regions : 0;
                // The rest is for the digests, or for the next look.
                at = end;
            } else {
                at += block_bytes;
            }
        }
        return settled;
    }
    void resolve(const pending_range &piece, std::uint64_t unit, bool record_all) {
        // An interval that overflows makes capture fall to tracking: no fault of the scan.
        const auto accept = [this](const result<resolve_outcome> &r) {
            expect(r || (is(r.error(), errc::not_in_sync) && !group->fallback_reason().empty()),
                   r ? "" : r.error().text());
        };
        if (record_all) {
            accept(group->record_all(piece));
            return;
        }
        std::vector<digest16> peer;
        const bytes_view at =
            bytes_view(durable[piece.volume.value]).subspan(piece.range.offset, piece.range.length);
        for (std::uint64_t i = 0; i < at.size(); i += unit) {
            peer.push_back(
                test_digest(at.subspan(i, std::min<std::uint64_t>(unit, at.size() - i))));
        }
        const auto outcome = group->resolve(piece, unit, peer, test_digest);
        accept(outcome);
        for (std::size_t i = 0; outcome && i < outcome->differing_units.size(); ++i) {
            const std::uint64_t from = piece.range.offset + outcome->differing_units[i] * unit;
            const std::uint64_t to = std::min(from + unit, piece.range.end());
            resolve({piece.volume, {from, to - from}},
                    unit > region_bytes ? region_bytes : block_bytes, false);
        }
    }
    void finish_scan() {
        while (scan_step(1U << 20)) {
        }
    }
    /// From any state to "the DR site has all of it".
    void catch_up() {
        if (!recording()) {
            begin_recording();
        }
        finish_scan();
        close(true);
        while (deliver()) {
        }
    }

    /// What the volumes hold, after a crash or a refused write.
    void reread() {
        for (std::size_t v = 0; v < live.size(); ++v) {
            auto f = disk.open(options.volumes[v].path, open_mode::read);
            if (f) {
                note((*f)->read_at(0, live[v]));
            } else {
                expect(false, f.error().text());
            }
        }
    }
    void check_live() {
        std::vector<byte_vector> expected = live;
        reread();
        expect(same_volumes(expected, live), "the device is not what was written");
    }

    bool dirty(std::size_t v, std::uint64_t region) {
        const auto at = device(v).status(range_of(region_index{region}, live[v].size()),
                                         status_context::dirty, 1);
        expect(at.has_value(), "no dirty status");
        return at && (*at)[0].flags == 1;
    }
    std::uint64_t dirty_bytes() const {
        std::uint64_t sum = 0;
        for (std::uint16_t v = 0; v < live.size(); ++v) {
            sum += group->dirty_bytes(volume_index{v});
        }
        return sum;
    }
    void check_dirty() {
        for (std::size_t v = 0; v < live.size(); ++v) {
            for (std::uint64_t r = 0; r < region_count(live[v].size()); ++r) {
                const byte_range at = range_of(region_index{r}, live[v].size());
                if (std::memcmp(live[v].data() + at.offset, durable[v].data() + at.offset,
                                at.length) != 0) {
                    expect(dirty(v, r),
                           fmt::format("volume {} region {} differs and is clean", v, r));
                }
            }
        }
    }

    /// The daemon's end by `how`: 0 clean stop, 1 kill, 2 power cut.
    void restart(int how, std::uint64_t seed) {
        if (how == 0) {
            note(group->close_clean());
        }
        group.reset();
        line.clear();
        if (how == 2) {
            disk.power_cut(seed);
            options.boot_id = "boot-" + std::to_string(++boots);
        } else {
            disk.kill();
        }
        reread();
        note(open());
    }

    void expect(bool holds, const std::string &text) {
        if (!holds && problems.size() < 5) {
            problems.push_back(text);
        }
    }
    template <class T>
    void note(const result<T> &r) {
        expect(r.has_value(), r ? "" : r.error().text());
    }
    std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : random() % n; }
    byte_vector content(std::size_t n) {
        byte_vector out(n);
        const std::uint64_t tag = random();
        for (std::size_t i = 0; i < n; ++i) {
            out[i] = static_cast<std::byte>(tag >> (i % 8 * 8) ^ (i / 512));
        }
        return out;
    }

    struct sent {
        std::unique_ptr<interval> closed;
        std::vector<byte_vector> expected; ///< when consistent
    };

    sim_file_system disk;
    sim_clock clock;
    capture_options options;
    std::unique_ptr<file_system> process;
    std::unique_ptr<capture_group> group;
    std::vector<byte_vector> live;
    std::vector<byte_vector> durable;
    std::deque<sent> line;
    std::vector<std::string> problems;
    std::uint64_t settled_holes = 0; ///< regions
    std::size_t vouched = 0;         ///< blocks that the group vouched for
    std::mt19937_64 random;
    stream_id stream{100};
    interval_id last_id;
    int attentions = 0;
    int boots = 0;
};

} // namespace farshore::test
