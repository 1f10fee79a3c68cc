#pragma once
// Who may talk about which group: pinned fingerprints, one-time tokens. Pure values with JSON in and out;
// the callers keep the files (STATE/trust.json, replaced atomically).
//
// Token: "farshore1." + base64url of {"g": group, "a": address, "f": receiver's fingerprint, "s": secret}.
// The secret is 128 random bits; the receiver keeps only its SHA-256. Good once and for one hour.

#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"

#include <map>
#include <string>

namespace farshore::engine {

constexpr duration invitation_lifetime = std::chrono::hours(1);

struct join_token {
    std::string group;
    std::string address;
    std::string fingerprint;
    std::string secret;
};
std::string encode_token(const join_token &t);
/// errc::invalid with what is wrong.
result<join_token> parse_token(const std::string &text);

/// 32 hex digits from the system's random source.
std::string random_secret();
std::uint64_t random_u64();

struct pinned_peer {
    std::string fingerprint;
    std::string address; ///< sender: where the receiver is; receiver: where the sender last came from
    /// Receiver under a site's CA, where any certificate of the site passes: the identity of the group's sender, hex.
    std::string sender = {};
};

/// Everything a daemon knows of trust.
class trust_store {
  public:
    static result<trust_store> parse(const std::string &json_text);
    std::string to_json() const;

    const std::map<std::string, pinned_peer> &peers() const { return peers_; }
    const pinned_peer *find(const std::string &group) const;
    bool knows_fingerprint(const std::string &fingerprint) const;
    void pin(const std::string &group, pinned_peer peer) { peers_[group] = std::move(peer); }
    bool unpin(const std::string &group) { return peers_.erase(group) > 0; }

    void add_invitation(const std::string &group, const std::string &secret, wall_time expires);
    bool has_open_invitation(wall_time now) const;
    /// Uses an invitation up. errc::not_trusted: unknown, used or for another group; errc::timeout: expired.
    result<> redeem(const std::string &group, const std::string &secret, wall_time now);

  private:
    struct invitation_entry {
        std::string group;
        std::int64_t expires_ms = 0;
        bool used = false;
    };
    void drop_old(wall_time now);

    std::map<std::string, pinned_peer> peers_;
    std::map<std::string, invitation_entry> invitations_; ///< by SHA-256 of the secret, hex
};

} // namespace farshore::engine
