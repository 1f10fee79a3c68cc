// An undo log's records read to the end for what is damaged in them, for a scrub: whoever needs a
// record reads it as far as it is good (undo_log::visit, read_raw).

#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/log/undo_log.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

namespace farshore {
namespace {

bool is_damage(const error &e) { return is(e, errc::corrupt) || is_errno(e, EIO); }

} // namespace

result<undo_faults> undo_log::check(const undo_record &record) const {
    undo_faults faults;
    std::array<std::byte, undo_header_bytes> bytes{};
    auto head = store_->read(record.place, bytes);
    if (head) {
        const auto header = parse_undo_header(bytes);
        head = !header ? result<>(std::unexpected(header.error()))
               : *header == record.header
                   ? result<>()
                   : fail(errc::corrupt, "another undo header than was written");
    }
    if (!head && !is_damage(head.error())) {
        return std::unexpected(head.error());
    }
    const auto table = read_table(record);
    if (!table && !is_damage(table.error())) {
        return std::unexpected(table.error());
    }
    if (!head || !table) {
        faults.all = true;
        faults.why = !head ? head.error().text() : table.error().text();
        return faults;
    }
    FS_CHECK(check_contents(*table, faults));
    return faults;
}

// What can't be read at once is read again block by block: a bad sector is not a bad MiB.
result<> undo_log::check_contents(const undo_table &table, undo_faults &faults) const {
    const undo_record &record = table.record;
    std::vector<const undo_entry *> raw;
    for (const undo_entry &e : table.entries) {
        if (e.kind == undo_kind::raw) {
            raw.push_back(&e);
        }
    }
    constexpr std::size_t blocks_max = limits::MiB / block_bytes;
    buffer window(std::min(raw.size(), blocks_max) * block_bytes);
    std::uint64_t at = record.place.offset + undo_header_bytes;
    for (std::size_t first = 0; first < raw.size(); first += blocks_max) {
        const std::size_t count = std::min(blocks_max, raw.size() - first);
        const bytes_span bytes = window.span().first(count * block_bytes);
        const auto whole = store_->read({record.place.segment, at}, bytes);
        if (!whole && !is_damage(whole.error())) {
            return whole;
        }
        for (std::size_t i = 0; i < count; ++i) {
            const bytes_span block = bytes.subspan(i * block_bytes, block_bytes);
            const auto read =
                whole ? whole : store_->read({record.place.segment, at + i * block_bytes}, block);
            if (!read && !is_damage(read.error())) {
                return read;
            }
            if (!read || checksum64(block) != raw[first + i]->checksum) {
                faults.entries.push_back(*raw[first + i]);
                faults.why = read ? "undo content fails its checksum" : read.error().text();
            }
        }
        at += count * block_bytes;
    }
    return {};
}

} // namespace farshore
