// `farshore export`: one volume as an image of its own, or all of them as one stream (tar).

#include "replicator/carry/carry.hpp"
#include "replicator/carry/new_file.hpp"
#include "replicator/carry/opening.hpp"
#include "replicator/carry/output.hpp"
#include "replicator/carry/qemu_img.hpp"
#include "replicator/carry/since_export.hpp"
#include "replicator/carry/tar_export.hpp"
#include "replicator/carry/volume_copy.hpp"
#include "replicator/control/exit_code.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <csignal>
#include <unistd.h>

namespace farshore::carry {
namespace {

using control::json;

constexpr const char *standard_output = "standard output";

/// A reader that ends is an error of ours with words, not the end of the process.
class quiet_pipe {
  public:
    quiet_pipe() : before_(std::signal(SIGPIPE, SIG_IGN)) {}
    ~quiet_pipe() { std::signal(SIGPIPE, before_); }
    quiet_pipe(const quiet_pipe &) = delete;
    quiet_pipe &operator=(const quiet_pipe &) = delete;

  private:
    void (*before_)(int);
};

json document_of(const opening &o, const json &volume, const export_request &request,
                 const char *format, const copied &done) {
    return {{"group", o.group}, {"volume", volume},    {"point", o.point},     {"file", request.to},
            {"format", format}, {"bytes", done.bytes}, {"sha256", done.sha256}};
}

result<copied> to_stream(nbd_source &source, const std::string &what, const means &with) {
    FS_TRY(data, source.data_extents(with.stop));
    return copy_volume(source, data, sink_to_stream(STDOUT_FILENO, standard_output, with), what,
                       with);
}

result<copied> write_raw(nbd_source &source, const new_file &file, const std::string &what,
                         const means &with) {
    if (::ftruncate(file.fd(), static_cast<off_t>(source.size())) != 0) {
        return write_failed(errno, file.path());
    }
    FS_TRY(data, source.data_extents(with.stop));
    return copy_volume(source, data, sink_to_file(file.fd(), file.path()), what, with);
}

result<copied> to_file(nbd_source &source, const export_request &request, const std::string &what,
                       const means &with) {
    const existing when_there = request.force ? existing::replace : existing::refuse;
    // A vmdk names the file that it is in.
    const partial_as how =
        request.format == image_format::vmdk ? partial_as::directory : partial_as::file;
    FS_TRY(file, new_file::make(request.to, when_there, how));
    copied done;
    if (request.format == image_format::raw) {
        FS_TRY(written, write_raw(source, file, what, with));
        done = std::move(written);
    } else {
        FS_CHECK(
            convert(source.uri(), source.size(), file.partial(), request.format, request.to, with));
        FS_TRY(read, digest_file(file.partial(), what + " sum", with));
        done = std::move(read);
    }
    if (request.compare) {
        FS_CHECK(
            compare(source.uri(), source.size(), file.partial(), request.format, request.to, with));
    }
    FS_CHECK(file.publish());
    return done;
}

result<json> export_since(const opening &o, const open_volume &volume, nbd_source &source,
                          const export_request &request, const std::string &what,
                          const means &with) {
    FS_TRY(file, new_file::make(request.to, request.force ? existing::replace : existing::refuse));
    FS_TRY(written, write_since(source, request, file, what, with));
    FS_TRY(read, digest_file(file.partial(), what + " sum", with));
    if (request.compare && request.backing.empty()) {
        with.remark(request.to + ": not compared with the point, since no --backing says what it "
                                 "stands on");
    } else if (request.compare) {
        FS_CHECK(compare(source.uri(), source.size(), file.partial(), image_format::qcow2,
                         request.to, with));
    }
    FS_CHECK(file.publish());
    json document = document_of(o, volume.name, request, "qcow2", read);
    document["since"] = o.since;
    document["backing"] = request.backing.empty() ? json(nullptr) : json(request.backing);
    document["changed_bytes"] = written.changed_bytes;
    return document;
}

control::outcome export_volume(const opening &o, const export_request &request, const means &with) {
    const auto run = [&]() -> result<json> {
        FS_TRY(volume, choose_volume(o, request.volume));
        FS_TRY(source, connect_to(o, volume));
        const std::string what = fmt::format("{}/{} export", o.group, volume.name);
        if (!request.from.since.empty()) {
            return export_since(o, volume, source, request, what, with);
        }
        FS_TRY(done, request.to == "-" ? to_stream(source, what, with)
                                       : to_file(source, request, what, with));
        return document_of(o, volume.name, request, name_of(request.format), done);
    };
    const auto document = run();
    return document ? control::outcome(*document) : std::unexpected(failure_of(document.error()));
}

control::outcome export_group(const opening &o, const export_request &request, const means &with) {
    const auto run = [&]() -> result<json> {
        if (request.to == "-") {
            FS_TRY(done, write_tar(o, STDOUT_FILENO, standard_output, with));
            json document = document_of(o, nullptr, request, "tar", done.stream);
            document["volumes"] = done.volumes;
            return document;
        }
        FS_TRY(file,
               new_file::make(request.to, request.force ? existing::replace : existing::refuse));
        FS_TRY(done, write_tar(o, file.fd(), request.to, with));
        FS_CHECK(file.publish());
        json document = document_of(o, nullptr, request, "tar", done.stream);
        document["volumes"] = done.volumes;
        return document;
    };
    const auto document = run();
    return document ? control::outcome(*document) : std::unexpected(failure_of(document.error()));
}

} // namespace

control::outcome run_export(const export_request &request, const means &with) {
    const quiet_pipe quiet;
    return with_opening(request.from, with, [&](const opening &o) -> control::outcome {
        const bool whole = request.from.since.empty() && request.volume.empty() &&
                           (request.tar || o.volumes.size() > 1);
        if (!whole) {
            return export_volume(o, request, with);
        }
        if (request.format != image_format::raw) {
            return std::unexpected(usage_failure(
                fmt::format("group \"{}\" has several volumes: name one to make a {} of it, or "
                            "leave --format out for a tar of all",
                            o.group, name_of(request.format))));
        }
        return export_group(o, request, with);
    });
}

} // namespace farshore::carry
