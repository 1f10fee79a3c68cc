#include "replicator/control/exit_code.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <string>

namespace farshore {

TEST_SUITE("exit_code") {
    TEST_CASE("each failure has the exit code of the contract") {
        const auto exit_of = [](errc e) { return value_of(code_of(make_error_code(e)).exit); };
        CHECK(exit_of(errc::ok) == 0);
        CHECK(exit_of(errc::invalid) == 2);
        CHECK(exit_of(errc::not_found) == 10);
        CHECK(exit_of(errc::busy) == 11);
        CHECK(exit_of(errc::not_trusted) == 12);
        CHECK(exit_of(errc::refused) == 13);
        CHECK(exit_of(errc::not_in_sync) == 14);
        CHECK(exit_of(errc::timeout) == 15);
        CHECK(exit_of(errc::cancelled) == 130);
        for (const errc e : {errc::corrupt, errc::unsupported, errc::limit, errc::closed,
                             errc::full, errc::dead, errc::mismatch}) {
            CHECK(exit_of(e) == 1);
        }
    }

    TEST_CASE("errors of the operating system are ordinary failures") {
        const auto of = [](int number) { return code_of({number, std::generic_category()}); };
        CHECK(std::string(of(ENOSPC).word) == "no_space");
        CHECK(value_of(of(ENOSPC).exit) == 1);
        CHECK(value_of(of(EIO).exit) == 1);
        CHECK(value_of(of(ETIMEDOUT).exit) == 15);
    }

    TEST_CASE("a failure carries the object and the reason") {
        const control::failure f = failure_of({make_error_code(errc::not_found), "group \"x\""});
        CHECK(f.code == "not_found");
        CHECK(f.message == "group \"x\": it does not exist");
        CHECK(f.exit == 10);
    }

    TEST_CASE("a reason that is a whole sentence is not followed by the code's own words") {
        CHECK(message_of({make_error_code(errc::not_found), "there is no group \"x\" here"}) ==
              "there is no group \"x\" here");
        CHECK(message_of({std::error_code(ENOSPC, std::generic_category()),
                          "the spool of group \"x\" can't grow"}) ==
              "the spool of group \"x\" can't grow: No space left on device");
        CHECK(message_of({make_error_code(errc::busy), ""}) == "it is in use");
    }
}

} // namespace farshore
