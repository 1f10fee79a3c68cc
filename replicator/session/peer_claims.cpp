#include "replicator/session/peer_claims.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>
#include <utility>

namespace farshore {
namespace {

/// True when a bit at or behind `count` is set.
bool bits_beyond(const byte_vector &bits, std::uint64_t count) {
    return count % 8 != 0 && !bits.empty() &&
           (std::to_integer<unsigned>(bits.back()) >> (count % 8)) != 0;
}

std::uint64_t bits_set(const byte_vector &bits) {
    std::uint64_t sum = 0;
    for (const std::byte b : bits) {
        sum += static_cast<std::uint64_t>(std::popcount(std::to_integer<unsigned>(b)));
    }
    return sum;
}

result<> not_back(const char *field, std::uint64_t said, std::uint64_t before) {
    return said >= before ? result<>{}
                          : fail_peer(errc::corrupt, fmt::format("{} is {}, after {} before", field,
                                                                 said, before));
}

} // namespace

result<> check_welcome(const wire::welcome &theirs, interval_id known) {
    const std::uint64_t bound = known.value + limits::interval_jump_max;
    for (const auto &[field, id] : {std::pair("welcome.durable", theirs.durable.interval.value),
                                    std::pair("welcome.partial", theirs.partial.interval.value)}) {
        if (id > bound) {
            return fail_peer(
                errc::limit,
                fmt::format("the DR site's {} is interval {}, more than 2^40 above {}, the newest "
                            "known here. No "
                            "sender has made so many; make the group's copy there anew",
                            field, id, known.value));
        }
    }
    return {};
}

// ---- at the sender
// ---------------------------------------------------------------------------------

void receiver_claims::greeted(const wire::welcome &theirs) {
    durable_ = theirs.durable;
    applied_ = theirs.applied;
    damage_count_ = theirs.damage_count;
}

void receiver_claims::asked(const wire::digest_request &question) {
    digests_.emplace(question.id, units_of(question));
}

result<> receiver_claims::answered(const wire::stream_ready &answer) {
    if (!beginning_ || *beginning_ != answer.stream) {
        return fail_peer(
            errc::corrupt,
            fmt::format("the DR site's stream_ready.stream is {:x}, which was not asked for",
                        answer.stream.value));
    }
    beginning_.reset();
    return {};
}

result<> receiver_claims::answered(const wire::digest_reply &answer) {
    const auto at = digests_.find(answer.id);
    if (at == digests_.end()) {
        return fail_peer(
            errc::corrupt,
            fmt::format("the DR site's digest_reply.id is {}, which was not asked for", answer.id));
    }
    const std::uint64_t units = at->second;
    const bool whole = answer.zero_bits.size() == ceil_div(units, std::uint64_t{8}) &&
                       !bits_beyond(answer.zero_bits, units);
    if (!whole || answer.digests.size() != (units - bits_set(answer.zero_bits)) * 16) {
        return fail_peer(
            errc::corrupt,
            fmt::format("the DR site's digest_reply {} has {} bytes of zero_bits and {} of "
                        "digests for {} units",
                        answer.id, answer.zero_bits.size(), answer.digests.size(), units));
    }
    digests_.erase(at);
    return {};
}

result<> receiver_claims::answered(const wire::loan_reply &answer) {
    const auto at = loans_.find(answer.id);
    if (at == loans_.end()) {
        return fail_peer(
            errc::corrupt,
            fmt::format("the DR site's loan_reply.id is {}, which was not asked for", answer.id));
    }
    if (answer.granted.size() != ceil_div(at->second, std::uint64_t{8}) ||
        bits_beyond(answer.granted, at->second)) {
        return fail_peer(
            errc::corrupt,
            fmt::format("the DR site's loan_reply {} has {} bytes of granted bits for {} blocks",
                        answer.id, answer.granted.size(), at->second));
    }
    loans_.erase(at);
    return {};
}

result<> receiver_claims::check_durable(stream_position said) const {
    if (said == durable_) {
        return {};
    }
    const bool sent =
        said.stream == stream_ && stream_.value != 0 && said.interval <= sent_through_;
    if (!sent || said.interval < durable_.interval) {
        return fail_peer(errc::corrupt,
                         fmt::format("the DR site's ack.durable is interval {} of stream {:x}; "
                                     "sent to the end were those up to "
                                     "{} of {:x}, and {} was durable before",
                                     said.interval.value, said.stream.value, sent_through_.value,
                                     stream_.value, durable_.interval.value));
    }
    return {};
}

result<> receiver_claims::take(const wire::ack &said) {
    FS_CHECK(check_durable(said.durable));
    FS_CHECK(not_back("the DR site's ack.applied", said.applied.interval.value,
                      applied_.interval.value));
    FS_CHECK(not_back("the DR site's ack.damage_count", said.damage_count, damage_count_));
    FS_CHECK(not_back("the DR site's ack.journaled_bytes", said.journaled_bytes, journaled_bytes_));
    if (said.journaled_bytes > sent_bytes_) {
        return fail_peer(errc::corrupt,
                         fmt::format("the DR site's ack.journaled_bytes is {}; {} were sent",
                                     said.journaled_bytes, sent_bytes_));
    }
    durable_ = said.durable;
    applied_ = said.applied;
    damage_count_ = said.damage_count;
    journaled_bytes_ = said.journaled_bytes;
    return {};
}

result<> receiver_claims::may_ask(const wire::compare_request &question, bool offered) {
    if (!offered || comparing_) {
        return fail_peer(errc::corrupt, offered ? "compare_request while another one is unanswered"
                                                : "compare_request, which was not offered");
    }
    const std::uint64_t size = question.volume < sizes_.size() ? sizes_[question.volume] : 0;
    if (question.offset >= size || question.length > size - question.offset) {
        return fail_peer(errc::corrupt,
                         fmt::format("compare_request is about {} bytes at {} of volume {}, which "
                                     "has {}",
                                     question.length, question.offset, question.volume, size));
    }
    comparing_ = true;
    return {};
}

result<> receiver_claims::take(const wire::nak &said) {
    FS_CHECK(not_back("the DR site's nak.damage_count", said.damage_count, damage_count_));
    for (const wire::damaged_entry &b : said.blocks) {
        if (b.volume >= sizes_.size() || b.block >= block_count(sizes_[b.volume])) {
            return fail_peer(
                errc::corrupt,
                fmt::format("the DR site's nak names block {} of volume {}; the group has {} "
                            "volumes{}",
                            b.block, b.volume, sizes_.size(),
                            b.volume < sizes_.size()
                                ? fmt::format(", this one {} blocks", block_count(sizes_[b.volume]))
                                : ""));
        }
    }
    damage_count_ = said.damage_count;
    return {};
}

// ---- at the receiver
// -------------------------------------------------------------------------------

namespace {

/// In the order of the sender, each as the operator says.
result<> check_list(const std::vector<wire::volume_entry> &wanted,
                    const receiver_group_config &allowed) {
    for (const wire::volume_entry &v : wanted) {
        const auto at =
            std::ranges::find(allowed.volumes, v.name, [](const auto &a) { return a.first; });
        if (at == allowed.volumes.end()) {
            return fail(
                errc::mismatch,
                fmt::format(
                    "the sender has a volume \"{}\" that [group.volumes] of group \"{}\" does "
                    "not name; add it there",
                    v.name, allowed.name));
        }
        if (at->second != v.size) {
            return fail(errc::mismatch, fmt::format("volume \"{}\" has {} bytes at the sender and "
                                                    "{} in [group.volumes] of group \"{}\"",
                                                    v.name, v.size, at->second, allowed.name));
        }
    }
    return wanted.size() == allowed.volumes.size()
               ? result<>{}
               : fail(errc::mismatch,
                      fmt::format(
                          "[group.volumes] of group \"{}\" names {} volumes, the sender has {}",
                          allowed.name, allowed.volumes.size(), wanted.size()));
}

} // namespace

result<> check_new_volumes(const std::vector<wire::volume_entry> &wanted,
                           const receiver_group_config &allowed) {
    std::set<std::string> names;
    std::uint64_t sum = 0; // 1,024 volumes of 1 PiB at most: no overflow
    for (const wire::volume_entry &v : wanted) {
        if (!names.insert(v.name).second) {
            return fail(errc::mismatch, fmt::format("the sender has two volumes \"{}\"", v.name));
        }
        const bool targeted =
            std::ranges::any_of(allowed.targets, [&v](const auto &t) { return t.first == v.name; });
        if (!targeted && allowed.replica.empty()) {
            return fail(
                errc::mismatch,
                fmt::format(
                    "the sender has a volume \"{}\" that [group.target] of group \"{}\" does not "
                    "name, and there is no `replica` directory",
                    v.name, allowed.name));
        }
        sum += v.size;
    }
    if (!allowed.volumes.empty()) {
        return check_list(wanted, allowed);
    }
    if (wanted.size() > allowed.volumes_max) {
        return fail(errc::mismatch, fmt::format("the sender has {} volumes; group \"{}\" takes {}. "
                                                "Raise `volumes_max` of the group "
                                                "if that is right",
                                                wanted.size(), allowed.name, allowed.volumes_max));
    }
    if (sum > allowed.size_max) {
        return fail(errc::mismatch, fmt::format("the sender's volumes have {} bytes; group \"{}\" "
                                                "takes {}. Raise `size_max` of the "
                                                "group if that is right",
                                                sum, allowed.name, allowed.size_max));
    }
    return {};
}

result<> check_begin_stream(const wire::begin_stream &said, stream_position durable) {
    const std::uint64_t last = durable.interval.value;
    // Not only near the last one: another site, or this one's damaged state, may have led the
    // sender far up, each of its welcomes by a jump, and this copy would be shut out for good.
    const std::uint64_t bound =
        std::max(limits::first_stream_id_max, last + limits::interval_jump_max);
    if (said.first <= last || said.first > bound) {
        return fail_peer(
            errc::limit,
            fmt::format(
                "begin_stream.first is {}; allowed is {} to {}, since interval {} is durable "
                "here",
                said.first, last + 1, bound, last));
    }
    if (said.stream == durable.stream.value && said.first != last + 1) {
        return fail_peer(
            errc::corrupt,
            fmt::format("begin_stream.first is {} in the stream {:x} of which {} is durable here",
                        said.first, said.stream.value, last));
    }
    return {};
}

std::uint64_t units_of(const wire::digest_request &request) {
    std::uint64_t units = 0;
    for (const wire::digest_range &r : request.ranges) {
        units += ceil_div(r.length, request.unit);
    }
    return units;
}

result<> check_digest_request(const wire::digest_request &said,
                              const std::vector<std::uint64_t> &volume_sizes) {
    for (const wire::digest_range &r : said.ranges) {
        const std::uint64_t size = r.volume < volume_sizes.size() ? volume_sizes[r.volume] : 0;
        if (r.offset >= size || r.length > size - r.offset) {
            return fail_peer(
                errc::corrupt,
                fmt::format(
                    "digest_request.ranges name {} bytes at {} of volume {}, which has {} bytes",
                    r.length, r.offset, r.volume, size));
        }
    }
    if (const std::uint64_t units = units_of(said); units > limits::digests_per_message_max) {
        return fail_peer(errc::limit, fmt::format("digest_request asks for {} units; allowed is {}",
                                                  units, limits::digests_per_message_max));
    }
    return {};
}

result<> check_loan_request(const wire::loan_request &said, interval_id next) {
    if (said.interval > next.value + limits::loan_window) {
        return fail_peer(
            errc::limit,
            fmt::format("loan_request.interval is {}; allowed is at most {} above {}, the one that "
                        "comes next",
                        said.interval, limits::loan_window, next.value));
    }
    return {};
}

result<> check_barrier(const barrier &said, std::uint64_t damage_count) {
    if (said.heals > damage_count + limits::heals_slack) {
        return fail_peer(
            errc::corrupt,
            fmt::format("a barrier's `heals` is {}; the copy's damage was counted up to {}",
                        said.heals, damage_count));
    }
    return {};
}

} // namespace farshore
