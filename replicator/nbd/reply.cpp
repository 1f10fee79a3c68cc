#include "replicator/nbd/reply.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/nbd/negotiation.hpp"

#include <algorithm>
#include <cstring>

namespace farshore::nbd {

namespace {

constexpr std::uint64_t hole_unit = 4096; ///< holes begin and end at such places of the export

/// First and last of a run, relative to the READ.
struct zero_run {
    std::size_t first;
    std::size_t last;
};

/// The next long run of zeroes at or after `from`; an empty one at the end when there is none.
zero_run next_hole(bytes_view data, std::uint64_t offset, std::size_t from) {
    const std::size_t n = data.size();
    zero_run run{from, from};
    for (std::size_t at = from; at < n;) {
        const std::size_t end =
            std::min<std::size_t>(n, at + (hole_unit - (offset + at) % hole_unit));
        if (is_zero(data.subspan(at, end - at))) {
            run.last = end;
        } else if (run.last - run.first >= hole_run_min) {
            return run;
        } else {
            run = {end, end};
        }
        at = end;
    }
    const std::size_t length = run.last - run.first;
    const bool whole = length == n && n >= hole_whole_min;
    return whole || length >= hole_run_min ? run : zero_run{n, n};
}

/// Chunks one after the other. A reply gets shorter with each hole, so a chunk of data never
/// overtakes the bytes that it is made of.
struct chunk_writer {
    bytes_span out;
    const request &r;
    std::size_t length = 0;

