#include "replicator/session/trust.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/bytes.hpp"
#include "replicator/base/log.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <sys/random.h>

namespace farshore {
namespace {

using json = nlohmann::json;
constexpr std::size_t invitation_id_digits = 12;
constexpr std::string_view token_prefix = "farshore1.";
constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string to_base64url(std::string_view text) {
    std::string out;
    std::uint32_t bits = 0;
    int held = 0;
    for (const char c : text) {
        bits = bits << 8 | static_cast<unsigned char>(c);
        held += 8;
        while (held >= 6) {
            held -= 6;
            out.push_back(alphabet[bits >> held & 63]);
        }
    }
    if (held > 0) {
        out.push_back(alphabet[bits << (6 - held) & 63]);
    }
    return out;
}

result<std::string> from_base64url(std::string_view text) {
    std::string out;
    std::uint32_t bits = 0;
    int held = 0;
    for (const char c : text) {
        const auto value = alphabet.find(c);
        if (value == std::string_view::npos) {
            return fail(errc::invalid,
                        "the token has characters that no token has; copy the whole line again");
        }
        bits = bits << 6 | static_cast<std::uint32_t>(value);
        held += 6;
        if (held >= 8) {
            held -= 8;
            out.push_back(static_cast<char>(bits >> held & 255));
        }
    }
    return out;
}

std::string sha256_hex(std::string_view text) {
    std::array<std::byte, 32> digest{};
    unsigned length = 0;
    EVP_Digest(text.data(), text.size(), as_unsigned(bytes_span(digest)), &length, EVP_sha256(),
               nullptr);
    return to_hex(digest);
}

std::int64_t ms_of(wall_time t) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(t.time_since_epoch()).count();
}

} // namespace

std::string encode_token(const join_token &t) {
    const json j = {{"g", t.group}, {"a", t.address}, {"f", t.fingerprint}, {"s", t.secret}};
    return std::string(token_prefix) + to_base64url(j.dump());
}

result<join_token> parse_token(const std::string &text) {
    const auto first = text.find_first_not_of(" \t\r\n");
    const auto last = text.find_last_not_of(" \t\r\n");
    const std::string trimmed =
        first == std::string::npos ? "" : text.substr(first, last - first + 1);
    if (!trimmed.starts_with(token_prefix) || trimmed.size() > 4096) {
        return fail(errc::invalid, "this is not a token that `farshore invite` printed");
    }
    FS_TRY(plain, from_base64url(std::string_view(trimmed).substr(token_prefix.size())));
    const json j = json::parse(plain, nullptr, false);
    join_token t;
    for (auto [key, field] :
         {std::pair{"g", &t.group}, {"a", &t.address}, {"f", &t.fingerprint}, {"s", &t.secret}}) {
        if (!j.is_object() || !j.contains(key) || !j[key].is_string()) {
            return fail(errc::invalid, "the token is damaged; copy the whole line again");
        }
        *field = j[key].get<std::string>();
    }
    return t;
}

void fill_random(bytes_span out) {
    REPL_ASSERT(out.size() <= 256); // what getrandom gives whole
    if (RAND_bytes(as_unsigned(out), static_cast<int>(out.size())) == 1) {
        return;
    }
    const auto got = ::getrandom(out.data(), out.size(), 0);
    if (got != static_cast<ssize_t>(out.size())) {
        log::error("the system has no random numbers; keys and identities can't be made");
        REPL_ASSERT(got == static_cast<ssize_t>(out.size()));
    }
}

std::string random_secret() {
    std::array<std::byte, 16> raw{};
    fill_random(raw);
    return to_hex(raw);
}

std::uint64_t random_u64() {
    std::array<std::byte, 8> raw{};
    fill_random(raw);
    return std::bit_cast<std::uint64_t>(raw);
}

result<trust_store> trust_store::parse(const std::string &json_text) {
    trust_store store;
    const json j = json::parse(json_text, nullptr, false);
    if (!j.is_object()) {
        return fail(errc::corrupt, "the file of trusted peers is not readable");
    }
    try {
        for (const auto &[group, peer] : j.at("peers").items()) {
            store.peers_[group] = {peer.at("fingerprint").get<std::string>(),
                                   peer.at("address").get<std::string>(), peer.value("sender", "")};
        }
        for (const auto &[hash, inv] : j.at("invitations").items()) {
            // Files of before had "used" and no time of issue: what was open then is no more.
            const std::string end = inv.value("end", "expired");
            store.invitations_[hash] = {inv.at("group").get<std::string>(),
                                        inv.value("issued_ms", std::int64_t{0}),
                                        inv.at("expires_ms").get<std::int64_t>(),
                                        end == "open"      ? invitation_end::open
                                        : end == "used"    ? invitation_end::used
                                        : end == "revoked" ? invitation_end::revoked
                                                           : invitation_end::expired,
                                        inv.value("seen_ms", std::int64_t{0})};
        }
    } catch (const json::exception &e) {
        return fail(errc::corrupt,
                    fmt::format("the file of trusted peers is not readable ({})", e.what()));
    }
    return store;
}

