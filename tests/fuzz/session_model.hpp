#pragma once
// A primary in miniature, as tests/support/replica_rig.hpp has one, for targets that need thousands
// of intervals a second: a state is a list of pages that states share until one is written.

#include "dedupe/codec.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/format/position.hpp"
#include "tests/support/intervals.hpp"
#include "tests/support/sim_content.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <vector>

namespace farshore::fuzz {

/// One volume, random writes to it, and what it held at every barrier.
class session_model {
    using page = std::array<std::byte, block_bytes>;
    using state = std::vector<std::shared_ptr<page>>;

  public:
    session_model(std::uint64_t seed, std::uint64_t volume_bytes)
        : random_(seed), encoder_({.level = dedupe::encoder_options::stored}),
          volume_bytes_(volume_bytes), now_(block_count(volume_bytes), zeroes_) {
        states_[0] = now_;
    }

    stream_position position() const { return position_; }
    stream_id stream() const { return stream_id{stream_}; } ///< of the next interval
    /// A new stream, as after a catch-up.
    void begin_stream() { ++stream_; }
    /// Whether the volume held this after the interval.
    bool held(interval_id id, bytes_view content) const {
        const state &then = states_.at(id.value);
        for (std::size_t b = 0; b < then.size(); ++b) {
            const bytes_view block = content.subspan(b * block_bytes, bytes_in(b));
            if (std::memcmp(then[b]->data(), block.data(), block.size()) != 0) {
                return false;
            }
        }
        return content.size() == volume_bytes_;
    }

    /// Writes at random and returns the frames of the interval.
    std::vector<buffer> interval(std::size_t writes, barrier commit) {
        const state before = now_;
        std::set<std::size_t> touched;
        for (std::size_t i = 0; i < writes; ++i) {
            write(touched);
        }
        return frames_of(before, touched, std::move(commit));
    }
    /// All blocks of the volume as they are, without bases: a full catch-up.
    std::vector<buffer> everything(barrier commit) {
        begin_stream();
        std::set<std::size_t> all;
        for (std::size_t b = 0; b < now_.size(); ++b) {
            all.insert(b);
        }
        return frames_of({}, all, std::move(commit));
    }

    static barrier plain() {
        barrier b;
        b.consistent = true;
        return b;
    }

  private:
    std::size_t bytes_in(std::size_t block) const {
        return bytes_in_block(block_index{block}, volume_bytes_);
    }
    void write(std::set<std::size_t> &touched) {
        const std::size_t first = random_.below(now_.size());
        const std::uint64_t kind = random_.below(10);
        const std::size_t count =
            std::min(now_.size() - first, random_.below(kind < 2 ? 40 : 4) + 1);
        for (std::size_t b = first; b < first + count; ++b) {
            touched.insert(b);
            if (kind < 2) {
                now_[b] = zeroes_;
                continue;
            }
            auto changed = std::make_shared<page>(*now_[b]);
            if (kind < 6) { // a few bytes: a delta
                for (int n = 0; n < 20; ++n) {
                    const std::uint64_t any = random_.next();
                    (*changed)[any % bytes_in(b)] = static_cast<std::byte>(any >> 32);
                }
            } else {
                for (std::size_t at = 0; at < bytes_in(b); at += sizeof(std::uint64_t)) {
                    const std::uint64_t any = random_.next();
                    std::memcpy(changed->data() + at, &any, sizeof any);
                }
            }
            now_[b] = std::move(changed);
        }
    }

    std::vector<buffer> frames_of(const state &before, const std::set<std::size_t> &touched,
                                  barrier commit) {
        std::vector<block_change> changes;
        for (const std::size_t b : touched) {
            block_change c;
            c.block = block_index{b};
            if (is_zero(*now_[b])) {
                c.kind = change_kind::zero;
                if (!changes.empty() && changes.back().kind == change_kind::zero &&
                    changes.back().block.value + changes.back().count == b) {
                    ++changes.back().count;
                    continue;
                }
            } else {
                c.content = *now_[b];
                if (!before.empty() &&
                    random_.below(4) != 0) { // the sender does not always have it
                    c.before = *before[b];
                }
            }
            changes.push_back(c);
        }
        position_ = {stream_id{stream_}, next(position_.interval)};
        // Most are not compressed, which would take longer than all that the receiver does.
        encoder_.set_level(position_.interval.value % 32 == 0 ? 1
                                                              : dedupe::encoder_options::stored);
        std::vector<test::data_payload> payloads;
        for (const dedupe::encoded_payload &p : encoder_.encode(changes)) {
            payloads.push_back(
                {{p.bytes.view().begin(), p.bytes.view().end()}, p.blocks, p.raw_bytes});
        }
        states_[position_.interval.value] = now_;
        return test::make_interval(position_, payloads, std::move(commit));
    }

    sim::random random_;
    dedupe::encoder encoder_;
    std::shared_ptr<page> zeroes_ = std::make_shared<page>();
    std::uint64_t volume_bytes_; ///< a multiple of 8
    state now_;
    std::map<std::uint64_t, state> states_;
    std::uint64_t stream_ = 1;
    stream_position position_;
};

} // namespace farshore::fuzz