    chunk_header header(std::uint16_t type, std::size_t payload, std::size_t end) const {
        chunk_header h;
        h.flags = end == r.length ? chunk_flag_done : std::uint16_t{0};
        h.type = type;
        h.cookie = r.cookie;
        h.length = static_cast<std::uint32_t>(payload);
        return h;
    }
    void data(std::size_t first, std::size_t last) {
        const bytes_view content = out.subspan(sizeof(data_chunk_prefix) + first, last - first);
        data_chunk_prefix prefix;
        prefix.header = header(chunk_offset_data, sizeof(be64) + content.size(), last);
        prefix.offset = r.offset + first;
        const bytes_span place = out.subspan(length);
        REPL_ASSERT(place.data() + sizeof prefix <= content.data());
        std::memmove(place.data() + sizeof prefix, content.data(), content.size());
        write_struct(place, prefix);
        length += sizeof prefix + content.size();
    }
    void hole(zero_run run) {
        hole_chunk chunk;
        chunk.header =
            header(chunk_offset_hole, sizeof(hole_chunk) - sizeof(chunk_header), run.last);
        chunk.offset = r.offset + run.first;
        chunk.length = static_cast<std::uint32_t>(run.last - run.first);
        write_struct(out.subspan(length), chunk);
        length += sizeof chunk;
    }
};

} // namespace

std::size_t write_read_reply(bytes_span out, const request &r, bool structured) {
    if (!structured) {
        write_struct(out, success_reply(r));
        return sizeof(simple_reply) + r.length;
    }
    const bytes_view data = out.subspan(sizeof(data_chunk_prefix), r.length);
    chunk_writer chunks{out, r};
    if ((r.flags & command_flag_df) != 0) {
        chunks.data(0, r.length);
        return chunks.length;
    }
    for (std::size_t at = 0; at < r.length;) {
        const zero_run hole = next_hole(data, r.offset, at);
        if (hole.first > at) {
            chunks.data(at, hole.first);
        }
        if (hole.last > hole.first) {
            chunks.hole(hole);
        }
        at = hole.last;
    }
    return chunks.length;
}

simple_reply success_reply(const request &r) {
    simple_reply reply;
    reply.cookie = r.cookie;
    return reply;
}

std::size_t write_error_reply(bytes_span out, const request &r, bool structured, wire_error e) {
    REPL_ASSERT(e != wire_error::none);
    if (!structured) {
        simple_reply reply;
        reply.error = static_cast<std::uint32_t>(e);
        reply.cookie = r.cookie;
        write_struct(out, reply);
        return sizeof reply;
    }
    error_chunk chunk;
    chunk.header.flags = chunk_flag_done;
    chunk.header.type = chunk_error;
    chunk.header.cookie = r.cookie;
    chunk.header.length = static_cast<std::uint32_t>(sizeof(error_chunk) - sizeof(chunk_header));
    chunk.error = static_cast<std::uint32_t>(e);
    write_struct(out, chunk);
    return sizeof chunk;
}

namespace {

reply_bytes error_reply(const request &r, const export_facts &facts, const error &e) {
    reply_bytes reply;
    reply.head.resize(error_reply_bytes_max);
    reply.head.resize(write_error_reply(reply.head, r, facts.structured, wire_error_of(e)));
    return reply;
}

reply_bytes run_read(block_device &device, const request &r, const export_facts &facts) {
    const std::size_t prefix = read_prefix_bytes(facts.structured);
    reply_bytes reply;
    reply.body = buffer(prefix + r.length);
    if (auto read = device.read(r.offset, reply.body.span().subspan(prefix)); !read) {
        return error_reply(r, facts, read.error());
    }
    const std::size_t length = write_read_reply(reply.body.span(), r, facts.structured);
    if (length < reply.body.size()) { // what waits to be sent takes no more than it is counted for
        reply.body.give_back(length);
    }
    return reply;
}

/// One chunk. The device's answer is cut to the request: a client is never told of more bytes than
/// it asked for, and never of none.
result<> append_status(byte_vector &out, block_device &device, const request &r,
                       status_context context, std::uint32_t id, bool last) {
    const std::size_t max = (r.flags & command_flag_req_one) != 0 ? 1 : status_extents_max;
    FS_TRY(extents, device.status({r.offset, r.length}, context, max));
    byte_vector descriptors;
    std::uint64_t left = r.length;
    for (const status_extent &extent : extents) {
        const std::uint64_t length = std::min(extent.length, left);
        if (length == 0 || descriptors.size() == max * sizeof(status_descriptor)) {
            continue;
        }
        status_descriptor d;
        d.length = static_cast<std::uint32_t>(length); // left fits 32 bits
        d.flags = extent.flags;
        append_struct(descriptors, d);
        left -= length;
    }
    if (descriptors.empty()) {
        return fail(errc::corrupt, "device reported no state");
    }
    chunk_header header;
    header.flags = last ? chunk_flag_done : std::uint16_t{0};
    header.type = chunk_block_status;
    header.cookie = r.cookie;
    header.length = static_cast<std::uint32_t>(sizeof(be32) + descriptors.size());
    append_struct(out, header);
    append_struct(out, be32(id));
    append_bytes(out, descriptors);
    return {};
}

reply_bytes run_status(block_device &device, const request &r, const export_facts &facts) {
    struct chosen {
        status_context context;
        std::uint32_t id;
    };
    std::vector<chosen> all;
    if (facts.meta_allocation) {
        all.push_back({status_context::allocation, meta_id_allocation});
    }
    if (facts.meta_dirty) {
        all.push_back({status_context::dirty, meta_id_dirty});
    }
    if (facts.meta_changed) { // the same under our own name
        all.push_back({status_context::dirty, meta_id_changed});
    }
    reply_bytes reply;
    for (std::size_t i = 0; i < all.size(); ++i) {
        const bool last = i + 1 == all.size();
        auto done = append_status(reply.head, device, r, all[i].context, all[i].id, last);
        if (!done) {
            return error_reply(r, facts, done.error());
        }
    }
    return reply;
}

result<> run_change(block_device &device, const request &r, bytes_view payload) {
    switch (r.type) {
    case command_write:
        return device.write(r.offset, payload, r.fua());
    case command_flush:
        return device.flush();
    case command_trim:
        return device.trim({r.offset, r.length}, r.fua());
    case command_write_zeroes:
        return device.write_zeroes({r.offset, r.length}, zero_options_of(r));
    default:
        REPL_ASSERT(false); // a command that validation lets through has its action above
        return {};
    }
}

} // namespace

zero_options zero_options_of(const request &r) {
    return {.fua = r.fua(),
            .keep_allocated = (r.flags & command_flag_no_hole) != 0,
            .only_if_fast = (r.flags & command_flag_fast_zero) != 0};
}

reply_bytes run_request(block_device &device, const request &r, bytes_view payload,
                        const export_facts &facts) {
    if (r.type == command_read) {
        return run_read(device, r, facts);
    }
    if (r.type == command_block_status) {
        return run_status(device, r, facts);
    }
    if (auto done = run_change(device, r, payload); !done) {
        return error_reply(r, facts, done.error());
    }
    reply_bytes reply;
    append_struct(reply.head, success_reply(r));
    return reply;
}

} // namespace farshore::nbd
