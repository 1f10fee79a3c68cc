#include "replicator/format/loan_header.hpp"

#include "replicator/base/hash.hpp"
#include "replicator/format/endian.hpp"

#include <array>
#include <cstddef>

namespace farshore {
namespace {

constexpr std::array<char, 4> loan_magic = {'F', 'S', 'L', '1'};
constexpr std::uint16_t loan_version = 1;

struct loan_header_disk {
    std::array<char, 4> magic;
    le16 version;
    le16 reserved;
    le64 newest;
    le64 checksum;
};
static_assert(sizeof(loan_header_disk) == 24);
static_assert(wire_struct<loan_header_disk>);
static_assert(offsetof(loan_header_disk, newest) == 8);
static_assert(offsetof(loan_header_disk, checksum) == 16);

std::uint64_t loan_checksum(const loan_header_disk &disk) {
    return checksum64(struct_bytes(disk).first(offsetof(loan_header_disk, checksum)));
}

} // namespace

byte_vector encode_loan_header(const loan_header &header) {
    loan_header_disk disk{};
    disk.magic = loan_magic;
    disk.version = loan_version;
    disk.newest = header.newest.value;
    disk.checksum = loan_checksum(disk);
    byte_vector out;
    append_struct(out, disk);
    out.resize(loan_header_bytes);
    return out;
}

result<loan_header> parse_loan_header(bytes_view bytes) {
    FS_TRY(disk, read_struct<loan_header_disk>(bytes));
    if (disk.magic != loan_magic || disk.checksum != loan_checksum(disk) || disk.reserved != 0) {
        return fail(errc::corrupt, "no header of loans, or one that fails its checksum");
    }
    if (disk.version != loan_version) {
        return fail(errc::unsupported, "loans of version " + std::to_string(disk.version.get()));
    }
    return loan_header{interval_id{disk.newest}};
}

} // namespace farshore
