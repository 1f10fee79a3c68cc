#pragma once
// What the two daemons are told at start: plain values. config/config_file.hpp reads them from
// TOML.

#include "replicator/base/clock.hpp"
#include "replicator/base/schedule.hpp"
#include "replicator/session/rehearsal_config.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

struct sender_volume_config {
    std::string name;
    std::string path;
    std::string nbd; ///< endpoint text, see nbd::parse_endpoint
};

/// An application that is still while a bookmark's barrier is cut: [[group.hook]].
struct hook_config {
    std::string name;
    std::string type; ///< of hook_types
    // What its type takes; the others are empty.
    std::string connect;          ///< postgresql, mariadb, redis
    std::string mount;            ///< filesystem
    std::string socket;           ///< qemu-guest-agent
    std::string file;             ///< sqlite
    std::vector<std::string> run; ///< script
    std::string user = {};        ///< script: who runs it; empty: the daemon's own
    bool outside = false; ///< files that are not on the group's volumes are no reason to refuse
    duration timeout = std::chrono::seconds(10);
};

/// When a bookmark is made by itself: [[group.bookmark]].
struct bookmark_config {
    std::string name; ///< {time} in it becomes the time
    schedule when;
    bool app = false;
    duration keep{}; ///< 0: as `retain` says
};

struct sender_group_config {
    std::string name;
    std::string peer; ///< host:port; may be empty until `join` gives it
    /// Under [tls]: what the DR site's certificate is for; empty: the host in `peer`.
    std::string peer_name;
    duration interval = std::chrono::seconds(1);
    std::uint64_t spool_bytes_max = 20ULL << 30;
    /// Memory of the index of places that new data is looked up in; within the group's share of
    /// `memory`, of which it is 3/16 unless set, and never more than half.
    std::optional<std::uint64_t> history_bytes;
    bool loans =
        true; ///< false: content of other groups is no source for this one, nor the other way
    bool verify_encoding = false; ///< every payload is decoded and compared before it leaves
    /// After a stop that was not in order clients wait until the DR site was heard, which may have
    /// been promoted meanwhile.
    bool start_after_contact = false;
    std::optional<std::uint64_t> rate; ///< bytes per second
    std::vector<sender_volume_config> volumes;
    std::vector<hook_config> hooks; ///< frozen in this order, released in reverse
    std::vector<bookmark_config> bookmarks;
};

struct tls_files {
    std::string ca;
    std::string certificate;
    std::string key;
    std::string crl; ///< empty: none
};

struct sender_config {
    std::string state;
    std::string control;
    std::string http; ///< empty: off
    std::uint64_t memory_bytes_max = 512ULL << 20;
    std::uint32_t links = 4; ///< data connections of a group
    std::optional<tls_files> tls;
    std::vector<sender_group_config> groups;
};

struct retain_rule {
    duration spacing{}; ///< zero: all
    duration age{};     ///< kept for so long
    std::string text{}; ///< as the operator wrote it
};

struct receiver_group_config {
    std::string name;
    std::string replica;   ///< directory; empty when every volume has a target
    std::string peer_name; ///< under [tls]: what the sender's certificate is for; empty: any name
    std::vector<std::pair<std::string, std::string>> targets; ///< volume name, path
    std::uint64_t journal_bytes_max = 50ULL << 30;
    std::vector<retain_rule> retain;
    // What a sender may have made here.
    std::vector<std::pair<std::string, std::uint64_t>>
        volumes; ///< name, size: these and no others; empty: any within
    std::uint32_t volumes_max = 64;
    std::uint64_t size_max = 128ULL << 40; ///< virtual bytes of all volumes
    bool loans = true;                     ///< false: nothing is lent to this group, nor by it
    // Of its logs and its packed history; 0: as replica_options says. In no file: tests have little
    // data, and want many pieces.
    std::uint64_t segment_bytes = 0;
    std::uint64_t stretch_bytes = 0;
    /// How often everything is read once (`scrub`); nothing: never, but when it is asked for.
    std::optional<duration> scrub_every = {};
    std::vector<test_config> tests = {}; ///< rehearsals on a schedule
    std::vector<start_step> start = {};  ///< how the applications start on a copy, in order
    /// Where volumes are served after a promotion, see nbd::parse_endpoint; {volume} in it becomes
    /// the name. Empty: nowhere, and a promotion is refused.
    std::string serve = {};
    /// A promotion is settled by itself after so long; nothing: never.
    std::optional<duration> commit_after = {};
};

struct receiver_config {
    std::string state;
    std::string listen;
    std::string control;
    std::string http;
    std::uint64_t memory_bytes_max = 512ULL << 20;
    std::optional<tls_files> tls;
    std::vector<receiver_group_config> groups;
};

} // namespace farshore
