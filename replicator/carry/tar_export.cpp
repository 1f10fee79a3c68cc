#include "replicator/carry/tar_export.hpp"

#include "replicator/base/clock.hpp"
#include "replicator/base/rfc3339.hpp"
#include "replicator/carry/manifest.hpp"
#include "replicator/carry/output.hpp"
#include "replicator/carry/tar_stream.hpp"

#include <fmt/format.h>

namespace farshore::carry {
namespace {

/// Of the point, for the entries; 0 when it is not known.
std::int64_t seconds_of_point(const opening &o) {
    const auto at = o.facts.is_object() ? o.facts.find("time") : o.facts.end();
    if (!o.facts.is_object() || at == o.facts.end() || !at->is_string()) {
        return 0;
    }
    const auto time = parse_rfc3339(at->get<std::string>());
    return time ? std::chrono::floor<std::chrono::seconds>(*time).time_since_epoch().count() : 0;
}

/// What does not change with the day: the same point makes the same stream.
control::json lasting_facts(const opening &o) {
    control::json out = control::json::object();
    for (const char *key :
         {"id", "time", "arrived", "kind", "name", "note", "suspect", "damaged"}) {
        if (o.facts.is_object() && o.facts.contains(key)) {
            out[key] = o.facts[key];
        }
    }
    return out;
}

result<manifest_volume> add_volume(tar_writer &tar, const opening &o, const open_volume &volume,
                                   const means &with) {
    FS_TRY(source, connect_to(o, volume));
    FS_TRY(data, source.data_extents(with.stop));
    FS_CHECK(tar.begin(entry_of_volume(volume.name), source.size(), data.ranges()));
    const auto sink = [&](const piece &part) {
        return part.data
                   ? tar.data(
                         bytes_view(*part.data).first(static_cast<std::size_t>(part.range.length)))
                   : tar.zeroes(part.range.length);
    };
    FS_TRY(done, copy_volume(source, data, sink, fmt::format("{}/{} export", o.group, volume.name),
                             with));
    return manifest_volume{volume.name, done.bytes, std::move(done.sha256)};
}

} // namespace

result<tar_written> write_tar(const opening &o, int fd, const std::string &name,
                              const means &with) {
    sha256_thread digest;
    std::uint64_t bytes = 0;
    tar_writer tar(
        [&](bytes_view block) {
            digest.add_copy(block);
            bytes += block.size();
            return write_all(fd, block, name, with.stop);
        },
        seconds_of_point(o));
    manifest m{o.group, o.point, lasting_facts(o), {}};
    for (const open_volume &volume : o.volumes) {
        FS_TRY(added, add_volume(tar, o, volume, with));
        m.volumes.push_back(std::move(added));
    }
    const std::string text = to_text(m);
    FS_CHECK(tar.begin(manifest_name, text.size(), {{0, text.size()}}));
    FS_CHECK(tar.data(as_bytes(text)));
    FS_CHECK(tar.finish());
    return tar_written{{bytes, digest.finish()}, to_json(m.volumes)};
}

} // namespace farshore::carry
