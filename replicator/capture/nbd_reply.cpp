#include "replicator/capture/nbd_reply.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/capture/nbd_negotiation.hpp"

#include <algorithm>

namespace farshore::nbd {

void write_read_prefix(bytes_span out, const request &r, bool structured) {
    if (!structured) {
        write_struct(out, success_reply(r));
        return;
    }
    data_chunk_prefix prefix;
    prefix.header.flags = chunk_flag_done;
    prefix.header.type = chunk_offset_data;
    prefix.header.cookie = r.cookie;
    prefix.header.length = static_cast<std::uint32_t>(sizeof(be64) + r.length);
    prefix.offset = r.offset;
    write_struct(out, prefix);
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
    write_read_prefix(reply.body.span(), r, facts.structured);
    return reply;
}

/// One chunk. The device's answer is cut to the request: a client is never told of more bytes than
/// it asked for, and never of none.
result<> append_status(byte_vector &out, block_device &device, const request &r,
                       status_context context, bool last) {
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
    append_struct(out,
                  be32(context == status_context::allocation ? meta_id_allocation : meta_id_dirty));
    append_bytes(out, descriptors);
    return {};
}

reply_bytes run_status(block_device &device, const request &r, const export_facts &facts) {
    reply_bytes reply;
    if (facts.meta_allocation) {
        auto done =
            append_status(reply.head, device, r, status_context::allocation, !facts.meta_dirty);
        if (!done) {
            return error_reply(r, facts, done.error());
        }
    }
    if (facts.meta_dirty) {
        auto done = append_status(reply.head, device, r, status_context::dirty, true);
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
        return device.write_zeroes({r.offset, r.length},
                                   {.fua = r.fua(),
                                    .keep_allocated = (r.flags & command_flag_no_hole) != 0,
                                    .only_if_fast = (r.flags & command_flag_fast_zero) != 0});
    default:
        REPL_ASSERT(false); // a command that validation lets through has its action above
        return {};
    }
}

} // namespace

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
