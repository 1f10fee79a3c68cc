#pragma once
// Is this peer the group's? One pure function for everybody who asks: the sender in the handshake
// with the DR site (also of data links and of `join`), the receiver at a hello, at a data link and
// before it lends one group's content to another. docs/protocol.md "Who a peer is" draws the same
// table; tests walk it.

#include "replicator/session/trust.hpp"

#include <string>

namespace farshore {

enum class trust_mode : std::uint8_t {
    pinned,  ///< each side knows the other's certificate by its fingerprint
    site_ca, ///< [tls]: a CA of the site vouches for names
};

/// What is known of a peer when the question is asked. In the mode `site_ca` a peer whose
/// certificate the CA did not sign, that is not in its time or that was revoked has been refused
/// before (transport/tls_session.cpp).
struct peer_evidence {
    trust_mode mode = trust_mode::pinned;
    bool signed_by_ca = false;
    std::string fingerprint;   ///< of the certificate that it showed
    std::string pinned;        ///< the one stored for the group; empty: none is
    bool name_asked = false;   ///< its certificate has to be for a name
    bool name_found = false;   ///< and is
    bool is_sender = false;    ///< asked by a receiver: what follows counts
    std::string sender;        ///< identity that the sender says it has, hex
    std::string stored_sender; ///< of the group's sender; empty: none was accepted yet
};

enum class peer_verdict : std::uint8_t {
    ours,
    first_use,  ///< nobody fed the group before: it may, and is stored
    unknown,    ///< not the one that was pinned, or nobody is
    wrong_name, ///< its certificate is for other names
    other,      ///< the group is another sender's
};

/// First match wins.
///   pinned   no fingerprint is stored for the group, or another one   unknown
///   pinned   the stored one                                           ours
///   site_ca  the CA did not vouch for it                              unknown
///   site_ca  a name is asked for, the certificate is not for it       wrong_name
///   site_ca  it is a receiver                                         ours
///   site_ca  a sender without an identity                             unknown
///   site_ca  a sender, none is stored                                 first_use
///   site_ca  a sender, the stored one                                 ours
///   site_ca  a sender, another one                                    other
peer_verdict judge_peer(const peer_evidence &e);

/// Whether two groups are fed by one sender, by what is stored of each; null: not paired. Groups
/// that nobody has fed yet have no sender in common.
bool same_sender(trust_mode mode, const pinned_peer *a, const pinned_peer *b);

/// What a sender expects of the receiver it calls.
struct expected_peer {
    trust_mode mode = trust_mode::pinned;
    std::string fingerprint; ///< pinned; in the mode site_ca only while a token is redeemed
    std::string name;        ///< site_ca: DNS name or address that its certificate is for
};

/// The name to expect under a site's CA: `peer_name`, else the host in "HOST:PORT".
std::string name_expected(const std::string &peer_name, const std::string &address);

/// The receiver as the sender saw it in the handshake. errc::not_trusted; the context goes on the
/// sentence "the certificate ..., which ".
result<> accept_receiver(const expected_peer &expected, const std::string &fingerprint,
                         bool signed_by_ca, bool name_found, const std::string &names);

} // namespace farshore
