#include "replicator/hook/guest_agent.hpp"

#include "replicator/hook/refusal.hpp"

#include <fmt/format.h>

#include <cerrno>

namespace farshore::hook {
namespace {

constexpr const char *thaw = "guest-fsfreeze-thaw";

/// No guest, so nothing of it is frozen.
bool nobody_listens(const error &e) { return is_errno(e, ECONNREFUSED) || is_errno(e, ENOENT); }

} // namespace

result<std::string> guest_agent_freezer::status(const tether &t) {
    FS_TRY(said, link_->command(t, "guest-fsfreeze-status"));
    return said.is_string() ? said.get<std::string>() : said.dump();
}

result<facts> guest_agent_freezer::freeze(tether &t) {
    FS_TRY(link, agent_link::open(asked_.where, t));
    link_ = std::move(link);
    FS_TRY(before, status(t));
    if (before != "thawed") {
        return refusal(
            fmt::format("the guest is {} already, by somebody else, and left so", before));
    }
    facts known;
    if (const auto about = link_->command(t, "guest-info"); about && about->is_object() &&
                                                            about->contains("version") &&
                                                            (*about)["version"].is_string()) {
        known.add("agent", (*about)["version"].get<std::string>());
    }
    FS_CHECK(t.arm(asked_.where));
    begun_ = true;
    FS_TRY(count, link_->command(t, "guest-fsfreeze-freeze"));
    count_ = count.is_number_integer() ? count.get<std::int64_t>() : 0;
    if (count_ <= 0) {
        return refusal("the guest agent has frozen no file system");
    }
    known.add("file_systems", std::to_string(count_));
    FS_CHECK(prove(t));
    return known;
}

result<> guest_agent_freezer::prove(tether &t) {
    FS_TRY(now, status(t));
    if (now != "frozen") {
        return refusal(fmt::format("the guest is {} before the release", now));
    }
    return {};
}

result<facts> guest_agent_freezer::release(tether &t) {
    FS_TRY(count, link_->command(t, thaw));
    begun_ = false;
    if (!count.is_number_integer() || count.get<std::int64_t>() < count_) {
        return refusal(fmt::format("of {} file systems that were frozen {} still were at the "
                                   "release",
                                   count_, count.dump()));
    }
    return facts{};
}

result<> guest_agent_freezer::let_go(tether &t) {
    link_.reset(); // QEMU takes the next client then
    if (!begun_) {
        return {};
    }
    const auto done = agent_link::open_with(asked_.where, t, thaw);
    begun_ = !done;
    return done || nobody_listens(done.error()) ? result<>{} : std::unexpected(done.error());
}

result<> guest_agent_freezer::force_release(tether &t, const std::string &) {
    const auto done = agent_link::open_with(asked_.where, t, thaw);
    if (done || nobody_listens(done.error())) {
        return {};
    }
    return refusal("a thaw was sent to the guest and not answered: " + done.error().text());
}

} // namespace farshore::hook
