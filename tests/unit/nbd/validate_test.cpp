#include "replicator/base/limits.hpp"
#include "replicator/nbd/validate.hpp"

#include <doctest/doctest.h>

#include <cerrno>

using namespace farshore;
using namespace farshore::nbd;

namespace {
constexpr std::uint64_t size = 100 * limits::MiB + 1;
constexpr std::uint32_t most = limits::nbd_request_bytes_max;

export_facts all_facts() {
    return {.size = size, .structured = true, .meta_allocation = true, .meta_dirty = true};
}
wire_error judge(std::uint16_t type, std::uint64_t offset, std::uint32_t length,
                 std::uint16_t flags = 0, export_facts facts = all_facts()) {
    return validate_request({.flags = flags, .type = type, .offset = offset, .length = length},
                            facts);
}
const auto with_range = {command_read, command_write, command_trim, command_write_zeroes,
                         command_block_status};
} // namespace

TEST_SUITE("nbd validate") {
    TEST_CASE("nbd validate: any range inside the export is fine, aligned or not") {
        for (const auto type : with_range) {
            CHECK(judge(type, 0, 1) == wire_error::none);
            CHECK(judge(type, 3, 511) == wire_error::none);
            CHECK(judge(type, size - 1, 1) == wire_error::none);
            CHECK(judge(type, size - most, most) == wire_error::none);
        }
    }

    TEST_CASE(
        "nbd validate: beyond the end is ENOSPC for what writes data and EINVAL for the rest") {
        for (const auto type : with_range) {
            const auto expected = type == command_write || type == command_write_zeroes
                                      ? wire_error::no_space
                                      : wire_error::invalid;
            CHECK(judge(type, size, 1) == expected);
            CHECK(judge(type, size - 1, 2) == expected);
            CHECK(judge(type, UINT64_MAX, 1) == expected);
            CHECK(judge(type, UINT64_MAX - 4095, 4096) == expected);
            CHECK(judge(type, size + 1, most) == expected);
        }
    }

    TEST_CASE("nbd validate: payloads end at the limit; commands without a payload don't have it") {
        CHECK(judge(command_read, 0, most + 1) == wire_error::invalid);
        CHECK(judge(command_write, 0, most + 1) == wire_error::invalid);
        CHECK(judge(command_trim, 0, most + 1) == wire_error::none);
        CHECK(judge(command_write_zeroes, 0, most + 1) == wire_error::none);
        CHECK(judge(command_block_status, 0, most + 1) == wire_error::none);
        export_facts huge = all_facts();
        huge.size = limits::volume_bytes_max;
        CHECK(judge(command_write_zeroes, 0, UINT32_MAX, 0, huge) == wire_error::none);
        CHECK(judge(command_write, 0, UINT32_MAX, 0, huge) == wire_error::invalid);
    }

    TEST_CASE("nbd validate: no empty ranges; FLUSH has none") {
        for (const auto type : with_range) {
            CHECK(judge(type, 0, 0) == wire_error::invalid);
            CHECK(judge(type, size, 0) == wire_error::invalid);
        }
        CHECK(judge(command_flush, 0, 0) == wire_error::none);
        CHECK(judge(command_flush, 1, 0) == wire_error::invalid);
        CHECK(judge(command_flush, 0, 1) == wire_error::invalid);
    }

    TEST_CASE("nbd validate: each command takes its own flags and FUA") {
        const auto accepted = [](std::uint16_t type, std::uint16_t length) {
            std::uint16_t mask = 0;
            for (unsigned bit = 0; bit < 16; ++bit) {
                const auto flag = static_cast<std::uint16_t>(1U << bit);
                if (judge(type, 0, length, flag) == wire_error::none) {
                    mask |= flag;
                } else {
                    CHECK(judge(type, 0, length, flag) == wire_error::invalid);
                }
            }
            return mask;
        };
        CHECK(accepted(command_read, 1) == (command_flag_fua | command_flag_df));
        CHECK(accepted(command_write, 1) == command_flag_fua);
        CHECK(accepted(command_flush, 0) == command_flag_fua);
        CHECK(accepted(command_trim, 1) == command_flag_fua);
        CHECK(accepted(command_write_zeroes, 1) ==
              (command_flag_fua | command_flag_no_hole | command_flag_fast_zero));
        CHECK(accepted(command_block_status, 1) == (command_flag_fua | command_flag_req_one));
    }

    TEST_CASE("nbd validate: what was not negotiated is refused") {
        export_facts plain{.size = size};
        CHECK(judge(command_read, 0, 1, command_flag_df, plain) == wire_error::invalid);
        CHECK(judge(command_read, 0, 1, 0, plain) == wire_error::none);
        CHECK(judge(command_block_status, 0, 1, 0, plain) == wire_error::invalid);
        plain.structured = true;
        CHECK(judge(command_block_status, 0, 1, 0, plain) == wire_error::invalid);
        plain.meta_dirty = true;
        CHECK(judge(command_block_status, 0, 1, 0, plain) == wire_error::none);
    }

    TEST_CASE("nbd validate: a read-only export refuses every change and allows the rest") {
        export_facts facts = all_facts();
        facts.read_only = true;
        for (const auto type : {command_write, command_trim, command_write_zeroes}) {
            CHECK(judge(type, 0, 1, 0, facts) == wire_error::not_permitted);
        }
        CHECK(judge(command_read, 0, 1, 0, facts) == wire_error::none);
        CHECK(judge(command_flush, 0, 0, 0, facts) == wire_error::none);
        CHECK(judge(command_block_status, 0, 1, 0, facts) == wire_error::none);
    }

    TEST_CASE("nbd validate: unknown commands are invalid, DISC never is") {
        CHECK(judge(command_cache, 0, 1) == wire_error::invalid);
        for (std::uint32_t type = 8; type <= UINT16_MAX; ++type) {
            CHECK(judge(static_cast<std::uint16_t>(type), 0, 1) == wire_error::invalid);
        }
        CHECK(judge(command_disconnect, 99, 99, 0xffff) == wire_error::none);
    }

    TEST_CASE("nbd validate: flags offered match what is accepted") {
        CHECK(transmission_flags(false, true) ==
              (flag_has_flags | flag_send_flush | flag_send_fua | flag_send_trim |
               flag_send_write_zeroes | flag_send_df | flag_can_multi_conn | flag_send_fast_zero));
        CHECK((transmission_flags(false, false) & flag_send_df) == 0);
        CHECK(transmission_flags(true, true) ==
              (flag_has_flags | flag_read_only | flag_can_multi_conn | flag_send_df));
    }

    TEST_CASE("nbd validate: device errors keep their meaning on the wire") {
        const auto wire = [](int number) { return wire_error_of(fail_errno(number, "").error()); };
        CHECK(wire(ENOSPC) == wire_error::no_space);
        CHECK(wire(EDQUOT) == wire_error::no_space);
        CHECK(wire(EFBIG) == wire_error::no_space);
        CHECK(wire(EROFS) == wire_error::not_permitted);
        CHECK(wire(ENOTSUP) == wire_error::not_supported);
        CHECK(wire(ENOMEM) == wire_error::no_memory);
        CHECK(wire(EIO) == wire_error::io);
        CHECK(wire(ENXIO) == wire_error::io);
        CHECK(wire_error_of(fail(errc::dead, "").error()) == wire_error::io);
        CHECK(wire_error_of(fail(errc::full, "").error()) == wire_error::no_space);
    }
}
