#include "replicator/format/nbd_protocol.hpp"

#include "replicator/base/limits.hpp"

namespace farshore::nbd {

result<request> parse_request(bytes_view bytes) {
    FS_TRY(header, read_struct<request_header>(bytes));
    if (header.magic != request_magic) {
        return fail(errc::corrupt, "request without its magic number");
    }
    return request{header.flags, header.type, header.cookie, header.offset, header.length};
}

request_header encode_request(const request &r) {
    request_header header;
    header.magic = request_magic;
    header.flags = r.flags;
    header.type = r.type;
    header.cookie = r.cookie;
    header.offset = r.offset;
    header.length = r.length;
    return header;
}

namespace {
/// 32-bit length, then so many bytes of text.
result<std::string_view> read_text(byte_reader &in) {
    FS_TRY(length, in.structure<be32>());
    if (length > limits::nbd_export_name_max) {
        return fail(errc::limit, "name or query longer than the protocol allows");
    }
    FS_TRY(text, in.bytes(length));
    return as_text(text);
}
} // namespace

result<info_option> parse_info_option(bytes_view data) {
    byte_reader in(data);
    info_option option;
    FS_TRY(name, read_text(in));
    option.export_name = name;
    FS_TRY(count, in.structure<be16>());
    if (in.remaining() != count.get() * sizeof(be16)) {
        return fail(errc::corrupt, "number of information requests does not fit the length");
    }
    option.requests.reserve(count);
    for (unsigned i = 0; i < count; ++i) {
        FS_TRY(type, in.structure<be16>());
        option.requests.push_back(type);
    }
    return option;
}

result<meta_option> parse_meta_option(bytes_view data) {
    byte_reader in(data);
    meta_option option;
    FS_TRY(name, read_text(in));
    option.export_name = name;
    FS_TRY(count, in.structure<be32>());
    // Each query takes four bytes at least, so the claim is bounded before anything is reserved.
    if (count > in.remaining() / sizeof(be32)) {
        return fail(errc::corrupt, "number of queries does not fit the length");
    }
    option.queries.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        FS_TRY(query, read_text(in));
        option.queries.push_back(query);
    }
    FS_CHECK(in.expect_end());
    return option;
}

} // namespace farshore::nbd
