#pragma once
// Who is let in at the DR site: what a peer's certificate is worth in the TLS handshake, how many
// links may be open before they have said what they want, whose a group is at the first hello, and
// tokens that are redeemed. A link that may feed a group is handed to it (receiver_group::attach).
//
// Thread: home.

#include "replicator/base/async.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/session/config.hpp"
#include "replicator/session/group_role.hpp"
#include "replicator/session/kept.hpp"
#include "replicator/session/peer_trust.hpp"
#include "replicator/session/trust.hpp"
#include "transport/link.hpp"
#include "transport/refusal_log.hpp"
#include "transport/tls_link.hpp"

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>

namespace farshore {

class receiver_group;

class receiver_door {
  public:
    /// `lookup`: a group by its name, or null.
    using find_group = std::function<receiver_group *(const std::string &)>;

    /// `trust` outlives it.
    receiver_door(runtime run, kept<trust_store> &trust, trust_mode mode, find_group lookup);

    /// In the TLS handshake: sessions only from certificates that are known, joins only while an
    /// invitation is open. Whose group it is, is judged at the hello that names one.
    result<> trusts(const transport::peer_claim &peer) const;
    /// A paired sender last came from there (transport/guest_policy.hpp).
    bool knows_source(const std::string &source) const { return known_sources_.contains(source); }
    void learn_source(const std::string &address);

    /// A link that passed the handshake; goes on until close().
    void take(std::unique_ptr<transport::link> link);
    /// Links of those that were let in by files that are replaced, and have not said a hello.
    void drop_silent();
    /// The links that were taken end soon, but for sessions, which are their groups'.
    void close();
    /// After close() and when the groups have stopped.
    task<void> join() { co_await tasks_.join(); }

  private:
    peer_verdict judge(const receiver_group &group, const wire::hello &hello,
                       const transport::link &link) const;
    task<void> greet(std::unique_ptr<transport::link> link);
    task<void> greet_stranger(std::unique_ptr<transport::link> link);
    task<void> greet_hello(std::unique_ptr<transport::link> link, wire::hello hello);
    task<result<role_state>> exchange_claims(transport::link &link, const wire::site_claim &ours);
    task<result<transport::message>> first_message(transport::link &link);
    std::size_t silent_max(const std::string &fingerprint) const;
    task<result<>> settle_owner(receiver_group &group, const wire::hello &hello,
                                const transport::link &link);
    void note_refusal(const transport::link &link, const std::string &what);
    task<void> close_late(std::shared_ptr<transport::link *> link);
    task<void> take_join(std::unique_ptr<transport::link> link, bytes_view payload);

    runtime run_;
    kept<trust_store> &trust_;
    const trust_mode mode_;
    find_group lookup_;
    task_group tasks_;                       ///< one a link being greeted or served
    std::list<transport::link *> strangers_; ///< with a token, or so they say; oldest first
    std::map<std::string, std::list<transport::link *>>
        silent_; ///< by fingerprint: paired, and no hello yet; oldest first
    std::set<std::string> known_sources_; ///< where paired senders last came from
    condition late_;                      ///< a link greeted, or the end
    transport::refusal_log refusals_;
    bool closing_ = false;
};

} // namespace farshore
