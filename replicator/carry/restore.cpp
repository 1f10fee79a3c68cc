// `farshore restore`: a volume onto a disk or file that is there. Nothing is written before
// everything that could refuse has been asked; from the first byte on the target is no longer what
// it was, and a failure says so.

#include "replicator/carry/carry.hpp"
#include "replicator/carry/gpt.hpp"
#include "replicator/carry/opening.hpp"
#include "replicator/carry/restore_target.hpp"
#include "replicator/carry/table_plan.hpp"
#include "replicator/carry/volume_copy.hpp"
#include "replicator/control/exit_code.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore::carry {
namespace {

using control::json;

constexpr std::size_t check_bytes = 512 * 1024; ///< read back at once

result<byte_vector> head_of(nbd_source &source) {
    byte_vector head(
        static_cast<std::size_t>(std::min<std::uint64_t>(source.size(), table_head_bytes)));
    FS_CHECK(source.read(0, head));
    return head;
}

/// Old content must not show through the holes.
piece_sink sink_to_target(file &target) {
    return [&target](const piece &part) -> result<> {
        return part.data
                   ? target.write_at(
                         part.range.offset,
                         bytes_view(*part.data).first(static_cast<std::size_t>(part.range.length)))
                   : target.zero(part.range, false, false);
    };
}

result<> read_back(file &target, const copied &wanted, const std::string &what, const means &with) {
    FS_CHECK(target.drop_cached()); // else the cache answers for the disk
    sha256_thread digest;
    for (std::uint64_t at = 0; at < wanted.bytes;) {
        if (with.stop()) {
            return fail(errc::cancelled, "");
        }
        const auto buffer = std::make_shared<byte_vector>(
            static_cast<std::size_t>(std::min<std::uint64_t>(check_bytes, wanted.bytes - at)));
        FS_CHECK(target.read_at(at, *buffer));
        digest.add(buffer, buffer->size());
        at += buffer->size();
        with.progress(what, at, wanted.bytes);
    }
    return digest.finish() == wanted.sha256
               ? result<>{}
               : fail(errc::mismatch, target.path() + " does not give back what was written to it: "
                                                      "the disk is bad; use another");
}

result<copied> overwrite(nbd_source &source, file &target, const table_plan &plan,
                         const restore_request &request, const means &with) {
    const std::string what = fmt::format("{}/{} restore", request.from.group, request.volume);
    FS_TRY(data, source.data_extents(with.stop));
    FS_TRY(done, copy_volume(source, data, sink_to_target(target), what, with));
    FS_CHECK(target.sync_all());
    if (request.compare) {
        FS_CHECK(read_back(target, done, what + " compare", with));
    }
    for (const table_write &w : plan.writes) {
        FS_CHECK(target.write_at(w.offset, w.bytes));
        FS_CHECK(target.sync_all());
    }
    return done;
}

result<json> restore_volume(const opening &o, const restore_request &request, const means &with) {
    FS_TRY(volume, choose_volume(o, request.volume));
    FS_TRY(source, connect_to(o, volume));
    FS_TRY(target, restore_target::open(request));
    FS_TRY(head, head_of(source));
    FS_TRY(plan, plan_table(head, source.size(), target.shape()));
    auto done = overwrite(source, target.disk(), plan, request, with);
    if (!done) {
        error e = std::move(done).error();
        e.context += fmt::format("{}{} is NOT a copy: what was on it is partly overwritten. Run "
                                 "the command again",
                                 e.context.empty() ? "" : "; ", request.to);
        return std::unexpected(std::move(e));
    }
    if (!plan.remark.empty()) {
        with.remark(request.to + ": " + plan.remark);
    }
    return json{{"group", o.group},
                {"volume", volume.name},
                {"point", o.point},
                {"file", request.to},
                {"format", "raw"},
                {"bytes", done->bytes},
                {"sha256", done->sha256},
                {"target_bytes", target.shape().bytes},
                {"sector_bytes", target.shape().sector_bytes},
                {"table", plan.remark.empty() ? json(nullptr) : json(plan.remark)}};
}

} // namespace

control::outcome run_restore(const restore_request &request, const means &with) {
    // Asked before the receiver is: the answer is the same for every point.
    if (const auto sure = restore_target::check_confirmed(request); !sure) {
        return std::unexpected(failure_of(sure.error()));
    }
    return with_opening(request.from, with, [&](const opening &o) -> control::outcome {
        const auto document = restore_volume(o, request, with);
        return document ? control::outcome(*document)
                        : std::unexpected(failure_of(document.error()));
    });
}

} // namespace farshore::carry
