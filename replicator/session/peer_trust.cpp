#include "replicator/session/peer_trust.hpp"

#include "transport/tls_link.hpp"

#include <fmt/format.h>

namespace farshore {

peer_verdict judge_peer(const peer_evidence &e) {
    if (e.mode == trust_mode::pinned) {
        return !e.pinned.empty() && e.fingerprint == e.pinned ? peer_verdict::ours
                                                              : peer_verdict::unknown;
    }
    if (!e.signed_by_ca) {
        return peer_verdict::unknown;
    }
    if (e.name_asked && !e.name_found) {
        return peer_verdict::wrong_name;
    }
    if (!e.is_sender) {
        return peer_verdict::ours;
    }
    if (e.sender.empty()) {
        return peer_verdict::unknown;
    }
    if (e.stored_sender.empty()) {
        return peer_verdict::first_use;
    }
    return e.sender == e.stored_sender ? peer_verdict::ours : peer_verdict::other;
}

bool same_sender(trust_mode mode, const pinned_peer *a, const pinned_peer *b) {
    if (a == nullptr || b == nullptr) {
        return false;
    }
    return mode == trust_mode::pinned ? !a->fingerprint.empty() && a->fingerprint == b->fingerprint
                                      : !a->sender.empty() && a->sender == b->sender;
}

std::string name_expected(const std::string &peer_name, const std::string &address) {
    if (!peer_name.empty()) {
        return peer_name;
    }
    const auto parsed = transport::parse_address(address);
    return parsed ? parsed->host : address;
}

result<> accept_receiver(const expected_peer &expected, const std::string &fingerprint,
                         bool signed_by_ca, bool name_found, const std::string &names) {
    peer_evidence e;
    e.mode = expected.fingerprint.empty() ? expected.mode : trust_mode::pinned;
    e.signed_by_ca = signed_by_ca;
    e.fingerprint = fingerprint;
    e.pinned = expected.fingerprint;
    e.name_asked = true;
    e.name_found = name_found;
    switch (judge_peer(e)) {
    case peer_verdict::ours:
    case peer_verdict::first_use:
        return {};
    case peer_verdict::wrong_name:
        return fail(errc::not_trusted,
                    fmt::format("is signed by the site's CA, but not for \"{}\" ({}); if that is "
                                "the DR site all the same, set "
                                "`peer_name` of the group to a name in its certificate",
                                expected.name, names));
    case peer_verdict::unknown:
    case peer_verdict::other:
        break;
    }
    return fail(errc::not_trusted, "is not the one pinned for it");
}

} // namespace farshore
