// A group at the DR site: what rehearsals found on its points, and when schedules last began one.

#include "replicator/base/clean_text.hpp"
#include "replicator/catalogue/catalogue_limits.hpp"
#include "replicator/receiver/receiver_group.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

/// Lines stay lines; each is cleaned, and of too many bytes the last stay.
std::string cleaned(const std::string &message) {
    std::string out;
    std::size_t at = 0;
    while (at < message.size()) {
        const std::size_t end = std::min(message.find('\n', at), message.size());
        out += (out.empty() ? "" : "\n") + clean_text(message.substr(at, end - at));
        at = end + 1;
    }
    if (out.size() > limits::test_message_bytes_max) {
        out.erase(0, out.size() - limits::test_message_bytes_max);
        const auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; };
        out.erase(out.begin(), std::ranges::find_if(out, begins)); // a character has several bytes
    }
    return out;
}

} // namespace

result<std::shared_ptr<replica_group>> receiver_group::copy_there() const {
    if (copy_) {
        return copy_;
    }
    return fail(errc::busy, fmt::format("group \"{}\" has no copy that is open now; `farshore "
                                        "status` says why",
                                        name()));
}

task<result<point_info>> receiver_group::note_test(std::string point, test_info test) {
    catalogued_test t;
    t.time = test.time;
    t.name = test.name;
    t.passed = test.passed;
    t.took = test.took;
    t.message = cleaned(test.message);
    FS_CO_TRY(p, co_await change_point(std::move(point), [t](replica_group &copy, interval_id id) {
                  catalogued_test here = t;
                  here.point = id;
                  return copy.note_test(here);
              }));
    log_.tell(t.passed ? log::level::info : log::level::warning,
              fmt::format("rehearsal{} on point {} {} after {:.1f} s",
                          t.name.empty() ? "" : " \"" + t.name + "\"", p.id,
                          t.passed ? "passed" : "FAILED", seconds_of(t.took)));
    co_return p;
}

task<result<>> receiver_group::note_unrun(test_info test) {
    FS_CO_TRY(copy, copy_there());
    catalogued_test t;
    t.time = test.time;
    t.name = std::move(test.name);
    t.message = cleaned(test.message);
    co_return co_await run_on(run_.disk, [copy, t] { return copy->facts().add_unrun(t); });
}

task<result<std::optional<wall_time>>> receiver_group::begun(std::string what) {
    FS_CO_TRY(copy, copy_there());
    FS_CO_TRY(at, co_await run_on(run_.disk, [copy, what] { return copy->facts().begun(what); }));
    co_return at == wall_time{} ? std::nullopt : std::optional(at);
}

task<result<>> receiver_group::set_begun(std::string what, wall_time at) {
    FS_CO_TRY(copy, copy_there());
    co_return co_await run_on(run_.disk,
                              [copy, what, at] { return copy->facts().set_begun(what, at); });
}

std::optional<tests_status> receiver_group::tests_seen() const {
    const test_record t = copy_ ? copy_->tested() : test_record{};
    if (t.last == wall_time{}) {
        return std::nullopt;
    }
    tests_status s{t.last, std::to_string(t.last_point.value), t.last_passed, std::nullopt};
    if (t.passed != wall_time{}) {
        s.last_passed = t.passed;
    }
    return s;
}

} // namespace farshore
