// `farshore import`: an exported group as the seed of one that has no copy yet. Every image is
// written under a partial name; all get their own when every sum of the manifest was right. What is
// still different from the primary is found by digests at the first contact.

#include "replicator/base/limits.hpp"
#include "replicator/carry/carry.hpp"
#include "replicator/carry/manifest.hpp"
#include "replicator/carry/new_file.hpp"
#include "replicator/carry/output.hpp"
#include "replicator/carry/seed_files.hpp"
#include "replicator/carry/tar_stream.hpp"
#include "replicator/control/exit_code.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace farshore::carry {
namespace {

using control::json;

struct arrival {
    std::vector<new_file> files; ///< in the order of `volumes`
    std::vector<manifest_volume> volumes;
    std::optional<manifest> last;
};

class importer {
  public:
    importer(const seed_place &place, tar_reader &tar, const means &with)
        : place_(place), tar_(tar), with_(with) {}

    /// The whole stream, checked against its manifest. Nothing has its name yet.
    result<arrival> take_all() {
        tar_reader::entry e;
        for (;;) {
            FS_TRY(there, tar_.next(e));
            if (!there) {
                break;
            }
            FS_CHECK(take(e));
        }
        if (!all_.last) {
            return fail(errc::corrupt,
                        fmt::format("the stream ended without its {}: it is not whole; nothing was "
                                    "kept. Take another copy of it, or export it again",
                                    manifest_name));
        }
        FS_CHECK(check_arrived(*all_.last, all_.volumes));
        return std::move(all_);
    }

  private:
    result<> take(const tar_reader::entry &e) {
        if (all_.last) {
            return foreign(e, "comes after the manifest, which is the last");
        }
        if (!e.plain_file) {
            return foreign(e, "is no plain file");
        }
        if (e.name == manifest_name) {
            return take_manifest(e);
        }
        const std::string volume = volume_of_entry(e.name);
        if (volume.empty()) {
            return foreign(e, "is none that `farshore export` writes");
        }
        if (std::ranges::find(all_.volumes, volume, &manifest_volume::name) != all_.volumes.end()) {
            return foreign(e, "is there twice");
        }
        if (e.size > limits::volume_bytes_max ||
            all_.volumes.size() >= limits::volumes_per_group_max) {
            return foreign(e, "is beyond what a group may have");
        }
        return take_volume(e, volume);
    }

    std::unexpected<error> foreign(const tar_reader::entry &e, const char *why) const {
        return fail(errc::corrupt, fmt::format("the stream is no export of a group: its entry "
                                               "\"{}\" {}; nothing was kept",
                                               e.name.substr(0, 200), why));
    }

    result<> take_manifest(const tar_reader::entry &e) {
        if (e.size > manifest_bytes_max) {
            return foreign(e, "is larger than a manifest may be");
        }
        std::string text;
        std::uint64_t offset = 0;
        bytes_view bytes;
        for (;;) {
            FS_TRY(more, tar_.data(offset, bytes));
            if (!more) {
                break;
            }
            if (offset != text.size() || text.size() + bytes.size() > manifest_bytes_max) {
                return foreign(e, "has holes");
            }
            text += as_text(bytes);
        }
        FS_TRY(m, parse_manifest(text));
        all_.last = std::move(m);
        return {};
    }

    result<> take_volume(const tar_reader::entry &e, const std::string &volume) {
        FS_TRY(path, image_path(place_, volume));
        FS_TRY(file, new_file::make(path, existing::refuse));
        FS_CHECK(give_to_owner(file));
        if (::ftruncate(file.fd(), static_cast<off_t>(e.size)) != 0) {
            return write_failed(errno, path);
        }
        FS_TRY(sum, take_content(e, volume, file));
        all_.files.push_back(std::move(file));
        all_.volumes.push_back({volume, e.size, std::move(sum)});
        return {};
    }

    /// The daemon has to write to what root brings.
    static result<> give_to_owner(const new_file &file) {
        struct stat st{};
        const std::string directory = directory_of(file.path());
        if (::geteuid() != 0) {
            return {};
        }
        if (::stat(directory.c_str(), &st) != 0 || ::fchown(file.fd(), st.st_uid, st.st_gid) != 0) {
            return fail_errno(errno, "giving " + file.path() + " to the owner of its directory");
        }
        return {};
    }

    result<std::string> take_content(const tar_reader::entry &e, const std::string &volume,
                                     const new_file &file) {
        sha256_thread digest;
        std::uint64_t done = 0;
        std::uint64_t offset = 0;
        bytes_view bytes;
        for (;;) {
            FS_TRY(more, tar_.data(offset, bytes));
            if (!more) {
                break;
            }
            if (offset < done || offset > e.size || bytes.size() > e.size - offset) {
                return foreign(e, "has content beyond its size");
            }
            digest.add(nullptr, offset - done);
            digest.add_copy(bytes);
            FS_CHECK(write_at(file.fd(), offset, bytes, file.path()));
            done = offset + bytes.size();
            with_.progress(fmt::format("{}/{} import", place_.group, volume), done, e.size);
        }
        digest.add(nullptr, e.size - done);
        return digest.finish();
    }

    const seed_place &place_;
    tar_reader &tar_;
    const means &with_;
    arrival all_;
};

/// All names, or none.
result<> publish_all(arrival &all) {
    for (std::size_t i = 0; i < all.files.size(); ++i) {
        if (auto published = all.files[i].publish(); !published) {
            for (std::size_t back = 0; back < i; ++back) {
                all.files[back].withdraw();
            }
            return published;
        }
    }
    return {};
}

result<> make_directory(const seed_place &place) {
    if (!place.directory.empty() && ::mkdir(place.directory.c_str(), 0700) != 0 &&
        errno != EEXIST) {
        return fail_errno(errno, "replica directory " + place.directory);
    }
    return {};
}

result<json> import_stream(const import_request &request, const seed_place &place,
                           const means &with) {
    FS_CHECK(check_wanted(place));
    const bool is_file = request.from != "-";
    const std::string name = is_file ? request.from : "standard input";
    unique_fd opened;
    if (is_file) {
        opened = unique_fd(::open(request.from.c_str(), O_RDONLY | O_CLOEXEC));
        if (!opened) {
            return fail_errno(errno, request.from);
        }
    }
    FS_CHECK(make_directory(place));
    const int fd = is_file ? opened.get() : STDIN_FILENO;
    tar_reader tar([&](bytes_span bytes) { return read_some(fd, bytes, name, with.stop); });
    importer work(place, tar, with);
    FS_TRY(all, work.take_all());
    FS_CHECK(publish_all(all));
    json images = json::object();
    for (std::size_t i = 0; i < all.files.size(); ++i) {
        images[all.volumes[i].name] = all.files[i].path();
    }
    return json{{"group", request.group},
                {"from", {{"group", all.last->group}, {"point", all.last->point}}},
                {"file", request.from},
                {"volumes", to_json(all.volumes)},
                {"images", std::move(images)},
                {"done", "seeded"}};
}

} // namespace

control::outcome run_import(const import_request &request, const means &with) {
    const auto told = control::call(with.socket, "seed_target", json{{"group", request.group}},
                                    nullptr, with.limits);
    if (!told) {
        return std::unexpected(told.error());
    }
    const auto place = seed_place_of(*told);
    const auto document =
        place ? import_stream(request, *place, with) : result<json>(std::unexpected(place.error()));
    return document ? control::outcome(*document) : std::unexpected(failure_of(document.error()));
}

} // namespace farshore::carry
