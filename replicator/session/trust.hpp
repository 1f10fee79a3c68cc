#pragma once
// Who may talk about which group: pinned fingerprints, one-time tokens. Pure values with JSON in
// and out; the callers keep the files (STATE/trust.json, replaced atomically).
//
// Token: "farshore1." + base64url of {"g": group, "a": address, "f": receiver's fingerprint, "s":
// secret}. The secret is 128 random bits; the receiver keeps only its SHA-256. Good once and for
// one hour, as long as the group is not unpaired and nobody revokes it. A clock that shows a time
// before the one at which the invitation was made, or was last seen open, ends it: nobody knows how
// much of the hour is left.

#include "replicator/base/bytes.hpp"
#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"

#include <map>
#include <string>
#include <vector>

namespace farshore {

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

/// From the system's random source. There is no way to go on without: a secret of zeroes would be
/// everybody's. Ends the program when there is none, which no kernel of today lets happen after
/// boot.
void fill_random(bytes_span out);
std::string random_secret(); ///< 32 hex digits
std::uint64_t random_u64();

struct pinned_peer {
    std::string fingerprint;
    std::string
        address; ///< sender: where the receiver is; receiver: where the sender last came from
    /// Receiver under a site's CA, where any certificate of the site passes: the identity of the
    /// group's sender, hex.
    std::string sender = {};
};

/// One that may still be redeemed; never the secret.
struct open_invitation {
    std::string id; ///< the first digits of the secret's SHA-256
    std::string group;
    wall_time expires{};
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
    /// Invitations for the group end as well.
    bool unpin(const std::string &group);

    void add_invitation(const std::string &group, const std::string &secret, wall_time now);
    bool has_open_invitation(wall_time now) const;
    /// Uses an invitation up. errc::not_trusted: unknown, used, revoked, expired or for another
    /// group.
    result<> redeem(const std::string &group, const std::string &secret, wall_time now);
    std::vector<open_invitation> open_invitations(wall_time now) const;
    /// False when there is none of that id that is open.
    bool revoke(const std::string &id, wall_time now);
    /// Ends what has run out and notes that it is `now`, so that a clock that is set back later
    /// brings none of them back. True: something changed that should be kept. Call it now and then
    /// while one is open.
    bool settle_invitations(wall_time now);

  private:
    enum class invitation_end : std::uint8_t { open, used, revoked, expired };
    struct invitation_entry {
        std::string group;
        std::int64_t issued_ms = 0;
        std::int64_t expires_ms = 0;
        invitation_end end = invitation_end::open;
        std::int64_t seen_ms = 0; ///< the latest time at which it was known to be open
    };
    static bool is_open(const invitation_entry &e, std::int64_t now_ms);
    void drop_old(wall_time now);

    std::map<std::string, pinned_peer> peers_;
    std::map<std::string, invitation_entry> invitations_; ///< by SHA-256 of the secret, hex
};

inline std::string text_of(const trust_store &t) { return t.to_json(); }

} // namespace farshore
