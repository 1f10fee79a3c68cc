#include "replicator/carry/since_export.hpp"

namespace farshore::carry {
namespace {

std::uint64_t bytes_in(const std::vector<byte_range> &ranges) {
    std::uint64_t sum = 0;
    for (const byte_range &r : ranges) {
        sum += r.length;
    }
    return sum;
}

/// What the backing image may have where the point has zeroes now.
result<> write_zeroes(overlay &image, const std::vector<byte_range> &ranges, const means &with) {
    for (const byte_range &r : ranges) {
        if (with.stop()) {
            return fail(errc::cancelled, "");
        }
        FS_CHECK(image.zero(r));
    }
    return {};
}

} // namespace

result<since_written> write_since(nbd_source &source, const export_request &request,
                                  const new_file &file, const std::string &what,
                                  const means &with) {
    since_written done;
    if (!request.backing.empty()) {
        FS_TRY(found, find_backing(request.backing, directory_of(file.path()), with.stop));
        done.backing = std::move(found);
    }
    FS_TRY(changed, source.changed_extents(with.stop));
    FS_TRY(data, source.data_extents(with.stop));
    const auto read = in_both(changed.ranges(), data.ranges());
    done.changed_bytes = changed.bytes();
    FS_TRY(image, overlay::make(file.partial(), source.size(), done.backing, with.stop));
    const std::uint64_t total = bytes_in(read);
    std::uint64_t so_far = 0;
    FS_CHECK(source.copy(
        read,
        [&](const piece &part) -> result<> {
            if (!part.data) {
                return {}; // not changed, or below
            }
            so_far += part.range.length;
            with.progress(what, so_far, total);
            return image.write(
                part.range.offset,
                bytes_view(*part.data).first(static_cast<std::size_t>(part.range.length)));
        },
        with.stop));
    FS_CHECK(write_zeroes(image, in_first_only(changed.ranges(), data.ranges()), with));
    FS_CHECK(image.finish());
    return done;
}

} // namespace farshore::carry