std::string trust_store::to_json() const {
    json j = {{"peers", json::object()}, {"invitations", json::object()}};
    for (const auto &[group, peer] : peers_) {
        j["peers"][group] = {{"fingerprint", peer.fingerprint}, {"address", peer.address}};
        if (!peer.sender.empty()) {
            j["peers"][group]["sender"] = peer.sender;
        }
    }
    for (const auto &[hash, inv] : invitations_) {
        const char *end = inv.end == invitation_end::open      ? "open"
                          : inv.end == invitation_end::used    ? "used"
                          : inv.end == invitation_end::revoked ? "revoked"
                                                               : "expired";
        j["invitations"][hash] = {{"group", inv.group},
                                  {"issued_ms", inv.issued_ms},
                                  {"expires_ms", inv.expires_ms},
                                  {"seen_ms", inv.seen_ms},
                                  {"end", end}};
    }
    return j.dump(2) + "\n";
}

const pinned_peer *trust_store::find(const std::string &group) const {
    const auto at = peers_.find(group);
    return at == peers_.end() ? nullptr : &at->second;
}

bool trust_store::knows_fingerprint(const std::string &fingerprint) const {
    return std::ranges::any_of(peers_,
                               [&](const auto &p) { return p.second.fingerprint == fingerprint; });
}

void trust_store::drop_old(wall_time now) {
    // Used and expired ones are remembered for a day, so that the error can say which it was.
    std::erase_if(invitations_, [&](const auto &entry) {
        return entry.second.expires_ms + 24LL * 3600 * 1000 < ms_of(now);
    });
}

bool trust_store::is_open(const invitation_entry &e, std::int64_t now_ms) {
    return e.end == invitation_end::open && now_ms >= e.issued_ms && now_ms >= e.seen_ms &&
           now_ms < e.expires_ms;
}

bool trust_store::unpin(const std::string &group) {
    for (auto &[hash, inv] : invitations_) {
        if (inv.group == group && inv.end == invitation_end::open) {
            inv.end = invitation_end::revoked;
        }
    }
    return peers_.erase(group) > 0;
}

void trust_store::add_invitation(const std::string &group, const std::string &secret,
                                 wall_time now) {
    drop_old(now);
    invitations_[sha256_hex(secret)] = {group, ms_of(now), ms_of(now + invitation_lifetime),
                                        invitation_end::open, ms_of(now)};
}

bool trust_store::has_open_invitation(wall_time now) const {
    return std::ranges::any_of(invitations_,
                               [&](const auto &e) { return is_open(e.second, ms_of(now)); });
}

std::vector<open_invitation> trust_store::open_invitations(wall_time now) const {
    std::vector<open_invitation> out;
    for (const auto &[hash, inv] : invitations_) {
        if (is_open(inv, ms_of(now))) {
            out.push_back({hash.substr(0, invitation_id_digits), inv.group,
                           wall_time(std::chrono::milliseconds(inv.expires_ms))});
        }
    }
    std::ranges::sort(out, {}, &open_invitation::expires);
    return out;
}

bool trust_store::revoke(const std::string &id, wall_time now) {
    for (auto &[hash, inv] : invitations_) {
        if (id.size() == invitation_id_digits && hash.starts_with(id) && is_open(inv, ms_of(now))) {
            inv.end = invitation_end::revoked;
            return true;
        }
    }
    return false;
}

bool trust_store::settle_invitations(wall_time now) {
    bool changed = false;
    for (auto &[hash, inv] : invitations_) {
        if (inv.end != invitation_end::open) {
            continue;
        }
        if (is_open(inv, ms_of(now))) {
            changed = changed || inv.seen_ms != ms_of(now);
            inv.seen_ms = ms_of(now);
        } else {
            inv.end = invitation_end::expired;
            changed = true;
        }
    }
    return changed;
}

result<> trust_store::redeem(const std::string &group, const std::string &secret, wall_time now) {
    const auto at = invitations_.find(sha256_hex(secret));
    if (at == invitations_.end() || at->second.group != group) {
        return fail(errc::not_trusted,
                    "the receiver does not know this token; make a new one with `farshore invite`");
    }
    invitation_entry &inv = at->second;
    if (inv.end == invitation_end::used) {
        return fail(errc::not_trusted,
                    "this token was used before; make a new one with `farshore invite`");
    }
    if (inv.end == invitation_end::revoked) {
        return fail(errc::not_trusted,
                    "this token was revoked; make a new one with `farshore invite`");
    }
    if (!is_open(inv, ms_of(now))) {
        return fail(errc::not_trusted,
                    "this token has expired; make a new one with `farshore invite`");
    }
    inv.end = invitation_end::used;
    return {};
}

} // namespace farshore
