// A captured volume as a disk for clients.

#include "replicator/base/assert.hpp"
#include "replicator/capture/capture_core.hpp"

namespace farshore {
namespace {

constexpr std::uint32_t flag_dirty = 1;
constexpr std::uint32_t flags_hole = 3; ///< NBD_STATE_HOLE | NBD_STATE_ZERO

/// Appends, merged with the last when alike. False when there would be more than `max`.
bool append(std::vector<status_extent> &out, status_extent next, std::size_t max) {
    if (next.length == 0) {
        return true;
    }
    if (!out.empty() && out.back().flags == next.flags) {
        out.back().length += next.length;
        return true;
    }
    if (out.size() == max) {
        return false;
    }
    out.push_back(next);
    return true;
}

class capture_device final : public block_device {
  public:
    capture_device(capture_core &group, captured_volume &v) : group_(group), v_(v) {}

    std::uint64_t size() const override { return v_.size; }
    bool read_only() const override { return false; }
    bool has_dirty_context() const override { return true; }

    result<> read(std::uint64_t offset, bytes_span out) override {
        return v_.data->read_at(offset, out);
    }
    result<bool> try_read(std::uint64_t offset, bytes_span out) override {
        return v_.data->read_at_cached(offset, out);
    }

    result<> write(std::uint64_t offset, bytes_view data, bool fua) override {
        FS_TRY(done, group_.write(v_, offset, data, patience::wait));
        REPL_ASSERT(done);
        return fua ? group_.sync_volume(v_) : result<>();
    }
    result<bool> try_write(std::uint64_t offset, bytes_view data) override {
        return group_.write(v_, offset, data, patience::never);
    }

    result<> flush() override { return group_.sync_volume(v_); }
    result<> trim(byte_range range, bool fua) override {
        return group_.zero(v_, range, {.fua = fua});
    }
    result<> write_zeroes(byte_range range, zero_options options) override {
        return group_.zero(v_, range, options);
    }

    result<bool> try_zero(byte_range range, zero_options options) override {
        return group_.zero_at_once(v_, range, options);
    }

    result<std::vector<status_extent>> status(byte_range range, status_context context,
                                              std::size_t max) override {
        REPL_ASSERT(max > 0 && range.length > 0 && range.end() <= v_.size);
        switch (context) {
        case status_context::allocation:
            return allocation(range, max);
        case status_context::dirty:
            return dirty(range, max);
        }
        return fail(errc::invalid, "no such status context");
    }

  private:
    result<std::vector<status_extent>> allocation(byte_range range, std::size_t max) const {
        std::vector<status_extent> out;
        std::uint64_t at = range.offset;
        while (at < range.end()) {
            FS_TRY(data, v_.data->next_data(at));
            const std::uint64_t first = std::clamp(data.offset, at, range.end());
            const std::uint64_t last =
                data.length == 0 ? range.end() : std::clamp(data.end(), first, range.end());
            const std::uint64_t hole_end = data.length == 0 ? range.end() : first;
            if (!append(out, {hole_end - at, flags_hole}, max) ||
                !append(out, {last - hole_end, 0}, max)) {
                break;
            }
            at = last;
        }
        return out;
    }
    std::vector<status_extent> dirty(byte_range range, std::size_t max) const {
        std::vector<status_extent> out;
        const index_range regions = regions_of(range);
        for (std::uint64_t r = regions.first; r < regions.last;) {
            const std::uint64_t word = v_.map->word(r / 64);
            // A word of one kind, an extent, counts as one step.
            const bool whole = r % 64 == 0 && (word == 0 || word == ~0ULL);
            const std::uint64_t next = std::min(regions.last, whole ? r + 64 : r + 1);
            const std::uint64_t from = std::max(r * region_bytes, range.offset);
            const std::uint64_t to = std::min(next * region_bytes, range.end());
            const bool set = (word >> (r % 64) & 1) != 0;
            if (!append(out, {to - from, set ? flag_dirty : 0}, max)) {
                break;
            }
            r = next;
        }
        return out;
    }

    capture_core &group_;
    captured_volume &v_;
};

} // namespace

std::shared_ptr<block_device> make_capture_device(capture_core &group, captured_volume &v) {
    return std::make_shared<capture_device>(group, v);
}

} // namespace farshore
