#pragma once
// Old content out of packed stretches: finds the row that a block has as of some moment, and
// follows deltas and copies to what they lead to, which may be in a later stretch, in raw undo, or
// in the image.
//
// Threads: any; one list and one `present` for one call.

#include "replicator/history/packed_store.hpp"

#include <span>

namespace farshore {

/// What comes after the newest stretch.
class packed_present {
  public:
    virtual ~packed_present() = default;
    /// One block as it was when the newest stretch ended.
    virtual result<> read(volume_index volume, std::uint64_t block, bytes_span out) = 0;
};

class packed_reader {
  public:
    /// Deltas and copies in a row, and what one stretch may add to them; more is damage.
    static constexpr unsigned hops_max = 64;

    /// `filters`: of each stretch, so that a look costs no lock; empty: they are asked for theirs.
    packed_reader(const stretch_list &stretches, packed_present &present, packed_caches &caches,
                  std::span<const std::shared_ptr<const packed_filter>> filters = {})
        : stretches_(stretches), filters_(filters), present_(present), caches_(caches) {}

    /// No stretch says anything of these blocks after `after`; false: one may. Reads nothing.
    static bool untouched(const stretch_list &stretches, const filter_list &filters,
                          interval_id after, volume_index volume, std::uint64_t block,
                          std::uint64_t count);

    struct place {
        std::size_t stretch = 0;
        packed_row row;
    };
    /// For each block of [block, block + count) that a stretch has a row of after `after`: the
    /// oldest one. In order.
    result<std::vector<place>> find(interval_id after, volume_index volume, std::uint64_t block,
                                    std::uint64_t count) const;
    /// The row's blocks. errc::corrupt; what `present` says.
    result<> read(const place &at, bytes_span out) const { return read(at, out, 0); }
    /// One block as of `after`.
    result<> read_as_of(interval_id after, volume_index volume, std::uint64_t block,
                        bytes_span out) const {
        return read_as_of(first_after(stretches_, after), after, volume, block, out, 0);
    }

  private:
    static std::size_t first_after(const stretch_list &stretches, interval_id after);
    bool may_hold(std::size_t stretch, volume_index volume, std::uint64_t block) const;
    result<> read(const place &at, bytes_span out, unsigned hops) const;
    result<> read_as_of(std::size_t from, interval_id after, volume_index volume,
                        std::uint64_t block, bytes_span out, unsigned hops) const;

    const stretch_list &stretches_;
    std::span<const std::shared_ptr<const packed_filter>> filters_;
    packed_present &present_;
    packed_caches &caches_;
};

} // namespace farshore
